"""Constructing: a constructor's arguments and fields become a `Made`, checked against its class.

Everything asked here is read from the node class: which fields there are, their types, bounds, defaults,
and the rules between them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from harmony_compiler.checking.fitting import describe
from harmony_compiler.checking.rules import Reading, ask, of_launch
from harmony_compiler.data import rows
from harmony_compiler.data.filters import Row, read_filter
from harmony_compiler.data.heads import Heads
from harmony_compiler.findings.fields import (
    DuplicateField,
    MissingField,
    NotCopyable,
    OutOfRange,
    TooManyArguments,
)
from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.datasets import Drawn, Rows
from harmony_compiler.graph.graders import Combination, Formula, Grader
from harmony_compiler.graph.graph import Launch
from harmony_compiler.graph.models import LoadSettings, Reloaded
from harmony_compiler.graph.node import NOT_GIVEN, Constructor, Derived, FieldSpec, Node, schema
from harmony_compiler.graph.types import MODEL, SECRET, DatasetType, SettingsType, Type, options_of
from harmony_compiler.graph.values import Percent
from harmony_compiler.lineage import setting
from harmony_compiler.rewards.scores import as_grader
from harmony_compiler.typed import LAUNCH, NOBODY, UNKNOWN_DATA, Made, Value, plain, unknown
from harmony_grammar import syntax
from harmony_grammar.diagnostics import Diagnostic, Fix, Label
from harmony_grammar.layout import taken_out
from harmony_grammar.records import replace
from harmony_grammar.source import Span


class Desk(Protocol):
    """What the checker lends to those who check a part of a recipe."""

    @property
    def launch(self) -> Launch: ...

    @property
    def seed(self) -> int: ...

    @property
    def heads(self) -> Heads: ...

    def report(self, finding: Diagnostic) -> None: ...

    def value(self, expression: syntax.Expression, expected: Type = ...) -> Value:
        """The value of an expression; `expected` only chooses between constructors of one name."""
        ...

    def expect(self, expression: syntax.Expression, expected: Type, place: str) -> Value:
        """The value of an expression in a place of type `expected`; unknown, and reported, if it misfits."""
        ...

    def fitted(self, value: Value, expected: Type, place: str) -> Value:
        """A value in a place of type `expected`; unknown, and reported, if it misfits."""
        ...

    def is_free(self, name: str) -> bool:
        """Whether a name means nothing here: neither the recipe nor the language has it."""
        ...

    def sweep(self, expression: object) -> None:
        """Report unknown names in an expression that is not evaluated."""
        ...

    def of_row(self, expression: syntax.Expression, row: Row, place: str) -> Value:
        """The value of a condition in which a row's columns are names."""
        ...


Arguments = Sequence[syntax.Field | syntax.Broken | syntax.Expression]


def construct(
    desk: Desk,
    cls: type[Constructor],
    arguments: Arguments,
    fields: Arguments,
    *,
    head: Span,
    span: Span,
) -> Value:
    """`cls(arguments) { fields }`. `head` is the constructor's name, `span` the whole expression."""
    written = [*_named(desk, cls, arguments), *fields]
    reading = _read(desk, cls, schema(cls), written)
    return _value_of(desk, _complete(desk, cls, reading, head=head, span=span))


def copy(desk: Desk, original: Value, fields: Arguments, span: Span) -> Value:
    """`original { fields }`: a copy with changes. What may be changed is decided by the value's type."""
    if original.unknown:
        desk.sweep(tuple(fields))
        return unknown(span)
    original = as_grader(original) or original
    made = original.data
    if not isinstance(made, Made):
        mend = "two records in a list stand apart by a comma" if isinstance(original.data, dict) else ""
        desk.report(NotCopyable(span=original.span, what=describe(original), mend=mend))
        desk.sweep(tuple(fields))
        return unknown(span)
    changeable = schema(made.cls)
    if original.type == MODEL:
        changeable = {name: spec for name, spec in changeable.items() if name in schema(LoadSettings)}
    if made.cls in (Formula, Combination):
        changeable = schema(Grader)
    if issubclass(made.cls, Algorithm):
        return _reload(desk, original, fields, span)
    reading = _read(desk, made.cls, changeable, fields, of=original)
    merged = Reading(made.written | reading.given, reading.places, made.lost or reading.lost, reading.excused)
    inherited = _inherited(made.values["source"]) if made.cls is Reloaded else None
    copied = _complete(desk, made.cls, merged, head=made.head, span=span, inherited=inherited)
    return _value_of(desk, copied)


