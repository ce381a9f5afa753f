"""Fitting a value into a place that asks for a type.

`int` widens to `float`, a percent is accepted as a `float`, a string literal becomes a `Path`, `Regex`,
`Template` or option where one is asked for. Nothing else converts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from harmony_grammar.diagnostics import Diagnostic

from harmony_compiler.findings.fields import SecretAsText
from harmony_compiler.findings.types import BareShare, UnknownOption, WrongType
from harmony_compiler.graph.types import (
    FLOAT,
    INT,
    JSON,
    PATH,
    PERCENT,
    SECRET,
    STR,
    TEXTUAL,
    DatasetType,
    ListOf,
    LiteralText,
    ModelType,
    RecordOf,
    SettingsType,
    Type,
    options_of,
)
from harmony_compiler.names import close_to
from harmony_compiler.typed import Made, Value


def fit(value: Value, expected: Type, place: str) -> Value | Diagnostic:
    """`value` as `expected`, or the finding that it does not fit. `place` says in words what asks for it."""
    if value.unknown:
        return value
    options = options_of(expected)
    for convert in (_as_it_is, _converted):
        for option in options:
            fitted = convert(value, option)
            if fitted is not None:
                return fitted
    return _misfit(value, expected, place)


def _as_it_is(value: Value, option: Type) -> Value | None:
    match option:
        case LiteralText(text=text):
            if value.type == option or (value.literal is not None and value.data == text):
                return replace(value, type=option, literal=None)
        case SettingsType(name=name):
            if isinstance(value.data, Made) and value.data.cls.constructor == name:
                return value
        case DatasetType(rows=None):
            if isinstance(value.type, DatasetType):
                return value
        case ListOf(item=item):
            if isinstance(value.data, tuple):
                fitted = _each(dict(enumerate(value.data)), item)
                return None if fitted is None else replace(value, data=tuple(fitted.values()))
        case RecordOf(item=item):
            if isinstance(value.data, dict):
                fitted = _each(value.data, item)
                return None if fitted is None else replace(value, data=fitted)
        case _:
            if value.type == option:
                return value
    return None


def _each(parts: Mapping[Any, Value], item: Type) -> dict[Any, Value] | None:
    """Every part as `item`, or None when one does not fit."""
    fitted: dict[Any, Value] = {}
    for key, part in parts.items():
        found = fit(part, item, "")
        if not isinstance(found, Value):
            return None
        fitted[key] = found
    return fitted


def _converted(value: Value, option: Type) -> Value | None:
    if option == FLOAT and value.type == INT:
        return replace(value, type=FLOAT, data=float(value.data))
    if option == FLOAT and value.type == PERCENT:
        return replace(value, type=FLOAT, data=value.data.share)
    if option == STR and isinstance(value.type, LiteralText):
        return replace(value, type=STR)
    if option in TEXTUAL and value.literal is not None:
        return replace(value, type=option, data=resolved(value) if option == PATH else value.data)
    if option == JSON and not isinstance(value.data, Made):
        return value
    return None


def resolved(value: Value) -> str:
    """A path literal as an absolute path: relative means relative to the file in which it stands."""
    assert value.literal is not None
    return str((value.literal.span.source.folder / Path(value.data).expanduser()).absolute())


def _misfit(value: Value, expected: Type, place: str) -> Diagnostic:
    options = options_of(expected)
    texts = [option.text for option in options if isinstance(option, LiteralText)]
    if texts and isinstance(value.data, str):
        return UnknownOption(
            span=value.span,
            place=place,
            given=value.data,
            options=", ".join(texts),
            suggestion=close_to(value.data, texts),
        )
    if SECRET in options and isinstance(value.data, str):
        return SecretAsText(span=value.span, place=place)
    if value.type == FLOAT and PERCENT in options:
        share = f"{value.data * 100:g}%"
        return BareShare(span=value.span, place=place, expected=f"`{expected}`", percent=share)
    fact, mend = _advice(value, options)
    return WrongType(
        span=value.span, place=place, expected=f"`{expected}`", found=describe(value), fact=fact, mend=mend
    )


def _advice(value: Value, options: tuple[Type, ...]) -> tuple[str, str]:
    """What helps with a misfit: a fact to know, and what to change."""
    wanted = next((option for option in options if isinstance(option, DatasetType)), None)
    if wanted is not None and isinstance(value.type, DatasetType):
        return _ROWS[value.type.rows or "Table"], _MAPPING.get(wanted.rows or "", "")
    if value.type == STR and value.literal is None and any(option in TEXTUAL for option in options):
        return "", "declare the input with the type that the field takes"
    if value.type == STR and any(isinstance(option, ModelType) for option in options):
        return "", f'a model from the hub is `hf("{value.data}")`, one from a folder `local("…")`'
    return "", ""


_ROWS = {
    "Table": "no column is mapped, so its rows are a plain table",
    "Prompt": "it maps `prompt` alone, so its rows are prompts without completions",
    "Thread": "it maps `prompt` and `completion`, so its rows are threads",
    "Preference": "it maps `chosen` and `rejected`, so its rows are preferences",
}
_MAPPING = {
    "Thread": 'say what to imitate: `{ prompt = "{{ … }}", completion = "{{ … }}" }`',
    "Prompt": 'say what is asked: `{ prompt = "{{ … }}" }` without a completion',
}


def describe(value: Value) -> str:
    """A value's type in words, as diagnostics name it."""
    if isinstance(value.type, LiteralText):
        return "`str`"
    if isinstance(value.data, tuple):
        return "a list"
    if isinstance(value.data, dict):
        return "a record"
    return f"`{value.type}`"
