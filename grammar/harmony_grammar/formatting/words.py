"""Text to words: the tokens of a recipe, each with the comments that stand before it.

Commas are left out: the layout decides where they stand. What stood around one belongs to the next word.
"""

from __future__ import annotations

from typing import NamedTuple

from harmony_grammar.lexer import Token, scan
from harmony_grammar.source import Source
from harmony_grammar.syntax import Comment


class Remark(NamedTuple):
    """A comment. One that is not `trailing` has a line of its own, below a `blank` one or not."""

    text: str
    trailing: bool
    blank: bool


class Word(NamedTuple):
    """A token; `fresh` where it is the first of its line, `blank` where the line above is empty."""

    kind: str
    text: str
    start: int
    remarks: tuple[Remark, ...]
    fresh: bool
    blank: bool


END = "end of the text"
"""The kind of the last word, which holds the comments behind everything else."""


class Words:
    """The words of a text, taken one by one from the left."""

    def __init__(self, source: Source) -> None:
        self._words = _words(source)
        self._at = 0

    def peek(self, ahead: int = 0) -> Word:
        return self._words[min(self._at + ahead, len(self._words) - 1)]

    def take(self) -> Word:
        word = self._words[self._at]
        self._at += 1
        return word

    def take_sign(self, count: int = 1) -> list[Word]:
        """An operator, of `count` words, with the comments inside and behind it moved before it: lines are
        broken before operators, and a comment behind one would part it from its operand. `fresh` tells of all
        these places."""
        signs = [self.take() for _ in range(count)]
        places = [*signs, self.peek()]
        remarks = [
            remark._replace(trailing=remark.trailing and not any(place.remarks for place in places[:index]))
            for index, place in enumerate(places)
            for remark in place.remarks
        ]
        self._words[self._at] = self.peek()._replace(remarks=())
        first, *others = (sign._replace(remarks=()) for sign in signs)
        fresh = any(place.fresh for place in places)
        return [first._replace(remarks=tuple(remarks), fresh=fresh), *others]


def _words(source: Source) -> list[Word]:
    scanned = scan(source)
    text = source.text
    words: list[Word] = []
    remarks: list[Remark] = []
    pieces: list[Token | Comment] = sorted([*scanned.tokens, *scanned.comments], key=_start)
    end = 0
    parted = False
    for piece in pieces:
        start = _start(piece)
        gap = text[end:start]
        blank = gap.count("\n") > 1 or parted
        if isinstance(piece, Token):
            end = piece.end
            if piece.kind != ",":
                fresh = piece.indent >= 0
                words.append(Word(piece.kind, _text(piece.text), start, tuple(remarks), fresh, blank))
                remarks = []
            parted = False
            continue
        trailing = not remarks and bool(words) and "\n" not in gap
        remarks.append(Remark(piece.text.rstrip(), trailing, blank))
        end = piece.span.end
        # Behind other blanks than these, `##` is no documentation, and must not become one.
        parted = "\n" in gap and bool(gap.rpartition("\n")[2].strip(" \t"))
    blank = text[end:].count("\n") > 1
    words.append(Word(END, "", len(text), tuple(remarks), True, blank))
    return words


def _start(piece: Token | Comment) -> int:
    return piece.start if isinstance(piece, Token) else piece.span.start


def _text(written: str) -> str:
    """A token as written; inside a long string, too, lines end in one character."""
    return written.replace("\r\n", "\n") if "\r\r" not in written else written
