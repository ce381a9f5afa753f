"""Masks: which part of a thread's text a loss counts.

A completion begins where the text ends that generation begins with, and ends with the first end token behind
its words. Both are found in the render of the whole thread; nothing is assumed of how the template built it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import zip_longest
from typing import Any, Literal, NamedTuple

from harmony_runtime.graders.protocol import Turn
from harmony_runtime.models.templates import ChatError, ChatTemplate, Place, mark

TrainOn = Literal["last", "all", "everything"]
GenerationPrompt = Literal["strict", "as_trained"]

_ANSWER = {"role": "assistant", "content": mark(1)}
"""Stands for a completion that is not there yet."""


class Segment(NamedTuple):
    text: str
    weight: float
    """What its tokens count in a loss; 0: they are only read."""


class Masks:
    """A template, the tokens that end a completion, and what a completion is asked by."""

    def __init__(
        self,
        tokenizer: Any,
        template: ChatTemplate,
        end_tokens: Sequence[str],
        generation_prompt: GenerationPrompt,
    ) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self._end_tokens = end_tokens
        self._generation_prompt = generation_prompt

    def segments(self, turns: Sequence[Turn], train_on: TrainOn) -> list[Segment]:
        """The text of a thread in pieces, each with its weight.

        Raises:
            ChatError: the template refuses the thread, or leaves a turn out, or gives no right mask.
        """
        answers = self.answers(turns, train_on)
        return self.cut(turns, answers, between=1.0 if train_on == "everything" else 0.0)

    def answers(self, turns: Sequence[Turn], train_on: TrainOn) -> list[int]:
        """The numbers of the turns that are completions to train on."""
        answers = [number for number, turn in enumerate(turns) if turn["role"] == "assistant"]
        if train_on == "everything":
            return answers
        # What is only read needs no prompt that generation would agree with.
        return [
            number for number in (answers[-1:] if train_on == "last" else answers) if _weight(turns[number])
        ]

    def cut(
        self,
        turns: Sequence[Turn],
        answers: Collection[int],
        between: float = 0.0,
        asked: Mapping[int, str] | None = None,
    ) -> list[Segment]:
        """The text of a thread, cut around the answers: what stands between them weighs `between`. `asked`
        are prompts that are known already, each by the number of the turn that answers it.

        Raises:
            ChatError: as `segments` does.
        """
        whole = self._template.render(turns, prompt=False)
        places = self._template.places(turns, whole, prompt=False)
        pieces, done = [], 0
        known = asked or {}
        for number in answers:
            begin = self._begin(turns[:number], whole, known.get(number))
            end = self._end(whole, begin, number, places)
            pieces += [
                Segment(whole[done:begin], between),
                Segment(whole[begin:end], _weight(turns[number])),
            ]
            done = end
        pieces.append(Segment(whole[done:], between))
        return [piece for piece in pieces if piece.text]

    def prompt(self, turns: Sequence[Turn]) -> str:
        """The text that generation begins with.

        Raises:
            ChatError: the template refuses the thread, or leaves a turn out.
        """
        if self._generation_prompt == "strict":
            text = self._template.render(turns, prompt=True)
            self._template.places(turns, text, prompt=True)
            return text
        answered = [*turns, _ANSWER]
        whole = self._template.render(answered, prompt=False)
        self._template.places(answered, whole, prompt=False)
        return _before_answer(whole)

    def _begin(self, before: Sequence[Turn], whole: str, asked: str | None) -> int:
        """Where the completion of these turns begins."""
        if not before and self._generation_prompt == "strict":
            raise ChatError(
                "has no prompt for an assistant turn that opens the thread: give that turn the weight 0, or "
                "train on the last one only"
            )
        if asked is None:
            asked = self._asked(before, self._generation_prompt)
        if not whole.startswith(asked):
            raise ChatError(self._differs(before, asked, whole))
        return len(asked)

    def _asked(self, before: Sequence[Turn], generation_prompt: GenerationPrompt) -> str:
        if generation_prompt == "strict":
            return self._template.render(before, prompt=True)
        return _before_answer(self._template.render([*before, _ANSWER], prompt=False))

    def _differs(self, before: Sequence[Turn], asked: str, whole: str) -> str:
        """Why training and generation would not agree, by the first token in which they differ."""
        asked_token, trained_token = first_difference(self._spelled(asked), self._spelled(whole))
        differs = (
            f"asks for a completion with {asked_token} where the thread that is trained on has "
            f"{trained_token}, so training and generation would see different prompts"
        )
        try:
            mended = self._generation_prompt == "strict" and whole.startswith(
                self._asked(before, "as_trained")
            )
        except ChatError:
            mended = False
        mend = '`generation_prompt = "as_trained"` begins completions by the words trained on'
        return f"{differs}: {mend}" if mended else differs

    def _end(self, whole: str, begin: int, number: int, places: dict[int, Place]) -> int:
        """Where the end token of a turn ends, in a text in which the turns' words have these places."""
        own = places[number]
        behind = max(own.end, begin)
        others = [place for other, place in places.items() if other != number]
        limit = min((place.begin for place in others if place.begin >= own.end), default=len(whole))
        ends = [
            found + len(end) for end in self._end_tokens if (found := whole.find(end, behind, limit)) >= 0
        ]
        if not ends:
            raise ChatError(self._unended(whole[behind:limit]))
        if any(place.begin < min(ends) and place.end > begin for place in others):
            raise ChatError(
                f"writes the words of other turns into assistant turn {number + 1}, so that they would be "
                "trained on"
            )
        return min(ends)

    def _unended(self, tail: str) -> str:
        """Why a completion has no end."""
        marks = [(tail.find(text), text) for text in self._tokenizer.get_added_vocab()]
        stands = min((found for found in marks if found[0] >= 0), default=None)
        ends = " or ".join(repr(end) for end in self._end_tokens)
        closes = f"closes a completion without the end token {ends}"
        if stands is None:
            found, mend = f"as in {tail[:40]!r}", "name the token that closes a completion in `end_token`"
        else:
            found, mend = f"and writes {stands[1]!r} there", f'add `end_token = "{stands[1]}"`'
        return f"{closes}, {found}, so a model trained on it would never end: {mend}"

    def _spelled(self, text: str) -> list[str]:
        ids = self._tokenizer(text, add_special_tokens=False).input_ids
        return [self._tokenizer.decode([token]) for token in ids]


def first_difference(one: Sequence[str], other: Sequence[str]) -> tuple[str, str]:
    """The first tokens in which two texts differ, in quotes."""
    found = next(pair for pair in zip_longest(one, other) if pair[0] != pair[1])
    asked, trained = ("nothing" if token is None else repr(token) for token in found)
    return asked, trained


def _before_answer(text: str) -> str:
    before, answer, behind = text.partition(_ANSWER["content"])
    if not answer or answer in behind:
        raise ChatError("does not write what the assistant says just once: name another `chat_template`")
    return before


def _weight(turn: Turn) -> float:
    return float(turn.get("weight", 1.0))
