"""Keys of a registry: how what was written comes to its key, and goes, at once for whoever looks."""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class KeyTakenError(Exception):
    """The key holds something else."""


def settle(
    root: Path,
    key: str,
    fresh: Path,
    made: T,
    *,
    held: Callable[[Path, str], T | None],
    same: Callable[[T, T], bool],
    replace: bool,
) -> T:
    """Move the folder `fresh`, which holds what was `made`, to its key, unless what is `held` there is the
    `same`; gives what the key holds then.

    Raises:
        KeyTakenError: the key holds something else, and nobody said to `replace` it.
        OSError: the disk would not have it.
    """
    place = root / key
    for _ in range(100):
        found = None
        with suppress(ValueError, FileNotFoundError):  # what somebody takes away meanwhile is not held
            found = held(root, key)
        if found is not None and same(found, made):
            return found
        if place.exists() and not replace:
            raise KeyTakenError
        if place.exists():
            with suppress(FileNotFoundError):  # somebody else was faster
                remove(root, key)
        try:
            fresh.rename(place)
        except OSError as fault:
            if fault.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            return made
    raise OSError(f"others keep writing {place}")


def remove(root: Path, key: str) -> None:
    """Take what a key holds out of the registry: at once for whoever looks, then file by file.

    Raises:
        FileNotFoundError: it holds nothing.
    """
    from shutil import rmtree  # a check only reads
    from uuid import uuid4

    gone = root / f".unfinished-{uuid4().hex}"
    (root / key).rename(gone)
    rmtree(gone)
