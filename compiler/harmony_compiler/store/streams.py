"""Streams: the rows of a whole file, one after another, however large it is.

A reader gives each row as one line of JSON with the line of the file in which it begins, or what is wrong
there. Where a file is broken it ends.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from harmony_compiler.store.rows import kind_of
from harmony_compiler.store.tables import (
    EXTRA,
    ColumnTwice,
    Excerpt,
    Fault,
    ItemNotAnObject,
    NotAnArray,
    behind_blanks,
    broken_csv,
    line_at,
    malformed,
    other_length,
)
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.records import replace

CHUNK = 1024 * 1024
"""So many characters are read at once."""

LONGEST_VALUE = 64 * 1024 * 1024
"""A value of a CSV file beyond this size, in characters, begins with a quote that nothing closes."""


class Row(NamedTuple):
    """A row as one line of JSON; `line` is where it begins in its file."""

    text: str
    line: int


# --- JSON -----------------------------------------------------------------------------------------------


def json_items(read: Callable[[int], str]) -> Iterator[Row | Fault]:
    """The items of a JSON array; `read` gives the next so many characters of its file, "" at the end."""
    text = _Text(read)
    if not text.skip_blanks():
        return
    if text.char != "[":
        yield _no_array(text)
        return
    text.at += 1
    text.skip_blanks()
    first = True
    while True:
        if first and text.char == "]":
            break
        first = False
        item = text.item()
        if not isinstance(item, tuple):
            yield item
            return
        value, start, end = item
        if type(value) is dict:
            # Line ends in JSON stand between its words only.
            yield Row(text.kept[start:end].replace("\r", " ").replace("\n", " "), text.line_of(start))
        else:
            yield partial(_not_an_object, text.excerpt(start), kind_of(value))
        mark = text.char
        if mark not in (",", "]"):
            yield text.fault(text.at, "Expecting ',' delimiter")
            return
        if mark == "]":
            break
        text.at += 1
        text.skip_blanks()
    text.at += 1
    if text.skip_blanks():
        yield text.fault(text.at, EXTRA)


class _Text:
    """The text of a file, of which what is behind has been let go."""

    def __init__(self, read: Callable[[int], str]) -> None:
        self._read = read
        self.kept = ""
        self.at = 0
        self.first = ""
        """The first character that is no blank."""
        self._line = 1
        """The number of the line in which what is kept begins."""
        self._counted = (0, 0)
        """A place in what is kept, and how many lines end before it."""

    @property
    def char(self) -> str:
        return self.kept[self.at : self.at + 1]

    def skip_blanks(self) -> bool:
        """Go to what is no blank; whether there is something."""
        while True:
            self.at = behind_blanks(self.kept, self.at)
            if self.at < len(self.kept):
                self.first = self.first or self.char
                return True
            if not self._more():
                return False

    def item(self) -> tuple[object, int, int] | Fault:
        """The value that begins here and where it stands; `at` goes to what follows it."""
        while True:
            try:
                value, end = _DECODER.raw_decode(self.kept, self.at)
            except json.JSONDecodeError as fault:
                if self._may_go_on(fault) and self._more():
                    continue
                return self.fault(fault.pos, fault.msg)
            except ValueError:  # valid, but Python holds no integer of so many digits
                return self.fault(self.at, "it holds too long a number")
            except RecursionError:
                return self.fault(self.at, "it is nested too deeply")
            behind = behind_blanks(self.kept, end)
            if behind == len(self.kept) and self._more():
                continue  # `12` may be the beginning of `123`
            start, self.at = self.at, behind
            return value, start, end

    def _may_go_on(self, fault: json.JSONDecodeError) -> bool:
        """Whether what seems broken may only be cut."""
        return fault.msg.startswith("Unterminated") or fault.pos > len(self.kept) - len("-Infinity\\ud83d\\")

    def _more(self) -> bool:
        """Read on, at least as much as is kept, so that a large item is not begun too often."""
        start = self.kept.rfind("\n", 0, self.at) + 1 or (self.at if self.at > CHUNK else 0)
        new = self._read(max(CHUNK, len(self.kept) - start))
        if not new:
            return False
        self._line = self.line_of(start)
        self._counted = (0, 0)
        self.kept = self.kept[start:] + new
        self.at -= start
        return True

    def line_of(self, place: int) -> int:
        counted, lines = self._counted
        if place < counted:
            counted, lines = 0, 0
        lines += self.kept.count("\n", counted, place)
        self._counted = (place, lines)
        return self._line + lines

    def excerpt(self, place: int, *, one: bool = False) -> Excerpt:
        """A place in what is kept, to the end of its line or of one character."""
        found = line_at(self.kept, place, one)
        return replace(found, line=found.line + self._line - 1)

    def fault(self, place: int, reason: str) -> Fault:
        last = max(len(self.kept.rstrip()) - 1, 0)
        return partial(malformed, self.excerpt(min(place, last), one=True), reason, self.first)


_DECODER = json.JSONDecoder()


def _no_array(text: _Text) -> Fault:
    read = text.item()
    if not isinstance(read, tuple):
        return read
    value, start, _ = read
    if text.char:
        return text.fault(text.at, EXTRA)
    place = text.excerpt(start, one=True)
    return lambda file: NotAnArray(span=place.span(file), found=kind_of(value))


def _not_an_object(place: Excerpt, found: str, file: Path) -> Diagnostic:
    return ItemNotAnObject(span=place.span(file), found=found)


# --- CSV ------------------------------------------------------------------------------------------------


def csv_records(lines: Iterable[str]) -> Iterator[Row | Fault]:
    """The rows of values separated by commas; the first line names the columns, and every value is a text."""
    import csv

    remembered = _Remembered(lines)
    reader = csv.reader(remembered, strict=True)
    header: list[str] | None = None
    before = csv.field_size_limit()
    while True:
        csv.field_size_limit(LONGEST_VALUE)  # it is Python's for all readers
        try:
            record = next(reader, None)
        except csv.Error as fault:
            yield partial(broken_csv, remembered.place(), str(fault))
            return
        finally:
            csv.field_size_limit(before)
        if record is None:
            return
        if not record:
            pass
        elif header is None:
            header = record
            if len(set(header)) < len(header):
                twice = next(name for number, name in enumerate(header) if name in header[:number])
                yield partial(_column_twice, remembered.place(), twice)
                return
        elif len(record) == len(header):
            row = dict(zip(header, record, strict=True))
            yield Row(json.dumps(row, ensure_ascii=False), remembered.line)
        else:
            yield partial(other_length, remembered.place(), len(record), len(header))
        remembered.next_record()


class _Remembered:
    """Lines, of which the first one of a record is kept."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self._read = 0
        self._first: str | None = None
        self.line = 1
        """Where the record begins."""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        text = next(self._lines)
        self._read += 1
        if self._first is None:
            self._first, self.line = text, self._read
        return text

    def next_record(self) -> None:
        self._first = None

    def place(self) -> Excerpt:
        text = (self._first or "").rstrip("\r\n")
        return Excerpt(text, self.line, 0, len(text))


def _column_twice(place: Excerpt, name: str, file: Path) -> Diagnostic:
    return ColumnTwice(span=place.span(file), name=name)
