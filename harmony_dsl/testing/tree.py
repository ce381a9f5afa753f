"""Recipes as trees: what the strategies draw, before a layout makes a text of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from harmony_compiler.graph.graph import ONE_DEVICE, Launch
from harmony_compiler.graph.node import Constructor
from harmony_grammar.records import Record, field, replace

MARK = "\ue000"
"""Stands in front of a seeded fault, until the line is known on which it came to stand."""


class Field(Record, eq=False):
    """`key = value`."""

    key: str
    value: Expression
    equals: str = " = "


class Block(Record, eq=False):
    """`head { fields }`: a constructor, a copy with changes, or with no head a plain record."""

    head: str
    fields: tuple[Field, ...]
    cls: type[Constructor] | None = None
    """The class that says which fields there are; None for a record with free keys."""
    copies: bool = False
    """Whether the head is the name of a value that is copied."""
    held: Mapping[str, Any] = field(factory=dict)
    """The value of every field, defaults filled in, as the class's rules see it."""


class Several(Record, eq=False):
    """`[item, item]`."""

    items: tuple[Expression, ...]


class Glued(Record, eq=False):
    """Expressions with text between them: `0.5 * equals("x") + brief`."""

    parts: tuple[Expression, ...]


Expression: TypeAlias = str | Block | Several | Glued


class Declaration(Record, eq=False):
    """`word name = value`; for `save` and `recipe`, which have forms of their own, the value is a block."""

    word: str
    name: str
    value: Expression
    type: str = ""
    """The type of an input, as a recipe writes it."""
    condition: str = ""
    """The condition of an input."""


class Recipe(Record, eq=False):
    """A generated recipe. `text` is one way to write `declarations`; `files` lie beside it."""

    text: str
    declarations: tuple[Declaration, ...]
    launch: Launch = ONE_DEVICE
    settings: tuple[tuple[str, str], ...] = ()
    """What `--set` gives: names of inputs with their texts."""
    files: Mapping[str, str] = field(factory=dict)
    """Imported recipes by their names."""

    def __repr__(self) -> str:  # what Hypothesis shows of an example that fails
        given = "".join(f" --set {name}={text!r}" for name, text in self.settings)
        beside = "".join(f"\n--- {name}\n{text}" for name, text in self.files.items())
        size = self.launch.world_size
        return f"--- recipe, {size} process{'es' if size > 1 else ''}{given}\n{self.text}{beside}"


def blocks(part: Expression | Declaration | Recipe) -> Iterator[Block]:
    """Every block of a tree, the outer ones first."""
    match part:
        case Recipe():
            for declaration in part.declarations:
                yield from blocks(declaration.value)
        case Declaration():
            yield from blocks(part.value)
        case Block():
            yield part
            for one in part.fields:
                yield from blocks(one.value)
        case Several(items=inner) | Glued(parts=inner):
            for item in inner:
                yield from blocks(item)


def texts(part: Expression) -> str:
    """All that is written in an expression, for finding names in it."""
    match part:
        case str():
            return part
        case Block():
            return " ".join([part.head, *(f"{one.key} {texts(one.value)}" for one in part.fields)])
        case Several(items=inner) | Glued(parts=inner):
            return " ".join(texts(item) for item in inner)


Part: TypeAlias = Field | Block | Several | Glued | Declaration


def changed(part: Any, old: Part, new: Any) -> Any:
    """The same tree with `old`, a part of it, replaced by `new`; a field by a tuple of fields."""
    if part is old:
        return new
    match part:
        case Recipe():
            return replace(part, declarations=_each(part.declarations, old, new))
        case Declaration() | Field():
            return _kept(part, value=changed(part.value, old, new))
        case Block():
            return _kept(part, fields=_each(part.fields, old, new))
        case Several():
            return _kept(part, items=_each(part.items, old, new))
        case Glued():
            return _kept(part, parts=_each(part.parts, old, new))
    return part


def _each(parts: tuple[Any, ...], old: Part, new: Any) -> tuple[Any, ...]:
    found: list[Any] = []
    for part in parts:
        made = changed(part, old, new)
        found.extend(made if isinstance(made, tuple) else (made,))
    return (
        tuple(found)
        if any(a is not b for a, b in zip(found, parts, strict=False)) or len(found) != len(parts)
        else parts
    )


def _kept(part: Any, **changes: Any) -> Any:
    """A changed copy, or the part itself where nothing changed."""
    return (
        part
        if all(getattr(part, name) is held for name, held in changes.items())
        else replace(part, **changes)
    )
