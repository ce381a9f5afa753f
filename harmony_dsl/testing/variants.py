"""Variants: recipes written otherwise that mean the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator

from harmony_dsl.testing.layout import write
from harmony_dsl.testing.tree import (
    Block,
    Declaration,
    Expression,
    Field,
    Glued,
    Recipe,
    Several,
    blocks,
    texts,
)
from harmony_grammar.records import replace

_WORD = re.compile(r'"""(?s:.*?)"""|"(?:[^"\\]|\\.)*"|(?<![\w.])[A-Za-z_]\w*')
"""A name, or a string, which holds none."""


def reordered(recipe: Recipe, seed: int) -> Recipe:
    """Another layout: order of declarations and fields, comments, blank lines, brackets."""
    return replace(recipe, text=write(recipe.declarations, seed))


def inlined(recipe: Recipe, seed: int = 0) -> Recipe:
    """Each `let` written out where it is used: not where a copy of it is made, nor in a list, whose entries
    have names of their own."""
    copied = {block.head for block in blocks(recipe) if block.copies} | set(_items(recipe))
    kept = list(recipe.declarations)
    for one in recipe.declarations:
        if one.word == "let" and one.name not in copied:
            value = next(other.value for other in kept if other.name == one.name)
            inner: Expression = value if isinstance(value, Block) else Glued(("(", value, ")"))
            kept = [_renamed(other, {one.name: inner}) for other in kept if other.name != one.name]
    return replace(recipe, declarations=tuple(kept), text=write(kept, seed))


def _items(recipe: Recipe) -> Iterator[str]:
    """The names that are items of a list."""
    for block in blocks(recipe):
        for one in block.fields:
            if isinstance(one.value, Several):
                yield from (item for item in one.value.items if isinstance(item, str))


def split(recipe: Recipe, pick: Callable[[list[Declaration]], Declaration], seed: int = 0) -> Recipe:
    """A value and all that it is made of, moved to a file that the recipe imports."""
    by_name = {
        one.name: one for one in recipe.declarations if one.word in ("model", "dataset", "grader", "let")
    }
    closed = {
        name: found for name in by_name if (found := _closure(name, recipe, by_name.keys())) is not None
    }
    if not closed:
        return recipe
    moved = closed[pick([by_name[name] for name in closed]).name]
    away = [one for one in recipe.declarations if one.name in moved]
    names: dict[str, Expression] = {name: f"parts.{name}" for name in moved}
    rest = [_renamed(one, names) for one in recipe.declarations if one.name not in moved]
    rest.append(Declaration("import", "parts", Block('"parts.recipe"', ())))
    files = {**recipe.files, "parts.recipe": write(away, seed)}
    return replace(recipe, declarations=tuple(rest), text=write(rest, seed), files=files)


def _closure(name: str, recipe: Recipe, movable: Collection[str]) -> set[str] | None:
    """A name and all that it needs; None where that cannot be moved."""
    declared = {one.name: one for one in recipe.declarations if one.name}
    found, waiting = set[str](), [name]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += [word for word in _words(texts(declared[one].value)) if word in declared]
    return found if found <= set(movable) else None


def _words(text: str) -> Iterator[str]:
    return (match[0] for match in _WORD.finditer(text))


def _renamed(part: Declaration, names: dict[str, Expression]) -> Declaration:
    """The same declaration with other expressions in the places of names."""
    return replace(part, value=_put(part.value, names))


def _put(part: Expression, names: dict[str, Expression]) -> Expression:
    match part:
        case str():
            return _in_text(part, names)
        case Block():
            fields = tuple(Field(one.key, _put(one.value, names), one.equals) for one in part.fields)
            head = names.get(part.head, part.head) if part.copies else part.head
            assert isinstance(head, str)
            return replace(part, head=head, fields=fields)
        case Several(items=items):
            return replace(part, items=tuple(_put(one, names) for one in items))
        case Glued(parts=parts):
            return replace(part, parts=tuple(_put(one, names) for one in parts))


def _in_text(text: str, names: dict[str, Expression]) -> Expression:
    if text in names:
        return names[text]
    parts: list[Expression] = []
    done = 0
    for match in _WORD.finditer(text):
        if match[0] in names:
            parts += [text[done : match.start()], names[match[0]]]
            done = match.end()
    return Glued((*parts, text[done:])) if parts else text