def _reload(desk: Desk, original: Value, fields: Arguments, span: Span) -> Value:
    """A trained model takes load settings, and nothing else; what it leaves open stays as it was."""
    reading = _read(desk, Reloaded, schema(LoadSettings), fields, of=original)
    reading.given["source"] = original
    inherited = _inherited(original.data)
    made = _complete(desk, Reloaded, reading, head=original.span, span=span, inherited=inherited)
    return _value_of(desk, made)


def _inherited(source: Made) -> dict[str, Any]:
    """How a model is loaded where nothing is said of it."""
    return {name: setting(source, name) for name in schema(LoadSettings)}


def _value_of(desk: Desk, made: Made) -> Value:
    span = made.span
    if issubclass(made.cls, Drawn):
        made = rows.completed(desk, made)
    by = NOBODY.union(*(value.by for value in made.given.values()))
    if not issubclass(made.cls, Node):
        return Value(SettingsType(made.cls.constructor), made, span, by=by)
    # `completion = none` takes a field away again.
    given = {name: value for name, value in made.given.items() if value.data is not None}
    type_ = made.cls.result(given)
    if isinstance(type_, DatasetType) and rows.kind_is_open(made, desk.heads):
        type_ = DatasetType()
    return Value(type_, made, span, by=by & {LAUNCH})  # of a node each field says it for itself


def _named(
    desk: Desk, cls: type[Constructor], arguments: Arguments
) -> Iterable[syntax.Field | syntax.Broken]:
    """Arguments in `( )` as fields: the first may stand without its name."""
    for position, argument in enumerate(arguments):
        if isinstance(argument, syntax.Field | syntax.Broken):
            yield argument
        elif position == 0 and cls.argument:
            yield syntax.Field(argument.span, syntax.Identifier(argument.span, cls.argument), argument)
        else:
            allowed = f"only `{cls.argument}`" if cls.argument else "no value"
            desk.report(TooManyArguments(span=argument.span, constructor=cls.constructor, allowed=allowed))
            desk.sweep(argument)
            yield syntax.Broken(argument.span)


def _read(
    desk: Desk,
    cls: type[Constructor],
    specs: Mapping[str, FieldSpec],
    fields: Arguments,
    of: Value | None = None,
) -> Reading:
    """Type and bound-check the written fields. `of` is the value that is copied, if one is."""
    reading = Reading({}, {})
    written = [field for field in fields if isinstance(field, syntax.Field)]
    reading.lost = len(written) < len(fields)
    first: dict[str, syntax.Field] = {}
    for field in sorted(written, key=lambda field: _read_last(specs.get(field.key.text))):
        key = field.key
        if first.setdefault(key.text, field) is not field:
            desk.report(_discreet(_again(first[key.text], field), specs.get(key.text), field))
            if not _read_last(specs.get(key.text)):  # the names in it are columns
                desk.sweep(field.value)
            continue
        reading.places[key.text] = key.span
        spec = specs.get(key.text)
        if issubclass(cls, Rows) and spec is not None and spec.over_columns:
            given = (of.data.written if of is not None else {}) | reading.given
            reading.given[key.text] = read_filter(desk, rows.head_so_far(desk, cls, given, key.span), field)
        elif spec is not None:
            reading.given[key.text] = _field(desk, spec, field)
        else:
            from harmony_compiler.checking.belonging import Block, unknown_field  # only a mistake pays for it

            finding, mend = unknown_field(Block(cls, specs, written), field, of)
            if mend is None:
                reading.lost = True
            elif mend.home:
                reading.excused |= {mend.home}
            meant = specs.get(mend.home) if mend else None
            desk.report(_discreet(finding, meant, field))
            if not _read_last(meant):
                desk.sweep(field.value)
    return reading


