"""Comments at every gap between two tokens of a recipe.

A comment ends its line, and a newline may mean something: `newlines` are the gaps where it means nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise

from harmony_grammar.brackets import balance
from harmony_grammar.lexer import Token, end_lines, scan
from harmony_grammar.source import Source


class Gap:
    """What stands before a token, from the one before it (`end`) to its own `start`."""

    __slots__ = ("end", "start")

    def __init__(self, end: int, start: int) -> None:
        self.end = end
        self.start = start


def gaps(source: Source) -> list[Gap]:
    """Every gap of a recipe: before each token, and behind the last one."""
    tokens = scan(source).tokens
    start = 1 if source.text.startswith("\ufeff") else 0
    ends = [start, *(token.end for token in tokens)]
    starts = [*(token.start for token in tokens), len(source.text)]
    return [Gap(end, start) for end, start in zip(ends, starts, strict=True)]


def newlines(source: Source) -> list[Gap]:
    """The gaps of a recipe without faults where one newline more changes nothing."""
    tokens = scan(source).tokens
    now, _ = _ended(tokens, source)
    apart, refused = _ended([token._replace(indent=0) for token in tokens], source)
    changed = (now ^ apart) | refused
    return [gap for gap in gaps(source) if gap.start not in changed]


def with_comments(source: Source, chosen: Collection[Gap], mark: str = "#", *, trailing: bool = False) -> str:
    """The text with a comment in each of these gaps, each another one: on a line of its own directly before
    the token, or `trailing` behind the one before."""
    text = source.text
    for number, gap in sorted(enumerate(chosen, 1), key=lambda each: each[1].start, reverse=True):
        comment = f"{mark} note {number}"
        at = gap.end if trailing else gap.start
        before = " " if trailing else "" if _begins_line(text, at) else "\n"
        text = f"{text[:at]}{before}{comment}\n{text[at:]}"
    return text


def _begins_line(text: str, at: int) -> bool:
    return not text[text.rfind("\n", 0, at) + 1 : at].strip(" \t\ufeff")


def _ended(tokens: list[Token], source: Source) -> tuple[set[int], set[int]]:
    """The tokens, by their starts, before which something ends, and those that may not begin a line."""
    ended, findings = end_lines(balance(tokens, source)[0], source)
    begun = {after.start for before, after in pairwise(ended) if before.kind == "NEWLINE"}
    return begun, {finding.span.start for finding in findings}
