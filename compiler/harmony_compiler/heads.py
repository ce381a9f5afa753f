"""Heads: the first rows of data files and of rows in the recipe, each read once.

Whoever asks for the rows of a dataset gets those in the first megabytes, with their places; what is wrong
with a file or line is found on the way, and said once.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from harmony_compiler.files import HEAD, Files
from harmony_compiler.findings.data import EmptyFile, MoreFaultyRows, UnreadableFile
from harmony_compiler.graph.datasets import JsonLines, LiteralRows
from harmony_compiler.graph.types import PATH
from harmony_compiler.store.rows import SHOWN, read_line
from harmony_compiler.typed import Made, Value
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.source import Source, Span


class Head(NamedTuple):
    """The first rows of a file or of a dataset; `names`, its columns, is None where nobody could look."""

    names: tuple[str, ...] | None
    origin: str = ""
    """Where they were read, in words."""
    rows: Sequence[dict[str, Any]] = ()
    place: Callable[[int], Span] | None = None
    """Where a row stands, by its number in `rows`."""


NOTHING = Head(None)


class Heads:
    """The heads of a recipe's datasets."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._read: dict[str, Head] = {}
        self.findings: list[Diagnostic] = []

    def of(self, dataset: Made) -> Head:
        """The first rows of a dataset's source, before split, shuffle and limit."""
        if issubclass(dataset.cls, LiteralRows) and isinstance(dataset.values["items"], tuple):
            return _literal(dataset)
        if not issubclass(dataset.cls, JsonLines) or "path" not in dataset.given:
            return NOTHING
        parts: list[Head] = []
        for path in paths(dataset.given["path"]):
            if path.data not in self._read:
                self._read[path.data] = self._head(path)
            if self._read[path.data].names is None:
                return NOTHING
            parts.append(self._read[path.data])
        return parts[0] if len(parts) == 1 else _together(parts)

    def _head(self, path: Value) -> Head:
        """The first megabytes of a file, with a finding for each bad line there."""
        file, written, shown = Path(path.data), as_written(path), _shown(path)
        if not self._files.exists(file) or self._files.is_folder(file):
            return NOTHING
        try:
            data = self._files.head(file, HEAD)
        except OSError as fault:
            reason = (fault.strerror or str(fault)).lower()
            self.findings.append(UnreadableFile(span=path.span, path=written, reason=reason))
            return NOTHING
        cut = len(data) >= HEAD
        names: dict[str, Any] = {}
        rows: list[dict[str, Any]] = []
        numbers: list[int] = []
        bad = 0
        lines = data.removeprefix(BOM_UTF8).split(b"\n")
        for number, line in enumerate(lines[:-1] if cut else lines, start=1):
            try:
                row = read_line(shown, number, line.decode())
            except UnicodeDecodeError:
                reason = f"line {number} is not UTF-8 text"
                self.findings.append(UnreadableFile(span=path.span, path=written, reason=reason))
                return NOTHING
            if isinstance(row, Diagnostic):
                bad += 1
                if bad <= SHOWN:
                    self.findings.append(row)
            elif row is not None:
                rows.append(row)
                numbers.append(number)
                if not row.keys() <= names.keys():
                    names.update(row)
        if bad > SHOWN:
            count, most = f"{bad - SHOWN:,}", str(SHOWN)
            finding = MoreFaultyRows(span=path.span, path=written, count=count, shown=most)
            self.findings.append(finding)
        if not rows and not bad and not cut:
            self.findings.append(EmptyFile(span=path.span, path=written))
        # JSON can spell halves of characters, which nobody can print or write in a template.
        columns = tuple(dict.fromkeys(name.encode(errors="replace").decode() for name in names))

        def place_of(row: int) -> Span:
            number = numbers[row]
            text = lines[number - 1].decode().rstrip("\r\n")
            return Source(str(shown), text, shown, number).span(0, len(text))

        return Head(columns, written, rows, place_of) if rows else NOTHING


def _together(parts: Sequence[Head]) -> Head:
    """Several files as one."""
    if not parts:
        return NOTHING
    places = [partial(part.place, row) for part in parts if part.place for row in range(len(part.rows))]
    return Head(
        tuple(dict.fromkeys(name for part in parts for name in part.names or ())),
        " and ".join(part.origin for part in parts),
        [row for part in parts for row in part.rows],
        lambda row: places[row](),
    )


def _literal(dataset: Made) -> Head:
    """The rows that a recipe itself writes."""
    written = dataset.given["items"].data
    read = zip(dataset.values["items"], written, strict=True)
    rows = [(row, value.span) for row, value in read if isinstance(row, dict)]
    names = dict.fromkeys(key for row, _ in rows for key in row)
    if not written:
        return NOTHING
    return Head(tuple(names), "the rows", [row for row, _ in rows], lambda row: rows[row][1])


# --- paths ----------------------------------------------------------------------------------------------


def paths(value: Value) -> Iterator[Value]:
    """The paths in a field's value."""
    if isinstance(value.data, tuple):
        for item in value.data:
            yield from paths(item)
    elif value.type == PATH:
        yield value


def as_written(path: Value) -> str:
    """A path as its literal has it."""
    return path.literal.value if path.literal else str(path.data)


def _shown(path: Value) -> Path:
    """A path as people can follow it: from where the recipe was named, as the recipe itself was."""
    if path.literal is None:
        return Path(path.data)
    source = path.literal.span.source
    return Path(source.name).parent / path.literal.value if source.path else Path(path.literal.value)
