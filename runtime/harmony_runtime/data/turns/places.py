"""Places in rows: where a value stands in the JSON text of its row, so that a fault can point at it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from harmony_grammar.source import Span
from harmony_runtime.data.rows.raw import RawRow

_BLANK = re.compile(r"[ \t\n\r]*")
_READ = json.JSONDecoder().raw_decode


def place_of(row: RawRow, path: Sequence[str | int]) -> Span:
    """Where the value at the end of a path of keys and numbers stands; the whole row where it does not."""
    text = row.text.decode("utf-8", errors="replace")
    try:
        at = _behind_blanks(text, 0)
        for step in path:
            at = _inside(text, at, step)
        return row.span(at, _READ(text, at)[1])
    except (ValueError, LookupError, RecursionError):
        return row.span()


def _inside(text: str, at: int, step: str | int) -> int:
    """Where a key's value or an item begins in the object or list at a place."""
    closing = {"{": "}", "[": "]"}[text[at]]
    found, number = -1, 0
    at = _behind_blanks(text, at + 1)
    while text[at] != closing:
        key: str | int = number
        if closing == "}":
            key, end = _READ(text, at)
            at = _behind_blanks(text, _behind_blanks(text, end) + 1)  # the colon
        if key == step:
            found = at  # of a key that stands twice, the last one counts
        at = _behind_blanks(text, _READ(text, at)[1])
        at = _behind_blanks(text, at + (text[at] == ","))
        number += 1
    if found < 0:
        raise LookupError(step)
    return found


def _behind_blanks(text: str, at: int) -> int:
    blank = _BLANK.match(text, at)
    assert blank is not None  # it matches nothing, too
    return blank.end()
