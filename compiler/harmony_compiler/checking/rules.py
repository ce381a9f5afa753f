"""Rules: what the fields of a constructor ask of one another, as its class declares it.

A name with a dot reaches further: `sampling.temperature` into settings, `model.tp` to how a model is loaded
(`lineage`), `ctx.world_size` to what the launch decides.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from harmony_compiler.findings.fields import (
    DoubtfulFields,
    NeedsField,
    NeitherGiven,
    RuleBroken,
    TooMany,
    UnreadField,
)
from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.graph import Launch
from harmony_compiler.graph.node import Constructor, ReadWith
from harmony_compiler.lineage import setting, written
from harmony_compiler.typed import UNKNOWN_DATA, Made, Value
from harmony_grammar.diagnostics import Diagnostic, Label
from harmony_grammar.records import Record
from harmony_grammar.source import Span

Report = Callable[[Diagnostic], None]


class Reading(Record, frozen=False):
    """The fields of one block while they are read."""

    given: dict[str, Value]
    """What is written, in a copy also by the original."""
    places: dict[str, Span]
    """The keys that this block itself writes."""
    lost: bool = False
    """A field could not be read: what seems missing may have been in it."""
    excused: frozenset[str] = frozenset()
    """Fields that an unknown field was probably meant to be."""

    def writes(self, name: str) -> bool:
        """Whether this block itself writes a field, or the settings that hold it."""
        return name.partition(".")[0] in self.places

    def value(self, name: str) -> Value | None:
        """What a recipe wrote for a field, or for one behind a dot."""
        outer, _, inner = name.partition(".")
        value = self.given.get(outer)
        if value is None or not inner:
            return value
        made = value.data
        if not isinstance(made, Made):
            return None
        return written(made, inner) if made.is_node else made.given.get(inner)

    def span(self, name: str) -> Span | None:
        value = self.value(name)
        return None if value is None else value.span


def of_launch(launch: Launch) -> dict[str, Any]:
    """What rules know of the launch."""
    return {"ctx.world_size": launch.world_size, "ctx.gpus_per_node": launch.gpus_per_node}


def ask(
    report: Report,
    cls: type[Constructor],
    reading: Reading,
    known: Mapping[str, Any],
    *,
    head: Span,
    inherited: Collection[str] = (),
) -> None:
    """Report what is broken. `known` holds every value by name; what is `inherited` was asked before."""
    rivals = _ask_groups(report, cls, reading, head)
    _ask_needs(report, cls, reading)
    unread = _ask_reads(report, cls, reading, known)
    said = {*inherited, *rivals, *unread}
    _ask_rules(report, cls, reading, {**known, **_ranks(cls, known)}, head=head, said=said)


def _ask_groups(report: Report, cls: type[Constructor], reading: Reading, head: Span) -> list[str]:
    """Report groups of which too many are given or none; gives the names of those that are too many."""
    rivals: list[str] = []
    for group in (*cls.exactly_one, *cls.at_least_one):
        open_ = {name for name, value in reading.given.items() if value.data is None}  # `epochs = none`
        given = [name for name in reading.places if name in group and name not in open_]
        options = " or ".join(f"`{name}`" for name in group)
        if len(given) > 1 and group in cls.exactly_one:
            first = Label(reading.places[given[0]], "given here")
            finding = TooMany(
                span=reading.places[given[1]], constructor=cls.constructor, options=options, labels=(first,)
            )
            report(finding)
            rivals += given
        elif not given and not reading.lost and not (reading.given.keys() - open_) & set(group):
            report(NeitherGiven(span=head, constructor=cls.constructor, options=options))
    return rivals


def _ask_needs(report: Report, cls: type[Constructor], reading: Reading) -> None:
    for need in cls.needs_fields:
        field, other = reading.value(need.field), reading.value(need.other)
        if field is None or field.unknown or field.data is None or reading.lost:
            continue
        if other is None or (other.data is None and not other.unknown):
            report(NeedsField(span=field.span, key=need.field, other=need.other, why=need.why))


# --- fields that nothing reads --------------------------------------------------------------------------


def _ask_reads(
    report: Report, cls: type[Constructor], reading: Reading, known: Mapping[str, Any]
) -> list[str]:
    """Report what is written and never read; gives the names of these fields and of their options."""
    unread: list[str] = []
    for pair in cls.reads:
        field, chosen = reading.value(pair.field), _held(known, pair.option)
        if field is None or field.unknown or field.data is None or chosen is UNKNOWN_DATA:
            continue
        outer = reading.given[pair.field.partition(".")[0]]
        if pair.read(chosen) or (outer is not field and outer.named):  # settings that others may read
            continue
        unread += [pair.field, pair.option]
        if reading.writes(pair.field):
            report(_unread(reading, pair, chosen))
        elif reading.writes(pair.option):
            report(_left_unread(reading, pair, cls))
    return unread


def _unread(reading: Reading, pair: ReadWith, chosen: Any) -> Diagnostic:
    """The block writes a field that its option has no use for."""
    option, place, value = _last(pair.option), reading.span(pair.option), reading.given.get(pair.field)
    return UnreadField(
        span=reading.places[pair.field] if value is not None else _known(reading.span(pair.field)),
        key=_last(pair.field),
        when=_when(pair),
        cause="nothing reads it here",
        fact=f"`{option}` is `{in_words(chosen)}` by default" if place is None else "",
        mend=f"remove it, or set {_options(pair)}",
        labels=() if place is None else (Label(place, f"`{option}` is set here"),),
    )


def _left_unread(reading: Reading, pair: ReadWith, cls: type[Constructor]) -> Diagnostic:
    """A copy changes the option, and the original wrote the field."""
    return UnreadField(
        span=_known(reading.span(pair.option)),
        key=_last(pair.field),
        when=_when(pair),
        cause=f"leaves `{_last(pair.field)}` unread",
        mend=f"write a `{cls.constructor}` without it, instead of a copy",
        labels=(Label(_known(reading.span(pair.field)), "comes along in the copy"),),
    )


def _when(pair: ReadWith) -> str:
    if pair.values:
        return f"read only with {_options(pair)}"
    return f"not read with `{_last(pair.option)} = {in_words(pair.unless)}`"


def _options(pair: ReadWith) -> str:
    option = _last(pair.option)
    if not pair.values:
        return f"another `{option}`"
    return " or ".join(f"`{option} = {in_words(value)}`" for value in pair.values)


def in_words(value: Any) -> str:
    """A constant as a recipe writes it."""
    match value:
        case bool() | None:
            return {True: "true", False: "false", None: "none"}[value]
        case str():
            return f'"{value}"'
        case float():
            return f"{value:g}"
        case dict():
            return "{ … }"
    return str(value)


# --- rules ----------------------------------------------------------------------------------------------


def _ranks(cls: type[Constructor], known: Mapping[str, Any]) -> dict[str, Any]:
    """How many copies of the trained model there are; unknown where `tp` does not divide the world."""
    if not issubclass(cls, Algorithm):
        return {}
    world, tp = known["ctx.world_size"], setting(known.get(cls.trains), "tp")
    whole = isinstance(tp, int) and world % tp == 0
    return {"ctx.ranks": world // tp if whole else UNKNOWN_DATA}


def _ask_rules(
    report: Report,
    cls: type[Constructor],
    reading: Reading,
    known: Mapping[str, Any],
    *,
    head: Span,
    said: Collection[str],
) -> None:
    """Constraints that share a field report once; of the fields in `said` something was said before."""
    blamed = set(said)
    for rule in cls.rules:
        fields = (rule.blame, *rule.beside)
        values = [_held(known, name) for name in fields]
        if blamed.intersection(fields) or any(value is UNKNOWN_DATA or value is None for value in values):
            continue
        if rule.holds(*values):
            continue
        blamed.update(name for name in fields if not name.startswith("ctx."))
        words = {_last(name): value for name, value in zip(fields, values, strict=True)}
        spans = {name: span for name in fields if (span := reading.span(name)) is not None}
        key = next(iter(spans), rule.blame)
        labels = tuple(Label(span, f"`{name}` is set here") for name, span in spans.items() if name != key)
        finding = DoubtfulFields if rule.warns else RuleBroken
        report(
            finding(
                span=spans.get(key, head),
                cause=f"`{key}` is set here" if spans else f"`{key}` has its default here",
                rule=rule.message.format_map(words),
                mend=rule.help.format_map(words),
                labels=labels,
            )
        )


def _held(known: Mapping[str, Any], name: str) -> Any:
    """The value of a field, or of one behind a dot; None where there is none."""
    if name in known:
        return known[name]
    outer, _, inner = name.partition(".")
    held = known.get(outer)
    if isinstance(held, Made):
        return setting(held, inner) if held.is_node else held.values[inner]
    return UNKNOWN_DATA if held is UNKNOWN_DATA else getattr(held, inner, None)


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _known(span: Span | None) -> Span:
    assert span is not None  # only asked of what a recipe wrote
    return span
