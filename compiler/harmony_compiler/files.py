"""The compiler's only door to the disk.

Phases read through a `Files` that is passed in, so that they stay pure and an editor can give unsaved text
for a path. Every read is bounded.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from time import time_ns
from typing import Any, BinaryIO, Protocol, TypeVar, cast

from harmony_compiler.findings.data import UnreadableRecipe
from harmony_compiler.store.files import GZIP
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.source import Source

HEAD = 4 * 1024 * 1024
"""How much of a data file the checker reads, in bytes."""

LARGEST_RECIPE = 16 * 1024 * 1024
"""A recipe beyond this size, in bytes, is some other file."""

KEPT = 32
"""Of so many files it is remembered what was read of them."""

SETTLED = 1_000_000_000
"""A file that changed in the last second, in nanoseconds, may change again without a trace."""

T = TypeVar("T")


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

    def opened(self, path: Path) -> BinaryIO:
        """A file that is read here and there, such as one whose contents stand at its end.

        Raises:
            OSError: it cannot be read.
        """
        ...

    def kept(self, path: Path, what: str, read: Callable[[], T]) -> T:
        """What `read` makes of a file, or made of it before, where the file is still the same.

        `what` tells apart what different readers make of one file.
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
            lines: BinaryIO = stream
            if stream.peek(2).startswith(GZIP):
                from gzip import GzipFile

                lines = cast(BinaryIO, GzipFile(fileobj=stream))
            return sum(1 for line in lines if line.strip())

    def head(self, path: Path, limit: int) -> bytes:
        with path.open("rb") as stream:
            return stream.read(limit)

    def opened(self, path: Path) -> BinaryIO:
        return path.open("rb")

    def kept(self, path: Path, what: str, read: Callable[[], T]) -> T:
        stamp = _stamp(path)
        known = self._kept.pop((path, what), None)
        value: T = known[1] if known is not None and stamp == known[0] else read()
        if stamp is not None:
            self._kept[path, what] = (stamp, value)
            while len(self._kept) > KEPT:
                self._kept.pop(next(iter(self._kept)))
        return value

    def forget(self) -> None:
        """Let go of what was read. The rows of one file may be tens of megabytes, which a run has use for."""
        self._kept.clear()

    @cached_property
    def _kept(self) -> dict[tuple[Path, str], tuple[tuple[int, ...], Any]]:
        """By file and reader what was read, and what the file was then; the last one used stands last."""
        return {}


def _stamp(path: Path) -> tuple[int, ...] | None:
    """What changes when a file changes; None where that is not certain."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    if time_ns() - found.st_mtime_ns < SETTLED:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


DISK = Disk()


def read_source(path: str, files: Files = DISK) -> Source | Diagnostic:
    """The recipe at `path`, under the name the user gave; or the finding that it cannot be read."""
    place = Path(path).absolute()
    try:
        return Source(path, read_text(place, files), place)
    except UnreadableError as fault:
        nowhere = Source(path, "", place).span(0, 0)
        return UnreadableRecipe(span=nowhere, path=path, reason=str(fault))


class UnreadableError(Exception):
    """A file that cannot be read as text, with the reason."""


def read_text(place: Path, files: Files) -> str:
    """The text of a recipe or of a file with inputs.

    Raises:
        UnreadableError: it is no such file, or cannot be read.
    """
    try:
        data = files.head(place, LARGEST_RECIPE + 1)
    except (OSError, ValueError) as fault:
        reason = getattr(fault, "strerror", None) or str(fault)
        raise UnreadableError(reason[:1].lower() + reason[1:]) from fault
    if len(data) > LARGEST_RECIPE:
        raise UnreadableError("it is too large for a recipe")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = data.count(b"\n", 0, fault.start) + 1
        raise UnreadableError(f"line {line} is not UTF-8 text") from fault
