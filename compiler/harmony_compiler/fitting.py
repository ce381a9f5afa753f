"""Fitting a value into a place that asks for a type.

`int` widens to `float`, a percent is accepted as a `float`, a string literal becomes a `Path`, `Regex`,
`Template` or option where one is asked for. Nothing else converts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from harmony_compiler.findings.fields import SecretAsText
from harmony_compiler.findings.types import BareShare, OnlyWhenGraded, UnknownOption, WrongType
from harmony_compiler.formulas import graded
from harmony_compiler.graph.types import (
    BOOL,
    FLOAT,
    GRADER,
    INT,
    JSON,
    NONE,
    PATH,
    PERCENT,
    REGEX,
    SECRET,
    STR,
    TEMPLATE,
    TEXTUAL,
    DatasetType,
    ListOf,
    LiteralText,
    ModelType,
    RecordOf,
    SettingsType,
    Type,
    options_of,
    union_of,
)
from harmony_compiler.names import close_to
from harmony_compiler.scores import as_grader
from harmony_compiler.typed import UNKNOWN_DATA, Graded, Made, Value, in_one_line
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.records import replace


def fit(value: Value, expected: Type, place: str) -> Value | list[Diagnostic]:
    """`value` as `expected`, or why it does not fit. `place` says in words what asks for it."""
    if value.unknown:
        return value
    options = options_of(expected)
    if isinstance(value.data, Graded):
        grader = as_grader(value) if GRADER in options else None
        return grader or list(_misfits(value, expected, place))
    for convert in (_as_it_is, _converted):
        for option in options:
            fitted = convert(value, option)
            if fitted is not None:
                return fitted
    return list(_misfits(value, expected, place))


def _as_it_is(value: Value, option: Type) -> Value | None:
    match option:
        case LiteralText(text=text):
            if value.type == option or (value.literal is not None and value.data == text):
                return replace(value, type=option, literal=None)
        case SettingsType(name=name):
            if isinstance(value.data, Made) and value.data.cls.constructor == name:
                return value
        case DatasetType():
            # Rows of an unknown kind: a fault in their mapping was reported.
            known = value.type.rows if isinstance(value.type, DatasetType) else ""
            if (known is None or known == (option.rows or known)) and not lacking(value, option):
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


def lacking(dataset: Value, type_: DatasetType) -> list[str]:
    """The keys of metadata that a type asks for and a dataset does not have."""
    known: Any = dataset.data.values["metadata"] if isinstance(dataset.data, Made) else UNKNOWN_DATA
    return [] if known is UNKNOWN_DATA else [key for key in type_.metadata if key not in (known or {})]


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
    return value if option == JSON and _is_json(value) else None


def _is_json(value: Value) -> bool:
    if isinstance(value.data, Graded):
        return False
    if isinstance(value.data, tuple):
        return all(_is_json(item) for item in value.data)
    if isinstance(value.data, dict):
        return all(_is_json(item) for item in value.data.values())
    return value.type in (BOOL, INT, FLOAT, STR, NONE) or isinstance(value.type, LiteralText)


def resolved(value: Value) -> str:
    """A path literal as an absolute path: relative means relative to the file in which it stands."""
    assert value.literal is not None
    path = Path(value.data)
    with suppress(RuntimeError):  # `~name` of nobody: there is no such file
        path = path.expanduser()
    return str((value.literal.span.source.folder / path).absolute())


def _misfits(value: Value, expected: Type, place: str) -> Iterator[Diagnostic]:
    """A list or record of the wrong things is blamed part by part."""
    parts: list[tuple[Value, Type, str]] = []
    for option in options_of(expected):
        if isinstance(option, ListOf) and isinstance(value.data, tuple):
            parts = [(item, option.item, f"an item of {place}") for item in value.data]
        if isinstance(option, RecordOf) and isinstance(value.data, dict):
            parts = [(item, option.item, f"`{key}` in {place}") for key, item in value.data.items()]
    if not parts:
        yield _misfit(value, expected, place)
    for part, wanted, where in parts:
        found = fit(part, wanted, where)
        if not isinstance(found, Value):
            yield from found


def _misfit(value: Value, expected: Type, place: str) -> Diagnostic:
    options = options_of(expected)
    if graded(value) and not {GRADER, ListOf(GRADER)} & set(options):
        text = in_one_line(value.span)
        mend = f'in a template write `"{{{{ {text} }}}}"`' if TEMPLATE in options else ""
        if REGEX in options:
            mend = "it is the same for all completions; `contains(text, part)` looks for a text of the row"
        return OnlyWhenGraded(span=value.span, place=place, mend=mend or OnlyWhenGraded.mend)
    texts = [option.text for option in options if isinstance(option, LiteralText)]
    if texts and (value.literal is not None or isinstance(value.type, LiteralText)):
        return UnknownOption(
            span=value.span,
            place=place,
            given=value.data,
            options=", ".join(texts),
            suggestion=close_to(value.data, texts),
        )
    if SECRET in options and isinstance(value.data, str):
        return SecretAsText(span=value.span, place=place)
    if value.type == FLOAT and PERCENT in options and FLOAT not in options:
        return BareShare(
            span=value.span,
            place=place,
            expected=f"`{expected}`",
            question="steps or a share?" if INT in options else "a share is written in percent",
            percent=f"{value.data * 100:g}%",
        )
    fact, mend = advice(value, options)
    return WrongType(
        span=value.span, place=place, expected=f"`{expected}`", found=describe(value), fact=fact, mend=mend
    )


def advice(value: Value, options: tuple[Type, ...]) -> tuple[str, str]:
    """What helps with a misfit: a fact to know, and what to change."""
    if GRADER in options and value.type in (BOOL, INT, FLOAT, PERCENT):
        return "it would score every completion alike", "write a formula over `completion`, or name a grader"
    if GRADER in options and isinstance(value.data, Graded):
        return "", "a grader computes a number, or true or false"
    if GRADER in options and isinstance(value.data, tuple | dict):
        return "", "make one formula of them, each with its weight: `0.8 * … + 0.2 * …`"
    if GRADER in options and value.literal is not None and value.data.isidentifier():
        return "", f"a name stands without quotes: `{value.data}`"
    items = [option.item for option in options if isinstance(option, ListOf)]
    if any(isinstance(fit(value, item, ""), Value) for item in items):
        return "", "a list stands in brackets: `[…]`"
    wanted = next((option for option in options if isinstance(option, DatasetType)), None)
    if wanted is not None and isinstance(value.type, DatasetType):
        kind = value.type.rows or "Table"
        if kind == wanted.rows and (keys := lacking(value, wanted)):
            names = ", ".join(f"`{key}`" for key in keys)
            return f"its metadata has no {names}", f'give it `metadata = {{ {keys[0]} = "{{{{ … }}}}" }}`'
        half = kind == "Table" and isinstance(value.data, Made) and "completion" in value.data.given
        fact = "it maps `completion` without `prompt`" if half else _ROWS[kind]
        return fact, _MAPPING.get(wanted.rows or "", "")
    if value.type == STR and value.literal is None:
        special = union_of(o for o in options if o in TEXTUAL or isinstance(o, LiteralText))
        if options_of(special):
            fact = f"only a literal takes the type `{special}` by its place"
            return fact, "declare the input with that type"
    if value.literal is not None and value.data in ("true", "false") and BOOL in options:
        return "", f"write `{value.data}` without quotes"
    if value.type == FLOAT and INT in options and value.data.is_integer():
        return "", f"write `{int(value.data)}`"
    if value.type == INT and PERCENT in options:
        return "", "a share is written in percent, such as `10%`"
    settings = [option.name for option in options if isinstance(option, SettingsType)]
    if settings and isinstance(value.data, dict):
        return "", f"say which is meant, such as `{settings[0]} {{ … }}`"
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
