"""Selection: which rows of a source a dataset takes. Whatever the order of writing: split, filter, shuffle,
limit.

No more rows are read than that asks for: without a filter none, and without a shuffle a filter reads up to
the limit.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple, Protocol

import numpy
import torch

from harmony_compiler.graph.datasets import Drawn, Rows
from harmony_compiler.graph.formulas import Formula
from harmony_compiler.store.rows import SHOWN
from harmony_grammar.diagnostics import Diagnostic
from harmony_runtime.chance import stream
from harmony_runtime.data.faults import Faults, FilterFailed
from harmony_runtime.data.rows.raw import RawRow
from harmony_runtime.failures import RunFailed
from harmony_runtime.graders.formulas import NoValueError, holds


class Source(Protocol):
    """Rows by their numbers."""

    def __len__(self) -> int:
        """How many there are; of a source that is read bit by bit, how many were read."""
        ...

    def has(self, number: int) -> bool: ...

    def __getitem__(self, number: int) -> RawRow: ...


class Selection(NamedTuple):
    """The numbers of the rows that are taken, in their order, and what became of the others."""

    numbers: Sequence[int]
    counts: dict[str, int]


def select(source: Source, slices: Sequence[range], node: Rows, where: str) -> Selection:
    """What a dataset takes of a source, of which `slices` are its split."""
    limit = node.limit
    early = limit if not node.shuffle else None
    """The rows after which nothing more is read."""
    if node.filter is None:
        rows = [_there(source, part, early) for part in slices]
        taken: Sequence[int] = rows[0] if len(rows) == 1 else _numbers(rows)
        refused = 0
    else:
        taken, refused = _filtered(source, slices, node.filter, early, where)
    kept = _shuffled(taken, node)[:limit]
    read = len(source)
    inside = len(_union(slices, read))
    again = sum(len(_inside(part, read)) for part in slices) - inside
    counts = {
        "outside_split": read - inside,
        "taken_again": again,
        "filtered_out": refused,
        "beyond_limit": inside + again - refused - len(kept),
    }
    return Selection(kept, {"read": read} | {name: count for name, count in counts.items() if count})


def _shuffled(rows: Sequence[int], node: Drawn) -> Sequence[int]:
    if not node.shuffle:
        return rows
    order: Any = torch.randperm(len(rows), generator=stream(node.seed, "shuffle")).numpy()
    shuffled: Sequence[int] = order if _is_whole(rows) else _numbers([rows])[order]
    return shuffled


def _is_whole(rows: Sequence[int]) -> bool:
    return isinstance(rows, range) and rows.start == 0


def shuffled_and_limited(count: int, node: Drawn) -> Sequence[int]:
    """Of `count` rows those that a mixture takes."""
    return _shuffled(range(count), node)[: node.limit]


def _numbers(parts: Sequence[Sequence[int]]) -> Any:
    """The numbers of all parts, eight bytes each."""
    arrays = [
        numpy.arange(part.start, part.stop) if isinstance(part, range) else numpy.asarray(part, numpy.int64)
        for part in parts
    ]
    return numpy.concatenate([numpy.empty(0, numpy.int64), *arrays])


def _there(source: Source, part: range, limit: int | None) -> range:
    """The rows of a slice that there are, the first ones of which are enough."""
    if limit is not None:
        part = part[:limit]
    if part and not source.has(part[-1]):
        part = _inside(part, len(source))
    return part


def _inside(part: range, count: int) -> range:
    return range(min(part.start, count), min(part.stop, count))


def _union(slices: Sequence[range], count: int) -> Sequence[int]:
    """The rows that slices without gaps between them hold together."""
    found: list[range] = []
    for part in sorted((_inside(part, count) for part in slices), key=lambda part: part.start):
        start = max(part.start, found[-1].stop) if found else part.start
        found.append(range(start, max(start, part.stop)))
    return range(sum(map(len, found)))


# --- filters --------------------------------------------------------------------------------------------


def _filtered(
    source: Source, slices: Iterable[range], condition: Formula, limit: int | None, where: str
) -> tuple[Sequence[int], int]:
    """The rows for which a condition holds, up to `limit`, and how many were read for which it does not."""
    kept, refused, faults = array("q"), 0, Faults(where)
    lacking, seen = columns_read(condition), dict[str, None]()
    for number in chain.from_iterable(slices):
        if len(kept) == limit or not source.has(number):
            break
        row = source[number]
        columns = row.columns()
        if isinstance(columns, Diagnostic):
            faults.add(columns)
            continue
        if lacking:
            lacking -= columns.keys()
            seen |= dict.fromkeys(columns)
        try:
            if holds(condition, columns):
                kept.append(number)
            else:
                refused += 1
        except NoValueError as fault:
            place = where.removesuffix(": ")
            faults.add(FilterFailed(span=row.span(), reason=str(fault), filter_place=place))
    if lacking and seen:
        unknown = ", ".join(f"`{name}`" for name in sorted(lacking))
        known = ", ".join(list(seen)[: 2 * SHOWN])
        faults.add(f"{where}`filter` reads {unknown}, which no row has; the columns are: {known}")
    faults.raise_any()
    return kept, refused


def columns_read(condition: Formula) -> set[str]:
    """The columns that a condition reads."""
    return set(_columns_in(condition))


def _columns_in(tree: Formula) -> Iterator[str]:
    if tree[:2] == ("read", "column"):
        yield tree[2]
    elif tree[:1] != ("constant",):
        for part in tree[1:]:
            if isinstance(part, tuple):
                yield from _columns_in(part)


# --- splits ---------------------------------------------------------------------------------------------


def slices_of(split: str, counts: Mapping[str, int], where: str) -> list[tuple[str, range]]:
    """The parts of a split: of which one, and which rows; `counts` says how many each has."""
    if split in counts and split != "all":
        return [(split, range(counts[split]))]
    # It takes half a second to load.
    from datasets import ReadInstruction

    try:
        parts = ReadInstruction.from_spec(split).to_absolute(dict(counts))
    except (ValueError, AssertionError) as fault:
        raise RunFailed(f"{where}`split` = {split!r}: {fault}") from fault
    return [(part.splitname, range(part.from_, max(part.from_, part.to))) for part in parts]
