"""The completions of a step as tensors to train on: each behind its prompt, side by side."""

# Names of tensors end in their shape: C completions of a step, B rows of a micro-batch, T tokens.
# ruff: noqa: N803, N806, N815

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from harmony_runtime.processes.mesh import Mesh
from harmony_runtime.rollout.answers import Answer


@dataclass(frozen=True)
class Batch:
    """On the CPU; rows are padded on the right."""

    ids_CT: Tensor
    """int64: prompt and completion."""
    trained_CT: Tensor
    """bool: the tokens that are trained on, up to a completion's first end token."""
    drawn_CT: Tensor
    """float32: log-probability of each of the completion's tokens when it was drawn; 0 elsewhere."""
    lengths_C: Tensor
    """int64: tokens of prompt and completion."""

    @staticmethod
    def of(answers: Sequence[Answer], truncated: Literal["keep", "mask"] = "keep") -> Batch:
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

    def only(self, counts_C: Tensor) -> Batch:
        """The batch with nothing to train on in the other completions."""
        return replace(self, trained_CT=self.trained_CT & counts_C[:, None])

    def __len__(self) -> int:
        return len(self.lengths_C)

    def cut(self, rows_C: Tensor, max_tokens: int) -> list[Tensor]:
        """Micro-batches: the numbers of some completions, in parts of at most `max_tokens`. Those of a prompt
        stay together, which is computed once for all of them."""
        rows_C = rows_C.sort().values
        parts: list[list[int]] = []
        longest = 0
        for row, length in zip(rows_C.tolist(), self.lengths_C[rows_C].tolist(), strict=True):
            longest = max(longest, length)
            if not parts or longest * (len(parts[-1]) + 1) > max_tokens:
                parts.append([])
                longest = length
            parts[-1].append(row)
        return [torch.tensor(part) for part in parts]

    def part(self, rows_B: Tensor, device: torch.device, *of: Tensor) -> tuple[Tensor, ...]:
        """The completions of these numbers on a device: ids and what is trained on, and the rows of any other
        tensors of shape CT; none is wider than the longest completion."""
        longest = int(self.lengths_C[rows_B].max())
        return tuple(held[rows_B, :longest].to(device) for held in (self.ids_CT, self.trained_CT, *of))

    def each(self, score: Callable[[Tensor, Tensor], Tensor], mesh: Mesh, max_tokens: int) -> Tensor:
        """What `score` says about ids and trained tokens (BT) of every completion, as float32 of shape CT on
        the CPU: each copy asks about its part, and then all know all."""
        found_CT = torch.zeros(self.ids_CT.shape)
        for rows_B, _ in mesh.in_step(self.cut(mesh.own(torch.arange(len(self))), max_tokens)):
            ids_BT, trained_BT = self.part(rows_B, mesh.device)
            found_CT[rows_B, : ids_BT.shape[1]] = score(ids_BT, trained_BT).cpu().float()
        return mesh.total(found_CT)
