"""The checker: what every expression of a recipe is worth, and what is wrong with it.

Takes names, gives typed values and findings. Everything in a recipe is known when it is compiled, so typing
and evaluating are one walk. What could not be found out is *unknown* and absorbs whatever follows: one
fault, one finding.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from harmony_grammar import syntax
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.source import Span
from harmony_grammar.syntax_errors import BadEscape

from harmony_compiler import arithmetic
from harmony_compiler.construct import construct, copy
from harmony_compiler.findings.fields import DuplicateField
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

NO_TYPE: Type = JSON
"""Asked for where a place takes any value."""


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
        value = self.value(expression, expected)
        fitted = fit(value, expected, place)
        if isinstance(fitted, Diagnostic):
            self.report(fitted)
            return unknown(value.span)
        return fitted

    def condition(self, expression: syntax.Expression, place: str) -> Value:
        """The value of an expression that must be true or false."""
        value = self.value(expression)
        if not value.unknown and value.type != BOOL:
            self.report(NotACondition(span=value.span, place=place, found=describe(value)))
            return unknown(value.span)
        return value

    def sweep(self, expression: object) -> None:
        """Report unknown names in an expression that is not evaluated."""
        for name in mentioned(expression):
            if name.text not in names_of_the_language():
                self._named(name)

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
                return Value(PERCENT, Percent(number), span)
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
                return self._conditional(expression, expected)
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
        return Value(ListOf(item_type), values, span, by_launch=any(v.by_launch for v in values))

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
        return Value(RecordOf(item_type), values, span, by_launch=any(v.by_launch for v in values.values()))

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
            self.report(NotCallable(span=head.span, what=f"`{head.text}`"))
            self.sweep((call.arguments, fields))
            return unknown(span)
        if head.text == "env":
            return self._secret(call, span)
        if head.text in LATER or (head.text in LATER_DATASETS and _asks_for_dataset(expected)):
            self.report(NotSupportedYet(span=head.span, what=f"`{head.text}`"))
            self.sweep((call.arguments, fields))
            return unknown(span)
        if head.text == "ctx" or head.text in GRADED:
            hint = (
                "write `ctx.world_size`, `ctx.nodes`, `ctx.gpus_per_node` or `ctx.run_name`"
                if head.text == "ctx"
                else "only a grader's formula can read it"
            )
            self.report(NoValueByItself(span=head.span, name=head.text, hint=hint))
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

    def _secret(self, call: syntax.Call, span: Span) -> Value:
        match call.arguments:
            case (syntax.Text(value=name),):
                return Value(SECRET, Secret(name), span)
            case _:
                hint = 'write `env("NAME")` with the name of an environment variable'
                self.report(NoValueByItself(span=call.callee.span, name="env", hint=hint))
                return unknown(span)

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
        left, right = self.condition(expression.left, place), self.condition(expression.right, place)
        if left.unknown or right.unknown:
            return unknown(expression.span)
        holds = (left.data and right.data) if expression.operator == "and" else (left.data or right.data)
        return Value(BOOL, holds, expression.span, by_launch=left.by_launch or right.by_launch)

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
        return Value(BOOL, holds, expression.span, by_launch=any(o.by_launch for o in operands))

    def _conditional(self, expression: syntax.Conditional, expected: Type) -> Value:
        condition = self.condition(expression.condition, "the condition of `if`")
        then, otherwise = self.value(expression.then, expected), self.value(expression.otherwise, expected)
        if condition.unknown:
            return unknown(expression.span)
        chosen = then if condition.data else otherwise
        if condition.by_launch and isinstance(chosen.data, Made) and chosen.data.is_node:
            self.report(LaunchDecidesNodes(span=condition.span, what=f"`{chosen.type}`"))
        return replace(chosen, by_launch=chosen.by_launch or condition.by_launch)

    def _attribute(self, expression: syntax.Attribute) -> Value:
        base, key = expression.value, expression.key
        if not (isinstance(base, syntax.Name) and base.text == "ctx"):
            value = self.value(base)
            if not value.unknown:
                self.report(NoSuchMember(span=key.span, what=describe(value), key=key.text))
            return unknown(expression.span)
        members: dict[str, tuple[Type, int | str]] = {
            "world_size": (INT, self.launch.world_size),
            "nodes": (INT, self.launch.nodes),
            "gpus_per_node": (INT, self.launch.gpus_per_node),
            "run_name": (STR, self.run_name),
        }
        if key.text not in members:
            known, suggestion = ", ".join(members), close_to(key.text, members)
            finding = NoSuchMember(
                span=key.span, what="`ctx`", key=key.text, known=known, suggestion=suggestion
            )
            self.report(finding)
            return unknown(expression.span)
        type_, data = members[key.text]
        return Value(type_, data, expression.span, by_launch=True)

    def _index(self, expression: syntax.Index) -> Value:
        """`s[i]`: the i-th item of a list or character of a text; `none` or `""` beyond the end."""
        whole, index = self.value(expression.value), self.expect(expression.index, INT, "an index")
        if whole.unknown or index.unknown:
            return unknown(expression.span)
        if isinstance(whole.data, tuple):
            inside = 0 <= index.data < len(whole.data)
            return (
                whole.data[index.data].at(expression.span) if inside else Value(NONE, None, expression.span)
            )
        if isinstance(whole.data, str):
            inside = 0 <= index.data < len(whole.data)
            return Value(STR, whole.data[index.data] if inside else "", expression.span)
        self._wrong_operands(expression, "[ ]", (whole,))
        return unknown(expression.span)


def _asks_for_dataset(expected: Type) -> bool:
    return any(isinstance(option, DatasetType) for option in options_of(expected))
