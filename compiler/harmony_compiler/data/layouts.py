"""Layouts: rows that people already write alike, which need no mapping.

Looks at the columns of a dataset that maps nothing, and gives the fields that a recipe would have written.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from harmony_compiler.data.column_types import RECORD, type_text
from harmony_compiler.data.heads import Head
from harmony_compiler.findings.data import NoTurns
from harmony_compiler.graph.node import schema
from harmony_compiler.graph.settings import Column
from harmony_compiler.graph.types import JSON, NONE, STR, TEMPLATE, ListOf, SettingsType, Type, options_of
from harmony_compiler.typed import Made, Value, plain
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.source import Span

ROLES = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bard": "assistant",
    "bing": "assistant",
    "function_call": "assistant",
    "observation": "tool",
}
"""What ShareGPT's data calls roles."""
OWN_ROLES = frozenset({"system", "user", "assistant", "tool"})
"""What roles are called by themselves."""

ALPACA = "{{ instruction }}"
ALPACA_WITH_INPUT = "{{ instruction }}{% if input %}\n\n{{ input }}{% endif %}"


class Turns(NamedTuple):
    """A column of turns, or of one turn, or a whole conversation in one text."""

    column: str
    role: str = "role"
    content: str = "content"
    roles: tuple[tuple[str, str], ...] = ()
    transcript: bool = False

    @property
    def text(self) -> str:
        """As a recipe writes it."""
        said = [f'"{self.column}"']
        for name, value in (("role", self.role), ("content", self.content)):
            if value != schema(Column)[name].default:
                said.append(f'{name} = "{value}"')
        if self.roles:
            roles = ", ".join(f'{old} = "{new}"' for old, new in self.roles)
            said.append(f"roles = {{ {roles} }}")
        if self.transcript:
            said.append("transcript = true")
        return f"column({', '.join(said)})"


class Layout(NamedTuple):
    """A known layout, and the fields that it stands for: templates and columns of turns."""

    name: str
    fields: dict[str, str | Turns]

    @property
    def mapping(self) -> str:
        """The fields as a recipe writes them."""
        return ", ".join(
            f"`{name} = {field.text if isinstance(field, Turns) else _quoted(field)}`"
            for name, field in self.fields.items()
        )

    def given(self, place: Span) -> dict[str, Value]:
        """The fields as if they stood at a place of the recipe."""
        return {
            name: _column(field, place) if isinstance(field, Turns) else Value(TEMPLATE, field, place)
            for name, field in self.fields.items()
        }


def _quoted(text: str) -> str:
    return '"' + text.replace("\n", "\\n") + '"'


def _column(turns: Turns, place: Span) -> Value:
    given = {"name": Value(STR, turns.column, place)}
    for name, value in (("role", turns.role), ("content", turns.content)):
        if value != schema(Column)[name].default:
            given[name] = Value(STR, value, place)
    if turns.roles:
        roles = {old: Value(STR, new, place) for old, new in turns.roles}
        given["roles"] = Value(schema(Column)["roles"].type, roles, place)
    if turns.transcript:
        given["transcript"] = Value(schema(Column)["transcript"].type, True, place)
    values = {name: spec.default for name, spec in schema(Column).items()}
    values |= {name: plain(value) for name, value in given.items()}
    return Value(SettingsType(Column.constructor), Made(Column, given, values, place, place), place)


def recognised(head: Head) -> Layout | None:
    """The layout that the columns of a dataset have, if it is a known one."""
    names = set(head.names or ())
    if {"chosen", "rejected"} <= names:
        return _pairs(head)
    if "messages" in names and (turns := _turns(head, "messages")):
        return Layout("conversations", {"messages": turns})
    if "conversations" in names and (turns := _turns(head, "conversations")):
        return Layout("ShareGPT conversations", {"messages": turns})
    if {"prompt", "completion"} <= names and _are_texts(head, "prompt", "completion"):
        fields: dict[str, str | Turns] = {"prompt": "{{ prompt }}", "completion": "{{ completion }}"}
        return Layout("prompts with completions", fields)
    if {"instruction", "output"} <= names and _are_texts(head, "instruction", "output"):
        prompt = ALPACA_WITH_INPUT if "input" in names else ALPACA
        return Layout("Alpaca's instructions", {"prompt": prompt, "completion": "{{ output }}"})
    return None


