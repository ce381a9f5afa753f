"""Moving fields: the edits that take a field out of its block and put it into another."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harmony_grammar.diagnostics import Edit
from harmony_grammar.source import Span

_REST = r"[ \t]*,?[ \t]*\r?(?=\n|$)"
_COMMA_BEHIND = r"[ \t]*,[ \t]*"
_COMMA_BEFORE = r"[ \t]*,\s*$"


def taken_out(fields: Sequence[Span]) -> list[Edit]:
    """The edits that remove fields, with their lines or commas."""
    edits: list[Edit] = []
    for span in sorted((_with_surroundings(field) for field in fields), key=lambda span: span.start):
        start = max(span.start, edits[-1].span.end if edits else 0)
        edits.append(Edit(Span(span.source, start, span.end), ""))
    return edits


def _with_surroundings(field: Span) -> Span:
    text = field.source.text
    line = text.rfind("\n", 0, field.start) + 1
    if not text[line : field.start].strip() and (rest := re.compile(_REST).match(text, field.end)):
        return Span(field.source, line, min(rest.end() + 1, len(text)))
    if comma := re.compile(_COMMA_BEHIND).match(text, field.end):
        return Span(field.source, field.start, comma.end())
    if comma := re.compile(_COMMA_BEFORE).search(text, line, field.start):
        return Span(field.source, comma.start(), field.end)
    return field


def put_in(block: Span, fields: Sequence[Span], texts: Sequence[str]) -> Edit | None:
    """The edit that adds `texts` behind the fields of a block, in its own layout; None if it is full of
    comments. `block` is `{ … }`."""
    source, text = block.source, block.source.text
    if not fields:
        empty = not block.text[1:-1].strip()
        return Edit(block, "{ " + ", ".join(texts) + " }") if empty else None
    last = fields[-1]
    line = text.rfind("\n", 0, last.start) + 1
    line_end = text.find("\n", last.end)
    rest = text[last.end : line_end if line_end >= 0 else len(text)]
    code = rest.partition("#")[0].strip()
    if line_end < 0 or code not in ("", ","):
        return Edit(Span(source, last.end, last.end), "".join(f", {field}" for field in texts))
    indent = text[line : last.start]
    indent = indent[: len(indent) - len(indent.lstrip())]
    end = last.end + len(rest.rstrip("\r"))
    return Edit(Span(source, end, end), "".join(f"\n{indent}{field}" for field in texts))
