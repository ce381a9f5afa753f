"""Registries whose keys hold things of one kind, each a folder with a manifest: datasets, graders.

A folder without a manifest is no entry. Names that begin with a dot are no keys: what is being written.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

from harmony_compiler.store.registry import LARGEST, MANIFEST, is_key, remove

FORMAT_VERSION = 1

T = TypeVar("T")


class KeyTakenError(Exception):
    """The key holds something else."""


class Shelf(Generic[T]):
    """How things of a kind stand in a registry. `root` is everywhere the registry's folder."""

    def __init__(
        self,
        kind: str,
        *,
        made: Callable[[Any], T | None],
        told: Callable[[T], dict[str, Any]],
        same: Callable[[T, T], bool],
    ) -> None:
        """`made` makes a thing of its manifest's JSON, or None where that is none; it may let a lookup or a
        type fail. `told` is the way back. Of two that are the `same`, the one that was there stays."""
        self.kind = kind
        """As messages call one of them; its plural is the command that looks after them."""
        self.told = told
        self._made = made
        self._same = same

    def manifest(self, root: Path, key: str) -> Path | None:
        """Where the manifest of a key stands; None where it holds nothing."""
        manifest = root / key / MANIFEST
        return manifest if is_key(key) and manifest.is_file() else None

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

    def read(self, data: bytes) -> T:
        """A thing from the bytes of its manifest.

        Raises:
            ValueError: it is none, or of another version; the message says why.
        """
        try:
            manifest = json.loads(data)
            if manifest["format_version"] != FORMAT_VERSION:
                raise ValueError("another version of Harmony wrote it")
            made = self._made(manifest)
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as fault:
            raise ValueError("it is not JSON") from fault
        except (AttributeError, TypeError, LookupError, OverflowError) as fault:
            raise ValueError(f"it is no manifest of a {self.kind}") from fault
        if made is None:
            raise ValueError(f"it is no manifest of a {self.kind}")
        return made

    def put(self, root: Path, key: str, write: Callable[[Path], T], *, replace: bool) -> T:
        """Let a folder be written, add the manifest of what was, and move it to its key, unless the same is
        there; gives what the key holds then. Who looks at the key meanwhile sees all of it or nothing.

        Raises:
            KeyTakenError: the key holds something else, and nobody said to `replace` it.
            OSError: the disk would not have it.
        """
        from shutil import rmtree  # a check only reads
        from uuid import uuid4

        fresh = root / f".unfinished-{uuid4().hex}"
        fresh.mkdir(parents=True)
        try:
            made = write(fresh)
            manifest = {"format_version": FORMAT_VERSION, **self.told(made)}
            text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
            (fresh / MANIFEST).write_text(text, encoding="utf-8")
            return self._settled(root, key, fresh, made, replace=replace)
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
