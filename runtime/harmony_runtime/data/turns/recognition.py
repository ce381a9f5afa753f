"""Recognition at run time: the mapping of rows that the compiler could not look at.

By the same layouts as the checker's. Rows that have none are refused with the lines to add.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from harmony_compiler.graph.algorithms import Sft
from harmony_compiler.graph.column_types import type_of_values
from harmony_compiler.graph.datasets import MAPPED, Mix, Rows, kind_of_rows
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.node import Constructor, schema
from harmony_compiler.graph.types import DatasetType, RowKind, Type, options_of
from harmony_compiler.graph.values import Ref
from harmony_compiler.store.guesses import UnmappedRows, mend, unmapped
from harmony_compiler.store.layouts import recognised
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.records import replace
from harmony_runtime.data.rows.sources import RawRows
from harmony_runtime.failures import RunFailed, place

SEEN = 1_000
"""Rows that are looked at."""

_KINDS: Mapping[RowKind, str] = {
    "Thread": "conversations to imitate",
    "Prompt": "prompts to answer",
    "Preference": "pairs of a better and a worse answer",
}


class FirstRows:
    """The first rows of a dataset, column by column."""

    def __init__(self, rows: RawRows) -> None:
        self.origin = "the rows" if rows[0].path is None else rows[0].name
        read = (rows[number].columns() for number in range(min(len(rows), SEEN)))
        self.rows: list[dict[str, Any]] = [row for row in read if not isinstance(row, Diagnostic)]

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for row in self.rows for name in row))

    def type_of(self, name: str) -> Type:
        return type_of_values(self.column(name))

    def column(self, name: str) -> list[Any]:
        return [row.get(name) for row in self.rows]


def mapped(graph: Graph, ref: Ref, rows: RawRows) -> tuple[Rows, str]:
    """A dataset node with its mapping, from its first rows where it has none; and what is to be said of it.

    Raises:
        RunFailed: nobody knows what its rows say, or they say something else than is wanted.
    """
    node = graph.nodes[ref]
    assert isinstance(node, Rows)
    if any(getattr(node, field) is not None for field in MAPPED):
        return node, ""
    where, wanted = place(graph, ref), wanted_kind(graph, ref)
    looked = FirstRows(rows)
    if not looked.rows:
        return node, ""  # each of them is faulty, and says why
    layout = recognised(looked)
    if layout is None:
        told = unmapped(looked, wanted or "Thread")
        raise RunFailed(UnmappedRows(span=rows[0].span(), dataset=where.removesuffix(": "), **told))
    kind = kind_of_rows(layout.fields)
    said = f"{where}the rows are recognised as {layout.name}: the same as writing {layout.mapping}"
    if wanted is not None and kind != wanted:
        help_ = mend(looked, wanted) or "take other rows"
        raise RunFailed(f"{said}. These are {_KINDS[kind]}, and {_KINDS[wanted]} are asked for: {help_}")
    return replace(node, **layout.fields), said


# --- who reads a dataset --------------------------------------------------------------------------------


def wanted_kind(graph: Graph, ref: Ref) -> RowKind | None:
    """The kind of rows that those who read a dataset ask for; None where nobody does."""
    for reader, node in graph.nodes.items():
        if isinstance(node, Mix):
            if ref in node.datasets and (kind := wanted_kind(graph, reader)) is not None:
                return kind
        elif (kind := _asked(node, ref)) is not None:
            return kind
    return None


def _asked(node: Constructor, ref: Ref) -> RowKind | None:
    for name, spec in schema(type(node)).items():
        if getattr(node, name) == ref:
            for option in options_of(spec.type):
                if isinstance(option, DatasetType) and option.rows is not None:
                    return option.rows
    return None


def every_token_is_trained(graph: Graph, ref: Ref) -> bool:
    """Whether a dataset is read by a stage that learns every token, answers or not."""
    for reader, node in graph.nodes.items():
        if isinstance(node, Mix) and ref in node.datasets and every_token_is_trained(graph, reader):
            return True
        if isinstance(node, Sft) and node.dataset == ref and node.train_on == "everything":
            return True
    return False
