"""Chats: the texts of a thread, cut as the runtime cuts it.

What stands before a completion, the completion with its end token, and what follows are put into tokens each
by itself, so that a prompt has the same tokens in training as in generation. `exact` says whether what was
rendered so far was cut where the runtime cuts it for certain.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from harmony_compiler.plan.turns import PLAIN, Thread, Turn

Render: TypeAlias = Callable[[Sequence[Turn], bool], str]
"""The text of turns; with True, the text that the next completion begins with."""

_MOST_FRAMES = 1_000


class RefusedError(Exception):
    """A thread that a run would refuse."""


class Chat:
    def __init__(self, render: Render, ends: Sequence[str], *, as_trained: bool, exact: bool) -> None:
        """`ends` are the tokens that end a completion; `as_trained` says that the model is asked for one by
        the words trained on; not `exact` is a template that writes something else each day."""
        self._render = render
        self._ends = ends
        self._as_trained = as_trained
        self._frames: dict[tuple[str, ...], list[str] | None] = {}
        self.exact = exact

    def texts(self, thread: Thread, *, asked: bool, train_on: str) -> list[list[str]] | None:
        """The text of a thread in its pieces, of a pair with either answer; None where a run would refuse
        it. `asked` says that a model is to answer it."""
        try:
            if thread.answers is not None:
                return [self._answer(thread.turns, answer) for answer in thread.answers]
            if asked:
                return [[self._prompt(thread.turns)]]
            pieces = self._cut(thread.turns, _trained(thread.turns, train_on))
            return [[text for text, _ in pieces]]
        except RefusedError:
            return None

    def _prompt(self, turns: Sequence[Turn]) -> str:
        if not self._as_trained:
            return self._render(turns, True)
        mark = _mark(len(turns))
        answered = self._render([*turns, {"role": "assistant", "content": mark}], False)
        before, answer, behind = answered.partition(mark)
        if not answer or mark in behind:
            raise RefusedError
        return before

    def _answer(self, turns: Sequence[Turn], answer: Sequence[Turn]) -> list[str]:
        """A prompt, and an answer up to its last end token."""
        whole = [*turns, *answer]
        answers = [n for n in range(len(turns), len(whole)) if whole[n]["role"] == "assistant"]
        pieces = self._cut(whole, answers)
        if not pieces or pieces[0][0] != self._prompt(turns):
            raise RefusedError
        last = max((number for number, (_, trained) in enumerate(pieces) if trained), default=0)
        return [text for text, _ in pieces[: last + 1]]

    def _cut(self, turns: Sequence[Turn], answers: Sequence[int]) -> list[tuple[str, bool]]:
        """The text of a thread, cut around its answers, and whether a piece is one that is learnt."""
        whole = self._render(turns, False)
        places = self._places(turns, whole) if answers else {}
        pieces, done = [], 0
        for number in answers:
            if not number and not self._as_trained:
                raise RefusedError
            asked = self._prompt(turns[:number])
            if not whole.startswith(asked):
                raise RefusedError
            end = self._end(whole, len(asked), places.get(number, len(asked)))
            pieces += [
                (whole[done : len(asked)], False),
                (whole[len(asked) : end], turns[number].get("weight") != 0),
            ]
            done = end
        pieces.append((whole[done:], False))
        return [piece for piece in pieces if piece[0]]

    def _end(self, whole: str, begin: int, words: int) -> int:
        """Where the end token behind a turn's words ends, which end at `words`."""
        behind = max(begin, words)
        ends = [found + len(end) for end in self._ends if (found := whole.find(end, behind)) >= 0]
        if not ends:
            raise RefusedError
        return min(ends)

    def _places(self, turns: Sequence[Turn], whole: str) -> dict[int, int]:
        """Where each turn's words end; nothing where the template writes more than words between its own.

        An end token inside the words would then be taken for the one behind them.
        """
        plain = all(turn.keys() <= PLAIN and isinstance(turn["content"], str) for turn in turns)
        frame = self._frame(tuple(turn["role"] for turn in turns)) if plain else None
        if frame is not None:
            places, filled = {}, frame[0]
            for number, (turn, behind) in enumerate(zip(turns, frame[1:], strict=True)):
                filled += turn["content"]
                places[number] = len(filled)
                filled += behind
            if filled == whole:
                return places
        self.exact = False
        return {}

    def _frame(self, roles: tuple[str, ...]) -> list[str] | None:
        """What the template writes around the words of turns with these roles; None where it does more."""
        if roles not in self._frames:
            if len(self._frames) == _MOST_FRAMES:
                self._frames.clear()
            self._frames[roles] = self._framed(roles)
        return self._frames[roles]

    def _framed(self, roles: tuple[str, ...]) -> list[str] | None:
        marks = [_mark(number) for number in range(len(roles))]
        try:
            rest = self._render(
                [{"role": role, "content": mark} for role, mark in zip(roles, marks, strict=True)], False
            )
        except RefusedError:
            return None
        frame = []
        for mark in marks:
            before, found, rest = rest.partition(mark)
            if not found:
                return None
            frame.append(before)
        return [*frame, rest]