def _pairs(head: Head) -> Layout | None:
    names = set(head.names or ())
    if _are_texts(head, "chosen", "rejected"):
        if "prompt" in names and _are_texts(head, "prompt"):
            fields: dict[str, str | Turns] = {
                name: f"{{{{ {name} }}}}" for name in ("prompt", "chosen", "rejected")
            }
            return Layout("prompts with a better and a worse answer", fields)
        if _are_transcripts(head, "chosen", "rejected"):
            fields = {name: Turns(name, transcript=True) for name in ("chosen", "rejected")}
            return Layout("pairs of transcripts", fields)
        return None
    chosen, worse = _turns(head, "chosen"), _turns(head, "rejected")
    if chosen is None or worse is None:
        return None
    roles = dict(chosen.roles) | dict(worse.roles)
    answers: dict[str, str | Turns] = {
        "chosen": chosen._replace(roles=tuple(roles.items())),
        "rejected": worse._replace(roles=tuple(roles.items())),
    }
    if _first_roles(head, "chosen", chosen) & {"user", "system"}:  # whole conversations
        return Layout("pairs of conversations", answers)
    for name in ("conversations", "messages", "prompt"):
        if name in names and (before := _turns(head, name)):
            known = "ShareGPT conversations" if name == "conversations" else "conversations"
            return Layout(f"{known} with a better and a worse answer", {"messages": before, **answers})
    if "prompt" in names and _are_texts(head, "prompt"):
        return Layout("prompts with a better and a worse answer", {"prompt": "{{ prompt }}", **answers})
    return None


# --- columns --------------------------------------------------------------------------------------------


def _of(head: Head, name: str) -> Type:
    """The type of a column, null values aside."""
    options = [option for option in options_of(head.type_of(name)) if option != NONE]
    return options[0] if len(options) == 1 else JSON


def _are_texts(head: Head, *names: str) -> bool:
    return all(_of(head, name) == STR for name in names)


def _are_transcripts(head: Head, *names: str) -> bool:
    texts = [text for name in names for text in head.table.column(name) if text is not None]
    whole = (text.lstrip().startswith("Human:") and "\n\nAssistant:" in text for text in texts)
    return bool(texts) and all(whole)


def _turns(head: Head, name: str) -> Turns | None:
    """How a column of turns is to be read, or None where it is none."""
    type_ = _of(head, name)
    if type_ not in (RECORD, ListOf(RECORD)):
        return None
    turns = list(_each(head, name))
    if not turns:  # nobody could look inside
        if name != "conversations":
            return Turns(name)
        return Turns(name, "from", "value", (("human", "user"), ("gpt", "assistant")))
    for role, content in (("role", "content"), ("from", "value")):
        if all(role in turn and content in turn for turn in turns):
            found = {str(turn[role]): None for turn in turns}
            if not found.keys() <= ROLES.keys() | OWN_ROLES:
                return None
            roles = tuple((old, new) for old, new in ROLES.items() if old in found)
            return Turns(name, role, content, roles)
    return None


def _each(head: Head, name: str) -> Iterator[dict[str, Any]]:
    """Every turn in a column."""
    for value in head.table.column(name):
        if isinstance(value, dict):
            yield value
        elif value is not None:
            yield from value


def _first_roles(head: Head, name: str, turns: Turns) -> set[str]:
    """Who begins the conversations of a column."""
    lists = (value for value in head.table.column(name) if isinstance(value, list | tuple))
    begin = {str(value[0][turns.role]) for value in lists if value}
    return {dict(turns.roles).get(role, role) for role in begin}


def not_turns(column: Made, head: Head, one: bool) -> Diagnostic | None:
    """What is wrong with a `column(…)` that is read as turns; `one` allows a single turn."""
    name, role, content = (column.values[field] for field in ("name", "role", "content"))
    if not isinstance(name, str) or name not in (head.names or ()) or head.type_of(name) == JSON:
        return None
    span, type_ = column.given["name"].span, _of(head, name)
    if column.values["transcript"]:
        if type_ == STR:
            return None
        found, wanted = f"`{type_text(type_)}`", "transcripts, which are texts"
        return NoTurns(span=span, column=name, found=found, wanted=wanted)
    if isinstance(type_, ListOf) or (one and type_ == RECORD):
        keys = dict.fromkeys(key for turn in _each(head, name) if isinstance(turn, dict) for key in turn)
        if not keys or {role, content} <= keys.keys():
            return None
        mend = f'write `column("{name}", role = "…", content = "…")` with the keys that there are'
        if {"from", "value"} <= keys.keys():
            mend = f'write `column("{name}", role = "from", content = "value")`'
        found, wanted = f"turns with the keys {', '.join(keys)}", f"with `{role}` and `{content}`"
        return NoTurns(span=span, column=name, found=found, wanted=wanted, mend=mend)
    mend = f'a transcript is read by `column("{name}", transcript = true)`'
    if one:
        mend = f'a text is written `"{{{{ {name} }}}}"`, and {mend}'
    mend = mend if type_ == STR else ""
    return NoTurns(span=span, column=name, found=f"`{type_text(type_)}`", wanted="turns", mend=mend)
