"""The compiler's only door to the disk.

Phases read through a `Files` that is passed in, so that they stay pure and an editor can give unsaved text
for a path. Every read is bounded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

HEAD = 4 * 1024 * 1024
"""How much of a data file the checker reads, in bytes."""


class Files(Protocol):
    def exists(self, path: Path) -> bool: ...

    def is_folder(self, path: Path) -> bool: ...

    def head(self, path: Path, limit: int) -> bytes:
        """The first `limit` bytes of a file.

        Raises:
            OSError: it cannot be read.
        """
        ...


class Disk:
    """The files as they are."""

    def exists(self, path: Path) -> bool:
        return path.exists()

    def is_folder(self, path: Path) -> bool:
        return path.is_dir()

    def head(self, path: Path, limit: int) -> bytes:
        with path.open("rb") as stream:
            return stream.read(limit)


DISK = Disk()
