"""Registries whose keys hold things of one kind, each a folder with a manifest: datasets, graders.

A folder without a manifest is no entry. Names that begin with a dot are no keys: what is being written.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Generic, TypeVar

from harmony_compiler.store.registry import KEY, LARGEST, MANIFEST, remove

T = TypeVar("T")


class KeyTakenError(Exception):
    """The key holds something else."""


class Shelf(Generic[T]):
    """How things of a kind stand in a registry. `root` is everywhere the registry's folder."""

    def __init__(self, kind: str, read: Callable[[bytes], T], same: Callable[[T, T], bool]) -> None:
        """`read` makes a thing of its manifest's bytes, or raises a ValueError that says why not; of two that
        are the `same`, the one that was there stays."""
        self.kind = kind
        """As messages call one of them; its plural is the command that looks after them."""
        self.read = read
        self._same = same

    def manifest(self, root: Path, key: str) -> Path | None:
        """Where the manifest of a key stands; None where it holds nothing."""
        manifest = root / key / MANIFEST
        return manifest if KEY.fullmatch(key) and manifest.is_file() else None

    def keys(self, root: Path) -> list[str]:
        """Every key that holds something, in order."""
        if not root.is_dir():
            return []
        return sorted(folder.name for folder in root.iterdir() if self.manifest(root, folder.name))

    def at(self, root: Path, key: str) -> T | None:
        """What a key holds, or None.

        Raises:
            ValueError: its manifest is none.
            OSError: it cannot be read.
        """
        manifest = self.manifest(root, key)
        if manifest is None:
            return None
        with manifest.open("rb") as stream:
            return self.read(stream.read(LARGEST))

    def put(self, root: Path, key: str, write: Callable[[Path], T], *, replace: bool) -> T:
        """Let a folder be written, and move it to its key, unless the same is there; gives what the key holds
        then. Who looks at the key meanwhile sees all of it or nothing.

        Raises:
            KeyTakenError: the key holds something else, and nobody said to `replace` it.
            OSError: the disk would not have it.
        """
        from shutil import rmtree  # a check only reads
        from uuid import uuid4

        fresh = root / f".unfinished-{uuid4().hex}"
        fresh.mkdir(parents=True)
        try:
            return self._settled(root, key, fresh, write(fresh), replace=replace)
        finally:
            rmtree(fresh, ignore_errors=True)

    def _settled(self, root: Path, key: str, fresh: Path, made: T, *, replace: bool) -> T:
        place = root / key
        for _ in range(100):
            found = None
            with suppress(ValueError, FileNotFoundError):  # what somebody takes away meanwhile is not held
                found = self.at(root, key)
            if found is not None and self._same(found, made):
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
