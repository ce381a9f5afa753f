"""Text and places in it.

A `Source` is one text a person wrote: a recipe file, the argument of a `--set`, one line of a data file.
A `Span` is a stretch of a source. Every later phase points at spans, never at bare numbers, so that a
diagnostic can always show the text it speaks about.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import cached_property
from pathlib import Path

from harmony_grammar.masking import masked
from harmony_grammar.records import Record


class Position(Record):
    """A place as people count it: line and column from 1, columns in code points; the offset from 0."""

    line: int
    column: int
    offset: int


class Source(Record, eq=False):
    """A text with a name. `name` is what diagnostics print: the path as the user gave it, or `--set lr`.

    `path` is where the text was read from, `None` for text without a file. `first_line` is above 1 where
    the text is an excerpt: a data row is shown under its line number in the data file.
    """

    name: str
    text: str
    path: Path | None = None
    first_line: int = 1
    hidden: tuple[tuple[int, int], ...] = ()
    """Stretches that are not shown, since a secret stands there."""

    @cached_property
    def _line_starts(self) -> list[int]:
        starts = [0]
        starts.extend(i + 1 for i, character in enumerate(self.text) if character == "\n")
        return starts

    def position(self, offset: int) -> Position:
        index = bisect_right(self._line_starts, offset) - 1
        return Position(index + self.first_line, offset - self._line_starts[index] + 1, offset)

    def line(self, number: int) -> str:
        """The text of a line by its number as printed, without its line ending and without secrets."""
        index = number - self.first_line
        start = self._line_starts[index]
        end = self._line_starts[index + 1] if index + 1 < len(self._line_starts) else len(self.text)
        text = self.text[start:end].rstrip("\r\n")
        return masked(text, ((first - start, last - start) for first, last in self.hidden))

    @property
    def folder(self) -> Path:
        """What a relative path in this text is relative to: the file's folder, else the working directory."""
        return self.path.parent if self.path else Path.cwd()

    def span(self, start: int, end: int) -> Span:
        return Span(self, start, end)


class Span(Record):
    """The characters `start` to `end` (exclusive, code points from 0) of a source."""

    source: Source
    start: int
    end: int

    @property
    def text(self) -> str:
        return self.source.text[self.start : self.end]

    @property
    def first(self) -> Position:
        return self.source.position(self.start)

    @property
    def last(self) -> Position:
        """The position just behind the last character."""
        return self.source.position(self.end)

    def to(self, other: Span) -> Span:
        """From the start of this span to the end of `other`, which stands later in the same source."""
        return Span(self.source, self.start, other.end)
