"""Chance: random streams that are named.

A stream is seeded by (the node's seed, a purpose, a step) and by nothing that happened before, so no room can
disturb another's chance and a resumed run needs no saved generators.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


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
