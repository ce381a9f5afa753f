"""Inputs on the disk: those that came with the project, those that a search kept, and those that fail."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path

CORPUS = Path(__file__).parents[2] / "tests" / "fuzz" / "corpus"
"""Inputs that the tests replay: a folder for each target, every input in a file named by its hash."""

LARGEST_KEPT = 4 * 1024
MOST_KEPT = 24 * 1024
"""Of one input, and of all those of a target, so many bytes at most become part of the corpus."""


def name_of(data: bytes) -> str:
    return sha256(data).hexdigest()[:12]


def inputs_of(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.glob("*"))] if folder.is_dir() else []


def save(folder: Path, data: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name_of(data)
    path.write_bytes(data)
    return path


def telling(inputs: Iterable[bytes], signs: Callable[[bytes], frozenset[str]]) -> list[bytes]:
    """Few inputs, small ones first, that show as many signs as their room allows."""
    seen: set[str] = set()
    kept: list[bytes] = []
    room = MOST_KEPT
    for data in sorted(
        {data for data in inputs if len(data) <= LARGEST_KEPT}, key=lambda data: (len(data), data)
    ):
        if (shown := signs(data)) - seen and len(data) <= room:
            seen |= shown
            kept.append(data)
            room -= len(data)
    return kept


def smallest(data: bytes, fails: Callable[[bytes], bool], seconds: float) -> bytes:
    """A part of an input that still fails: pieces are left out, ever shorter ones, for so many seconds."""
    end = time.monotonic() + seconds
    length = max(len(data) // 2, 1)
    while True:
        start, shrunk = 0, False
        while start < len(data):
            if time.monotonic() > end:
                return data
            less = data[:start] + data[start + length :]
            if fails(less):
                data, shrunk = less, True
            else:
                start += length
        if length == 1 and not shrunk:
            return data
        length = max(length // 2, 1)
