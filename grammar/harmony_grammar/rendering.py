"""Findings to text for people and to JSON for programs.

One finding is shown as its header, the lines of the text it speaks about with every label under its own
characters, and then notes and help:

    error[E0502 unknown-column]: the dataset has no column `anser`
      --> gsm8k.recipe:12:29
       |
    12 |   metadata = { answer = "{{ anser | trim }}" }
       |                             ^^^^^ not a column of data/gsm8k.jsonl
       |
       = columns: question, answer
       = help: did you mean `answer`?

`^` marks the cause, `-` the further places.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from harmony_grammar.diagnostics import Diagnostic, Fix
from harmony_grammar.records import Record
from harmony_grammar.source import Position, Source, Span

FORMAT_VERSION = 1

TAB = 4
"""How many blanks a tab is shown as."""

WIDTH = 120
"""How much of a long line is shown."""

MARGIN = 30
"""How much of a long line is shown before the first mark, at least."""

_STYLES = {"error": "1;31", "warning": "1;33", "note": "1;36", "line": "1;34", "label": "1;36", "bold": "1"}


def render_text(findings: Iterable[Diagnostic], *, color: bool = False) -> str:
    """All findings, an empty line between two; ends with a newline unless there are none."""
    paint = _Paint(color)
    return "\n".join(_render(finding, paint) for finding in findings)


def to_json(findings: Iterable[Diagnostic]) -> dict[str, Any]:
    return {"format_version": FORMAT_VERSION, "diagnostics": [_finding_json(finding) for finding in findings]}


# --- JSON -----------------------------------------------------------------------------------------------


def _finding_json(finding: Diagnostic) -> dict[str, Any]:
    words = finding.words
    return {
        "code": finding.code,
        "slug": finding.slug,
        "severity": finding.severity,
        "message": words.message,
        "span": _span_json(finding.span),
        "labels": [
            {"span": _span_json(label.span), "message": label.message}
            for label in [*_own_label(finding, words.label), *finding.labels]
        ],
        "notes": list(words.notes),
        "help": words.help,
        "fixes": [_fix_json(fix) for fix in finding.fixes],
        "rendered": render_text([finding]),
    }


def _span_json(span: Span) -> dict[str, Any]:
    return {
        "file": span.source.name,
        "start": _position_json(span.first),
        "end": _position_json(span.last),
    }


def _position_json(position: Position) -> dict[str, int]:
    return {"line": position.line, "column": position.column, "offset": position.offset}


def _fix_json(fix: Fix) -> dict[str, Any]:
    edits = [{"span": _span_json(edit.span), "text": edit.text} for edit in fix.edits]
    return {"message": fix.message, "applicability": fix.applicability, "edits": edits}


# --- text -----------------------------------------------------------------------------------------------


class _Paint:
    def __init__(self, color: bool) -> None:
        self.color = color

    def __call__(self, style: str, text: str) -> str:
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if self.color and text else text


class _Mark(Record):
    """A stretch of one line with a sign under it. `message` is empty where it is said on another line."""

    line: int
    start: int
    end: int
    sign: str
    message: str
    style: str


def _render(finding: Diagnostic, paint: _Paint) -> str:
    words = finding.words
    place = finding.span.first
    by_source: dict[Source, list[_Mark]] = {finding.span.source: []}
    by_source[finding.span.source] += _marks(finding.span, "^", words.label, finding.severity)
    for label in finding.labels:
        by_source.setdefault(label.span.source, []).extend(_marks(label.span, "-", label.message, "label"))
    gutter = max(len(str(mark.line)) for marks in by_source.values() for mark in marks)
    bar = " " * gutter + " " + paint("line", "|")

    header = f"{finding.severity}[{finding.code} {finding.slug}]"
    lines = [paint(finding.severity, header) + paint("bold", f": {words.message}")]
    for source, marks in by_source.items():
        at = place if source is finding.span.source else source.position(_first_offset(source, finding))
        # Of a file that could not be read there is nothing to show.
        readable = source.text or any(mark.message for mark in marks)
        column = f":{at.line}:{at.column}" if readable else ""
        lines.append(" " * gutter + paint("line", "--> ") + _shown(source.name) + column)
        if readable:
            lines += [bar, *_excerpt(source, marks, gutter, bar, paint)]
        lines.append(bar)
    notes = [*words.notes, *([f"help: {words.help}"] if words.help else [])]
    sign = " " * gutter + " " + paint("line", "=") + " "
    for note in notes:
        first, *rest = note.splitlines() or [""]
        lines.append(sign + first)
        lines += [" " * (gutter + 3) + line for line in rest]
    if not notes:
        lines.pop()
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _first_offset(source: Source, finding: Diagnostic) -> int:
    return next(label.span.start for label in finding.labels if label.span.source is source)


def _marks(span: Span, sign: str, message: str, style: str) -> list[_Mark]:
    """One mark, or two for a span over several lines: its first line to the end, and its last."""
    first, last = span.first, span.last
    if last.line > first.line and last.column == 1:
        last = span.source.position(max(span.start, span.end - 1))
    if first.line == last.line:
        return [_Mark(first.line, first.column - 1, max(last.column - 1, first.column), sign, message, style)]
    text = span.source.line(last.line)
    begin = len(text) - len(text.lstrip())
    length = len(span.source.line(first.line))
    return [
        _Mark(first.line, first.column - 1, max(length, first.column), sign, "", style),
        _Mark(last.line, min(begin, last.column - 2), last.column - 1, sign, message, style),
    ]


def _excerpt(source: Source, marks: Sequence[_Mark], gutter: int, bar: str, paint: _Paint) -> list[str]:
    """The marked lines; one line between two of them is shown, too, and `...` stands for more."""
    result: list[str] = []
    previous = 0
    for number, group in groupby(sorted(marks, key=lambda mark: mark.line), key=lambda mark: mark.line):
        if previous and number == previous + 2:
            result.append(_numbered(number - 1, _Window(source.line(number - 1), 0, 0).text, gutter, paint))
        elif previous and number > previous + 1:
            result.append(paint("line", "..."))
        previous = number
        here = list(group)
        window = _Window(source.line(number), min(m.start for m in here), max(m.end for m in here))
        result.append(_numbered(number, window.text, gutter, paint))
        result += [f"{bar} {line}" for line in _labels(here, window, paint)]
    return result


def _numbered(number: int, text: str, gutter: int, paint: _Paint) -> str:
    return paint("line", f"{number:>{gutter}} |") + f" {text}"


def _labels(marks: list[_Mark], window: _Window, paint: _Paint) -> list[str]:
    """The row of signs, and the messages: the last one behind its sign, the others on rows of their own."""
    marks = sorted(marks, key=lambda mark: (mark.start, mark.sign == "^"))
    signs: list[tuple[int, str, str]] = []
    filled = 0
    for mark in marks:
        start, end = window.columns(mark.start, mark.end)
        start = max(start, filled)
        signs.append((start, mark.sign * max(end - start, 1 if end > filled else 0), mark.style))
        filled = max(filled, start + len(signs[-1][1]))
    row = _row(signs, paint)
    *others, last = [(sign[0], mark) for sign, mark in zip(signs, marks, strict=True)]
    if last[1].message:
        row += " " + paint(last[1].style, last[1].message)
    rows = [row]
    spoken = [(column, mark) for column, mark in others if mark.message]
    if spoken:
        rows.append(_row([(column, "|", mark.style) for column, mark in spoken], paint))
    for index in range(len(spoken) - 1, -1, -1):
        column, mark = spoken[index]
        bars = [(place, "|", other.style) for place, other in spoken[:index] if place < column]
        rows.append(_row([*bars, (column, mark.message, mark.style)], paint))
    return rows


def _row(parts: Iterable[tuple[int, str, str]], paint: _Paint) -> str:
    text, filled = "", 0
    for column, characters, style in parts:
        if column >= filled:
            text += " " * (column - filled) + paint(style, characters)
            filled = column + len(characters)
    return text


def _own_label(finding: Diagnostic, message: str) -> list[Any]:
    """In JSON the label of the cause stands first among the labels."""
    from harmony_grammar.diagnostics import Label

    return [Label(finding.span, message)] if message else []


# --- columns on the screen ------------------------------------------------------------------------------


class _Window:
    """A line as it is shown: tabs widened, what cannot be printed replaced, cut to what matters if long."""

    def __init__(self, line: str, start: int, end: int) -> None:
        cells = [_cell(character) for character in line]
        self._ends = [0]
        for cell in cells:
            self._ends.append(self._ends[-1] + _width(cell))
        total = self._ends[-1]
        left, right = self._place(start), self._place(end)
        if total <= WIDTH:
            self._from, self._to = 0, total
        else:
            room = max(WIDTH - (right - left), 2 * MARGIN)
            self._from = max(0, min(left - min(room // 2, MARGIN), total - WIDTH))
            self._to = min(total, self._from + WIDTH)
        shown = [
            cell
            for cell, begin, stop in zip(cells, self._ends, self._ends[1:], strict=False)
            if self._from <= begin and stop <= self._to
        ]
        self._lead = "…" if self._from else ""
        self._offset = next((begin for begin in self._ends if begin >= self._from), 0) - len(self._lead)
        self.text = self._lead + "".join(shown) + ("…" if self._to < total else "")

    def _place(self, index: int) -> int:
        return self._ends[index] if index < len(self._ends) else self._ends[-1] + index - len(self._ends) + 1

    def columns(self, start: int, end: int) -> tuple[int, int]:
        """Where the characters `start` to `end` of the line stand on the screen."""
        limit = max(self._to, self._from + 1) if self._to < self._ends[-1] else self._place(end)
        left = min(self._place(start), limit) - self._offset
        right = min(self._place(end), limit) - self._offset
        return left, max(right, left + 1)


def _cell(character: str) -> str:
    if character == "\t":
        return " " * TAB
    if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in _DIRECTIONS:
        return "\ufffd"
    return character


# Signs that reverse the direction of writing could make a line look as if it said something else.
_DIRECTIONS = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def _width(cell: str) -> int:
    if len(cell) != 1:
        return len(cell)
    if cell.isascii():
        return 1
    if unicodedata.combining(cell) or unicodedata.category(cell) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(cell) in ("W", "F") else 1


def _shown(name: str) -> str:
    return "".join(_cell(character) for character in name)
