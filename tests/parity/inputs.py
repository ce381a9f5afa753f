"""What the functions are asked about: rows of different lengths, one of them with nothing to train on."""

# Names of tensors end in their shape.
# ruff: noqa: N806, N815

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

VOCABULARY, LONGEST = 9, 11
# Of each row: tokens of the prompt, trained tokens. One fills the width, one has a single trained token, one
# none.
LENGTHS = ((2, 6), (1, 3), (3, 0), (2, 1), (1, 5), (4, 4))
WIDTH = 8

PARTS = {1: ((0, 1, 2, 3, 4, 5),), 4: ((4, 0), (2,), (1, 5), (3,))}
"""Which rows make a micro-batch, by the accumulation."""

REWARDS: dict[str, list[list[float | None]]] = {
    "ragged rewards": [[0.0, 1.0, 0.25, -2.0], [0.1, 0.7, 0.3, 0.3]],
    "a zero-variance group": [[0.1, 0.1, 0.1, 0.1], [0.0, 1.0, 0.0, 1.0]],
    "an abstaining grader": [[0.5, None, 0.0, 1.0], [None, 2.0, None, None], [None, None, None, None]],
}

PAIRS = 5


def drawn(*shape: int, seed: int, scale: float = 1.0) -> Tensor:
    """float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64) * scale


@dataclass(frozen=True)
class Tokens:
    ids_BT: Tensor
    trained_BT: Tensor
    counts_BT: Tensor
    """As `trained_BT`, where some turns count half or a quarter."""
    logits_BTV: Tensor

    @property
    def rows(self) -> int:
        return len(self.ids_BT)


def tokens() -> Tokens:
    trained_BT = torch.zeros(len(LENGTHS), WIDTH, dtype=torch.bool)
    counts_BT = torch.zeros(len(LENGTHS), WIDTH, dtype=torch.float64)
    for b, (prompt, trained) in enumerate(LENGTHS):
        trained_BT[b, prompt : prompt + trained] = True
        counts_BT[b, prompt : prompt + trained] = (1.0, 0.5, 0.25)[b % 3]
    counts_BT[0, 2:4] = 0.5
    ids_BT = torch.randint(VOCABULARY, trained_BT.shape, generator=torch.Generator().manual_seed(1))
    return Tokens(ids_BT, trained_BT, counts_BT, drawn(*trained_BT.shape, VOCABULARY, seed=2))
