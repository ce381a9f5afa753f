"""Guesses: what a recipe could write for rows that have no known layout, and the finding that says it.

Columns are guessed by their names and by what is in them. A guess is only ever shown, never used.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from harmony_compiler.graph.settings import Column
from harmony_compiler.graph.types import FLOAT, INT, STR, RowKind, Type
from harmony_compiler.store.layouts import (
    OWN_ROLES,
    ROLES,
    Columns,
    Fields,
    lines_of,
    recognised,
    transcripts,
    turns_of,
    type_of,
)
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.records import Record

_ASKED = ("prompt", "question", "instruction", "query", "problem", "input", "request", "user", "task")
_ANSWERED = (
    *("completion", "response", "answer", "output", "solution", "reply", "target", "assistant"),
    *("ground_truth", "reference", "canonical_solution"),
)
_BETTER = ("chosen", "better", "preferred", "accepted", "winner", "positive")
_WORSE = ("rejected", "worse", "dispreferred", "refused", "loser", "negative")
_ROLE_KEYS = ("role", "from", "speaker", "author", "sender", "by", "who")
_TEXT_KEYS = ("content", "value", "text", "message", "utterance", "body")

SEEN = 200
"""Rows that are looked at."""

_WIDTH, _TEXT, _ITEMS, _DEPTH = 400, 60, 8, 2
"""Of a row that is shown: characters in all, characters of a text, keys of an object, objects in objects."""


class UnmappedRows(Diagnostic):
    code, slug = "E0550", "unmapped-rows"
    message = "nothing says {what} in {rows}"
    label = "no mapping, and no layout that is known"
    notes = ("a row: {row}", "columns: {columns}", "the dataset stands in {dataset}")
    help = "{mend}"
    what: str
    rows: str
    row: str
    columns: str = ""
    mend: str
    dataset: str = ""


_WHAT: Mapping[RowKind, str] = {
    "Thread": "what is asked and what is answered",
    "Prompt": "what is asked",
    "Preference": "which answer is better and which is worse",
}
_OPEN: Mapping[RowKind, str] = {
    "Thread": '`prompt = "{{ … }}"` and `completion = "{{ … }}"`, or `messages = column("…")`',
    "Prompt": '`prompt = "{{ … }}"`',
    "Preference": '`prompt = "{{ … }}"`, `chosen = "{{ … }}"` and `rejected = "{{ … }}"`',
}


def unmapped(columns: Columns, kind: RowKind) -> dict[str, Any]:
    """What `UnmappedRows` says of a dataset from which rows of a kind are wanted."""
    names = ", ".join(columns.names or ())
    row = shown(columns.rows[0]) if columns.rows else ""
    return {
        "what": _WHAT[kind],
        "rows": "the rows" if columns.origin == "the rows" else f"the rows of `{columns.origin.strip('`')}`",
        "row": row,
        "columns": "" if row else names,
        "mend": mend(columns, kind) or f"say it by {_OPEN[kind]}, with the columns {names}",
    }


def mend(columns: Columns, kind: RowKind) -> str:
    """The lines to add, so that rows become those of a kind; empty where nothing in them looks like it."""
    fields = guess(columns, kind)
    if not fields:
        return ""
    *first, last = (f"`{line}`" for line in lines_of(fields))
    lines = f"{', '.join(first)} and {last}" if first else last
    conversations = kind == "Prompt" and isinstance(fields["prompt"], Column)
    without = ", without its last answer" if conversations else ""
    return f"add {lines}{without}, if that is what these columns hold"


def guess(columns: Columns, kind: RowKind) -> Fields | None:
    """Fields that could make rows of a kind; None where a part of them is nowhere to be found."""
    looked = _Looked(columns)
    match kind:
        case "Thread":
            return looked.thread()
        case "Prompt":
            return looked.prompt()
        case "Preference":
            return looked.pair()
    return None


def turns_like(columns: Columns, name: str) -> Column | None:
    """How a column could be read as turns, be their parts called what they are."""
    return _Looked(columns).turns_in(name)


class _Path(Record):
    """A text in a row: a column, a key of it, or of the first item in it."""

    text: str
    name: str


class _Looked:
    """The first rows of a dataset, and what stands in their columns."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._names = [name for name in columns.names or () if name.isidentifier()]
        self._texts = self._paths(str, STR)
        self._numbers = self._paths(int | float, INT, FLOAT)

    def thread(self) -> Fields | None:
        if turns := self._turns():
            return {"messages": turns}
        asked, answered = self._asked(), self._find(_ANSWERED, self._numbers)
        return None if asked is None or answered is None else {"prompt": asked, "completion": answered}

    def prompt(self) -> Fields | None:
        if turns := self._turns():
            return {"prompt": turns}
        asked = self._asked()
        return None if asked is None else {"prompt": asked}

    def pair(self) -> Fields | None:
        sides = {"chosen": self._answer(_BETTER), "rejected": self._answer(_WORSE)}
        answers = {name: side for name, side in sides.items() if side is not None}
        if len(answers) < len(sides):
            return None
        if all(isinstance(side, Column) for side in answers.values()):
            return dict(answers)
        asked = self._asked()
        return None if asked is None else {"prompt": asked, **answers}

    # --- turns ------------------------------------------------------------------------------------------

    def _turns(self) -> Column | None:
        known = recognised(self._columns)
        if known is not None and isinstance(turns := known.fields.get("messages"), Column):
            return turns
        found = (self.turns_in(name) for name in self._names)
        return next((turns for turns in found if turns is not None), None)

    def turns_in(self, name: str) -> Column | None:
        """How a column could be read as turns, be they called what they are."""
        values = self._values(name)
        if _all(values, str) and transcripts(values):
            return Column(name=name, transcript=True)
        turns = list(turns_of(values)) if _all(values, list | tuple) else []
        if not _all(turns, dict):
            return None
        role, content = _key_in(turns, _ROLE_KEYS), _key_in(turns, _TEXT_KEYS)
        if role is None or content is None:
            return None
        called = dict.fromkeys(str(turn[role]) for turn in turns)
        roles: dict[str, Any] = {old: ROLES.get(old, "…") for old in called if old not in OWN_ROLES}
        if len(roles) > _ITEMS or not all(isinstance(turn[role], str) for turn in turns):
            return None
        return Column(name=name, role=role, content=content, roles=roles or None)

    def _answer(self, called: Sequence[str]) -> str | Column | None:
        turns = (self.turns_in(name) for name in self._names if _meant(name, called))
        return next((found for found in turns if found is not None), None) or self._find(called)

    # --- texts ------------------------------------------------------------------------------------------

    def _asked(self) -> str | None:
        asked = self._find(_ASKED)
        given = self._find(("input",))
        if asked != "{{ instruction }}" or given is None:
            return asked
        path = given.strip("{} ")
        return f"{asked}{{% if {path} %}}\n\n{given}{{% endif %}}"  # as Alpaca has it

    def _find(self, called: Sequence[str], beside: Sequence[_Path] = ()) -> str | None:
        """The text, or what stands `beside` texts, whose name is among those; the whole name goes before a
        part of it."""
        for exact in (True, False):
            for name, paths in ((name, paths) for paths in (self._texts, beside) for name in called):
                for path in paths:
                    if path.name.lower() == name if exact else _meant(path.name, (name,)):
                        return f"{{{{ {path.text} }}}}"
        return None

    def _paths(self, kinds: Any, *types: Type) -> list[_Path]:
        """All values of these kinds, columns first."""
        return sorted(set(self._each(kinds, types)), key=lambda path: "." in path.text)

    def _each(self, kinds: Any, types: Sequence[Type]) -> Iterator[_Path]:
        for name in self._names:
            values = self._values(name)
            if _all(values, kinds) or (not values and type_of(self._columns, name) in types):
                yield _Path(name, name)
            inner, at = values, name
            if _all(values, list | tuple) and all(values):
                inner, at = [value[0] for value in values], f"{name}[0]"
            if _all(inner, dict):
                for key in dict.fromkeys(key for value in inner for key in value if key.isidentifier()):
                    if _all([value.get(key) for value in inner], kinds):
                        yield _Path(f"{at}.{key}", key)

    def _values(self, name: str) -> list[Any]:
        return [value for value in islice(self._columns.column(name), SEEN) if value is not None]


