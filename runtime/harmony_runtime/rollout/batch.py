"""The completions of a step as tensors to train on: each behind its prompt, side by side."""

# Names of tensors end in their shape: C completions of a step, B rows of a micro-batch, T tokens.
# ruff: noqa: N803, N806, N815

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from harmony_runtime.rollout.answers import Answer


class Part(NamedTuple):
    """Some rows, padded on the right to their longest. Padding is what `attention_BT` says, never an id."""

    ids_BT: Tensor
    attention_BT: Tensor
    trained_BT: Tensor
    drawn_BT: Tensor


@dataclass(frozen=True)
class Batch:
    ids_CT: Tensor
    """int64: prompt and completion."""
    trained_CT: Tensor
    """bool: the tokens that are trained on, up to a completion's first end token."""
    drawn_CT: Tensor
    """float32: log-probability of each of the completion's tokens when it was drawn; 0 elsewhere."""
    lengths_C: Tensor
    """int64: tokens of prompt and completion."""

    @staticmethod
    def of(answers: Sequence[Answer], truncated: Literal["keep", "mask"]) -> Batch:
        """The batch of a step; with `"mask"` nothing is trained in completions that were cut."""
        ids, trained, drawn = [], [], []
        for answer in answers:
            prompt_T, completion = torch.tensor(answer.prompt.ids), answer.completion
            counts = truncated == "keep" or completion.stop != "length"
            ids.append(torch.cat([prompt_T, completion.ids_T]))
            trained.append(
                torch.cat([torch.zeros(len(prompt_T)), torch.full(completion.ids_T.shape, counts)])
            )
            drawn.append(torch.cat([torch.zeros(len(prompt_T)), completion.logprobs_T]))
        return Batch(
            ids_CT=pad_sequence(ids, batch_first=True),
            trained_CT=pad_sequence(trained, batch_first=True).bool(),
            drawn_CT=pad_sequence(drawn, batch_first=True),
            lengths_C=torch.tensor([len(row) for row in ids]),
        )

    def part(self, rows_B: Tensor, device: torch.device) -> Part:
        """The completions of these numbers, on a device."""
        longest = int(self.lengths_C[rows_B].max())
        attention_BT = torch.arange(longest) < self.lengths_C[rows_B, None]
        rows = (held[rows_B, :longest] for held in (self.ids_CT, self.trained_CT, self.drawn_CT))
        ids_BT, trained_BT, drawn_BT = (tensor.to(device) for tensor in rows)
        return Part(ids_BT, attention_BT.long().to(device), trained_BT, drawn_BT)
