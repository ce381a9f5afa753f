"""Constructing: a constructor's arguments and fields become a `Made`, checked against its class.

Everything asked here is read from the node class: which fields there are, their types, bounds, defaults,
and the rules between them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from harmony_compiler.findings.fields import (
    DoubtfulFields,
    DuplicateField,
    FixedField,
    MissingField,
    NeitherGiven,
    NotCopyable,
    OutOfRange,
    RuleBroken,
    TooMany,
    TooManyArguments,
    UnknownField,
)
from harmony_compiler.findings.graph import NotSupportedYet
from harmony_compiler.fitting import describe
from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.catalogue import class_of, later_fields
from harmony_compiler.graph.graders import Combination, Formula, Grader
from harmony_compiler.graph.graph import Launch
from harmony_compiler.graph.models import LoadSettings, Reloaded
from harmony_compiler.graph.node import NOT_GIVEN, Constructor, Derived, FieldSpec, Node, schema
from harmony_compiler.graph.types import MODEL, DatasetType, SettingsType, Type, options_of
from harmony_compiler.graph.values import Percent
from harmony_compiler.names import close_to
from harmony_compiler.scores import as_grader
from harmony_compiler.typed import UNKNOWN_DATA, Made, Value, plain, unknown
from harmony_grammar import syntax
from harmony_grammar.diagnostics import Diagnostic, Label
from harmony_grammar.records import Record, replace
from harmony_grammar.source import Span


class Desk(Protocol):
    """What the checker lends to those who check a part of a recipe."""

    @property
    def launch(self) -> Launch: ...

    @property
    def seed(self) -> int: ...

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


Arguments = Sequence[syntax.Field | syntax.Broken | syntax.Expression]


class _Reading(Record, frozen=False):
    """The fields of one block while they are read."""

    given: dict[str, Value]
    places: dict[str, Span]
    lost: bool = False
    """A field could not be read: what seems missing may have been in it."""
    excused: frozenset[str] = frozenset()
    """Fields that an unknown field was probably meant to be."""


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
    return _value_of(_complete(desk, cls, reading, head, span))


def copy(desk: Desk, original: Value, fields: Arguments, span: Span) -> Value:
    """`original { fields }`: a copy with changes. What may be changed is decided by the value's type."""
    if original.unknown:
        desk.sweep(tuple(fields))
        return unknown(span)
    original = as_grader(original) or original
    made = original.data
    if not isinstance(made, Made):
        desk.report(NotCopyable(span=original.span, what=describe(original)))
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
    merged = _Reading(made.given | reading.given, reading.places, made.lost or reading.lost, reading.excused)
    return _value_of(_complete(desk, made.cls, merged, made.head, span))


def _reload(desk: Desk, original: Value, fields: Arguments, span: Span) -> Value:
    """A trained model takes load settings, and nothing else."""
    reading = _read(desk, Reloaded, schema(LoadSettings), fields, of=original)
    reading.given["source"] = original
    return _value_of(_complete(desk, Reloaded, reading, original.span, span))


def _value_of(made: Made) -> Value:
    span = made.span
    by_launch = any(value.by_launch for value in made.given.values())
    if not issubclass(made.cls, Node):
        return Value(SettingsType(made.cls.constructor), made, span, by_launch=by_launch)
    # `completion = none` takes a field away again.
    given = {name: value for name, value in made.given.items() if value.data is not None}
    type_ = made.cls.result(given)
    if made.lost and isinstance(type_, DatasetType):
        type_ = DatasetType()  # what was lost may have been a part of the mapping
    return Value(type_, made, span, by_launch=by_launch)


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
) -> _Reading:
    """Type and bound-check the written fields. `of` is the value that is copied, if one is."""
    reading = _Reading({}, {})
    for field in fields:
        if not isinstance(field, syntax.Field):
            reading.lost = True
            continue
        key = field.key
        if key.text in reading.places:
            first = Label(reading.places[key.text], "first given here")
            desk.report(DuplicateField(span=key.span, key=key.text, labels=(first,)))
            desk.sweep(field.value)
            continue
        reading.places[key.text] = key.span
        if spec := specs.get(key.text):
            reading.given[key.text] = _field(desk, spec, field)
        elif key.text in later_fields(cls):
            desk.report(NotSupportedYet(span=key.span, what=f"the field `{key.text}` of {_called(cls, of)}"))
            reading.lost = True
        else:
            home, mend = _home(key.text, specs)
            if not home:
                home = close_to(key.text, [name for name in specs if name not in reading.given])
                mend = f"did you mean `{home}`?" if home else ""
            if home:
                reading.excused |= {home}
            else:
                reading.lost = True
            desk.report(_not_a_field(cls, key, mend, specs, of))
            desk.sweep(field.value)
    return reading


