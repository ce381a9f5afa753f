"""From turns to text to tokens.

`Chat` renders a thread through the tokenizer's chat template into segments of text, each trained on or not.
The text up to a completion is rendered as a prompt for generation would be, and tokenised by itself; the
completion with its end token is tokenised by itself. So the ids that training sees before a completion are
exactly those that generation will see.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from jinja2 import TemplateError

from harmony_runtime.graders.protocol import Turn

TrainOn = Literal["last", "all", "everything"]

PLAIN = (
    "{% for message in messages %}"
    "{{ message.content }}"
    "{% if message.role == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% if not loop.last or add_generation_prompt %}{{ '\\n\\n' }}{% endif %}"
    "{% endfor %}"
)
"""`chat_template = "plain"`: turns joined by a blank line, the end token after each completion."""

_PROBE = [{"role": "user", "content": "question"}, {"role": "assistant", "content": "answer"}]


class Segment(NamedTuple):
    text: str
    weight: float
    """What its tokens count in a loss; 0: they are only read."""


class ChatError(ValueError):
    """A template that cannot be trained on; the text completes the sentence "the chat template …"."""


def plain_template(tokenizer: Any) -> str:
    return "{{ bos_token }}" + PLAIN if adds_bos(tokenizer) else PLAIN


def adds_bos(tokenizer: Any) -> bool:
    """Whether the tokenizer itself begins a text with its BOS."""
    bos = tokenizer.bos_token_id
    return bos is not None and tokenizer("a").input_ids[:1] == [bos]


class Chat:
    """A tokenizer with its chat template, ready to train on."""

    def __init__(self, tokenizer: Any, end_tokens: Sequence[str]) -> None:
        self.tokenizer = tokenizer
        self._end_tokens = end_tokens
        self._adds_bos = adds_bos(tokenizer)

    def check(self) -> None:
        """Try the template on a question and an answer.

        Raises:
            ChatError: no thread can be trained on with this template.
        """
        self.segments(_PROBE, "last")

    def segments(self, messages: Sequence[Turn], train_on: TrainOn) -> list[Segment]:
        """The text of a thread in pieces. Pieces are tokenised one by one.

        Raises:
            ChatError: the template refuses the thread, or what comes before a completion would differ
                between training and generation.
        """
        whole = self._render(messages, prompt=False)
        answers = [number for number, message in enumerate(messages) if message["role"] == "assistant"]
        pieces: list[Segment] = []
        done = ""
        for number in answers[-1:] if train_on == "last" else answers:
            prompt = self._render(messages[:number], prompt=True)
            last = number + 1 == len(messages)
            closed = whole if last else self._render(messages[: number + 1], prompt=False)
            if not (prompt.startswith(done) and closed.startswith(prompt) and whole.startswith(prompt)):
                raise ChatError(
                    "writes a prompt for generation that is not the beginning of the whole thread, so "
                    "training and generation would see different prompts"
                )
            answer = self._up_to_end(closed[len(prompt) :])
            if not whole.startswith(prompt + answer):
                raise ChatError("writes a completion differently where turns follow it")
            pieces += [Segment(prompt[len(done) :], 0.0), Segment(answer, 1.0)]
            done = prompt + answer
        pieces.append(Segment(whole[len(done) :], 0.0))
        everything = train_on == "everything"
        return [Segment(text, 1.0 if everything else weight) for text, weight in pieces if text]

    def prompt(self, messages: Sequence[Turn]) -> list[Segment]:
        """The text that generation begins with, in one piece, as `"last"` has it before a completion.

        Raises:
            ChatError: the template refuses the thread.
        """
        return [Segment(self._render(messages, prompt=True), 0.0)]

    def prompts(self, threads: Sequence[Sequence[Turn]]) -> list[list[int]]:
        """The ids that generation begins with, thread by thread.

        Raises:
            ChatError: the template refuses a thread.
        """
        return [pieces[0][0] for pieces in self.tokens([self.prompt(messages) for messages in threads])]

    def tokens(self, threads: Sequence[Sequence[Segment]]) -> list[list[tuple[list[int], float]]]:
        """The segments' ids, thread by thread."""
        texts = [segment.text for thread in threads for segment in thread]
        ids = iter(self.tokenizer(texts, add_special_tokens=False).input_ids if texts else ())
        tokenised = [[(next(ids), weight) for _, weight in thread] for thread in threads]
        if self._adds_bos:
            for thread, pieces in zip(threads, tokenised, strict=True):
                if thread and not thread[0].text.startswith(self.tokenizer.bos_token):
                    pieces[0] = ([self.tokenizer.bos_token_id, *pieces[0][0]], pieces[0][1])
        return tokenised

    def _up_to_end(self, tail: str) -> str:
        """A completion with its end token, without what the template writes behind it."""
        for end in self._end_tokens:
            found = tail.rfind(end)
            if found >= 0:
                return tail[: found + len(end)]
        raise ChatError(
            f"closes a completion without the end token {self._end_tokens[0]!r}, as in {tail[-40:]!r}, so a "
            "model trained on it would never end: name the token that closes a completion in `end_token`"
        )

    def _render(self, messages: Sequence[Turn], *, prompt: bool) -> str:
        try:
            # transformers renders in Jinja's sandbox.
            text: str = self.tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=prompt
            )
        except TemplateError as fault:
            raise ChatError(f"refuses a thread: {fault}") from fault
        return text
