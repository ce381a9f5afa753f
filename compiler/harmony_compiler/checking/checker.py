"""The checker: what every expression of a recipe is worth, and what is wrong with it.

Takes names, gives typed values and findings. Everything in a recipe is known when it is compiled, so typing
and evaluating are one walk. What could not be found out is *unknown* and absorbs whatever follows: one
fault, one finding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from harmony_compiler.checking import credentials, operators
from harmony_compiler.checking.calls import call_function, function_called, regex_fault, signature
from harmony_compiler.checking.construct import construct, copy
from harmony_compiler.checking.fitting import describe, fit
from harmony_compiler.data.filters import Row
from harmony_compiler.data.heads import Heads
from harmony_compiler.findings.fields import DuplicateField, OutOfRange, RuleBroken
from harmony_compiler.findings.names import NameOutOfReach, UnknownName
from harmony_compiler.findings.types import (
    Impossible,
    NotACondition,
    NotCallable,
    NotSaidWhich,
    NoValueByItself,
)
from harmony_compiler.graph.catalogue import class_of, constructors_named
from harmony_compiler.graph.formulas import FUNCTIONS, Function
from harmony_compiler.graph.graph import Launch
from harmony_compiler.graph.node import Constructor, Node
from harmony_compiler.graph.types import (
    BOOL,
    DURATION,
    FLOAT,
    GRADER,
    INT,
    JSON,
    NONE,
    PERCENT,
    REGEX,
    SECRET,
    STR,
    ListOf,
    LiteralText,
    RecordOf,
    SettingsType,
    Type,
    options_of,
    union_of,
)
from harmony_compiler.graph.values import Duration, Percent, Secret
from harmony_compiler.naming.names import Named, mentioned, names_of_the_language
from harmony_compiler.rewards import formulas, scores
from harmony_compiler.typed import Value, unknown
from harmony_grammar import syntax
from harmony_grammar.diagnostics import Diagnostic, Label, meant
from harmony_grammar.literal_errors import BadEscape
from harmony_grammar.records import Record, field, replace
from harmony_grammar.source import Span

NO_TYPE: Type = JSON
"""Asked for where a place takes any value."""

OPERAND: Type = union_of((NO_TYPE, GRADER))
"""Asked for by arithmetic: any value, but of what a constructor's name may make, the grader."""

_NO_VALUES = {
    "ctx": (
        "stands for what the launch decides",
        "write `ctx.world_size`, `ctx.nodes`, `ctx.gpus_per_node` or `ctx.run_name`",
    ),
    "env": ("stands for a secret", 'write `env("NAME")` with the name of an environment variable'),
    "metadata": ("stands for the named values of a row", "write `metadata.NAME`"),
}
"""Names that mean nothing alone: what they stand for, and what to write."""


