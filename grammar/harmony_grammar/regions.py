"""Tokens and a place to the parts around it that a BROKEN token can stand for.

The smaller the part that is given up, the more of a faulty recipe is still checked: a field keeps its key, a
declaration its name.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from harmony_grammar.lexer import CLOSERS, Token

_OPENING = frozenset(CLOSERS)
_CLOSING = frozenset(CLOSERS.values())
_SEPARATORS = frozenset((",", "NEWLINE"))


def regions(tokens: list[Token], index: int) -> Iterator[tuple[int, int]]:
    """Start and end of the parts around the token at `index`, smallest first."""
    at = index
    while True:
        opening, start, stop = _item(tokens, at)
        if opening is None:
            break
        if stop - start >= 2 and tokens[start + 1].kind in ("=", ":") and start + 2 <= at:
            yield start + 2, stop
        if stop > start:
            yield start, stop
        at = opening
    if tokens and tokens[0].kind in ("INPUT", "VALUE"):
        yield from _clauses(tokens, index)
    elif tokens and tokens[0].kind not in ("RECIPE", "IMPORT", "SAVE"):
        yield 0, len(tokens)


def _item(tokens: list[Token], index: int) -> tuple[int | None, int, int]:
    """The field, argument or list item around a token: the bracket it is in, its first token, its end."""
    opening = start = None
    depth = 0
    for at in range(index - 1, -1, -1):
        kind = tokens[at].kind
        if kind in _CLOSING:
            depth += 1
        elif kind in _OPENING and depth:
            depth -= 1
        elif kind in _OPENING:
            opening = at
            break
        elif kind in _SEPARATORS and not depth and start is None:
            start = at + 1
    if start is None:
        start = 0 if opening is None else opening + 1
    stop, depth = index, 0
    while stop < len(tokens):
        kind = tokens[stop].kind
        if not depth and (kind in _SEPARATORS or kind in _CLOSING):
            break
        depth += (kind in _OPENING) - (kind in _CLOSING)
        stop += 1
    return opening, start, stop


def _clauses(tokens: list[Token], index: int) -> Iterator[tuple[int, int]]:
    """The type, default or condition of an input, the value of another declaration."""
    marks: list[int] = []
    left = [":", "=", "where"] if tokens[0].kind == "INPUT" else ["="]
    depth = 0
    for at, token in enumerate(tokens):
        if token.kind in left and not depth:
            marks.append(at)
            del left[: left.index(token.kind) + 1]
        depth += (token.kind in _OPENING) - (token.kind in _CLOSING)
    marks.append(len(tokens))
    for before, after in pairwise(marks):
        if before < index <= after:
            yield before + 1, after


def skeleton(tokens: list[Token]) -> list[Token] | None:
    """What is left of a declaration whose name is all that is known; `None` where that is no declaration."""
    kinds = [token.kind for token in tokens[:4]]
    at = tokens[-1].end if tokens else 0

    def made(*kinds: str) -> list[Token]:
        return [Token(kind, kind, at, at) for kind in kinds]

    if kinds[:2] == ["VALUE", "NAME"]:
        rest = [*tokens[:2], *made("=", "BROKEN")]
    elif kinds[:2] == ["INPUT", "NAME"]:
        rest = [*tokens[:2], *made(":", "BROKEN")]
    elif kinds[:2] == ["RECIPE", "NAME"]:
        rest = tokens[:2]
    elif len(kinds) == 4 and kinds[0] == "IMPORT" and kinds[2:] == ["as", "NAME"]:
        rest = tokens[:4]
    else:
        return None
    return rest if [token.kind for token in rest] != [token.kind for token in tokens] else None
