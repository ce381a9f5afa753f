"""The order in which training sees rows, and how a step's rows are cut into micro-batches."""

# Names of tensors end in their shape.
# ruff: noqa: N803

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import torch
from torch import Tensor

from harmony_runtime.chance import stream


class Order:
    """A seeded permutation per epoch; epochs follow each other without a gap."""

    def __init__(self, rows: int, seed: int) -> None:
        self._rows = rows
        self._seed = seed
        self._position = 0
        self._permutation = lru_cache(maxsize=1)(self._permuted)

    @property
    def epochs(self) -> float:
        """Passes over the rows so far."""
        return self._position / self._rows

    def take(self, count: int) -> Tensor:
        """The numbers of the next `count` rows."""
        parts = []
        while count:
            epoch, start = divmod(self._position, self._rows)
            part = self._permutation(epoch)[start : start + count]
            parts.append(part)
            count -= len(part)
            self._position += len(part)
        return torch.cat(parts)

    def state(self) -> dict[str, int]:
        return {"position": self._position}

    def restore(self, state: dict[str, int]) -> None:
        self._position = state["position"]

    def _permuted(self, epoch: int) -> Tensor:
        return torch.randperm(self._rows, generator=stream(self._seed, "order", epoch))


def mini_batches(samples: int, each: int, epochs: int, seed: int, step: int) -> Iterator[Tensor]:
    """What a step's updates go over: a seeded permutation of its samples in each mini-epoch, in parts."""
    for epoch in range(epochs):
        generator = stream(seed, f"mini-batches {epoch}", step)
        yield from torch.split(torch.randperm(samples, generator=generator), each)


def micro_batches(rows_B: Tensor, lengths_B: Tensor, max_tokens: int) -> list[Tensor]:
    """Cut a step's rows into parts whose padded size is at most `max_tokens`.

    Rows of like length go together, the longest first, so that a step that does not fit fails at once.
    """
    by_length = lengths_B.sort(descending=True, stable=True)
    parts = []
    start = 0
    while start < len(rows_B):
        fitting = max_tokens // int(by_length.values[start])
        parts.append(rows_B[by_length.indices[start : start + fitting]])
        start += fitting
    return parts
