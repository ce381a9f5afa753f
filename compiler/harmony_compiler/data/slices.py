"""Slices: which rows the `datasets` slicing syntax takes, such as `train[:90%] + test[-100:]`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from harmony_grammar.records import Record

_PART = re.compile(r"([\w.]+)(?:\[(?:(-?[\d_]+)(%)?)?:(?:(-?[\d_]+)(%)?)?\])?", re.ASCII)


class Slice(Record):
    """One part of a split: `name[start:stop]`, in rows or in percent."""

    name: str
    start: int | None
    stop: int | None
    percent: bool

    def rows(self, count: int) -> range:
        """The rows that it takes of `count`."""
        start, stop = (self._at(bound, count) for bound in (self.start, self.stop))
        first = 0 if start is None else start
        return range(first, max(first, count if stop is None else stop))

    def _at(self, bound: int | None, count: int) -> int | None:
        if bound is None:
            return None
        # As `datasets` rounds, halves to the even number.
        at = round(bound * count / 100.0) if self.percent else bound
        return min(at if at >= 0 else max(count + at, 0), count)


def read_slices(split: str) -> tuple[Slice, ...] | None:
    """The parts of a split; None where it is none, or rounds in another way."""
    parts: list[Slice] = []
    for text in split.split("+"):
        found = _PART.fullmatch(text.strip())
        if found is None:
            return None
        start, stop = (int(bound) if bound else None for bound in (found[2], found[4]))
        parts.append(Slice(found[1], start, stop, percent=bool(found[3] or found[5])))
    return tuple(parts)


def taken(
    slices: Sequence[Slice], counts: Mapping[str, int], limit: int | None
) -> dict[str, list[range]] | None:
    """By split, the rows that are taken, of which only the first `limit` count; None where a count lacks."""
    found: dict[str, list[range]] = {}
    left = limit
    for part in slices:
        if part.name not in counts:
            return None
        rows = part.rows(counts[part.name])
        if left is not None:
            rows = rows[:left]
            left -= len(rows)
        found.setdefault(part.name, []).append(rows)
    return found


def shared(one: Mapping[str, Sequence[range]], other: Mapping[str, Sequence[range]]) -> int:
    """How many rows are in both."""
    both: set[tuple[str, int]] = set()
    for name in one.keys() & other.keys():
        for a in one[name]:
            for b in other[name]:
                rows = range(max(a.start, b.start), min(a.stop, b.stop))
                both.update((name, row) for row in rows)
    return len(both)
