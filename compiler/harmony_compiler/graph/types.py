"""The types of the language.

A type is a frozen value that prints as people write it. `type_of_annotation` reads one off the Python
annotation of a node class's field, so that a field's type stands in one place.
"""

from __future__ import annotations

import types
import typing
from typing import Any, Literal

from harmony_compiler.graph.values import Duration, Percent, Secret
from harmony_grammar.records import Record

RowKind = Literal["Prompt", "Thread", "Preference", "Table"]


class Type(Record):
    """Base of all types."""


class Scalar(Type):
    name: str

    def __str__(self) -> str:
        return self.name


class LiteralText(Type):
    """The one-value type of a string literal."""

    text: str

    def __str__(self) -> str:
        return f'"{self.text}"'


class ListOf(Type):
    item: Type

    def __str__(self) -> str:
        return f"list[{self.item}]"


class RecordOf(Type):
    """A record with free keys whose values have one type."""

    item: Type

    def __str__(self) -> str:
        return f"{{ name = {self.item} }}"


class Union(Type):
    options: tuple[Type, ...]

    def __str__(self) -> str:
        return " | ".join(str(option) for option in self.options)


class ModelType(Type):
    def __str__(self) -> str:
        return "Model"


class EndpointType(Type):
    def __str__(self) -> str:
        return "Endpoint"


class DatasetType(Type):
    """`Dataset`, or with its kind of rows `Dataset[Thread]`, or also with its metadata
    `Dataset[Prompt{answer: str}]`."""

    rows: RowKind | None = None
    metadata: tuple[tuple[str, Type], ...] = ()
    """The keys that are asked for, with their types."""

    def __str__(self) -> str:
        keys = ", ".join(f"{key}: {type_}" for key, type_ in self.metadata)
        record = f"{{{keys}}}" if keys else ""
        return f"Dataset[{self.rows}{record}]" if self.rows else "Dataset"


class GraderType(Type):
    def __str__(self) -> str:
        return "Grader"


class SettingsType(Type):
    """A structured value made by the constructor `name`."""

    name: str

    def __str__(self) -> str:
        return f"{self.name} {{ }}"


BOOL = Scalar("bool")
INT = Scalar("int")
FLOAT = Scalar("float")
PERCENT = Scalar("percent")
STR = Scalar("str")
DURATION = Scalar("duration")
NONE = Scalar("none")
PATH = Scalar("Path")
REGEX = Scalar("Regex")
SECRET = Scalar("Secret")
TEMPLATE = Scalar("Template")
JSON = Scalar("JSON value")
UNKNOWN = Scalar("unknown")
"""The type of what could not be read or typed: it was reported, and absorbs whatever follows."""

TEXTUAL = (PATH, REGEX, TEMPLATE)
"""Types that a string literal takes in a place that asks for them."""

MODEL = ModelType()
ENDPOINT = EndpointType()
GRADER = GraderType()
FORMULA = Scalar("formula")
"""The type of a grader's expression: see `graph.formulas`. No recipe writes one into a field by hand."""
CONDITION = Scalar("condition")
"""The type of a condition on the columns of a row: a formula that is true or false. See `graph.formulas`."""
SAVED = Scalar("save")
"""The type of a `save`, which no other value can use."""
EVALUATION = Scalar("evaluation")
"""The type of an `evaluate`, which no other value can use."""

_PLAIN: dict[object, Type] = {
    bool: BOOL,
    int: INT,
    float: FLOAT,
    str: STR,
    Percent: PERCENT,
    Duration: DURATION,
    Secret: SECRET,
    type(None): NONE,
    None: NONE,
}


def union_of(options: typing.Iterable[Type]) -> Type:
    """The union of `options`, flat and without repetition."""
    flat: dict[Type, None] = {}
    for option in options:
        for part in options_of(option):
            flat[part] = None
    return next(iter(flat)) if len(flat) == 1 else Union(tuple(flat))


def options_of(type_: Type) -> tuple[Type, ...]:
    """The members of a union; any other type is its own only option."""
    return type_.options if isinstance(type_, Union) else (type_,)


def type_of_annotation(annotation: Any) -> Type:
    """The language's type for a resolved annotation. `Annotated[X, T]` has the type `T`."""
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return typing.cast(Type, arguments[1])
    if origin is Literal:
        return union_of(LiteralText(text) for text in arguments)
    if origin in (typing.Union, types.UnionType):
        return union_of(type_of_annotation(argument) for argument in arguments)
    if origin is tuple:
        return ListOf(type_of_annotation(arguments[0]))
    if origin is dict:
        return RecordOf(type_of_annotation(arguments[1]))
    if isinstance(annotation, type) and hasattr(annotation, "constructor"):
        return SettingsType(annotation.constructor)
    raise TypeError(f"no type of the language for the annotation {annotation!r}")
