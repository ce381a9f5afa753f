"""From tokens back to the text that each stands for, for people who want to see them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from harmony_runtime.models.chat import Chat, Segment

Kind = Literal["text", "mark", "unknown", "lost", "cut"]
"""A mark is a token of its own such as `<|im_end|>`; what is lost stands in the text, and no token does for
it; what is cut has no room."""


class Token(NamedTuple):
    id: int | None
    """None for what is lost."""
    text: str
    """What it stands for; empty where an earlier token has begun the same character."""
    weight: float
    kind: Kind = "text"


class Speller:
    """Spells the segments of one chat: the very ids that training and generation see, each with its text."""

    def __init__(self, chat: Chat, unknown: int) -> None:
        self._chat = chat
        self._tokenizer = tokenizer = chat.tokenizer
        self._kinds: dict[int, Kind] = dict.fromkeys(tokenizer.all_special_ids, "mark")
        for number, added in tokenizer.added_tokens_decoder.items():
            if added.special or added.content.strip():  # some tokenizers add runs of blanks
                self._kinds[number] = "mark"
        self._kinds[unknown] = "unknown"

    def pieces(self, segments: Sequence[Segment]) -> list[list[Token]]:
        """The tokens of each segment, where the segments stand behind one another."""
        (pieces,) = self._chat.tokens([segments])
        whole, ids = "".join(segment.text for segment in segments), [n for piece, _ in pieces for n in piece]
        # A tokenizer that reads on from one text to the next can only tell of all together.
        together = iter(self._spelled(whole, ids)) if self._places(whole, ids) is not None else None
        spelled = []
        for segment, (piece, weight) in zip(segments, pieces, strict=True):
            texts = (
                self._spelled(segment.text, list(piece)) if together is None else _take(together, len(piece))
            )
            spelled.append(
                [
                    Token(number, text, 0.0 if number is None else weight, self._kind(number))
                    for number, text in texts
                ]
            )
        if together is not None and spelled:
            spelled[-1] += [Token(None, text, 0.0, "lost") for _, text in together]
        return spelled

    def _kind(self, number: int | None) -> Kind:
        return "lost" if number is None else self._kinds.get(number, "text")

    def _spelled(self, text: str, ids: list[int]) -> Iterator[tuple[int | None, str]]:
        places = self._places(text, ids)
        alone = [self._decoded([number]) for number in ids]
        if places is None:
            yield from zip(ids, alone, strict=True)
            return
        first = len(ids) - len(places)  # a BOS that no template wrote stands before the text
        yield from zip(ids[:first], alone[:first], strict=True)
        ids, alone = ids[first:], alone[first:]
        truthful = all(
            piece.strip() == text[start:end].strip() or "\ufffd" in piece or self._kind(number) == "unknown"
            for number, piece, (start, end) in zip(ids, alone, places, strict=True)
        )
        yield from _cut(text, ids, places) if truthful else _found(text, ids, alone)

    def _places(self, text: str, ids: list[int]) -> list[tuple[int, int]] | None:
        """Where in the text the last of the ids stand; None where the tokenizer cannot tell."""
        if not self._tokenizer.is_fast:
            return None
        found = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        same = ids[len(ids) - len(found.input_ids) :] == list(found.input_ids)
        return list(found.offset_mapping) if same else None

    def _decoded(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        return text


def _take(spelled: Iterator[tuple[int | None, str]], count: int) -> Iterator[tuple[int | None, str]]:
    """The next `count` tokens, and what is lost before each of them."""
    while count:
        number, text = next(spelled)
        count -= number is not None
        yield number, text


def _cut(text: str, ids: list[int], places: list[tuple[int, int]]) -> Iterator[tuple[int | None, str]]:
    """A text, cut where the tokenizer says."""
    done = 0
    for number, (start, end) in zip(ids, places, strict=True):
        gap = text[done:start]
        if gap.strip():
            yield None, gap
            gap = ""
        # Some tokenizers do not count the blank before a token as its own; and the bytes of one character
        # may be several tokens, each placed at the whole of it.
        yield number, gap + text[max(start, done) : end]
        done = max(done, end)
    if text[done:].strip():
        yield None, text[done:]


def _found(text: str, ids: list[int], alone: list[str]) -> Iterator[tuple[int | None, str]]:
    """A text in which each token is searched: where characters vanish, a tokenizer loses its place."""
    if not all(piece and piece in text for piece in alone):
        yield from zip(ids, alone, strict=True)
        return
    places, done = [], 0
    for piece in alone:
        start = max(text.find(piece, done), done)
        done = start + len(piece)
        places.append((start, done))
    yield from _cut(text, ids, places)
