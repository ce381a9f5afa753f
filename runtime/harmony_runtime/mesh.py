"""How the processes of a run share a model: copies of it, each on its own part of every batch.

A mesh has `ranks` copies, and this process works for copy number `rank`. Everything under "What copies tell
one another" must be called by all processes, in the same order.
"""

# Names of tensors end in their shape.
# ruff: noqa: N803

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from harmony_runtime.context import Context

T = TypeVar("T")
M = TypeVar("M", bound=nn.Module)


class Mesh:
    def __init__(self, context: Context) -> None:
        self._context = context
        self.device: torch.device = context.device
        self.ranks = context.world_size
        self.rank = context.rank

    def place(self, model: M) -> M:
        """A model as it was loaded, on this process's device."""
        return model.to(self.device)

    def prepare(self, module: nn.Module) -> nn.Module:
        """`module`, which holds a placed model, so that its copies share their gradients.

        Raises:
            RunFailed: they would not.
        """
        return self._context.prepare(module)

    def accumulating(self, module: nn.Module, *, last: bool) -> AbstractContextManager[object]:
        """Around a micro-batch: gradients are averaged over the copies with an update's last one only."""
        return self._context.accumulating(module, last=last)

    def arithmetic(self, dtype: str) -> AbstractContextManager[object]:
        """Around a forward pass: see `Context.arithmetic`."""
        return self._context.arithmetic(dtype)

    def computes_in_fewer_bits(self, dtype: str) -> bool:
        """Whether `arithmetic` goes below float32."""
        return self._context.autocasts(dtype)

    def seeded(self, seed: int, purpose: str, step: int = 0) -> AbstractContextManager[None]:
        """torch's global generator is the named stream of this copy: for dropout."""
        return self._context.seeded(seed, f"{purpose} {self.rank}", step)

    def own(self, rows_B: Tensor) -> Tensor:
        """This copy's part of some rows."""
        return rows_B[self.rank :: self.ranks]

    # What copies tell one another.

    def sum(self, values: Mapping[str, float | Tensor]) -> dict[str, float]:
        """Each number summed over the copies."""
        if not values:
            return {}
        here = torch.stack([torch.as_tensor(value, dtype=torch.float64).cpu() for value in values.values()])
        return dict(zip(values, self.total(here).tolist(), strict=True))

    def total(self, tensor: Tensor) -> Tensor:
        """A tensor on the CPU summed over the copies."""
        return self._context.total(tensor)

    def gather(self, items: list[T]) -> list[T]:
        """The items of all copies, those of copy 0 first. They may be any Python objects."""
        return self._context.gather(items)
