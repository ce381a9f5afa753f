"""Mixtures: in which order the rows of several datasets are drawn.

The row `j` of a dataset with the weight `w` stands at `(j + 1/2) / w`: whatever prefix is taken of the
mixture, each dataset has its share of it as nearly as whole rows allow (Sainte-Laguë's division).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy


class Drawn(NamedTuple):
    """By place in the mixture, the dataset and its row: eight bytes a row, and one."""

    parts: Any
    rows: Any


def drawn(sizes: Sequence[int], weights: Sequence[float] | None) -> Drawn:
    """The rows of datasets of these sizes, in turn by weight.

    It ends where the first dataset has given all its rows, so that none comes twice and every share holds.
    Without weights each gives all its rows, spread over the whole.
    """
    shares = numpy.asarray(weights if weights is not None else sizes, numpy.float64)
    end = 1.0 if weights is None else float((numpy.asarray(sizes) / shares).min())
    given = [min(size, int(end * share + 0.5)) for size, share in zip(sizes, shares, strict=True)]
    places = numpy.concatenate(
        [(numpy.arange(count) + 0.5) / share for count, share in zip(given, shares, strict=True)]
    )
    # Of rows at one place the first dataset's comes first.
    order = places.argsort(kind="stable")
    small = numpy.uint8 if len(sizes) < 256 else numpy.int64
    parts = numpy.repeat(numpy.arange(len(sizes), dtype=small), given)[order]
    first = numpy.repeat(numpy.cumsum([0, *given[:-1]]), given)
    return Drawn(parts, (numpy.arange(len(places)) - first)[order])