def _mark(number: int) -> str:
    """A text that stands for a turn's words, of characters for private use."""
    return f"\ue000{number}\ue001"


def _trained(turns: Sequence[Turn], train_on: str) -> list[int]:
    """The numbers of the turns around which a thread is cut."""
    answers = [number for number, turn in enumerate(turns) if turn["role"] == "assistant"]
    if train_on == "everything":
        return answers
    return [n for n in (answers[-1:] if train_on == "last" else answers) if turns[n].get("weight") != 0]


# --- rendering ------------------------------------------------------------------------------------------


def characters(names: Mapping[str, Any]) -> Render:
    """As the template of the built-in tokenizer."""
    bos, eos = names["bos_token"], names["eos_token"]

    def render(turns: Sequence[Turn], prompt: bool) -> str:
        return f"{bos}{''.join(_marked(turns, eos))}{'<assistant>' if prompt else ''}"

    return render


def _marked(turns: Sequence[Turn], eos: str) -> Iterator[str]:
    for turn in turns:
        if turn["content"] is None:
            raise RefusedError
        yield f"<{turn['role']}>{turn['content']}{eos if turn['role'] == 'assistant' else ''}"


def plain(names: Mapping[str, Any], bos: str) -> Render:
    """As `chat_template = "plain"`: turns joined by blank lines, the end token after each completion."""
    eos = names["eos_token"]

    def render(turns: Sequence[Turn], prompt: bool) -> str:
        said = (f"{turn['content'] or ''}{eos if turn['role'] == 'assistant' else ''}" for turn in turns)
        return bos + "\n\n".join(said) + ("\n\n" if prompt else "")

    return render


def jinja(template: str, names: Mapping[str, Any]) -> Render | None:
    """As transformers renders a chat template; None where it is none."""
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    from harmony_compiler.data.generation import Generation

    def refuse(message: str) -> None:
        raise TemplateError(message)

    def today(format_: str) -> str:
        from datetime import datetime

        return datetime.now().strftime(format_)

    environment = ImmutableSandboxedEnvironment(
        optimized=False,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[Generation, "jinja2.ext.loopcontrols"],
    )
    environment.filters["tojson"] = _json
    environment.globals |= {"raise_exception": refuse, "strftime_now": today}
    faults = (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError)
    try:
        read = environment.from_string(template)
    except (*faults, RecursionError):
        return None

    def render(turns: Sequence[Turn], prompt: bool) -> str:
        try:
            return read.render(
                **{"tools": None, "documents": None, **names},
                messages=[_message(turn) for turn in turns],
                add_generation_prompt=prompt,
            )
        except (*faults, RecursionError) as fault:
            raise RefusedError from fault

    return render


def _message(turn: Turn) -> Turn:
    """A turn as transformers gives it to templates."""
    message = {key: value for key, value in turn.items() if key != "weight" and value is not None}
    if "reasoning_content" in message:
        message = {"thinking": message["reasoning_content"], **message}
    return message


def _json(
    value: Any,
    ensure_ascii: bool = False,
    indent: Any = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