def _home(key: str, specs: Mapping[str, FieldSpec]) -> tuple[str, str]:
    """The field whose settings have a field `key`, and how to write it there; both "" if there is none."""
    for name, spec in specs.items():
        for option in options_of(spec.type):
            if isinstance(option, SettingsType) and key in schema(class_of(option.name)):
                head = name if name == option.name else f"{name} = {option.name}"
                return name, f"it belongs to `{name}`: write `{head} {{ {key} = … }}`"
    return "", ""


def _not_a_field(
    cls: type[Constructor],
    key: syntax.Identifier,
    mend: str,
    specs: Mapping[str, FieldSpec],
    of: Value | None,
) -> Diagnostic:
    known = ", ".join(sorted(specs, key=lambda name: not specs[name].required))
    what = _called(cls, of)
    if of is not None and of.type == MODEL:
        made = of.data
        while made.cls is Reloaded:
            made = made.given["source"].data
        trained = issubclass(made.cls, Algorithm)
        other = "write a second `train` for other numbers" if trained else "write it where the model is made"
        if key.text in schema(made.cls):
            return FixedField(span=key.span, key=key.text, what=what, known=known, mend=other)
    return UnknownField(span=key.span, what=what, key=key.text, known="" if mend else known, mend=mend)


def _called(cls: type[Constructor], of: Value | None) -> str:
    """What the fields of a block belong to, in words."""
    if cls in (Formula, Combination):
        return "a formula"
    if of is None or of.type != MODEL:
        return f"`{cls.constructor}`"
    return "a trained model" if issubclass(of.data.cls, Algorithm | Reloaded) else "an existing model"


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


def _complete(desk: Desk, cls: type[Constructor], reading: _Reading, head: Span, span: Span) -> Made:
    """Fill in the defaults, then ask the rules."""
    known: dict[str, Any] = {"recipe.seed": desk.seed, "ctx.world_size": desk.launch.world_size}
    values: dict[str, Any] = {}
    for name, spec in schema(cls).items():
        if name in reading.excused:
            reading.given.setdefault(name, unknown(head))
        if name in reading.given:
            values[name] = plain(reading.given[name])
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
    _ask_groups(desk, cls, reading, head)
    _ask_rules(desk, cls, reading, known | values, head)
    return Made(cls, reading.given, values, head, span, reading.lost)


def _ask_groups(desk: Desk, cls: type[Constructor], reading: _Reading, head: Span) -> None:
    for group in cls.exactly_one:
        given = [name for name in reading.places if name in group]
        options = " or ".join(f"`{name}`" for name in group)
        if len(given) > 1:
            first = Label(reading.places[given[0]], "given here")
            finding = TooMany(
                span=reading.places[given[1]], constructor=cls.constructor, options=options, labels=(first,)
            )
            desk.report(finding)
        elif not given and not reading.lost and not reading.given.keys() & set(group):
            desk.report(NeitherGiven(span=head, constructor=cls.constructor, options=options))


def _ask_rules(
    desk: Desk, cls: type[Constructor], reading: _Reading, known: Mapping[str, Any], head: Span
) -> None:
    """Constraints that share a field report once."""
    blamed: set[str] = set()
    for rule in cls.rules:
        fields = (rule.blame, *rule.beside)
        values = [_held(known, name) for name in fields]
        if blamed.intersection(fields) or any(value is UNKNOWN_DATA or value is None for value in values):
            continue
        if rule.holds(*values):
            continue
        blamed.update(name for name in fields if not name.startswith("ctx."))
        words = {name.rpartition(".")[2]: value for name, value in zip(fields, values, strict=True)}
        spans = {name: span for name in fields if (span := _written(reading, name)) is not None}
        key = next(iter(spans), rule.blame)
        labels = tuple(Label(span, f"`{name}` is set here") for name, span in spans.items() if name != key)
        finding = DoubtfulFields if rule.warns else RuleBroken
        desk.report(
            finding(
                span=spans.get(key, head),
                cause=f"`{key}` is set here" if spans else f"`{key}` has its default here",
                rule=rule.message.format_map(words),
                mend=rule.help.format_map(words),
                labels=labels,
            )
        )


def _held(known: Mapping[str, Any], name: str) -> Any:
    """The value of a field, or of a field of settings: `sampling.temperature`."""
    if name in known:
        return known[name]
    outer, _, inner = name.partition(".")
    settings = known[outer]
    return settings.values[inner] if isinstance(settings, Made) else getattr(settings, inner, None)


def _written(reading: _Reading, name: str) -> Span | None:
    """Where a recipe wrote a field, or a field of settings."""
    outer, _, inner = name.partition(".")
    value = reading.given.get(outer)
    if value is not None and inner:
        value = value.data.given.get(inner) if isinstance(value.data, Made) else None
    return value.span if value is not None else None
