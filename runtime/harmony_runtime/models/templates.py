"""Chat templates: from turns to one text.

A template is a program, and what it makes of a thread need not be built from what it makes of its turns: it
may drop a turn, trim it, write it elsewhere. `ChatTemplate.places` finds out where each turn's words stand by
rendering the thread with a mark in their stead.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jinja2 import Environment, TemplateError, TemplateSyntaxError

from harmony_runtime.graders.protocol import Turn

PLAIN = (
    "{% for message in messages %}"
    "{{ message.content }}"
    "{% if message.role == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% if not loop.last or add_generation_prompt %}{{ '\\n\\n' }}{% endif %}"
    "{% endfor %}"
)
"""`chat_template = "plain"`: turns joined by a blank line, the end token after each completion."""

_PLAIN_TURN = {"role", "content", "weight"}

_MOST_FRAMES = 1_000

_FAULTS = (
    TemplateError,
    ArithmeticError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    RecursionError,
)
"""What a template of any content raises, or transformers on its behalf."""


class ChatError(ValueError):
    """A template that cannot be trained on; the text completes the sentence "the chat template …"."""


class Place(NamedTuple):
    """Where the words of a turn stand in a render: between two offsets."""

    begin: int
    end: int


def plain_template(tokenizer: Any) -> str:
    return "{{ bos_token }}" + PLAIN if adds_bos(tokenizer) else PLAIN


def adds_bos(tokenizer: Any) -> bool:
    """Whether the tokenizer itself begins a text with its BOS."""
    bos = tokenizer.bos_token_id
    return bos is not None and tokenizer("a").input_ids[:1] == [bos]


def mark(number: int = 0) -> str:
    """A text that stands for a turn's words. Its ends are characters for private use, in nobody's text."""
    return f"\ue000{number}\ue001"


def with_values(template: str, values: Mapping[str, Any]) -> str:
    """A template that has these values where nobody gives others."""
    given = "".join(
        f"{{%- if {name} is not defined or {name} is none %}}"
        f"{{%- set {name} = {_literal(value)} %}}{{%- endif %}}"
        for name, value in values.items()
        if _is_name(name)
    )
    # Behind a block Jinja drops a line break; the expression keeps the template's own one.
    return f"{given}{{{{- '' }}}}{template}" if given else template


class ChatTemplate:
    """A tokenizer's chat template with the values that the recipe adds."""

    def __init__(self, tokenizer: Any, args: Mapping[str, Any] | None = None) -> None:
        self._tokenizer = tokenizer
        self._args = dict(args or {})
        self._frames: dict[tuple[tuple[str, ...], bool], list[str] | None] = {}

    def render(self, turns: Sequence[Turn], *, prompt: bool, **args: Any) -> str:
        """The text of a thread; with `prompt`, the text that its next completion begins with.

        Raises:
            ChatError: the template refuses the thread.
        """
        try:
            # transformers renders in Jinja's sandbox.
            text: str = self._tokenizer.apply_chat_template(
                [_message(turn) for turn in turns],
                tokenize=False,
                add_generation_prompt=prompt,
                **(self._args | args),
            )
        except TemplateSyntaxError as fault:
            reason = (fault.message or "it makes no sense").rstrip(".")
            raise ChatError(f"cannot be read: {reason}, in line {fault.lineno}") from fault
        except _FAULTS as fault:
            raise ChatError(f"refuses a thread: {fault}") from fault
        return text

    def places(self, turns: Sequence[Turn], text: str, *, prompt: bool) -> dict[int, Place]:
        """Where each turn's words stand in `text`, which is the render of the turns.

        A turn without words may have no place.

        Raises:
            ChatError: the template leaves a turn out.
        """
        places = self._as_framed(turns, text, prompt)
        return self._one_by_one(turns, text, prompt) if places is None else places

    def dated(self, turns: Sequence[Turn]) -> bool:
        """Whether the template writes today's date into this thread."""
        if "strftime_now" not in json.dumps(self._tokenizer.chat_template):
            return False
        try:
            self.render(turns, prompt=False)
        except ChatError:
            return False
        try:
            self.render(turns, prompt=False, strftime_now=None)
        except ChatError:
            return True
        return False

    def _as_framed(self, turns: Sequence[Turn], text: str, prompt: bool) -> dict[int, Place] | None:
        """The places, where the text is what the template writes around any words, with these between."""
        if not all(turn.keys() <= _PLAIN_TURN and isinstance(turn["content"], str) for turn in turns):
            return None
        frame = self._frame(tuple(turn["role"] for turn in turns), prompt)
        if frame is None:
            return None
        places, at = {}, len(frame[0])
        filled = [frame[0]]
        for number, (turn, behind) in enumerate(zip(turns, frame[1:], strict=True)):
            words = turn["content"]
            places[number] = Place(at, at + len(words))
            at += len(words) + len(behind)
            filled += words, behind
        return places if "".join(filled) == text else None

    def _frame(self, roles: tuple[str, ...], prompt: bool) -> list[str] | None:
        """What the template writes around the words of turns with these roles; None where it is not so
        simple."""
        if (roles, prompt) not in self._frames:
            if len(self._frames) == _MOST_FRAMES:
                self._frames.clear()
            self._frames[roles, prompt] = self._framed(roles, prompt)
        return self._frames[roles, prompt]

    def _framed(self, roles: tuple[str, ...], prompt: bool) -> list[str] | None:
        turns = [{"role": role, "content": mark(number)} for number, role in enumerate(roles)]
        try:
            rest = self.render(turns, prompt=prompt)
        except ChatError:
            return None
        frame = []
        for turn in turns:
            before, found, rest = rest.partition(turn["content"])
            if not found:
                return None
            frame.append(before)
        return [*frame, rest]

    def _one_by_one(self, turns: Sequence[Turn], text: str, prompt: bool) -> dict[int, Place]:
        places, backwards = {}, text[::-1]
        for number, turn in enumerate(turns):
            other = self.render([*turns[:number], _marked(turn), *turns[number + 1 :]], prompt=prompt)
            if other != text:
                begin = _common(text, other)
                end = len(text) - _common(backwards, other[::-1])
                places[number] = Place(begin, max(begin, end))
            elif turn.get("content") or turn["role"] == "assistant":
                raise ChatError(_left_out(turn, number, len(turns)))
        return places