def _all(values: Sequence[Any], kinds: Any) -> bool:
    """Whether all are of these kinds. To Python a truth value is a number."""
    return bool(values) and all(isinstance(value, kinds) and not isinstance(value, bool) for value in values)


def _meant(name: str, called: Sequence[str]) -> bool:
    return bool({*name.lower().split("_"), name.lower()} & set(called))


def _key_in(turns: Sequence[Mapping[str, Any]], known: Sequence[str]) -> str | None:
    return next((key for key in known if all(key in turn for turn in turns)), None)


# --- one row --------------------------------------------------------------------------------------------


def shown(row: Mapping[str, Any]) -> str:
    """A row in one short line."""
    # JSON can spell halves of characters, which nobody can print.
    text = json.dumps(_short(row), ensure_ascii=False).encode(errors="replace").decode()
    return text if len(text) <= _WIDTH else text[:_WIDTH] + "…"


def _short(value: Any, depth: int = 0) -> Any:
    match value:
        case str():
            return value if len(value) <= _TEXT else value[:_TEXT] + "…"
        case list() | tuple() if value:
            return [_short(value[0], depth + 1), *(["…"] if len(value) > 1 else [])]
        case dict() if value and depth > _DEPTH:
            return {"…": "…"}
        case dict():
            few = {key: _short(held, depth + 1) for key, held in islice(value.items(), _ITEMS)}
            return few | ({"…": "…"} if len(value) > _ITEMS else {})
    return value