class Checker(Record, frozen=False):
    """One check of one recipe: the values found so far, and the findings."""

    launch: Launch
    run_name: str
    heads: Heads
    seed: int = 0
    declared: Mapping[str, Named] = field(factory=dict)
    values: dict[str, Value] = field(factory=dict)
    findings: list[Diagnostic] = field(factory=list)
    closed: bool = False
    """Inside the value of an input, where the recipe's names are not known."""
    lost_names: bool = False
    """A declaration could not be read: a name that seems unknown may have been declared there."""
    row: Row | None = None
    """Inside a filter, the row whose columns are names."""
    imported: dict[str, Checker] = field(factory=dict)
    """By the name of an import, the values of the file."""

    def report(self, finding: Diagnostic) -> None:
        self.findings.append(finding)

    def is_free(self, name: str) -> bool:
        """Whether a name means nothing here: neither the recipe nor the language has it."""
        return name not in self.declared and name not in names_of_the_language()

    def expect(
        self, expression: syntax.Expression, expected: Type, place: str, labels: tuple[Label, ...] = ()
    ) -> Value:
        """The value of an expression in a place of type `expected`; unknown, and reported, if it misfits.

        `labels` say more about the place, where it is another one than the value's.
        """
        if isinstance(expression, syntax.Conditional):  # each branch must fit, chosen or not
            value = operators.conditional(
                self, expression, expected, lambda branch: self.expect(branch, expected, place, labels)
            )
        else:
            value = self.value(expression, expected)
        return self.fitted(value, expected, place, labels)

    def fitted(self, value: Value, expected: Type, place: str, labels: tuple[Label, ...] = ()) -> Value:
        """A value in a place of type `expected`; unknown, and reported, if it misfits."""
        found = fit(value, expected, place)
        if isinstance(found, Value):
            fault = regex_fault(found) if found.type == REGEX else None
            if fault is None:
                return found
            found = [fault]
        self.findings.extend(
            replace(finding, labels=(*finding.labels, *labels)) if labels else finding for finding in found
        )
        return unknown(value.span)

    def condition(self, expression: syntax.Expression, place: str) -> Value:
        """The value of an expression that must be true or false."""
        value = formulas.asked(self.value(expression), BOOL)
        if not value.unknown and value.type != BOOL:
            mend = scores.MEND if value.type == GRADER else ""
            self.report(NotACondition(span=value.span, place=place, found=describe(value), mend=mend))
            return unknown(value.span)
        return value

    def sweep(self, expression: object) -> None:
        """Report unknown names in an expression that is not evaluated."""
        for name in mentioned(expression, doubtful=False):
            if name.text not in names_of_the_language() and name.text not in self.imported:
                self._named(name)

    def unreached(self, read: Callable[[], Value]) -> None:
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
            case syntax.Unary(operator="not"):
                return operators.negation(self, expression)
            case syntax.Unary(operand=operand):
                return operators.computed(self, "-", (self.value(operand, OPERAND),), span)
            case syntax.Binary(operator="and" | "or"):
                return operators.logic(self, expression)
            case syntax.Binary(operator=symbol, left=left, right=right):
                operands = (self.value(left, OPERAND), self.value(right, OPERAND))
                return operators.computed(self, symbol, operands, span)
            case syntax.Compare():
                return operators.comparison(self, expression)
            case syntax.Conditional():
                read = partial(self.value, expected=expected)
                return operators.conditional(self, expression, expected, read)
            case syntax.Attribute():
                return operators.attribute(self, expression)
            case syntax.Index():
                return operators.index(self, expression)
            case syntax.Call():
                return self._call(expression, (), expected, span)
            case syntax.With():
                return self._with(expression, expected)

    # --- literals ---------------------------------------------------------------------------------------

    def _text(self, text: syntax.Text, expected: Type) -> Value:
        if REGEX not in options_of(expected):
            for escape in text.bad_escapes:
                self.report(BadEscape.at(escape))
        if faults := credentials.exposed(text):
            self.findings.extend(faults)
            return unknown(text.span)
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
        options = options_of(expected)
        settings = [option for option in options if isinstance(option, SettingsType)]
        if len(settings) == 1 and not any(isinstance(option, RecordOf) for option in options):
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

    def of_row(self, expression: syntax.Expression, row: Row, place: str) -> Value:
        """The value of a condition in which a row's columns are names."""
        self.row = row
        value = self.condition(expression, place)
        self.row = None
        return value

    def _of_row(self, name: syntax.Name, row: Row) -> Value | None:
        """What a name means where a row's columns are names; None where it is the recipe's."""
        found = row.meaning(name, self.declared.keys() | names_of_the_language())
        if not isinstance(found, Diagnostic):
            return found
        if not self.lost_names:
            self.report(found)
        return unknown(name.span)

    def _name(self, name: syntax.Name, expected: Type) -> Value:
        if self.row is not None and (column := self._of_row(name, self.row)) is not None:
            return column
        if name.text in formulas.READS:
            return formulas.read(name.text, name.span)
        option = f'"{name.text}"' if LiteralText(name.text) in options_of(expected) else ""
        if name.text not in self.declared and name.text in names_of_the_language():
            call = syntax.Call(name.span, name, ())
            if function := function_called(call):
                mend = f"an option stands in quotes: `{option}`" if option else _with_arguments(function)
                fixes = meant(name.span, option, safe=True)
                meaning = "is a function"
                finding = NoValueByItself(
                    span=name.span, name=name.text, meaning=meaning, mend=mend, fixes=fixes
                )
                self.report(finding)
                return unknown(name.span)
            return self._call(call, (), expected, name.span)
        return self._named(name, option, expected)

    def _named(
        self, name: syntax.Name, option: str = "", expected: Type = NO_TYPE, *, called: bool = False
    ) -> Value:
        """The value that a recipe declared under a name; `option` is what else is meant."""
        if name.text in self.imported and not self.closed:
            self.report(_alone(name, self.imported[name.text]))
            return unknown(name.span)
        if name.text in self.values and not self.closed:
            return replace(self.values[name.text], span=name.span, named=True)
        if self.closed and (name.text in self.declared):
            self.report(NameOutOfReach(span=name.span, name=name.text))
        elif name.text not in self.declared and not self.lost_names:
            from harmony_compiler.checking.likely import likely_name  # only a mistake pays for it

            known = () if self.closed else self.declared
            likely, fixes = likely_name(name.span, expected, self.values, known, called=called)
            fixes = meant(name.span, option, safe=True) or fixes
            finding = UnknownName(span=name.span, name=name.text, suggestion=option or likely, fixes=fixes)
            self.report(finding)
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
            method = head.key.text if isinstance(head, syntax.Attribute) else ""
            mend = _with_arguments(FUNCTIONS[method]) if method in FUNCTIONS else ""
            if not isinstance(head, syntax.Broken):
                self.report(NotCallable(span=head.span, what="this", mend=mend))
            self.sweep((call.arguments, fields))
            return unknown(span)
        if head.text in self.declared or head.text in formulas.READS:
            # A declared name that belongs to the language was reported where it is declared.
            if head.text not in self.declared or head.text not in names_of_the_language():
                copied = f"to copy it with changes, write `{head.text} {{ … }}`"
                if head.text in self.imported:
                    copied = f"a value of that file is `{head.text}.NAME`"
                mend = copied if head.text in self.declared else ""
                self.report(NotCallable(span=head.span, what=f"`{head.text}`", mend=mend))
            self.sweep((call.arguments, fields))
            return unknown(span)
        if function := function_called(call):
            value = call_function(self, function, call, call.span)
            return copy(self, value, fields, span) if fields else value
        if not fields and (name := secret_name(call)) is not None:
            return Value(SECRET, Secret(name), span)
        if head.text in _NO_VALUES:
            meaning, mend = _NO_VALUES[head.text]
            self.report(NoValueByItself(span=head.span, name=head.text, meaning=meaning, mend=mend))
            return unknown(span)
        found = constructors_named(head.text)
        if not found:
            self._named(head, expected=expected, called=True)
            self.sweep((call.arguments, fields))
            return unknown(span)
        cls = _meant(found, expected)
        if cls is None:
            kinds = tuple(str(cls.result({})) for cls in found if issubclass(cls, Node))
            self.report(NotSaidWhich(span=head.span, name=head.text, kinds=_either(kinds)))
            self.sweep((call.arguments, fields))
            return unknown(span)
        return construct(self, cls, call.arguments, fields, head=head.span, span=span)

    def _with(self, expression: syntax.With, expected: Type) -> Value:
        """`value { fields }`: completes a constructor, or copies an existing value."""
        value, fields, span = expression.value, expression.fields, expression.span
        if (
            isinstance(value, syntax.Name)
            and not self.is_free(value.text)
            and value.text not in self.declared
            and value.text not in formulas.READS
        ):
            return self._call(syntax.Call(value.span, value, ()), fields, expected, span)
        if isinstance(value, syntax.Call):
            return self._call(value, fields, expected, span)
        return copy(self, self.value(value, expected), fields, span)


