"""What is known of drawn fields: the kind and columns of their rows, and which of them a finding blames."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from harmony_compiler.findings.data import AnswersToNothing
from harmony_compiler.graph.catalogue import class_of
from harmony_compiler.graph.datasets import MAPPED, METADATA
from harmony_compiler.graph.node import Constructor, FieldSpec, Node, schema
from harmony_compiler.graph.types import (
    NONE,
    DatasetType,
    ListOf,
    LiteralText,
    SettingsType,
    Type,
    options_of,
)
from harmony_compiler.typed import Value as Typed
from harmony_dsl.testing.data import TURNS, columns_of
from harmony_dsl.testing.tree import Block, Field, texts
from harmony_dsl.testing.values import Drawn
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.source import Span


def blamed_fields(cls: type[Constructor], drawn: Mapping[str, Drawn], fault: Diagnostic) -> list[str]:
    """The fields that have a part in a fault; where only defaults have, all that rules speak about."""
    places = {fault.span, *(label.span for label in fault.labels)}
    found = [name for name, one in drawn.items() if places & set(spans_of(one))]
    found += [need.other.partition(".")[0] for need in cls.needs_fields if need.field in found]
    found += ["prompt"] if isinstance(fault, AnswersToNothing) else []
    found += [read.option for read in cls.reads if read.field in found and read.option in schema(cls)]
    asked = [name for rule in cls.rules for name in (rule.blame, *rule.beside)]
    groups = [name for group in cls.at_least_one for name in group]
    mentioned = [name.partition(".")[0] for name in (*asked, *groups)]
    return found or [name for name in dict.fromkeys(mentioned) if name in schema(cls)]


def is_text(option: Type) -> bool:
    return isinstance(option, LiteralText)


def spans_of(one: Drawn) -> Iterator[Span]:
    yield one.span
    for part in one.fields.values():
        yield from spans_of(part)


def columns_in(cls: type[Constructor], drawn: Mapping[str, Drawn]) -> tuple[str, ...] | None:
    """The columns of a dataset, as far as the fields that were drawn say."""
    if known := columns_of(cls.constructor):
        return known
    for one in drawn.values():
        match one.data:
            case ({} as first, *_) if one.type == NONE:
                return tuple(first)
            case {} if all(isinstance(value, str) for value in one.data.values()):
                return tuple(one.data)
    return None


def holds_turns(one: Drawn) -> bool:
    """Whether a value reads a column of turns."""
    return any(f'"{name}"' in texts(one.expression) for name in TURNS)


def has_turns(columns: Collection[str]) -> bool:
    return not TURNS.keys().isdisjoint(columns)


def typed(one: Drawn) -> Typed:
    """A drawn value as the compiler has it."""
    data = tuple(typed(part) for part in one.parts) if one.parts else one.data
    return Typed(one.type, data, one.span)


def result_of(cls: type[Node], drawn: Mapping[str, Drawn]) -> Type:
    return cls.result({name: typed(one) for name, one in drawn.items() if one.data is not None})


def is_of_kind(cls: type[Constructor], drawn: Mapping[str, Drawn], rows: DatasetType | None) -> bool:
    """Whether a constructor makes rows of the kind that is asked for."""
    if rows is None or not issubclass(cls, Node):
        return True
    made = result_of(cls, drawn)
    return isinstance(made, DatasetType) and made.rows == rows.rows


def toggled(drawn: Mapping[str, Drawn], names: Collection[str]) -> dict[str, Drawn]:
    kept = {name: one for name, one in drawn.items() if name not in names}
    return kept | {name: ANYTHING for name in names if name not in drawn}


ANYTHING = Drawn("", "")


def holds_rows(type_: Type) -> bool:
    held = (option.item if isinstance(option, ListOf) else option for option in options_of(type_))
    return any(isinstance(option, DatasetType) for option in held)


def turn_of(spec: FieldSpec) -> int:
    """When a field is drawn: graders before the rows that they read, columns before what reads those."""
    inner = [class_of(o.name) for o in options_of(spec.type) if isinstance(o, SettingsType)]
    with_rows = any(holds_rows(part.type) for cls in inner for part in schema(cls).values())
    return 2 if holds_rows(spec.type) else 1 if with_rows or spec.name in MAPPED else 0


def metadata_fields(cls: type[Constructor]) -> tuple[str, ...]:
    """The field of a dataset that gives graders what they read."""
    asked = set(options_of(METADATA))
    return tuple(name for name, spec in schema(cls).items() if asked <= set(options_of(spec.type)))


def record(held: Mapping[str, Drawn]) -> Drawn:
    """A record with free keys."""
    fields = tuple(Field(key, one.expression) for key, one in held.items())
    needs = {key: type_ for one in held.values() for key, type_ in one.needs.items()}
    return Drawn(Block("", fields), {key.strip('"'): one.data for key, one in held.items()}, NONE, needs)
