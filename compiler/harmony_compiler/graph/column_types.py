"""Types of columns: found in values, written as texts, and held against what asks for them.

A column is one of `bool int float str record`, `list[…]`, one of these `| none`, or `json`: anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any

from harmony_compiler.graph.types import (
    BOOL,
    FLOAT,
    INT,
    JSON,
    NONE,
    STR,
    ListOf,
    LiteralText,
    RecordOf,
    Type,
    options_of,
    union_of,
)

LIST, RECORD = ListOf(JSON), RecordOf(JSON)

_OF_VALUES: dict[frozenset[type], Type] = {
    frozenset({str}): STR,
    frozenset({int}): INT,
    frozenset({bool}): BOOL,
    frozenset({float}): FLOAT,
    frozenset({int, float}): FLOAT,
    frozenset({dict}): RECORD,
}
_NAMED: dict[str, Type] = {
    **{str(type_): type_ for type_ in (BOOL, INT, FLOAT, STR, NONE)},
    "list": LIST,
    "record": RECORD,
    "json": JSON,
}
TYPES = frozenset(_NAMED)
ELSEWHERE = {
    **dict.fromkeys(("string", "text", "String", "varchar"), "str"),
    **dict.fromkeys(("integer", "int32", "int64"), "int"),
    **dict.fromkeys(("number", "double", "float32", "float64"), "float"),
    **dict.fromkeys(("dict", "object", "struct"), "record"),
    **dict.fromkeys(("boolean",), "bool"),
    **dict.fromkeys(("array", "sequence"), "list"),
}
"""What types are called elsewhere."""
KNOWN = "bool, int, float, str, list[…], record, json; `… | none` where it may be missing"
"""The types of columns, as people write them."""


def type_of_values(values: Iterable[Any]) -> Type:
    """The type of all these JSON values."""
    held = list(values)
    kinds = frozenset(map(type, held))
    missing, rest = type(None) in kinds, kinds - {type(None)}
    if not rest:
        return NONE if missing else JSON
    if rest <= {list, tuple}:
        items = type_of_values(chain.from_iterable(value for value in held if value is not None))
        found: Type = ListOf(items)
    else:
        found = _OF_VALUES.get(rest, JSON)
    return union_of((found, NONE)) if missing and found != JSON else found


def type_text(type_: Type) -> str:
    """A type as `columns` has it."""
    match type_:
        case ListOf(item=item):
            return "list" if item == JSON else f"list[{type_text(item)}]"
        case RecordOf():
            return "record"
    if type_ == JSON:
        return "json"
    return " | ".join(map(type_text, options_of(type_))) if len(options_of(type_)) > 1 else str(type_)


def read_type_text(text: str) -> Type | None:
    """The type that a text names, or None."""
    options = [_one(option.strip()) for option in _split(text)]
    found = [option for option in options if option is not None]
    return union_of(found) if found and len(found) == len(options) else None


def _one(text: str) -> Type | None:
    if text.startswith("list[") and text.endswith("]"):
        item = read_type_text(text[5:-1])
        return None if item is None else ListOf(item)
    return _NAMED.get(text)


def _split(text: str) -> list[str]:
    """The options of a union: what stands between `|` outside brackets."""
    parts, depth = [""], 0
    for char in text:
        depth += (char == "[") - (char == "]")
        if char == "|" and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return parts


def fits(found: Type, wanted: Type) -> bool:
    """Whether values of one type are what another one asks for; `none` and what is not known always are."""
    if JSON in (found, wanted):
        return True
    return all(
        any(_is_a(option, asked) for asked in options_of(wanted))
        for option in options_of(found)
        if option not in (NONE, JSON)
    )


def _is_a(found: Type, wanted: Type) -> bool:
    if isinstance(found, ListOf) and isinstance(wanted, ListOf):
        return fits(found.item, wanted.item)
    if isinstance(found, RecordOf) and isinstance(wanted, RecordOf):
        return True
    if isinstance(found, LiteralText) and wanted == STR:
        return True
    return wanted in (found, JSON) or (found == INT and wanted == FLOAT)