def _discreet(finding: Diagnostic, meant: FieldSpec | None, field: syntax.Field) -> Diagnostic:
    """A finding about a field whose value nobody looks at, and which may be a secret."""
    if meant is None or SECRET not in options_of(meant.type):
        return finding
    return replace(finding, hides=(field.value.span,))


def _again(first: syntax.Field, again: syntax.Field) -> Diagnostic:
    """A field that is given twice; that it says the same mends itself."""
    edits = tuple(taken_out([again.span]))
    fixes = (Fix("remove it", edits, "safe"),) if first.value == again.value else ()
    labels = (Label(first.key.span, "first given here"),)
    return DuplicateField(span=again.key.span, key=again.key.text, labels=labels, fixes=fixes)


def _read_last(spec: FieldSpec | None) -> bool:
    """Whether a field speaks about the row's columns, which the other fields decide."""
    return spec is not None and spec.over_columns


def _field(desk: Desk, spec: FieldSpec, field: syntax.Field) -> Value:
    expression = field.value
    if field.short and isinstance(expression, syntax.With) and desk.is_free(field.key.text):
        expression = syntax.Record(expression.span, expression.fields)
    value = desk.expect(expression, spec.type, f"`{spec.name}`")
    number, bounds, unit = value.data, spec.bounds, ""
    if isinstance(number, Percent):
        number, bounds, unit = number.value, replace(bounds, at_most=100), "%"  # a share of a whole
    if isinstance(number, int | float) and not isinstance(number, bool):
        bound = bounds.broken_by(number)
        if bound:
            shown = f"{number:g}{unit}" if isinstance(number, float) else f"{number}{unit}"
            desk.report(OutOfRange(span=value.span, key=spec.name, bound=f"{bound}{unit}", value=shown))
            return unknown(value.span)
    return _with_defaults(value, spec.default)


def _with_defaults(value: Value, default: Any) -> Value:
    """A settings value in a field: what it leaves open is as the field's own default has it."""
    made = value.data
    if not isinstance(made, Made) or not isinstance(default, made.cls):
        return value
    values = {n: held if n in made.given else getattr(default, n) for n, held in made.values.items()}
    return replace(value, data=Made(made.cls, made.given, values, made.head, made.span, made.lost))


def _complete(
    desk: Desk,
    cls: type[Constructor],
    reading: Reading,
    *,
    head: Span,
    span: Span,
    inherited: Mapping[str, Any] | None = None,
) -> Made:
    """Fill in the defaults, then ask the rules. What is `inherited` goes before a default."""
    known: dict[str, Any] = {"recipe.seed": desk.seed, **of_launch(desk.launch)}
    values: dict[str, Any] = {}
    for name, spec in schema(cls).items():
        if name in reading.excused:
            reading.given.setdefault(name, unknown(head))
        if name in reading.given:
            values[name] = plain(reading.given[name])
        elif inherited is not None and name in inherited:
            values[name] = inherited[name]
        elif isinstance(spec.default, Derived):
            needed = [(known | values)[need] for need in spec.default.needs]
            lacking = any(value is UNKNOWN_DATA for value in needed)
            values[name] = UNKNOWN_DATA if lacking else spec.default.compute(*needed)
        elif spec.default is NOT_GIVEN:
            values[name] = UNKNOWN_DATA
            if not reading.lost:
                missing = MissingField(span=head, constructor=cls.constructor, key=name, doc=spec.doc)
                desk.report(missing)
        else:
            values[name] = spec.default
    came_along = inherited.keys() - reading.given.keys() if inherited else ()
    ask(desk.report, cls, reading, known | values, head=head, inherited=came_along)
    return Made(cls, reading.given, values, head, span, reading.lost)
