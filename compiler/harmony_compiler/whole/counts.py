"""Counts: how many rows a dataset has, as far as that is known, and which one is left without any."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from harmony_compiler.data.heads import Heads
from harmony_compiler.data.slices import read_slices, taken
from harmony_compiler.findings.data import NothingTaken, StarvedPart
from harmony_compiler.graph.datasets import HubRows, Mix, Rows
from harmony_compiler.typed import UNKNOWN_DATA, Made, Value
from harmony_grammar.diagnostics import Diagnostic

Counts: TypeAlias = Callable[[Made], dict[str, int]]


def rowless(made: Sequence[Made], heads: Heads) -> Iterator[Diagnostic]:
    """What takes no row of anything."""
    for item in made:
        if issubclass(item.cls, Rows):
            yield from _nothing_taken(item, heads)
        elif issubclass(item.cls, Mix):
            yield from _starved(item, heads)


def counts_of(rows: Made, heads: Heads) -> dict[str, int]:
    """How many rows a source has, by split, as far as that is known."""
    if issubclass(rows.cls, HubRows):
        locked = heads.locked(rows)
        return dict(locked.rows) if locked is not None else {}
    count = heads.of(rows).table.count
    return {} if count is None else {"train": count}


def count_of(dataset: Any, heads: Heads, counts: Counts | None = None) -> int | None:
    """How many rows a dataset has after split, filter and limit; None where nobody knows.

    `counts` says of a source what `counts_of` does, where somebody knows more.
    """
    if not isinstance(dataset, Made) or dataset.lost or dataset.values["limit"] is UNKNOWN_DATA:
        return None
    limit = dataset.values["limit"]
    if issubclass(dataset.cls, Mix):
        drawn = _drawn(dataset, heads, counts)
        count = None if drawn is None else sum(drawn)
        return count if count is None or limit is None else min(count, limit)
    split, filter_ = dataset.values["split"], dataset.values["filter"]
    slices = read_slices(split) if isinstance(split, str) and filter_ is None else None
    known = counts(dataset) if counts is not None else counts_of(dataset, heads)
    rows = None if slices is None else taken(slices, known, limit)
    return None if rows is None else sum(len(part) for parts in rows.values() for part in parts)


def _drawn(mix: Made, heads: Heads, counts: Counts | None = None) -> list[int] | None:
    """How many rows a mixture takes of each dataset; None where nobody knows."""
    parts, weights = mix.values["datasets"], mix.values["weights"]
    sizes = [count_of(part, heads, counts) for part in parts] if isinstance(parts, tuple) else [None]
    known = [size for size in sizes if size]
    if len(known) < len(sizes) or not (weights is None or isinstance(weights, tuple)):
        return None
    if weights is not None and (UNKNOWN_DATA in weights or len(weights) != len(known)):
        return None
    shares = None if weights is None else [weight.share for weight in weights]
    return None if shares is not None and min(shares) <= 0 else Mix.drawn(known, shares)


def _nothing_taken(dataset: Made, heads: Heads) -> Iterator[Diagnostic]:
    split = dataset.given.get("split")
    if split is not None and count_of(dataset, heads) == 0:
        count = sum(counts_of(dataset, heads).values())
        if count:  # of an empty source that was said
            yield NothingTaken(span=split.span, count=f"{count:,}")


def _starved(mix: Made, heads: Heads) -> Iterator[Diagnostic]:
    drawn, weights = _drawn(mix, heads), mix.given.get("weights")
    if drawn is None or weights is None or not isinstance(weights.data, tuple) or min(drawn):
        return
    number, whole = drawn.index(0), len(drawn)
    sizes = [count_of(part, heads) for part in mix.values["datasets"]]
    ends = next(n for n, (size, given) in enumerate(zip(sizes, drawn, strict=True)) if size == given)
    weight = weights.data[number]
    yield StarvedPart(
        span=weight.span if isinstance(weight, Value) else weights.span,
        number=str(number + 1),
        whole=str(whole),
        first=str(ends + 1),
        rows=f"{sizes[ends]:,}",
    )
