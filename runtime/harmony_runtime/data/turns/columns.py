"""Turns: what stands in a column of the data, as the turns of a thread.

A column holds a list of turns, one turn, or a transcript. What a chat template can use of a turn is kept;
what is left over is remembered by name, so that it can be said.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from harmony_compiler.graph.settings import Column
from harmony_compiler.store.layouts import OWN_ROLES, UnknownRole, roles_to_add
from harmony_compiler.store.rows import kind_of
from harmony_grammar.diagnostics import Diagnostic
from harmony_runtime.data.faults import FaultyTurn
from harmony_runtime.data.rows.raw import RawRow
from harmony_runtime.data.turns.places import place_of
from harmony_runtime.graders.protocol import Turn

KEPT = ("name", "tool_call_id", "reasoning_content")
"""What templates know of a turn beside its role, its text and its tool calls."""

_SPEAKER = re.compile(r"(?:\A|\n\n)(Human|Assistant):")
_LAST_REPLY = "\n\nAssistant:"
_SPEAKERS = {"Human": "user", "Assistant": "assistant"}


class TurnsFaultError(Exception):
    """What stands in a column makes no turns."""

    def __init__(self, fault: Diagnostic) -> None:
        self.fault = fault
        super().__init__(fault.words.message)


class TurnColumn:
    """A `column(…)` that is read as turns."""

    def __init__(self, column: Column, field: str) -> None:
        self._column = column
        self._field = field
        self.ignored: dict[str, None] = {}
        """Keys of turns that nothing reads, as far as they were met."""

    def turns(self, columns: Mapping[str, Any], row: RawRow) -> tuple[Turn, ...]:
        """The turns of a row.

        Raises:
            TurnsFaultError: it has none.
        """
        column, reader = self._column, _Reader(self._column, self._field, row, self.ignored)
        if column.name not in columns:
            raise reader.fault((), f"the row has no column `{column.name}`")
        value = columns[column.name]
        if column.transcript:
            if not isinstance(value, str):
                raise reader.fault((), f"a transcript is a text, and this is {kind_of(value)}")
            return reader.transcript(value)
        if isinstance(value, dict):
            return (reader.turn(value, ()),)
        if not isinstance(value, list | tuple):
            text = f'`"{{{{ {column.name} }}}}"`'
            transcript = f'`column("{column.name}", transcript = true)`'
            mend = (
                f"a text is written {text}, and a transcript {transcript}" if isinstance(value, str) else ""
            )
            raise reader.fault((), f"a list of turns should stand here, and this is {kind_of(value)}", mend)
        return tuple(reader.turn(turn, (number,)) for number, turn in enumerate(value))


class _Reader:
    """Reads the turns of one row."""

    def __init__(self, column: Column, field: str, row: RawRow, ignored: dict[str, None]) -> None:
        self._column = column
        self._field = field
        self._row = row
        self._ignored = ignored

    def fault(self, path: Sequence[str | int], reason: str, mend: str = "") -> TurnsFaultError:
        span = place_of(self._row, (self._column.name, *path))
        return TurnsFaultError(FaultyTurn(span=span, field=self._field, reason=reason, mend=mend))

    def turn(self, value: Any, path: tuple[int, ...]) -> Turn:
        column = self._column
        if not isinstance(value, dict):
            raise self.fault(path, f"a turn is an object, and this is {kind_of(value)}")
        role = self._role(value, path)
        calls = self._calls(value, role, path)
        turn: dict[str, Any] = {"role": role, "content": self._content(value, calls, path)}
        if calls:
            turn["tool_calls"] = calls
        weight = self._weight(value, role, path)
        if weight is not None:
            turn["weight"] = weight
        read = {column.role, column.content}
        turn |= {key: value[key] for key in KEPT if key not in read and value.get(key) is not None}
        read |= {"tool_calls", "weight", *KEPT}
        for key, held in value.items():
            if key not in read and held is not None and held != []:
                self._ignored[key] = None
        return turn

    def _role(self, value: Mapping[str, Any], path: tuple[int, ...]) -> str:
        column = self._column
        role = value.get(column.role)
        if not isinstance(role, str):
            if column.role not in value:
                mend = (
                    f'the keys here are {", ".join(value) or "none"}: name it by `role = "…"` of `column(…)`'
                )
                raise self.fault(path, f"the turn has no `{column.role}`, which should say whose it is", mend)
            raise self.fault((*path, column.role), f"a role is a text, and this is {kind_of(role)}")
        known = (column.roles or {}).get(role, role)
        if known not in OWN_ROLES:
            place = place_of(self._row, (column.name, *path, column.role))
            told = roles_to_add([role], column.roles)
            raise TurnsFaultError(UnknownRole(span=place, column=column.name, role=f"`{role}`", roles=told))
        return known

    def _content(self, value: Mapping[str, Any], calls: Any, path: tuple[int, ...]) -> str | None:
        key = self._column.content
        content = value.get(key)
        if isinstance(content, str):
            return content
        if isinstance(content, list):
            return self._parts(content, (*path, key))
        if content is not None:
            raise self.fault((*path, key), f"what is said is a text, and this is {kind_of(content)}")
        if calls:
            return None
        if key in value:
            reason = f"`{key}` is null, as only a turn with `tool_calls` may have it"
            raise self.fault((*path, key), reason)
        mend = f'the keys here are {", ".join(value) or "none"}: name it by `content = "…"` of `column(…)`'
        raise self.fault(path, f"the turn has no `{key}`, which should say its text", mend)

    def _parts(self, parts: Sequence[Any], path: tuple[str | int, ...]) -> str:
        """The texts of a content in parts, as APIs write it."""
        texts: list[str] = []
        for number, part in enumerate(parts):
            kind = part.get("type") if isinstance(part, dict) else kind_of(part)
            text = part.get("text") if isinstance(part, dict) else None
            if kind != "text" or not isinstance(text, str):
                reason = f"a part of the content is `{kind}`, and only parts of the type `text` can be read"
                raise self.fault((*path, number), reason)
            texts.append(text)
        return "".join(texts)

    def _calls(self, value: Mapping[str, Any], role: str, path: tuple[int, ...]) -> list[Any]:
        """The calls of an assistant's turn with their arguments as objects, which is what templates print."""
        calls = value.get("tool_calls") or []
        if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
            raise self.fault((*path, "tool_calls"), "`tool_calls` is a list of objects, and this is not")
        if calls and role != "assistant":
            raise self.fault(
                (*path, "tool_calls"), f"only an assistant calls tools, and this turn is `{role}`"
            )
        return [_with_arguments(call) for call in calls]

    def _weight(self, value: Mapping[str, Any], role: str, path: tuple[int, ...]) -> float | None:
        weight = value.get("weight")
        if weight is None or "weight" in (self._column.role, self._column.content):
            return None
        place: tuple[str | int, ...] = (*path, "weight")
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise self.fault(place, f"a `weight` is a number, and this is {kind_of(weight)}")
        if not (math.isfinite(weight) and weight >= 0):
            raise self.fault(place, f"a `weight` is at least 0 and finite, and this is {weight:g}")
        if role != "assistant":
            mend = "remove it: what others say is read, not learnt"
            raise self.fault(
                place, f"only an assistant's turn has a `weight`, and this one is `{role}`", mend
            )
        return float(weight)

    def transcript(self, text: str) -> tuple[Turn, ...]:
        """The turns of a transcript. All that follows the last `Assistant:` is one reply."""
        at = text.rfind(_LAST_REPLY)
        before = text if at < 0 else text[:at]
        first, *rest = _SPEAKER.split(before.lstrip())
        if first.strip() or (at < 0 and not rest):
            mend = "a transcript begins with `Human:`, and each turn stands behind a blank line"
            raise self.fault((), "the text does not begin with a speaker", mend)
        turns: list[Turn] = [
            {"role": _SPEAKERS[speaker], "content": said.strip()}
            for speaker, said in zip(rest[::2], rest[1::2], strict=True)
        ]
        if at >= 0:
            turns.append({"role": "assistant", "content": text[at + len(_LAST_REPLY) :].strip()})
        return tuple(turns)


def _with_arguments(call: Mapping[str, Any]) -> dict[str, Any]:
    """A call whose arguments are an object, which APIs write as text: a template would quote that again."""
    inner = call.get("function")
    if isinstance(inner, dict):
        return {**call, "function": _with_arguments(inner)}
    if isinstance(text := call.get("arguments"), str):
        try:
            arguments = json.loads(text)
        except (ValueError, RecursionError):
            return dict(call)
        return {**call, "arguments": arguments} if isinstance(arguments, dict) else dict(call)
    return dict(call)
