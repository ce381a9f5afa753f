"""Rows as they were written, with their places.

A row is kept as text until it is mapped: a table library would guess one type a column, and so turn dates
into timestamps, integers into floats, and missing keys into nulls.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harmony_compiler.store.rows import read_bytes
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.source import Source, Span


@dataclass(frozen=True)
class RawRow:
    """One row as it was written, or as JSON says what was written."""

    text: bytes
    name: str
    """The file that it stands in, as people know it."""
    path: Path | None
    line: int

    def span(self, start: int = 0, end: int | None = None) -> Span:
        """A place in the row, for a diagnostic."""
        text = self.text.decode("utf-8", errors="replace")
        return Source(self.name, text, self.path, self.line).span(start, len(text) if end is None else end)

    def columns(self) -> dict[str, Any] | Diagnostic:
        """The row's columns, or what is wrong with it."""
        found = read_bytes(Path(self.name), self.line, self.text)
        return {} if found is None else found