def _is_name(text: str) -> bool:
    """Whether a template can ask for it."""
    try:
        Environment(autoescape=True).parse(f"{{% set {text} = 1 %}}")
    except TemplateError:
        return False
    return text.isidentifier()


def _literal(value: Any) -> str:
    """A JSON value as Jinja writes it."""
    match value:
        case None:
            return "none"
        case Mapping():
            return "{" + ", ".join(f"{_literal(k)}: {_literal(v)}" for k, v in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(_literal, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _left_out(turn: Turn, number: int, turns: int) -> str:
    left_out = f"leaves out what the {turn['role']} says in turn {number + 1} of {turns}"
    if turn["role"] == "system":
        return f"{left_out}: put it at the beginning of the user's turn, or name another `chat_template`"
    return f"{left_out}: name a `chat_template` that writes it"


def _message(turn: Turn) -> dict[str, Any]:
    """A turn as templates take it."""
    message = {key: value for key, value in turn.items() if key != "weight"}
    if message.get("tool_calls"):
        message["tool_calls"] = [_tool_call(call) for call in message["tool_calls"]]
    return message


def _tool_call(call: Any) -> Any:
    """A tool call with its arguments as a record: served models write them as JSON in a text, which most
    templates would quote once more."""
    if not isinstance(call, Mapping):
        return call
    if isinstance(call.get("function"), Mapping):
        return {**call, "function": _tool_call(call["function"])}
    arguments = call.get("arguments")
    if isinstance(arguments, str):
        try:
            record = json.loads(arguments)
        except ValueError:
            return call
        if isinstance(record, dict):
            return {**call, "arguments": record}
    return call


def _marked(turn: Turn) -> Turn:
    """A turn with a mark in place of its words."""
    calls = turn.get("tool_calls")
    marked = dict(turn)
    if turn.get("content") is not None:
        marked["content"] = mark()
    if calls:
        marked["tool_calls"] = [_marked_call(call) for call in calls]
    return marked


def _marked_call(call: Any) -> Any:
    if isinstance(call, Mapping) and isinstance(call.get("function"), Mapping):
        return {**call, "function": _marked_call(call["function"])}
    # Not its id, whose length a template may ask for.
    return {**call, "name": mark(), "arguments": {mark(): mark()}} if isinstance(call, Mapping) else call


def _common(one: str, other: str) -> int:
    """How many characters two texts begin with together."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
