"""Folders that are there whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

UNFINISHED = ".unfinished-"


@contextmanager
def whole(folder: Path, *, replace: bool = False) -> Iterator[Path]:
    """Write a folder under a temporary name beside `folder`, which takes its place when all is on the disk.

    With `replace` an existing folder gives way; else it is an `OSError`.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    growing = folder.parent / f"{UNFINISHED}{uuid4().hex}"
    growing.mkdir()
    try:
        yield growing
        for place in [*growing.rglob("*"), growing]:
            _to_disk(place)
        old = folder.parent / f"{UNFINISHED}{uuid4().hex}"
        if replace and folder.exists():
            folder.rename(old)
        try:
            growing.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise
        _to_disk(folder.parent)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(growing, ignore_errors=True)
        raise


def sweep(parent: Path) -> None:
    """Remove what a crash left behind in a folder that nobody else writes to."""
    for leftover in parent.glob(f"{UNFINISHED}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _to_disk(place: Path) -> None:
    if os.name == "nt" and place.is_dir():  # Windows opens no folders
        return
    handle = os.open(place, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
