"""Turns: what a dataset makes of a row, as the runtime does; a row that a run would refuse has none.

Templates of `{{ column }}` are filled without jinja2, whose import takes longer than a thousand rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from harmony_compiler.data.templates import pieces
from harmony_compiler.graph.datasets import MAPPED, kind_of_rows
from harmony_compiler.store.layouts import OWN_ROLES
from harmony_compiler.typed import UNKNOWN_DATA, Made
from harmony_grammar.records import Record

Turn: TypeAlias = dict[str, Any]
Turns: TypeAlias = tuple[Turn, ...]
Reader: TypeAlias = Callable[[Mapping[str, Any]], Turns]

ROLES = {
    "system": "system",
    "prompt": "user",
    "completion": "assistant",
    "chosen": "assistant",
    "rejected": "assistant",
}
"""The field of a dataset that a template fills, and whose turn it is."""

PLAIN = frozenset({"role", "content", "weight"})
"""What a turn of words alone has."""

_KEPT = ("name", "tool_call_id", "reasoning_content")
_SPEAKER = re.compile(r"(?:\A|\n\n)(Human|Assistant):")
_SPEAKERS = {"Human": "user", "Assistant": "assistant"}
_LAST_REPLY = "\n\nAssistant:"


class Thread(Record):
    """The turns of a row; a pair has a better and a worse answer to them."""

    turns: Turns
    answers: tuple[Turns, Turns] | None = None

    @property
    def plain(self) -> bool:
        """Whether its turns are words alone, without calls of tools and reasoning."""
        return all(turn.keys() <= PLAIN for part in (self.turns, *(self.answers or ())) for turn in part)


class NoTurnsError(Exception):
    """A row that a run would refuse."""


class RowMapping(Record):
    """How rows become turns, from the values of a dataset."""

    kind: str
    readers: dict[str, Reader]

    def of(self, row: Mapping[str, Any]) -> Thread | None:
        """The turns of a row; None where it has none."""
        try:
            said = {field: read(row) for field, read in self.readers.items()}
            if self.kind == "Preference":
                return _pair(said)
            asked = said.get("messages", said.get("prompt", ()))
            if self.kind == "Prompt":
                return Thread(_before(said, _question(asked)))
            return Thread(_before(said, (*asked, *said.get("completion", ()))))
        except NoTurnsError:
            return None


def mapping_of(values: Mapping[str, Any]) -> RowMapping | None:
    """None where the fields of a dataset are not known, or make no turns."""
    fields = {field: values[field] for field in MAPPED if values[field] is not None}
    kind = kind_of_rows(fields)
    if UNKNOWN_DATA in fields.values() or kind == "Table":
        return None
    readers: dict[str, Reader] = {}
    for field, value in fields.items():
        reader = _column(value) if isinstance(value, Made) else _template(value, ROLES[field])
        if reader is None:
            return None
        readers[field] = reader
    return RowMapping(kind, readers)


# --- templates ------------------------------------------------------------------------------------------


def _template(text: str, role: str) -> Reader | None:
    found = pieces(text) if "\r" not in text else None  # jinja2 changes the ends of lines
    fill = _jinja(text) if found is None else _joined(found)
    return None if fill is None else lambda row: ({"role": role, "content": fill(row)},)


def _joined(parts: Sequence[tuple[str, str]]) -> Callable[[Mapping[str, Any]], str]:
    def fill(row: Mapping[str, Any]) -> str:
        written: list[str] = []
        for text, name in parts:
            value = row.get(name) if name else ""
            if value is None:
                raise NoTurnsError
            written += (text, value if isinstance(value, str) else str(value))
        return "".join(written)

    return fill


def _jinja(text: str) -> Callable[[Mapping[str, Any]], str] | None:
    from harmony_compiler.store.templates import Template, TemplateFaultError

    try:
        template = Template(text)
    except TemplateFaultError:
        return None

    def fill(row: Mapping[str, Any]) -> str:
        try:
            return template.fill(row)
        except TemplateFaultError as fault:
            raise NoTurnsError from fault

    return fill


# --- columns of turns -----------------------------------------------------------------------------------


def _column(column: Made) -> Reader | None:
    values = column.values
    name, role, content, roles = (values[field] for field in ("name", "role", "content", "roles"))
    if UNKNOWN_DATA in (name, role, content, roles, values["transcript"]):
        return None
    if values["transcript"]:
        return lambda row: _transcript(row.get(name))

    def turns(row: Mapping[str, Any]) -> Turns:
        value = row.get(name)
        if isinstance(value, dict):
            value = [value]
        if not isinstance(value, list | tuple):
            raise NoTurnsError
        return tuple(_turn(turn, role, content, roles or {}) for turn in value)

    return turns


def _turn(value: Any, role: str, content: str, roles: Mapping[str, str]) -> Turn:
    said = value.get(role) if isinstance(value, dict) else None
    whose = roles.get(said, said) if isinstance(said, str) else None
    if whose not in OWN_ROLES:
        raise NoTurnsError
    words, calls = value.get(content), value.get("tool_calls") or []
    if isinstance(words, list):
        words = "".join(map(_part, words))
    if not (isinstance(words, str) or (words is None and calls)) or not isinstance(calls, list):
        raise NoTurnsError
    turn: Turn = {"role": whose, "content": words}
    if calls:
        turn["tool_calls"] = [_call(call) for call in calls]
    for key in ("weight", *_KEPT):
        if key not in (role, content) and value.get(key) is not None:
            turn[key] = value[key]
    return turn


def _part(part: Any) -> str:
    if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    raise NoTurnsError


def _call(call: Any) -> Any:
    """A call whose arguments are an object, which APIs write as text."""
    if not isinstance(call, dict):
        raise NoTurnsError
    if isinstance(call.get("function"), dict):
        return {**call, "function": _call(call["function"])}
    try:
        arguments = json.loads(call["arguments"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return call
    return {**call, "arguments": arguments} if isinstance(arguments, dict) else call


def _transcript(text: Any) -> Turns:
    if not isinstance(text, str):
        raise NoTurnsError
    before, found, reply = text.rpartition(_LAST_REPLY)
    first, *rest = _SPEAKER.split((before if found else text).lstrip())
    if first.strip() or not (found or rest):
        raise NoTurnsError
    turns = [
        {"role": _SPEAKERS[speaker], "content": said.strip()}
        for speaker, said in zip(rest[::2], rest[1::2], strict=True)
    ]
    return (*turns, *([{"role": "assistant", "content": reply.strip()}] if found else []))


# --- threads and pairs ----------------------------------------------------------------------------------


def _before(said: Mapping[str, Turns], turns: Turns) -> Turns:
    """Turns with the system's turn of the recipe before them."""
    system = said.get("system", ())
    if system and turns and turns[0]["role"] == "system":
        raise NoTurnsError
    return (*system, *turns)


