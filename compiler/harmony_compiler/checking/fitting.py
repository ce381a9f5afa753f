"""Fitting a value into a place that asks for a type.

`int` widens to `float`, a percent is accepted as a `float`, a string literal becomes a `Path`, `Regex`,
`Template` or option where one is asked for. Nothing else converts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import Any

from harmony_compiler.findings.fields import SecretAsText
from harmony_compiler.findings.types import BareShare, OnlyWhenGraded, UnknownOption, WrongType
from harmony_compiler.graph.column_types import fits, type_text
from harmony_compiler.graph.datasets import MAPPED
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
    EndpointType,
    GraderType,
    ListOf,
    LiteralText,
    ModelType,
    RecordOf,
    RowKind,
    SettingsType,
    Type,
    options_of,
    union_of,
)
from harmony_compiler.naming.near import nearest
from harmony_compiler.rewards.formulas import graded
from harmony_compiler.rewards.scores import as_grader
from harmony_compiler.typed import Graded, Made, Value, in_one_line
from harmony_grammar.diagnostics import Diagnostic, Fix, enclose, meant
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
        case DatasetType() if isinstance(value.type, DatasetType):
            # Rows of an unknown kind: a fault in their mapping was reported.
            known = value.type.rows
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
    """The keys of metadata that a type asks for and a dataset does not have, or has of another type."""
    known = dataset.data.metadata if isinstance(dataset.data, Made) else None
    if known is None:
        return []
    return [key for key, wanted in type_.metadata if key not in known or not fits(known[key], wanted)]


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
    return str(place_of(value.data, value))


def place_of(written: str, value: Value) -> Path:
    """The absolute path of a file that a text names."""
    path = Path(written)
    with suppress(RuntimeError):  # `~name` of nobody: there is no such file
        path = path.expanduser()
    span = value.literal.span if value.literal is not None else value.span
    return (span.source.folder / path).absolute()


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
        near = nearest(value.data, texts)
        return UnknownOption(
            span=value.span,
            place=place,
            given=value.data,
            options=", ".join(texts),
            suggestion=near.name,
            fixes=near.quoted().fixes(value.span, closed=True),
        )
    if SECRET in options and isinstance(value.data, str | int | float) and value.type != BOOL:
        return SecretAsText(span=value.span, place=place)
    if value.type == FLOAT and PERCENT in options and FLOAT not in options:
        percent = f"{value.data * 100:g}%"
        return BareShare(
            span=value.span,
            fixes=() if value.named else meant(value.span, percent),
            place=place,
            expected=f"`{expected}`",
            question="steps or a share?" if INT in options else "a share is written in percent",
            percent=percent,
        )
    wanted = next((option for option in options if isinstance(option, DatasetType)), None)
    from harmony_compiler.data.unmapped import unmapped_rows  # only a mistake pays for it

    if finding := unmapped_rows(value, wanted, place):
        return finding
    fact, mend = advice(value, options)
    return WrongType(
        span=value.span,
        place=place,
        expected=f"`{expected}`",
        found=describe(value),
        fact=fact,
        mend=mend,
        fixes=rewritten(value, options),
    )


def _is_written(value: Value) -> bool:
    """Whether a string literal stands here, in its quotes."""
    return value.literal is not None and value.span.text[:1] in ('"', "r")


def rewritten(value: Value, options: tuple[Type, ...]) -> tuple[Fix, ...]:
    """The changes that write a value as its place wants it."""
    span, data = value.span, value.data
    items = [option.item for option in options if isinstance(option, ListOf)]
    if any(isinstance(fit(value, item, ""), Value) for item in items):
        return (enclose("put it into brackets", span, "[", "]", safe=True),)
    if value.named:
        return ()  # it is written elsewhere
    if value.type == FLOAT and INT in options and data.is_integer() and isfinite(data):
        return meant(span, str(int(data)), safe=True)
    if not _is_written(value):
        return ()
    number = INT in options and re.fullmatch(r"[0-9]+", data)
    number = number or (FLOAT in options and re.fullmatch(r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", data))
    if number or (BOOL in options and data in ("true", "false")) or (NONE in options and data == "none"):
        return meant(span, data, safe=True)
    if any(isinstance(option, ModelType) for option in options):
        hub, folder = (enclose(f"write `{head}(…)`", span, f"{head}(", ")") for head in ("hf", "local"))
        return (folder, hub) if data.startswith((".", "/", "~")) else (hub, folder)
    if GRADER in options and data.isidentifier():
        return meant(span, data)
    return ()


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
            return _of_metadata(value.data.metadata, keys)
        from harmony_compiler.data.unmapped import other_mapping  # only a mistake pays for it

        other = other_mapping(value.data, wanted.rows) if wanted.rows and isinstance(value.data, Made) else ""
        return _mapped(value.data, kind), other or _MAPPING.get(wanted.rows or "", "")
    if value.type == STR and value.literal is None:
        special = union_of(o for o in options if o in TEXTUAL or isinstance(o, LiteralText))
        if options_of(special):
            fact = f"only a literal takes the type `{special}` by its place"
            return fact, "declare the input with that type"
    if value.literal is not None and value.data in ("true", "false") and BOOL in options:
        return "", f"write `{value.data}` without quotes"
    if value.literal is not None and value.data.isdigit() and INT in options:
        return "", f"write `{value.data}` without quotes"
    if value.type == FLOAT and INT in options and value.data.is_integer():
        return "", f"write `{int(value.data)}`"
    if value.type == INT and PERCENT in options:
        return "", "a share is written in percent, such as `10%`"
    for kinds, fact, mend in _ROLES:
        if isinstance(value.type, kinds[0]) and any(isinstance(option, kinds[1]) for option in options):
            return fact, mend
    settings = [option.name for option in options if isinstance(option, SettingsType)]
    if settings and isinstance(value.data, dict):
        return "", f"say which is meant, such as `{settings[0]} {{ … }}`"
    if value.type == STR and any(isinstance(option, ModelType) for option in options):
        return "", f'a model from the hub is `hf("{value.data}")`, one from a folder `local("…")`'
    return "", ""


def _of_metadata(known: Mapping[str, Type], keys: list[str]) -> tuple[str, str]:
    """What helps where metadata lacks `keys`."""
    missing = [key for key in keys if key not in known]
    if missing:
        names = ", ".join(f"`{key}`" for key in missing)
        return f"its metadata has no {names}", f'give it `metadata = {{ {missing[0]} = "{{{{ … }}}}" }}`'
    found = ", ".join(f"`{key}` as `{type_text(known[key])}`" for key in keys)
    return f"its metadata has {found}", "`column(…)` passes a column as it is, a template makes a text"


def _mapped(made: Any, kind: RowKind) -> str:
    """What a dataset maps, and so what its rows are."""
    given = made.given if isinstance(made, Made) else {}
    if "completion" in given and kind == "Table":
        return "it maps `completion` without `prompt`"
    by_layout = isinstance(made, Made) and bool(made.recognised)
    if by_layout or "messages" in given:
        names = " and ".join(f"`{name}`" for name in given if name in MAPPED)
        return f"it {'is recognised as' if by_layout else 'maps'} {names}, so its rows are {_KINDS[kind]}"
    return _ROWS[kind]


_KINDS = {"Table": "a plain table", "Prompt": "prompts", "Thread": "threads", "Preference": "preferences"}
_ROLES: tuple[tuple[tuple[type[Type], type[Type]], str, str], ...] = (
    (
        (EndpointType, ModelType),
        "an endpoint is served elsewhere: it can judge and be compared, not be trained or saved",
        'name a model that is loaded here, such as `hf("…")` or `local("…")`',
    ),
    ((GraderType, ModelType), "a grader scores what a model writes", ""),
    ((DatasetType, ModelType), "a dataset brings the rows that a model is trained on or answers", ""),
    (
        (ModelType, GraderType),
        "a model is no grader by itself",
        'let it judge, `judge(model = …, criteria = "…")`, or score, `reward_model(…)`',
    ),
    (
        (EndpointType, GraderType),
        "an endpoint is no grader by itself",
        'let it judge: `judge(model = …, criteria = "…")`',
    ),
    ((DatasetType, GraderType), "a dataset brings the rows; a grader scores what is answered to them", ""),
    ((GraderType, DatasetType), "a grader scores what is answered to the rows of a dataset", ""),
    ((ModelType, DatasetType), "a model answers the rows of a dataset", ""),
)
"""Values of the domain in one another's places: found, asked for; a fact, and what to change."""

_ROWS = {
    "Table": "no column is mapped, so its rows are a plain table",
    "Prompt": "it maps `prompt` alone, so its rows are prompts without completions",
    "Thread": "it maps `prompt` and `completion`, so its rows are threads",
    "Preference": "it maps `chosen` and `rejected`, so its rows are preferences",
}
_MAPPING = {
    "Thread": 'say what to imitate: `{ prompt = "{{ … }}", completion = "{{ … }}" }`',
    "Prompt": 'say what is asked: `{ prompt = "{{ … }}" }` without a completion',
    "Preference": "say what is better and what is worse: "
    '`{ prompt = "{{ … }}", chosen = "{{ … }}", rejected = "{{ … }}" }`',
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
