"""From turns to text to tokens.

`Chat` renders a thread through the tokenizer's chat template into segments of text, each with the weight that
its tokens have in a loss. Segments become tokens one by one, so that the ids before a completion are exactly
those that generation begins with.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import date
from functools import cached_property
from typing import Any

from harmony_runtime.graders.protocol import Turn
from harmony_runtime.models.masks import GenerationPrompt, Masks, Segment, TrainOn
from harmony_runtime.models.templates import ChatError, ChatTemplate, adds_bos, plain_template

__all__ = ["Chat", "ChatError", "Segment", "TrainOn", "adds_bos", "plain_template"]

_PROBE = [{"role": "user", "content": "question"}, {"role": "assistant", "content": "answer"}]
_SYSTEM = {"role": "system", "content": "be brief"}


class Chat:
    """A tokenizer with its chat template, ready to train on and to generate with."""

    def __init__(
        self,
        tokenizer: Any,
        end_tokens: Sequence[str],
        template_args: Mapping[str, Any] | None = None,
        generation_prompt: GenerationPrompt = "strict",
    ) -> None:
        self.tokenizer = tokenizer
        self.end_tokens = tuple(end_tokens)
        """Those at which generation stops; training ends a completion with one of them."""
        self._template_args = dict(template_args or {})
        self._generation_prompt = generation_prompt
        self._template = ChatTemplate(tokenizer, template_args)
        self._masks = Masks(tokenizer, self._template, self.end_tokens, generation_prompt)
        self.adds_bos = adds_bos(tokenizer)
        """Whether the tokenizer itself begins a text with its BOS."""

    def check_prompt(self) -> None:
        """Try to ask a question.

        Raises:
            ChatError: nothing can be generated with this template.
        """
        self.prompt(_PROBE[:1])

    def check(self) -> None:
        """Try to train on a question and an answer.

        Raises:
            ChatError: no thread can be trained on with this template.
        """
        self.segments(_PROBE, "last")

    def segments(self, turns: Sequence[Turn], train_on: TrainOn) -> list[Segment]:
        """The text of a thread in pieces, each with its weight.

        Raises:
            ChatError: the template refuses the thread, leaves a turn out, or what comes before a completion
                would differ between training and generation.
        """
        return self._masks.segments(turns, train_on)

    def answers(self, turns: Sequence[Turn], train_on: TrainOn) -> list[int]:
        """The numbers of the turns that are completions to train on."""
        return self._masks.answers(turns, train_on)

    def prompt(self, turns: Sequence[Turn]) -> list[Segment]:
        """The text that generation begins with, in one piece, as `segments` has it before a completion.

        Raises:
            ChatError: the template refuses the thread, or leaves a turn out.
        """
        return [Segment(self._masks.prompt(turns), 0.0)]

    def pair(
        self, turns: Sequence[Turn], chosen: Sequence[Turn], rejected: Sequence[Turn]
    ) -> tuple[list[Segment], list[Segment], list[Segment]]:
        """A prompt in one piece, and the pieces of two answers behind it, each up to its end token.

        Raises:
            ChatError: as `segments` does.
        """
        prompt = self.prompt(turns)
        return prompt, self._answer(turns, chosen, prompt), self._answer(turns, rejected, prompt)

    def prompts(self, threads: Sequence[Sequence[Turn]]) -> list[list[int]]:
        """The ids that generation begins with, thread by thread.

        Raises:
            ChatError: the template refuses a thread.
        """
        return [pieces[0][0] for pieces in self.tokens([self.prompt(turns) for turns in threads])]

    def tokens(self, threads: Sequence[Sequence[Segment]]) -> list[list[tuple[list[int], float]]]:
        """The segments' ids and weights, thread by thread."""
        if self._reads_on:
            ids = iter([ids for thread in threads for ids in self._in_context([s.text for s in thread])])
        else:
            ids = iter(self._ids([segment.text for thread in threads for segment in thread]))
        tokenised = [[(next(ids), weight) for _, weight in thread] for thread in threads]
        if self.adds_bos:
            for thread, pieces in zip(threads, tokenised, strict=True):
                if thread and not thread[0].text.startswith(self.tokenizer.bos_token):
                    pieces[0] = ([self.tokenizer.bos_token_id, *pieces[0][0]], pieces[0][1])
        return tokenised

    @cached_property
    def end_ids(self) -> tuple[int, ...]:
        return tuple(self.tokenizer.convert_tokens_to_ids(list(self.end_tokens)))

    @cached_property
    def digest(self) -> str:
        """A hash of all that decides the ids of a thread, today's date only where the template writes it."""
        return hashlib.sha256(
            json.dumps(
                [
                    self.tokenizer.chat_template,
                    self._template_args,
                    self._generation_prompt,
                    self.end_tokens,
                    _content(self.tokenizer),
                    date.today().isoformat() if self._dated else "",
                ],
                sort_keys=True,
                default=str,
            ).encode()
        ).hexdigest()

    @property
    def notes(self) -> tuple[str, ...]:
        """What people should know of the template; each completes the sentence "the chat template …"."""
        notes = []
        if self._dated:
            mend = (
                '`template_args = { date_string = "…" }` fixes it'
                if "date_string" in json.dumps(self.tokenizer.chat_template)
                else "a `chat_template` file without `strftime_now` fixes it"
            )
            notes.append(f"writes today's date into threads, so that tomorrow they are other ones: {mend}")
        if self._generation_prompt == "as_trained":
            own, trained = self._template.render(_PROBE[:1], prompt=True), self._masks.prompt(_PROBE[:1])
            if own != trained:
                notes.append(
                    f"would begin a completion by {own[-20:]!r}, and this recipe does by {trained[-20:]!r}, "
                    "as threads have it: who loads a saved model elsewhere should do so too"
                )
        return tuple(notes)

    @cached_property
    def _dated(self) -> bool:
        return self._template.dated(_PROBE) or self._template.dated([_SYSTEM, *_PROBE])

    @cached_property
    def _reads_on(self) -> bool:
        """Whether a text has other tokens at the beginning than behind another one.

        Tokenizers of SentencePiece's kind put a blank before each text.
        """
        whole, line, word = self._ids(["\na", "\n", "a"])
        return whole != line + word

    def _in_context(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of texts that follow each other.

        What stands before a text keeps the ids that it has alone, as generation has begun with it; where the
        tokenizer would join both, the text is tokenised alone.
        """
        pieces: list[list[int]] = []
        before: list[int] = []
        read = ""
        for text in texts:
            (ids,) = self._ids([read + text])
            if ids[: len(before)] != before:
                read, before = "", []
                (ids,) = self._ids([text])
            pieces.append(ids[len(before) :])
            read, before = read + text, ids
        return pieces

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        ids: list[list[int]] = (
            self.tokenizer(list(texts), add_special_tokens=False).input_ids if texts else []
        )
        return ids

    def _answer(
        self, turns: Sequence[Turn], answer: Sequence[Turn], prompt: Sequence[Segment]
    ) -> list[Segment]:
        answers = [number for number, turn in enumerate(answer, len(turns)) if turn["role"] == "assistant"]
        pieces = self._masks.cut([*turns, *answer], answers, asked={len(turns): prompt[0].text})
        if pieces[:1] != prompt[:1]:
            raise ChatError("writes other words before an answer than before none, or the answer comes later")
        last = max((number for number, piece in enumerate(pieces) if piece.weight), default=0)
        return pieces[1 : last + 1]


def _content(tokenizer: Any) -> Any:
    """What tells a tokenizer from others."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        known: Any = tokenizer.get_vocab()
    else:
        text = backend.to_str()
        # Before that stand padding and truncation: what was asked of it last, and no part of it.
        known = text[text.index('"added_tokens"') :]
    return [type(tokenizer).__name__, known, tokenizer.special_tokens_map, adds_bos(tokenizer)]
