"""The checker: what every expression of a recipe is worth, and what is wrong with it.

Takes names, gives typed values and findings. Everything in a recipe is known when it is compiled, so typing
and evaluating are one walk. What could not be found out is *unknown* and absorbs whatever follows: one
fault, one finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from harmony_compiler import arithmetic
from harmony_compiler.construct import construct, copy
from harmony_compiler.findings.fields import DuplicateField, OutOfRange, RuleBroken
from harmony_compiler.findings.graph import LaunchDecidesNodes, NotSupportedYet
from harmony_compiler.findings.names import NameOutOfReach, UnknownName
from harmony_compiler.findings.types import (
    Impossible,
    NoSuchMember,
    NotACondition,
    NotCallable,
    NoValueByItself,
    WrongOperand,
)
from harmony_compiler.fitting import describe, fit
from harmony_compiler.graph.catalogue import LATER, LATER_DATASETS, class_of, constructors_named
from harmony_compiler.graph.graph import Launch
from harmony_compiler.graph.types import (
    BOOL,
    DURATION,
    FLOAT,
    INT,
    JSON,
    NONE,
    PERCENT,
    REGEX,
    SECRET,
    STR,
    DatasetType,
    ListOf,
    RecordOf,
    SettingsType,
    Type,
    options_of,
    union_of,
)
from harmony_compiler.graph.values import Duration, Percent, Secret
from harmony_compiler.names import GRADED, close_to, mentioned, names_of_the_language
from harmony_compiler.typed import Made, Value, unknown
from harmony_grammar import syntax
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.source import Span
from harmony_grammar.syntax_errors import BadEscape

NO_TYPE: Type = JSON
"""Asked for where a place takes any value."""

_NO_VALUES = {
    "ctx": (
        "stands for what the launch decides",
        "write `ctx.world_size`, `ctx.nodes`, `ctx.gpus_per_node` or `ctx.run_name`",
    ),
    "env": ("stands for a secret", 'write `env("NAME")` with the name of an environment variable'),
    **dict.fromkeys(GRADED, ("only the formula of a grader can read it", "")),
}
"""Names that mean nothing alone: what they stand for, and what to write."""


@dataclass
class Checker:
    """One check of one recipe: the values found so far, and the findings."""

    launch: Launch
    run_name: str
    seed: int = 0
    declared: frozenset[str] = frozenset()
    values: dict[str, Value] = field(default_factory=dict)
    findings: list[Diagnostic] = field(default_factory=list)
    closed: bool = False
    """Inside the value of an input, where the recipe's names are not known."""
    lost_names: bool = False
    """A declaration could not be read: a name that seems unknown may have been declared there."""

    def report(self, finding: Diagnostic) -> None:
        self.findings.append(finding)

    def is_free(self, name: str) -> bool:
        """Whether a name means nothing here: neither the recipe nor the language has it."""
        return name not in self.declared and name not in names_of_the_language()

    def expect(self, expression: syntax.Expression, expected: Type, place: str) -> Value:
        """The value of an expression in a place of type `expected`; unknown, and reported, if it misfits."""
        if isinstance(expression, syntax.Conditional):  # each branch must fit, chosen or not
            return self._conditional(expression, lambda branch: self.expect(branch, expected, place))
        return self.fitted(self.value(expression, expected), expected, place)

    def fitted(self, value: Value, expected: Type, place: str) -> Value:
        """A value in a place of type `expected`; unknown, and reported, if it misfits."""
        found = fit(value, expected, place)
        if isinstance(found, Value):
            return found
        self.findings.extend(found)
        return unknown(value.span)

    def condition(self, expression: syntax.Expression, place: str) -> Value:
        """The value of an expression that must be true or false."""
        value = self.value(expression)
        if not value.unknown and value.type != BOOL:
            self.report(NotACondition(span=value.span, place=place, found=describe(value)))
            return unknown(value.span)
        return value

    def sweep(self, expression: object) -> None:
        """Report unknown names in an expression that is not evaluated."""
        for name in mentioned(expression, short_keys=False):
            if name.text not in names_of_the_language():
                self._named(name)

    def _unreached(self, read: Callable[[], Value]) -> None:
        """Check a part that a condition guards. Of what only its numbers break, nothing is said."""
        before = len(self.findings)
        read()
        said = self.findings[before:]
        self.findings[before:] = [f for f in said if not isinstance(f, Impossible | OutOfRange | RuleBroken)]

    def value(self, expression: syntax.Expression, expected: Type = NO_TYPE) -> Value:
        """The value of an expression; `expected` only chooses between constructors of one name."""
        span = expression.span
        match expression:
            case syntax.Broken():
                return unknown(span)
            case syntax.Constant(value=constant):
                return Value(NONE if constant is None else BOOL, constant, span)
            case syntax.Number(value=number):
                return Value(INT if isinstance(number, int) else FLOAT, number, span)
            case syntax.Percent(value=number):
                whole = number == int(number)  # `10.0%` is `10%`
                return Value(PERCENT, Percent(int(number) if whole else number), span)
            case syntax.Duration(value=number, unit=unit):
                return Value(DURATION, Duration(number, unit), span)
            case syntax.Text():
                return self._text(expression, expected)
            case syntax.List(items=items):
                return self._list(items, expected, span)
            case syntax.Record(fields=fields):
                return self._record(fields, expected, span)
            case syntax.Name():
                return self._name(expression, expected)
            case syntax.Unary():
                return self._unary(expression)
            case syntax.Binary(operator="and" | "or"):
                return self._logic(expression)
            case syntax.Binary():
                return self._binary(expression)
            case syntax.Compare():
                return self._compare(expression)
            case syntax.Conditional():
                return self._conditional(expression, lambda branch: self.value(branch, expected))
            case syntax.Attribute():
                return self._attribute(expression)
            case syntax.Index():
                return self._index(expression)
            case syntax.Call():
                return self._call(expression, (), expected, span)
            case syntax.With():
                return self._with(expression, expected)

    # --- literals ---------------------------------------------------------------------------------------

    def _text(self, text: syntax.Text, expected: Type) -> Value:
        if REGEX not in options_of(expected):
            for escape in text.bad_escapes:
                self.report(BadEscape.at(escape))
        return Value(STR, text.value, text.span, literal=text)

    def _list(self, items: tuple[syntax.Expression, ...], expected: Type, span: Span) -> Value:
        wanted = next((o.item for o in options_of(expected) if isinstance(o, ListOf)), NO_TYPE)
        values = tuple(self.value(item, wanted) for item in items)
        if any(value.unknown for value in values):
            return unknown(span)
        item_type = union_of(value.type for value in values) if values else NO_TYPE
        return Value(ListOf(item_type), values, span)

    def _record(self, fields: tuple[syntax.Field | syntax.Broken, ...], expected: Type, span: Span) -> Value:
        """`{ … }`: the constructor of a settings type where the place asks for one, else a plain record."""
        settings = [o for o in options_of(expected) if isinstance(o, SettingsType)]
        if len(settings) == 1:
            head = span.source.span(span.start, span.start + 1)
            return construct(self, class_of(settings[0].name), (), fields, head=head, span=span)
        values: dict[str, Value] = {}
        for item in fields:
            if isinstance(item, syntax.Field):
                if item.key.text in values:
                    self.report(DuplicateField(span=item.key.span, key=item.key.text))
                values[item.key.text] = self.value(item.value)
        if any(value.unknown for value in values.values()) or len(values) < len(fields):
            return unknown(span)
        item_type = union_of(value.type for value in values.values()) if values else NO_TYPE
        return Value(RecordOf(item_type), values, span)

    # --- names and constructors -------------------------------------------------------------------------

    def _name(self, name: syntax.Name, expected: Type) -> Value:
        if name.text not in self.declared and name.text in names_of_the_language():
            return self._call(syntax.Call(name.span, name, ()), (), expected, name.span)
        return self._named(name)

    def _named(self, name: syntax.Name) -> Value:
        """The value that a recipe declared under a name."""
        if name.text in self.values and not self.closed:
            return self.values[name.text].at(name.span)
        if self.closed and (name.text in self.declared):
            self.report(NameOutOfReach(span=name.span, name=name.text))
        elif name.text not in self.declared and not self.lost_names:
            known = () if self.closed else self.declared
            suggestion = close_to(name.text, [*known, *names_of_the_language()])
            self.report(UnknownName(span=name.span, name=name.text, suggestion=suggestion))
        return unknown(name.span)

    def _call(
        self,
        call: syntax.Call,
        fields: tuple[syntax.Field | syntax.Broken, ...],
        expected: Type,
        span: Span,
    ) -> Value:
        """A constructor with its arguments and fields."""
        head = call.callee
        if not isinstance(head, syntax.Name):
            self.report(NotCallable(span=head.span, what="this"))
            self.sweep((call.arguments, fields))
            return unknown(span)
        if head.text in self.declared:
            if head.text not in names_of_the_language():  # else it was reported where it is declared
                self.report(NotCallable(span=head.span, what=f"`{head.text}`", name=head.text))
            self.sweep((call.arguments, fields))
            return unknown(span)
        as_dataset = head.text in LATER_DATASETS and _asks_for_dataset(expected)
        if head.text in LATER or as_dataset:
            what = f"`{head.text}` as a dataset" if as_dataset else f"`{head.text}`"
            self.report(NotSupportedYet(span=head.span, what=what))
            return unknown(span)
        if not fields and (name := secret_name(call)) is not None:
            return Value(SECRET, Secret(name), span)
        if head.text in _NO_VALUES:
            meaning, mend = _NO_VALUES[head.text]
            self.report(NoValueByItself(span=head.span, name=head.text, meaning=meaning, mend=mend))
            return unknown(span)
        found = constructors_named(head.text)
        if not found:
            self._named(head)
            self.sweep((call.arguments, fields))
            return unknown(span)
        return construct(self, found[0], call.arguments, fields, head=head.span, span=span)

    def _with(self, expression: syntax.With, expected: Type) -> Value:
        """`value { fields }`: completes a constructor, or copies an existing value."""
        value, fields, span = expression.value, expression.fields, expression.span
        if (
            isinstance(value, syntax.Name)
            and not self.is_free(value.text)
            and value.text not in self.declared
        ):
            return self._call(syntax.Call(value.span, value, ()), fields, expected, span)
        if isinstance(value, syntax.Call):
            return self._call(value, fields, expected, span)
        return copy(self, self.value(value, expected), fields, span)

    # --- operators --------------------------------------------------------------------------------------

    def _unary(self, expression: syntax.Unary) -> Value:
        if expression.operator == "not":
            operand = self.condition(expression.operand, "the operand of `not`")
            return (
                operand if operand.unknown else replace(operand, data=not operand.data, span=expression.span)
            )
        return self._computed(expression, "-", (self.value(expression.operand),))

    def _binary(self, expression: syntax.Binary) -> Value:
        left, right = self.value(expression.left), self.value(expression.right)
        return self._computed(expression, expression.operator, (left, right))

    def _computed(self, expression: syntax.Node, symbol: str, operands: tuple[Value, ...]) -> Value:
        if any(operand.unknown for operand in operands):
            return unknown(expression.span)
        try:
            type_, data = (
                arithmetic.negated(operands[0])
                if len(operands) == 1
                else arithmetic.binary(symbol, operands[0], operands[1])
            )
        except arithmetic.NoValueError as reason:
            self.report(Impossible(span=expression.span, what=str(reason)))
        except arithmetic.WrongOperandsError:
            self._wrong_operands(expression, symbol, operands)
        else:
            return Value(type_, data, expression.span, by_launch=any(o.by_launch for o in operands))
        return unknown(expression.span)

    def _wrong_operands(self, expression: syntax.Node, symbol: str, operands: tuple[Value, ...]) -> None:
        kinds = " and ".join(describe(operand) for operand in operands)
        self.report(WrongOperand(span=expression.span, operator=symbol, operands=kinds))

    def _logic(self, expression: syntax.Binary) -> Value:
        place = f"an operand of `{expression.operator}`"
        left = self.condition(expression.left, place)
        if left.unknown or left.data == (expression.operator == "or"):  # it decides alone
            self._unreached(lambda: self.condition(expression.right, place))
            return left.at(expression.span)
        right = self.condition(expression.right, place)
        return replace(right, span=expression.span, by_launch=left.by_launch or right.by_launch)

    def _compare(self, expression: syntax.Compare) -> Value:
        operands = tuple(self.value(operand) for operand in expression.operands)
        if any(operand.unknown for operand in operands):
            return unknown(expression.span)
        holds = True
        for symbol, left, right in zip(expression.operators, operands, operands[1:], strict=False):
            try:
                holds = arithmetic.compared(symbol, left, right) and holds
            except arithmetic.WrongOperandsError:
                self._wrong_operands(expression, symbol, (left, right))
                return unknown(expression.span)
        return Value(BOOL, holds, expression.span, by_launch=any(o.shows_launch for o in operands))

    def _conditional(
        self, expression: syntax.Conditional, read: Callable[[syntax.Expression], Value]
    ) -> Value:
        condition = self.condition(expression.condition, "the condition of `if`")
        taken, left = expression.then, expression.otherwise
        if not condition.unknown and not condition.data:
            taken, left = left, taken
        self._unreached(lambda: read(left))
        if condition.unknown:
            self._unreached(lambda: read(taken))
            return unknown(expression.span)
        return self._decided(read(taken), condition)

    def _decided(self, chosen: Value, by: Value) -> Value:
        """What a condition or index chose. The launch may choose numbers, not nodes."""
        if by.by_launch and isinstance(chosen.data, Made) and chosen.data.is_node:
            self.report(LaunchDecidesNodes(span=by.span, what=f"`{chosen.type}`"))
        return replace(chosen, by_launch=chosen.by_launch or by.by_launch)

    def _attribute(self, expression: syntax.Attribute) -> Value:
        base, key = expression.value, expression.key
        if not (isinstance(base, syntax.Name) and base.text == "ctx"):
            value = self.value(base)
            fields = value.data if isinstance(value.data, dict) else {}
            if key.text in fields:
                return self._decided(fields[key.text].at(expression.span), value)
            if not value.unknown:
                self._no_member(key, describe(value), fields)
            return unknown(expression.span)
        members: dict[str, tuple[Type, int | str]] = {
            "world_size": (INT, self.launch.world_size),
            "nodes": (INT, self.launch.nodes),
            "gpus_per_node": (INT, self.launch.gpus_per_node),
            "run_name": (STR, self.run_name),
        }
        if key.text not in members:
            self._no_member(key, "`ctx`", members)
            return unknown(expression.span)
        type_, data = members[key.text]
        return Value(type_, data, expression.span, by_launch=True)

    def _no_member(self, key: syntax.Identifier, what: str, members: Iterable[str]) -> None:
        known, suggestion = ", ".join(members), close_to(key.text, members)
        self.report(NoSuchMember(span=key.span, what=what, key=key.text, known=known, suggestion=suggestion))

    def _index(self, expression: syntax.Index) -> Value:
        """`s[i]`: the i-th item of a list or character of a text; `none` or `""` beyond the end."""
        whole, index = self.value(expression.value), self.expect(expression.index, INT, "an index")
        if whole.unknown or index.unknown:
            return unknown(expression.span)
        if not isinstance(whole.data, tuple | str):
            self._wrong_operands(expression, "[ ]", (whole,))
            return unknown(expression.span)
        inside = 0 <= index.data < len(whole.data)
        if isinstance(whole.data, str):
            found = Value(STR, whole.data[index.data] if inside else "", expression.span)
        else:
            found = whole.data[index.data] if inside else Value(NONE, None, expression.span)
        by_launch = index.by_launch or whole.by_launch
        return self._decided(found.at(expression.span), replace(index, by_launch=by_launch))


def _asks_for_dataset(expected: Type) -> bool:
    return any(isinstance(option, DatasetType) for option in options_of(expected))


def secret_name(expression: syntax.Expression) -> str | None:
    """The NAME of `env("NAME")`, or None for any other expression."""
    match expression:
        case syntax.Call(callee=syntax.Name(text="env"), arguments=(syntax.Text(value=name),)) if name:
            return name
    return None
