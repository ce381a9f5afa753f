"""Rows as lines: a file with one JSON object a line, of which only the beginnings of its rows are held.

A run's memory must not grow with its data: eight bytes a row are kept, and a row is read when somebody asks
for it.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, NamedTuple

import numpy

from harmony_compiler.store.streams import Row
from harmony_runtime.data.rows.raw import RawRow

_BOM = b"\xef\xbb\xbf"
_CHUNK = 1024 * 1024
_BLANK, _ASCII = 0x20, 0x80


class Lines:
    """The rows of an open file with one JSON object a line.

    The file is read, not mapped: of one that somebody cuts meanwhile a row is lost, where a map would end the
    process without a word.
    """

    def __init__(self, file: BinaryIO, name: str, path: Path | None) -> None:
        self._file = file
        self._name = name
        self._path = path
        self._starts, self._blanks = _scanned(file)

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, number: int) -> RawRow:
        line = number + 1 + bisect_right(self._blanks, number)
        return RawRow(self._text(number), self._name, self._path, line)

    def _text(self, number: int) -> bytes:
        start, end = self._starts[number : number + 2]
        self._file.seek(start)
        # Blank lines may follow.
        return self._file.read(end - start).partition(b"\n")[0].rstrip(b"\r")


def _scanned(file: BinaryIO) -> tuple[array[int], array[int]]:
    """Where each row begins, and behind the last one the end; and for each blank line the rows before it.

    A blank line is no row; every other line is one, whatever is in it.
    """
    starts = array("q")
    doubtful: list[int] = []
    """Rows that begin with what may be a blank."""
    file.seek(0)
    position = len(_BOM) if file.read(len(_BOM)) == _BOM else 0
    file.seek(position)
    open_line = True
    while chunk := file.read(_CHUNK):
        bytes_ = numpy.frombuffer(chunk, numpy.uint8)
        begins = numpy.flatnonzero(bytes_ == ord("\n")) + 1
        if open_line:
            begins = numpy.concatenate([[0], begins])
        open_line = begins.size > 0 and int(begins[-1]) == len(chunk)
        if open_line:
            begins = begins[:-1]
        first = bytes_[begins]
        (maybe,) = numpy.nonzero((first <= _BLANK) | (first >= _ASCII))
        doubtful.extend((maybe + len(starts)).tolist())
        starts.frombytes((begins + position).astype(numpy.int64).tobytes())
        position += len(chunk)
    starts.append(position)
    blank = [row for row in doubtful if _is_blank(file, starts[row], starts[row + 1])]
    kept = numpy.ones(len(starts), bool)
    kept[blank] = False
    blanks = array("q", (row - before for before, row in enumerate(blank)))
    return (array("q", numpy.frombuffer(starts, numpy.int64)[kept].tobytes()) if blank else starts), blanks


def _is_blank(file: BinaryIO, start: int, end: int) -> bool:
    file.seek(start)
    return not file.read(end - start).decode(errors="replace").strip()


class Place(NamedTuple):
    """Whose rows a spool holds: what it is called, and where it lies."""

    name: str
    path: Path | None


class Spool:
    """Rows of another format, written once as lines into a file that is gone when nobody reads it."""

    def __init__(self, place: Place) -> None:
        self._place = place
        # Where that is, `$TMPDIR` decides.
        self._file = TemporaryFile(prefix="harmony-")  # noqa: SIM115 - it lives as long as its rows
        self._starts, self._lines = array("q", [0]), array("q")

    def add(self, rows: Iterable[Row]) -> None:
        self._file.seek(self._starts[-1])
        for text, line in rows:
            self._starts.append(self._starts[-1] + self._file.write(text.encode() + b"\n"))
            self._lines.append(line)

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, number: int) -> RawRow:
        start, end = self._starts[number : number + 2]
        self._file.seek(start)
        text = self._file.read(end - start).removesuffix(b"\n")
        return RawRow(text, self._place.name, self._place.path, self._lines[number])
