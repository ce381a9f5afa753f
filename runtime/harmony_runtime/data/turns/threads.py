"""Threads: the rows of a dataset as turns, one row at a time.

`threads_of` opens a dataset of a graph: its sources, what is taken of them, and the mapping to turns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol

from harmony_compiler.graph.datasets import Mix, Rows
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.values import Ref
from harmony_runtime.data.faults import Faults
from harmony_runtime.data.rows.raw import RawRow
from harmony_runtime.data.rows.selection import shuffled_and_limited
from harmony_runtime.data.rows.sources import RawRows
from harmony_runtime.data.turns.mapping import RowMapping
from harmony_runtime.data.turns.mixture import Drawn, drawn
from harmony_runtime.data.turns.recognition import every_token_is_trained, mapped
from harmony_runtime.failures import RunFailed, place
from harmony_runtime.graders.protocol import Thread, Turn

OnTooLong = Literal["drop", "truncate", "error"]


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
        """What people should hear of the rows that were looked at so far: a layout that was recognised, keys
        of turns that nothing reads."""
        ...

    @property
    def pinned(self) -> str | None:
        """What tells these rows from others, beside the identity of the node: "" where that says all, as it
        does of files; None where nothing can."""
        ...

    def __len__(self) -> int: ...

    def on_too_long(self, number: int) -> OnTooLong:
        """What happens to a row where it is longer than the model's context."""
        ...

    def at(self, number: int, faults: Faults) -> RowThread | None:
        """A row's thread, or `RowPair`; None where it has none, and `faults` knows why."""
        ...


def each(threads: Threads, faults: Faults) -> Iterator[RowThread]:
    """All threads, one after another."""
    for number in range(len(threads)):
        thread = threads.at(number, faults)
        if thread is not None:
            yield thread


def threads_of(graph: Graph, ref: Ref, datasets: Path | None = None) -> Threads:
    """The rows of a dataset node. `datasets` is the folder of registered ones, by default the user's.

    Raises:
        RunFailed: a source cannot be read, or nothing is left of it; what maps its rows says it when the
            first one is asked for.
    """
    node, where = graph.nodes[ref], place(graph, ref)
    if isinstance(node, Mix):
        parts = [threads_of(graph, part, datasets) for part in node.datasets]
        return _OfMix(node, parts, where)
    if isinstance(node, Rows):
        return _OfRows(graph, ref, RawRows(graph, ref, datasets), node.on_too_long)
    raise RunFailed(f"{where}this version reads no rows from `{node.constructor}`", exit_code=2)


class _OfRows:
    """The threads of one source. Nothing is opened before a row is asked for."""

    def __init__(self, graph: Graph, ref: Ref, rows: RawRows, on_too_long: OnTooLong) -> None:
        self._graph = graph
        self._ref = ref
        self._rows = rows
        self._on_too_long = on_too_long

    @cached_property
    def _mapped(self) -> tuple[RowMapping, str]:
        """How rows become turns, and what is to be said of a layout that was recognised."""
        node, recognised = mapped(self._graph, self._ref, self._rows)
        answered = not every_token_is_trained(self._graph, self._ref)
        return RowMapping(node, place(self._graph, self._ref), answered=answered), recognised

    @property
    def notes(self) -> tuple[str, ...]:
        mapping, recognised = self._mapped
        return (*([recognised] if recognised else []), *mapping.notes)

    @property
    def counts(self) -> Mapping[str, int]:
        return self._rows.counts

    @property
    def pinned(self) -> str | None:
        return self._rows.pinned

    def __len__(self) -> int:
        return len(self._rows)

    def on_too_long(self, number: int) -> OnTooLong:
        return self._on_too_long

    def at(self, number: int, faults: Faults) -> RowThread | None:
        row = self._rows[number]
        said = self._mapped[0].of(row, faults)
        if said is None:
            return None
        if said.answers is None:
            return RowThread(turns=said.turns, metadata=said.metadata, origin=row)
        chosen, rejected = said.answers
        return RowPair(turns=said.turns, metadata=said.metadata, origin=row, chosen=chosen, rejected=rejected)


class _OfMix:
    """The threads of several datasets, drawn in turn. Nothing is opened before a row is asked for."""

    def __init__(self, node: Mix, parts: Sequence[Threads], where: str) -> None:
        self._node = node
        self._parts = parts
        self._where = where

    @property
    def counts(self) -> Mapping[str, int]:
        """Of all datasets together; `not_drawn` are those left over when the first one was exhausted."""
        (parts, _), taken = self._drawn
        counts = Counter[str]()
        for part in self._parts:
            counts.update(part.counts)
        counts["not_drawn"] += sum(map(len, self._parts)) - len(parts)
        counts["beyond_limit"] += len(parts) - len(taken)
        return {name: count for name, count in counts.items() if count}

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(note for part in self._parts for note in part.notes))

    @property
    def pinned(self) -> str | None:
        pins = [part.pinned for part in self._parts]
        return None if None in pins else " + ".join(map(str, pins)) if any(pins) else ""

    def __len__(self) -> int:
        return len(self._drawn[1])

    def on_too_long(self, number: int) -> OnTooLong:
        part, row = self._place(number)
        return self._node.on_too_long or part.on_too_long(row)

    def at(self, number: int, faults: Faults) -> RowThread | None:
        part, row = self._place(number)
        return part.at(row, faults)

    def _place(self, number: int) -> tuple[Threads, int]:
        (parts, rows), taken = self._drawn
        place = taken[number]
        return self._parts[parts[place]], int(rows[place])

    @cached_property
    def _drawn(self) -> tuple[Drawn, Sequence[int]]:
        """The mixture, and the places in it that its shuffle and limit leave, in their order."""
        weights = self._node.weights
        sizes = [len(part) for part in self._parts]
        order = drawn(sizes, None if weights is None else [weight.share for weight in weights])
        for number, size in enumerate(sizes):
            if number not in order.parts:
                raise RunFailed(
                    f"{self._where}the `weights` leave dataset {number + 1} of {len(sizes)} without a row, "
                    f"although it has {size:,}: another one is exhausted before. Give it a larger share, or "
                    "leave it out"
                )
        return order, shuffled_and_limited(len(order.parts), self._node)
