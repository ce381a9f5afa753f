"""Reading rows of JSON lines with their places: what checker and runtime say about a bad line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.source import Source, Span

SHOWN = 10
"""Faulty rows of one file or dataset that are shown one by one; of the others the number is said."""


class MalformedRow(Diagnostic):
    code, slug = "E0505", "malformed-row"
    message = "the line is not JSON: {reason}"
    label = "here"
    help = "each line of a `jsonl` file is one JSON object"
    reason: str


class RowNotAnObject(Diagnostic):
    code, slug = "E0506", "row-not-an-object"
    message = "the line holds {found}, not an object"
    label = 'a row is an object: `{{"column": value}}`'
    help = "each line of a `jsonl` file is one JSON object"
    found: str


_DECODER = json.JSONDecoder()


def _json(line: str) -> Any:
    """As `json.loads`, but twice as fast for a line that is one object: files have many of them."""
    if line.startswith("{"):
        value, end = _DECODER.raw_decode(line)
        if line[end:] in ("", "\n", "\r", "\r\n"):
            return value
    return json.loads(line)


def read_line(file: Path, number: int, line: str) -> dict[str, Any] | Diagnostic | None:
    """One line as a row, or what is wrong with it; a blank line is None. `number` counts from 1."""
    if not line.strip():
        return None
    try:
        row = _json(line)
    except json.JSONDecodeError as fault:
        place = min(fault.pos, max(len(line.rstrip()) - 1, 0))
        reason = fault.msg[:1].lower() + fault.msg[1:]
        return MalformedRow(span=_span(file, number, line, place, place + 1), reason=reason)
    except ValueError:  # valid, but Python holds no integer of so many digits
        return MalformedRow(span=_span(file, number, line, 0, 1), reason="it holds too long a number")
    except RecursionError:
        return MalformedRow(span=_span(file, number, line, 0, 1), reason="it is nested too deeply")
    if not isinstance(row, dict):
        return RowNotAnObject(span=_span(file, number, line, 0, len(line.rstrip())), found=kind_of(row))
    return row


def read_bytes(file: Path, number: int, line: bytes) -> dict[str, Any] | Diagnostic | None:
    """One line as it stands in a file, as `read_line` has it."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as fault:
        place = len(line[: fault.start].decode("utf-8"))
        shown = line.decode("utf-8", errors="replace")
        return MalformedRow(span=_span(file, number, shown, place, place + 1), reason="it is not UTF-8")
    return read_line(file, number, text)


def _span(file: Path, number: int, line: str, start: int, end: int) -> Span:
    source = Source(str(file), line.rstrip("\r\n"), path=file, first_line=number)
    return source.span(start, max(end, start + 1))


def kind_of(value: object) -> str:
    """What a JSON value is, in words."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list() | tuple():
            return "a list"
    return "an object"
