"""Layouts: the fields of a known one as values of the recipe, and columns of turns held against the data.

Which layouts there are, and how they are recognised, is `harmony_compiler.store.layouts`' business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harmony_compiler.data.heads import Head
from harmony_compiler.findings.data import NoTurns
from harmony_compiler.graph.column_types import RECORD, type_text
from harmony_compiler.graph.node import schema
from harmony_compiler.graph.settings import Column
from harmony_compiler.graph.types import JSON, STR, TEMPLATE, ListOf, SettingsType
from harmony_compiler.store.layouts import (
    OWN_ROLES,
    Layout,
    UnknownRole,
    roles_to_add,
    turns_of,
    type_of,
    written,
)
from harmony_compiler.store.rows import SHOWN
from harmony_compiler.typed import UNKNOWN_DATA, Made, Value, plain
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.source import Span


def given(layout: Layout, place: Span) -> dict[str, Value]:
    """The fields of a layout as if they stood at a place of the recipe."""
    return {
        name: _column(field, place) if isinstance(field, Column) else Value(TEMPLATE, field, place)
        for name, field in layout.fields.items()
    }


def _column(column: Column, place: Span) -> Value:
    specs = schema(Column)
    changed = {name: getattr(column, name) for name in specs if getattr(column, name) != specs[name].default}
    parts = {
        name: {old: Value(STR, new, place) for old, new in held.items()} if isinstance(held, dict) else held
        for name, held in changed.items()
    }
    given = {name: Value(specs[name].type, data, place) for name, data in parts.items()}
    values = {name: spec.default for name, spec in specs.items()}
    values |= {name: plain(value) for name, value in given.items()}
    return Value(SettingsType(Column.constructor), Made(Column, given, values, place, place), place)


def not_turns(column: Made, head: Head, *, one: bool, all_rows: bool) -> Iterator[Diagnostic]:
    """What is wrong with a `column(…)` that is read as turns; `one` allows a single turn."""
    name, role, content = (column.values[field] for field in ("name", "role", "content"))
    if not isinstance(name, str) or name not in (head.names or ()) or head.type_of(name) == JSON:
        return
    span, type_ = column.given["name"].span, type_of(head, name)
    found, mend = f"`{type_text(type_)}`", ""
    if column.values["transcript"]:
        if type_ != STR:
            yield NoTurns(span=span, column=name, found=found, wanted="transcripts, which are texts")
    elif isinstance(type_, ListOf) or (one and type_ == RECORD):
        turns = [turn for turn in turns_of(head.column(name)) if isinstance(turn, dict)]
        keys = dict.fromkeys(key for turn in turns for key in turn)
        if keys and not {role, content} - {UNKNOWN_DATA} <= keys.keys():
            from harmony_compiler.store.guesses import turns_like  # only a mistake pays for it

            like = turns_like(head, name) or Column(name=name, role="…", content="…")
            found, wanted = f"turns with the keys {', '.join(keys)}", f"with `{role}` and `{content}`"
            mend = f"write `{written(like)}`"
            yield NoTurns(span=span, column=name, found=found, wanted=wanted, mend=mend)
        elif all_rows:
            yield from _unknown_roles(column, turns)
    else:
        if type_ == STR:
            mend = f'a transcript is read by `column("{name}", transcript = true)`'
            mend = f'a text is written `"{{{{ {name} }}}}"`, and {mend}' if one else mend
        yield NoTurns(span=span, column=name, found=found, wanted="turns", mend=mend)


def _unknown_roles(column: Made, turns: Sequence[Mapping[str, Any]]) -> Iterator[Diagnostic]:
    name, key, roles = (column.values[field] for field in ("name", "role", "roles"))
    if UNKNOWN_DATA in (key, roles):
        return
    called = dict.fromkeys(role for turn in turns if isinstance(role := turn.get(key), str))
    unknown = [role for role in called if (roles or {}).get(role, role) not in OWN_ROLES][:SHOWN]
    if unknown:
        said, told = ", ".join(f"`{role}`" for role in unknown), roles_to_add(unknown, roles)
        yield UnknownRole(span=column.given["name"].span, column=name, role=said, roles=told)
