"""Folders that are there whole or not at all."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

UNFINISHED = ".unfinished-"
_REPLACED = f"{UNFINISHED}for-"


@contextmanager
def whole(folder: Path, *, replace: bool = False) -> Iterator[Path]:
    """Write a folder under a temporary name beside `folder`, which takes its place when all is on the disk.

    With `replace` an existing folder gives way; else it is an `OSError`.
    """
    with growing(folder.parent) as fresh:
        yield fresh
        to_disk(fresh)
        settle(fresh, folder, replace=replace)


@contextmanager
def growing(parent: Path) -> Iterator[Path]:
    """A folder under a temporary name in `parent`; what has not settled when the block ends is removed."""
    parent.mkdir(parents=True, exist_ok=True)
    fresh = parent / f"{UNFINISHED}{uuid4().hex}"
    fresh.mkdir()
    try:
        yield fresh
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def settle(fresh: Path, folder: Path, *, replace: bool = False) -> None:
    """Move a folder that is on the disk to its place."""
    old = folder.parent / f"{_REPLACED}{folder.name}"
    shutil.rmtree(old, ignore_errors=True)
    if replace and folder.exists():
        folder.rename(old)
    try:
        fresh.rename(folder)
    except OSError:
        if not folder.exists() and old.exists():
            old.rename(folder)
        raise
    _sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def sweep(parent: Path, older_than: float = 0.0) -> None:
    """Remove what a crash left behind in a folder, where nothing in it changed for so many seconds.

    A folder that was giving way when the crash came is put back. Nobody else may settle there meanwhile.
    """
    for leftover in parent.glob(f"{UNFINISHED}*"):
        name = leftover.name.removeprefix(_REPLACED)
        if name != leftover.name and not (parent / name).exists():
            leftover.rename(parent / name)
        elif name != leftover.name or _age(leftover) >= older_than:
            shutil.rmtree(leftover, ignore_errors=True)


def _age(folder: Path) -> float:
    """Seconds since the last change inside; 0 where it changes under our eyes."""
    try:
        return time.time() - max(place.stat().st_mtime for place in (folder, *folder.rglob("*")))
    except OSError:
        return 0.0


def to_disk(folder: Path) -> None:
    """Wait until everything in a folder would survive a loss of power."""
    for place in [*folder.rglob("*"), folder]:
        _sync(place)


def _sync(place: Path) -> None:
    if os.name == "nt" and place.is_dir():  # Windows opens no folders
        return
    handle = os.open(place, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