def _question(turns: Turns) -> Turns:
    """Turns up to the last question."""
    while turns and turns[-1]["role"] == "assistant":
        turns = turns[:-1]
    if not _roles(turns) & {"user", "tool"}:
        raise NoTurnsError
    return turns


def _pair(said: Mapping[str, Turns]) -> Thread:
    asked = said.get("messages", said.get("prompt"))
    answers = said["chosen"], said["rejected"]
    if not all(answers):
        raise NoTurnsError
    if asked is not None and all(answer[0]["role"] == "assistant" for answer in answers):
        if not asked or asked[-1]["role"] not in ("user", "tool"):
            raise NoTurnsError
        return Thread(_before(said, asked), answers)
    start = _parting(*answers)
    before = answers[0][:start]
    if start is None or (asked is not None and asked != before):
        raise NoTurnsError
    return Thread(_before(said, before), (answers[0][start:], answers[1][start:]))


def _parting(chosen: Turns, rejected: Turns) -> int | None:
    """Where two conversations begin to answer: at the first answers that differ, else at the last ones."""
    if chosen[-1]["role"] != "assistant" or rejected[-1]["role"] != "assistant":
        return None
    most = min(len(chosen), len(rejected))
    at = next((n for n in range(most) if chosen[n] != rejected[n]), most - 1)
    start = next(
        (n for n in range(at, -1, -1) if chosen[n]["role"] == rejected[n]["role"] == "assistant"), None
    )
    if any(_roles(answer[start:]) & {"user", "system"} for answer in (chosen, rejected)):
        return None
    return start


def _roles(turns: Sequence[Turn]) -> set[str]:
    return {turn["role"] for turn in turns}
