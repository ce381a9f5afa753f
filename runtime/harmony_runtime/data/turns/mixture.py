"""Mixtures: in which order the rows of several datasets are drawn.

The row `j` of a dataset with the weight `w` stands at `(j + 1/2) / w`: whatever prefix is taken of the
mixture, each dataset has its share of it as nearly as whole rows allow (Sainte-Laguë's division).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy

from harmony_compiler.graph.datasets import Mix


class Drawn(NamedTuple):
    """By place in the mixture, the dataset and its row: eight bytes a row, and one."""

    parts: Any
    rows: Any


def drawn(sizes: Sequence[int], weights: Sequence[float] | None) -> Drawn:
    """The rows of datasets of these sizes, in turn by weight, as many as `Mix.drawn` says.

    Without weights they are spread over the whole.
    """
    shares = weights if weights is not None else sizes
    given = Mix.drawn(sizes, weights)
    places = numpy.concatenate(
        [(numpy.arange(count) + 0.5) / share for count, share in zip(given, shares, strict=True)]
    )
    # Of rows at one place the first dataset's comes first.
    order = places.argsort(kind="stable")
    small = numpy.uint8 if len(sizes) < 256 else numpy.int64
    parts = numpy.repeat(numpy.arange(len(sizes), dtype=small), given)[order]
    first = numpy.repeat(numpy.cumsum([0, *given[:-1]]), given)
    return Drawn(parts, (numpy.arange(len(places)) - first)[order])
