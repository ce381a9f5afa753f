"""Layouts: rows that people already write alike, which need no mapping.

Takes the first rows of a dataset that maps nothing, and gives the fields that a recipe would have written.
Checker and runtime recognise the same: the runtime what the checker could not look at.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from harmony_compiler.graph.column_types import RECORD
from harmony_compiler.graph.node import schema
from harmony_compiler.graph.settings import Column
from harmony_compiler.graph.types import JSON, NONE, STR, ListOf, Type, options_of
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.records import Record

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

_WORD = re.compile(r"\w+")

Fields: TypeAlias = dict[str, str | Column]
"""Fields of a mapping: templates and columns of turns."""


class UnknownRole(Diagnostic):
    code, slug = "E0552", "unknown-role"
    message = "turns of `{column}` have the role {role}, which chat templates do not know"
    label = "read here"
    notes = ("roles: system, user, assistant, tool",)
    help = "say whose turns they are by `{roles}` in the `column(…)`"
    column: str
    role: str
    roles: str


def roles_to_add(unknown: Iterable[str], known: Mapping[str, str] | None) -> str:
    """The `roles` of a column that name unknown ones, too."""
    roles = {**(known or {}), **{role: ROLES.get(role, "…") for role in unknown}}
    said = ", ".join(f'{_key(old)} = "{new}"' for old, new in roles.items())
    return f"roles = {{ {said} }}"


class Columns(Protocol):
    """The first rows of a dataset, column by column."""

    @property
    def names(self) -> tuple[str, ...] | None:
        """The columns; None where nobody could look."""
        ...

    @property
    def origin(self) -> str:
        """Where they were read, in words."""
        ...

    @property
    def rows(self) -> Sequence[Mapping[str, Any]]:
        """None of them where only the types are known."""
        ...

    def type_of(self, name: str) -> Type: ...

    def column(self, name: str) -> Sequence[Any]: ...


class Layout(Record):
    """A known layout, and the fields that it stands for."""

    name: str
    fields: Fields

    @property
    def mapping(self) -> str:
        """The fields as a recipe writes them."""
        return ", ".join(f"`{line}`" for line in lines_of(self.fields))

    def unread(self, names: Iterable[str]) -> list[str]:
        """Those columns that it makes no turns of."""
        read = {word for line in lines_of(self.fields) for word in _WORD.findall(line)}
        return [name for name in names if name not in read]


def lines_of(fields: Fields) -> list[str]:
    """Fields as a recipe writes them."""
    return [f"{name} = {written(field)}" for name, field in fields.items()]


def written(field: str | Column) -> str:
    """A template or a column of turns as a recipe writes it."""
    if isinstance(field, str):
        return '"' + field.replace("\n", "\\n") + '"'
    said = [f'"{field.name}"']
    for key in ("role", "content"):
        if (value := getattr(field, key)) != schema(Column)[key].default:
            said.append(f'{key} = "{value}"')
    if field.roles:
        said.append(roles_to_add((), field.roles))
    if field.transcript:
        said.append("transcript = true")
    return f"column({', '.join(said)})"


def _key(name: str) -> str:
    return name if name.isidentifier() and name.isascii() else f'"{name}"'


def recognised(columns: Columns) -> Layout | None:
    """The layout that the columns of a dataset have, if it is a known one."""
    names = set(columns.names or ())
    if {"chosen", "rejected"} <= names:
        return _pairs(columns)
    for name, layout in (("messages", "conversations"), ("conversations", "ShareGPT conversations")):
        if name in names and (turns := turns_in(columns, name)):
            return Layout(layout, {"messages": turns})
    if {"prompt", "completion"} <= names:
        sides = {name: _text_or_turns(columns, name) for name in ("prompt", "completion")}
        fields = {name: side for name, side in sides.items() if side is not None}
        if len(fields) == len(sides):
            return Layout("prompts with completions", fields)
    if {"instruction", "output"} <= names and are_texts(columns, "instruction", "output"):
        return Layout("Alpaca's instructions", {"prompt": _alpaca(columns), "completion": "{{ output }}"})
    return None


def _alpaca(columns: Columns) -> str:
    return ALPACA_WITH_INPUT if "input" in (columns.names or ()) else ALPACA


def _pairs(columns: Columns) -> Layout | None:
    if are_texts(columns, "chosen", "rejected"):
        answers: Fields = {"chosen": "{{ chosen }}", "rejected": "{{ rejected }}"}
        if transcripts(text for name in answers for text in columns.column(name)):
            whole: Fields = {name: Column(name=name, transcript=True) for name in answers}
            return Layout("pairs of transcripts", whole)
        asked = _asked(columns)
    else:
        chosen, worse = turns_in(columns, "chosen"), turns_in(columns, "rejected")
        if chosen is None or worse is None:
            return None
        roles: Any = {**(chosen.roles or {}), **(worse.roles or {})} or None
        answers = {
            name: Column(name=name, role=side.role, content=side.content, roles=roles)
            for name, side in (("chosen", chosen), ("rejected", worse))
        }
        if _first_roles(columns, chosen) & {"user", "system"}:
            return Layout("pairs of conversations", answers)
        asked = _asked(columns)
    return asked and Layout(f"{asked.name} with a better and a worse answer", {**asked.fields, **answers})


def _asked(columns: Columns) -> Layout | None:
    """What stands before the answers of a pair."""
    names = columns.names or ()
    for name, layout in (("conversations", "ShareGPT conversations"), ("messages", "conversations")):
        if name in names and (before := turns_in(columns, name)):
            return Layout(layout, {"messages": before})
    if "prompt" in names and (side := _text_or_turns(columns, "prompt")) is not None:
        return Layout("prompts", {"prompt": side})
    if "instruction" in names and are_texts(columns, "instruction"):
        return Layout("Alpaca's instructions", {"prompt": _alpaca(columns)})
    return None


# --- columns --------------------------------------------------------------------------------------------


def type_of(columns: Columns, name: str) -> Type:
    """The type of a column, null values aside."""
    options = [option for option in options_of(columns.type_of(name)) if option != NONE]
    return options[0] if len(options) == 1 else JSON


def are_texts(columns: Columns, *names: str) -> bool:
    return all(type_of(columns, name) == STR for name in names)


def transcripts(values: Iterable[Any]) -> bool:
    """Whether all these texts are turns behind `Human:` and `Assistant:`; null says nothing."""
    texts = [text for text in values if text is not None]
    whole = (text.lstrip().startswith("Human:") and "\n\nAssistant:" in text for text in texts)
    return bool(texts) and all(whole)


def _text_or_turns(columns: Columns, name: str) -> str | Column | None:
    return f"{{{{ {name} }}}}" if are_texts(columns, name) else turns_in(columns, name)


def turns_in(columns: Columns, name: str) -> Column | None:
    """How a column of turns is to be read, or None where it is none."""
    if type_of(columns, name) not in (RECORD, ListOf(RECORD)):
        return None
    turns = list(turns_of(columns.column(name)))
    if not turns:  # nobody could look inside
        if name != "conversations":
            return Column(name=name)
        return Column(name=name, role="from", content="value", roles={"human": "user", "gpt": "assistant"})
    for role, content in (("role", "content"), ("from", "value")):
        if all(role in turn and (content in turn or turn.get("tool_calls")) for turn in turns):
            found = {str(turn[role]): None for turn in turns}
            if not found.keys() <= ROLES.keys() | OWN_ROLES:
                return None
            roles: Any = {old: new for old, new in ROLES.items() if old in found}
            return Column(name=name, role=role, content=content, roles=roles or None)
    return None


def turns_of(values: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Every turn in the values of a column."""
    for value in values:
        if isinstance(value, dict):
            yield value
        elif value is not None:
            yield from value


def _first_roles(columns: Columns, turns: Column) -> set[str]:
    """Who begins the conversations of a column."""
    lists = (value for value in columns.column(turns.name) if isinstance(value, list | tuple))
    begin = {str(value[0][turns.role]) for value in lists if value}
    return {(turns.roles or {}).get(role, role) for role in begin}
