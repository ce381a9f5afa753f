"""Devices, processes and chance: the one room that knows Accelerate.

Takes what the launcher decided; gives the device, the arithmetic, sums over processes, and random streams
that are named: a stream is seeded by (the node's seed, a purpose, a step) and by nothing that happened
before, so no room can disturb another's chance and a resumed run needs no saved generators.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, cast

import torch
from accelerate import Accelerator

DTYPES = {
    "auto": torch.float32,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
}
"""The type of the weights by the name that recipes use."""


class Context:
    def __init__(self) -> None:
        # The arithmetic follows each model's `dtype`, so Accelerate has no say in it.
        self._accelerator = Accelerator(mixed_precision="no")
        self.device: torch.device = self._accelerator.device
        self.rank: int = self._accelerator.process_index
        self.world_size: int = self._accelerator.num_processes
        self.is_main: bool = self._accelerator.is_main_process

    def prepare(self, model: torch.nn.Module) -> torch.nn.Module:
        """Put a model on the device, and where there are several processes, let them share gradients."""
        return cast(torch.nn.Module, self._accelerator.prepare_model(model))

    def accumulating(self, model: torch.nn.Module, *, last: bool) -> AbstractContextManager[Any]:
        """Around a micro-batch: gradients are averaged over the processes with the step's last one only."""
        return nullcontext() if last else cast(AbstractContextManager[Any], self._accelerator.no_sync(model))

    def arithmetic(self, dtype: str) -> AbstractContextManager[Any]:
        """Around a forward pass: `auto` computes in bfloat16 where the device is made for it."""
        made_for_it = self.device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.autocast("cuda", torch.bfloat16) if dtype == "auto" and made_for_it else nullcontext()

    def sum(self, values: list[float]) -> list[float]:
        """Each value summed over the processes."""
        here = torch.tensor(values, dtype=torch.float64, device=self.device)
        return cast(list[float], self._accelerator.reduce(here, "sum").tolist())

    def free(self) -> None:
        """Forget the models of a finished stage."""
        self._accelerator.free_memory()

    def seeded(self, seed: int, purpose: str, step: int = 0) -> AbstractContextManager[None]:
        """`seeded_globally` on this context's device, with a stream of this process's own."""
        return seeded_globally(seed, f"{purpose} {self.rank}", step, device=self.device)


def stream(seed: int, purpose: str, step: int = 0) -> torch.Generator:
    """The random stream of this name."""
    return torch.Generator().manual_seed(_number(seed, purpose, step))


@contextmanager
def seeded_globally(
    seed: int, purpose: str, step: int = 0, device: torch.device | None = None
) -> Iterator[None]:
    """Within it torch's global generator is the named stream: for code that takes no generator, such as
    dropout and the initialisation of weights. Afterwards the global generator is as it was."""
    devices = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(_number(seed, purpose, step))
        yield


def _number(seed: int, purpose: str, step: int) -> int:
    name = f"{seed}/{purpose}/{step}".encode()
    return int.from_bytes(hashlib.sha256(name).digest()[:8]) >> 1
