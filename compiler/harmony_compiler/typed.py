"""Typed values: what an expression of a recipe turned out to be.

The checker evaluates while it types, since everything in a recipe is known when it is compiled: inputs have
values, the launch is given. A `Made` is a constructor with its fields, on the way to become a node.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from harmony_compiler.graph.formulas import Formula
from harmony_compiler.graph.node import Constructor, Node
from harmony_compiler.graph.types import JSON, UNKNOWN, Type
from harmony_compiler.store.layouts import Columns
from harmony_grammar import syntax
from harmony_grammar.records import Record, replace
from harmony_grammar.source import Span


class _Unknown:
    """Stands for data that could not be found out; whatever reads it says nothing."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN_DATA: Final = _Unknown()


class Read(Record):
    """A place where a key of the row's metadata, or in a filter a column, is read."""

    key: str
    span: Span
    type: Type = JSON
    """What its use asks for."""


class Graded(Record):
    """Data that is known only when a completion is graded: the formula that computes it."""

    tree: Formula
    reads: tuple[Read, ...] = ()
    size: int = 1
    """Operations in the formula."""
    depth: int = 1
    """How deep they are nested."""


LAUNCH, LAYOUT, LOCKED = "ctx", "known layout", "the lock"
"""What may decide a value beside the text of the recipe and its inputs, whose names are none of these."""
NOBODY: Final[frozenset[str]] = frozenset()
"""What the text of the recipe alone decides."""


class Value(Record):
    """A value with its type and place.

    `data` is a Python constant, a `Made`, a `Graded`, a tuple of values (a list) or a dict of values (a
    record). `literal` is set where the value is a string literal, which adapts to the place it stands in.
    `by` says what decided it beside the recipe's text: `LAUNCH`, and inputs by their names. `named` says that
    a name stands for it.
    """

    type: Type
    data: Any
    span: Span
    literal: syntax.Text | None = None
    by: frozenset[str] = NOBODY
    named: bool = False

    @property
    def unknown(self) -> bool:
        return self.type is UNKNOWN

    @property
    def by_launch(self) -> bool:
        return LAUNCH in self.by

    @property
    def shows(self) -> frozenset[str]:
        """What decided it, or a part of it."""
        if not isinstance(self.data, tuple | dict):
            return self.by
        return self.by | by_all(self.data.values() if isinstance(self.data, dict) else self.data)

    @property
    def shows_launch(self) -> bool:
        """Whether the launch had a part in it, or in a part of it."""
        return LAUNCH in self.shows

    def at(self, span: Span) -> Value:
        """The same value, used at another place."""
        return replace(self, span=span)


def by_all(values: Iterable[Value]) -> frozenset[str]:
    """What decided any of these values."""
    return NOBODY.union(*(value.shows for value in values))


def unknown(span: Span) -> Value:
    return Value(UNKNOWN, UNKNOWN_DATA, span)


class Made(Record, eq=False):
    """A constructor with its fields.

    `given` holds what the recipe wrote, `values` every field with its default filled in; a field that could
    not be read or is missing holds `UNKNOWN_DATA`.
    """

    cls: type[Constructor]
    given: dict[str, Value]
    values: dict[str, Any]
    head: Span
    span: Span
    """The whole expression; `head` is the constructor's name in it."""
    lost: bool = False
    """A field could not be read: what seems missing may have been in it."""
    recognised: frozenset[str] = frozenset()
    """Fields of a dataset that a known layout filled in, among `given` as if the recipe had written them."""
    metadata: dict[str, Type] | None = None
    """The metadata of a dataset's rows; None where it is not known."""
    columns: Columns | None = None
    """The first rows of a dataset's source."""

    @property
    def written(self) -> dict[str, Value]:
        """What the recipe itself wrote."""
        return {name: value for name, value in self.given.items() if name not in self.recognised}

    @property
    def is_node(self) -> bool:
        return issubclass(self.cls, Node)


def plain(value: Value) -> Any:
    """The data of a value as a node's field holds it: tuples and dicts of constants and `Made`s."""
    match value.data:
        case tuple():
            return tuple(plain(item) for item in value.data)
        case dict():
            return {key: plain(item) for key, item in value.data.items()}
        case Graded(tree=tree):
            return tree
        case _:
            return value.data


_OPERATORS = frozenset(("+", "-", "*", "/", "//", "and", "or", "not", "==", "!=", "<", "<=", ">", ">="))


def in_one_line(span: Span) -> str:
    """What is written at a place, in one line and one layout: no comment makes another name of it."""
    # Names and numbers between operators are laid out like that already, and need no formatter loaded.
    words = span.text.split(" ")
    if all(word in _OPERATORS or word.replace(".", "").replace("_", "").isalnum() for word in words):
        return span.text
    from harmony_grammar import formatting

    return formatting.in_one_line(span)
