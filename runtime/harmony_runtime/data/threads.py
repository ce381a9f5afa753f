"""Threads: the rows of a dataset as turns, one row at a time.

`threads_of` opens a dataset of a graph: its sources, what is taken of them, and the mapping to turns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from harmony_compiler.graph.datasets import Rows
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.values import Ref
from harmony_runtime.data.faults import Faults
from harmony_runtime.data.mapping import RowMapping
from harmony_runtime.data.rows import RawRow
from harmony_runtime.data.sources import RawRows
from harmony_runtime.failures import RunFailed, place
from harmony_runtime.graders.protocol import Thread, Turn


@dataclass(frozen=True, kw_only=True)
class RowThread(Thread):
    """The thread of a row. One without an answer ends with a user turn: a prompt."""

    origin: RawRow


@dataclass(frozen=True, kw_only=True)
class RowPair(RowThread):
    """Two answers to the same `turns`."""

    chosen: tuple[Turn, ...]
    rejected: tuple[Turn, ...]


class Threads(Protocol):
    """The rows of a dataset, in its order, after everything that takes rows away but their length."""

    @property
    def counts(self) -> Mapping[str, int]:
        """What became of the rows of the source: `read`, and what was left out, by the reason."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What people should hear: a layout that was recognised here."""
        ...

    def __len__(self) -> int: ...

    def at(self, number: int, faults: Faults) -> RowThread | None:
        """A row's thread, or `RowPair`; None where it has none, and `faults` knows why."""
        ...


def each(threads: Threads, faults: Faults) -> Iterator[RowThread]:
    """All threads, one after another."""
    for number in range(len(threads)):
        thread = threads.at(number, faults)
        if thread is not None:
            yield thread


def threads_of(graph: Graph, ref: Ref) -> Threads:
    """The rows of a dataset node.

    Raises:
        RunFailed: a source cannot be read, or nothing is left of it.
    """
    node, where = graph.nodes[ref], place(graph, ref)
    if isinstance(node, Rows):
        return _OfRows(RawRows(graph, ref), RowMapping(node, where))
    raise RunFailed(f"{where}this version reads no rows from `{node.constructor}`", exit_code=2)


class _OfRows:
    """The threads of one source."""

    notes = ()

    def __init__(self, rows: RawRows, mapping: RowMapping) -> None:
        self._rows = rows
        self._mapping = mapping

    @property
    def counts(self) -> Mapping[str, int]:
        return {"read": len(self._rows)}

    def __len__(self) -> int:
        return len(self._rows)

    def at(self, number: int, faults: Faults) -> RowThread | None:
        row = self._rows[number]
        turns = self._mapping.turns(row, faults)
        return None if turns is None else RowThread(turns=turns[0], metadata=turns[1], origin=row)