def _with_arguments(function: Function) -> str:
    return f"a function takes its arguments in `( )`: `{signature(function)}`"


def _alone(name: syntax.Name, file: Checker) -> Diagnostic:
    """An import that is used as if it were one of its values."""
    first = next(operators.members_of(file), "NAME")
    mend = f"name one of them, such as `{name.text}.{first}`"
    meaning = "stands for the values of another file"
    return NoValueByItself(span=name.span, name=name.text, meaning=meaning, mend=mend)


def _meant(found: Sequence[type[Constructor]], expected: Type) -> type[Constructor] | None:
    """The constructor that a place of type `expected` means, or None if it does not say."""
    if len(found) == 1:
        return found[0]
    asked = {type(option) for option in options_of(expected)}
    meant = [cls for cls in found if issubclass(cls, Node) and type(cls.result({})) in asked]
    return meant[0] if len(meant) == 1 else None


def _either(kinds: Sequence[str]) -> str:
    *most, last = (f"a `{kind}`" for kind in kinds)
    return f"{', '.join(most)} or {last}"


def secret_name(expression: syntax.Expression) -> str | None:
    """The NAME of `env("NAME")`, or None for any other expression."""
    match expression:
        case syntax.Call(callee=syntax.Name(text="env"), arguments=(syntax.Text(value=name),)) if name:
            return name
    return None
