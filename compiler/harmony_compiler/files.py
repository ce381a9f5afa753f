"""The compiler's only door to the disk.

Phases read through a `Files` that is passed in, so that they stay pure and an editor can give unsaved text
for a path. Every read is bounded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from harmony_compiler.findings.data import UnreadableRecipe
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.source import Source

HEAD = 4 * 1024 * 1024
"""How much of a data file the checker reads, in bytes."""

LARGEST_RECIPE = 16 * 1024 * 1024
"""A recipe beyond this size, in bytes, is some other file."""


class Files(Protocol):
    def exists(self, path: Path) -> bool: ...

    def is_folder(self, path: Path) -> bool: ...

    def names_in(self, folder: Path) -> list[str]:
        """What is in a folder; nothing where it cannot be read."""
        ...

    def filled_lines(self, path: Path) -> int:
        """How many lines of a file are not blank.

        Raises:
            OSError: it cannot be read.
        """
        ...

    def head(self, path: Path, limit: int) -> bytes:
        """The first `limit` bytes of a file.

        Raises:
            OSError: it cannot be read.
        """
        ...


class Disk:
    """The files as they are."""

    def exists(self, path: Path) -> bool:
        try:
            return path.exists()
        except OSError:  # a name that is too long, a folder that may not be read
            return False

    def is_folder(self, path: Path) -> bool:
        return path.is_dir()

    def names_in(self, folder: Path) -> list[str]:
        try:
            return sorted(entry.name for entry in folder.iterdir())
        except (OSError, ValueError):
            return []

    def filled_lines(self, path: Path) -> int:
        with path.open("rb") as stream:
            return sum(1 for line in stream if line.strip())

    def head(self, path: Path, limit: int) -> bytes:
        with path.open("rb") as stream:
            return stream.read(limit)


DISK = Disk()


def read_source(path: str, files: Files = DISK) -> Source | Diagnostic:
    """The recipe at `path`, under the name the user gave; or the finding that it cannot be read."""
    place = Path(path).absolute()
    nowhere = Source(path, "", place).span(0, 0)
    try:
        data = files.head(place, LARGEST_RECIPE + 1)
    except (OSError, ValueError) as fault:
        reason = getattr(fault, "strerror", None) or str(fault)
        return UnreadableRecipe(span=nowhere, path=path, reason=reason[:1].lower() + reason[1:])
    if len(data) > LARGEST_RECIPE:
        return UnreadableRecipe(span=nowhere, path=path, reason="it is too large for a recipe")
    try:
        return Source(path, data.decode("utf-8-sig"), place)
    except UnicodeDecodeError as fault:
        line = data.count(b"\n", 0, fault.start) + 1
        return UnreadableRecipe(span=nowhere, path=path, reason=f"line {line} is not UTF-8 text")
