"""Unmapped rows: a dataset whose rows nobody can use, in a place that asks for some kind of them."""

from __future__ import annotations

from harmony_compiler.data.rows import maps_nothing
from harmony_compiler.graph.datasets import Rows
from harmony_compiler.graph.types import DatasetType, RowKind
from harmony_compiler.store.guesses import UnmappedRows, guess, mend, unmapped
from harmony_compiler.store.layouts import lines_of
from harmony_compiler.typed import Made, Value
from harmony_grammar.diagnostics import Diagnostic, Edit, Fix, Label
from harmony_grammar.source import Span


def unmapped_rows(value: Value, wanted: DatasetType | None, place: str) -> Diagnostic | None:
    """The finding that says how rows could be mapped; None where something else is wrong with a dataset."""
    made = value.data
    if wanted is None or wanted.rows in (None, "Table") or value.type != DatasetType("Table"):
        return None
    if not isinstance(made, Made) or not issubclass(made.cls, Rows) or not maps_nothing(made):
        return None
    if made.columns is None or made.columns.names is None:
        return None
    labels = (Label(value.span, f"{place} takes `{wanted}`"),) if value.named else ()
    told = unmapped(made.columns, wanted.rows)
    return UnmappedRows(span=made.head, labels=labels, fixes=_fixes(made, wanted.rows), **told)


def _fixes(made: Made, kind: RowKind) -> tuple[Fix, ...]:
    lines = lines_of(guess(made.columns, kind) or {}) if made.columns is not None else []
    if not lines or any("…" in line for line in lines) or not made.span.text.endswith(")"):
        return ()
    behind = Span(made.span.source, made.span.end, made.span.end)
    return (Fix("map the rows", (Edit(behind, f" {{ {', '.join(lines)} }}"),)),)


def other_mapping(made: Made, kind: RowKind) -> str:
    """What makes rows of another kind of rows that a layout maps; empty where nothing is known to."""
    if made.columns is None or not made.recognised or kind == "Table":
        return ""
    if found := mend(made.columns, kind):
        return found
    return "no column here holds a second, worse answer: take other rows" if kind == "Preference" else ""
