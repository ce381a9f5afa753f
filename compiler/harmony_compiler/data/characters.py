"""Characters: how many tokens of the built-in tokenizer a text has, and what a template fills in.

A mark such as `<user>` is one token, and so is every other character.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from harmony_compiler.data.heads import Head
from harmony_compiler.data.templates import pieces
from harmony_compiler.graph.models import CHARS_MARKS

MARKS = re.compile("|".join(map(re.escape, CHARS_MARKS)))


def count(text: str) -> int:
    return len(MARKS.sub("x", text) if "<" in text else text)


def filled(head: Head, templates: Sequence[str]) -> list[int | None] | None:
    """For each row of a head the tokens that templates of `{{ column }}` write together; None for a row with
    a null, which no template prints. None where a template is more than that."""
    turns = [pieces(_lines(text)) for text in templates]
    parts = [piece for turn in turns if turn is not None for piece in turn]
    if None in turns:
        return None
    fixed = sum(count(text) for text, _ in parts)
    columns = [_tokens(head, name) for _, name in parts if name]
    if not columns:
        return [fixed] * len(head.rows)
    if any(None in column for column in columns):
        rows = zip(*columns, strict=True)
        return [None if None in row else fixed + sum(filter(None, row)) for row in rows]
    sums: Any = columns[0] if len(columns) == 1 else map(sum, zip(*columns, strict=True))
    return [fixed + tokens for tokens in sums]


def _lines(text: str) -> str:
    """Every line of a template ends as Jinja ends it."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _tokens(head: Head, name: str) -> list[int | None]:
    """The tokens of a column's texts, and of what a template writes for other values; None for null."""

    def find() -> list[int | None]:
        column = head.column(name)
        if set(map(type, column)) <= {str} and "<" not in "".join(column):
            return list(map(len, column))
        return [None if value is None else count(str(value)) for value in column]

    found: list[int | None] = head.table.fact(("tokens", name), find)
    return found
