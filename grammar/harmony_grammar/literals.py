"""Literals to values: numbers, percents, durations, strings.

Strings keep a map back to the source (`Text.origins`), so that a fault inside a template is shown at its own
characters, behind escapes and removed indentation.
"""

from __future__ import annotations

import math
import re

from harmony_grammar import literal_errors as errors
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.records import Record
from harmony_grammar.source import Span
from harmony_grammar.syntax import Broken, Duration, Number, Percent, Text

LARGEST_INT = 2**63 - 1

_NUMBER = re.compile(r"([0-9][0-9_]*(?:\.[0-9][0-9_]*)?(?:[eE][+-]?[0-9]+)?)(.*)")
_ESCAPE = re.compile(r"\\(?:u\{([0-9A-Fa-f]{1,6})\}|(u\{[^}\"\n]*\}|.))", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\"}


# --- numbers --------------------------------------------------------------------------------------------


def number(span: Span) -> tuple[Number | Percent | Duration | Broken, Diagnostic | None]:
    found = _NUMBER.match(span.text)
    assert found
    digits, unit = found.groups()
    if unit not in ("", "%", *errors.UNITS):
        place = Span(span.source, span.start + len(digits), span.end)
        return Broken(span), errors.UnknownUnit.of(digits, place)
    try:
        value = float(digits) if re.search("[.eE]", digits) else int(digits[:400])
    except ValueError:
        return Broken(span), errors.MalformedNumber.at(
            Span(span.source, span.start, span.start + len(digits))
        )
    if isinstance(value, float) and math.isinf(value):
        return Broken(span), errors.NumberTooLarge(span=span, limit="1.8e308, the largest float")
    if isinstance(value, int) and value > LARGEST_INT:
        return Broken(span), errors.NumberTooLarge(span=span, limit=f"{LARGEST_INT}, the largest int")
    if unit == "":
        return Number(span, value), None
    if unit == "%":
        return Percent(span, value), None
    return Duration(span, value, unit), None


# --- strings --------------------------------------------------------------------------------------------


class _Piece(Record):
    """A stretch of the source, `start` to `end`, that stands in the string as it is, escapes apart."""

    start: int
    end: int


def text(span: Span, kind: str) -> Text:
    """The string literal at `span`; `kind` is its kind of token."""
    source = span.source.text
    if kind == "RAW":
        return Text(span, source[span.start + 2 : span.end - 1], "raw", ((0, span.start + 2),))
    if kind == "STRING":
        start, end = span.start + 1, span.end - 1
        if "\\" not in source[start:end]:
            return Text(span, source[start:end], "plain", ((0, start),))
        return _decode(span, [_Piece(start, end)], "plain")
    return _decode(span, _dedent(source, span.start + 3, span.end - 3), "long")


def _dedent(source: str, start: int, end: int) -> list[_Piece]:
    """The lines of a long string: without the first newline, the common indentation and the last blanks."""
    lines: list[_Piece] = []
    while (newline := source.find("\n", start, end)) >= 0:
        lines.append(_Piece(start, newline + 1))
        start = newline + 1
    lines.append(_Piece(start, end))
    if len(lines) == 1:
        return lines
    first, *rest = lines
    closing = rest[-1]
    ends_alone = not source[closing.start : closing.end].strip(" \t")
    margins = [
        source[line.start : line.end]
        for line in rest
        if source[line.start : line.end].strip() or (line is closing and not ends_alone)
    ]
    margin = _common_margin(margins)
    kept = [_Piece(min(line.start + len(margin), _blank_end(source, line)), line.end) for line in rest]
    if source[first.start : first.end].strip():
        kept.insert(0, first)
    if ends_alone:
        kept.pop()
        if kept:
            last = kept[-1]
            newline = (
                last.end - 1 - (source[last.end - 2 : last.end - 1] == "\r" and last.end - 2 >= last.start)
            )
            kept[-1] = _Piece(min(last.start, newline), newline)
    return kept


def _common_margin(lines: list[str]) -> str:
    if not lines:
        return ""
    low, high = min(lines), max(lines)
    common = 0
    while common < min(len(low), len(high)) and low[common] == high[common] and low[common] in " \t":
        common += 1
    return low[:common]


def _blank_end(source: str, line: _Piece) -> int:
    """Where the blanks at the beginning of a line end: a blank line may be shorter than the margin."""
    at = line.start
    while at < line.end and source[at] in " \t":
        at += 1
    return at


def _decode(span: Span, pieces: list[_Piece], style: str) -> Text:
    source = span.source.text
    value: list[str] = []
    length = 0
    origins: list[tuple[int, int]] = [] if pieces else [(0, span.start + 3)]
    bad: list[Span] = []

    for piece in pieces:
        at = piece.start
        origins.append((length, at))
        while at < piece.end:
            backslash = source.find("\\", at, piece.end)
            stop = piece.end if backslash < 0 else backslash
            value.append(source[at:stop].replace("\r\n", "\n"))
            length += len(value[-1])
            at = stop
            if at < piece.end:
                origins.append((length, at))
                character, at = _escape(span, at, piece.end, bad)
                value.append(character)
                length += 1
                origins.append((length, at))
    return Text(span, "".join(value), style, tuple(origins), tuple(bad))  # type: ignore[arg-type]


def _escape(span: Span, start: int, end: int, bad: list[Span]) -> tuple[str, int]:
    """The character for the escape at `start`, and where it ends; in an unknown one the `\\` is kept."""
    found = _ESCAPE.match(span.source.text, start, end)
    code, other = found.groups() if found else ("", "")
    if found and code and int(code, 16) <= 0x10FFFF and not 0xD800 <= int(code, 16) <= 0xDFFF:
        return chr(int(code, 16)), found.end()
    if found and other in _ESCAPES:
        return _ESCAPES[other], found.end()
    bad.append(Span(span.source, start, found.end() if found else start + 1))
    return "\\", start + 1
