"""Seeding: what all faults have in common: a recipe, places in it, and a hand that changes one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from hypothesis import strategies as st

from harmony_compiler.graph.node import Bounds, Constructor, FieldSpec, schema
from harmony_compiler.graph.outputs import Save
from harmony_compiler.graph.settings import Recipe as RecipeSettings
from harmony_compiler.graph.types import Type, options_of
from harmony_dsl.testing.tree import (
    MARK,
    Block,
    Declaration,
    Expression,
    Field,
    Glued,
    Recipe,
    blocks,
    changed,
    texts,
)
from harmony_grammar.records import Record

T = TypeVar("T")

PLAIN_FORMS = (Save, RecipeSettings)
"""What has a form of its own, and no head."""


class Place(NamedTuple):
    """A field that a recipe writes."""

    block: Block
    field: Field
    spec: FieldSpec

    @property
    def options(self) -> tuple[Type, ...]:
        return options_of(self.spec.type)


class Seeded(Record):
    """A recipe with one fault, `MARK` before it."""

    recipe: Recipe
    code: str
    behind: str = ""
    """Text behind everything else."""
    plainly: bool = False
    """Whether only the plain layout keeps the fault on the line of its cause."""


Fault = Callable[["Hand"], "Seeded | None"]

FAULTS: dict[str, Fault] = {}
"""Every kind of fault by its name."""


def fault(function: Fault) -> Fault:
    FAULTS[function.__name__.replace("_", " ")] = function
    return function


class Hand:
    """Draws a place in a recipe and changes it."""

    def __init__(self, draw: st.DrawFn, recipe: Recipe) -> None:
        self._draw = draw
        self.recipe = recipe

    def pick(self, options: Sequence[T]) -> T:
        return options[self._draw(st.integers(0, len(options) - 1))]

    def blocks(self, wanted: Callable[[Block], bool] = lambda _: True) -> list[Block]:
        """The blocks that a class checks and that may stand in any form."""
        return [
            b for b in blocks(self.recipe) if b.cls is not None and b.cls not in PLAIN_FORMS and wanted(b)
        ]

    def heads(self, wanted: Callable[[Block], bool] = lambda _: True) -> list[Block]:
        """The blocks that begin with their constructor."""
        return self.blocks(lambda block: not block.copies and wanted(block))

    def place(self, wanted: Callable[[Place], bool]) -> Place | None:
        """A written field, if there is such a one."""
        found = [place for place in self._places() if wanted(place)]
        return self.pick(found) if found else None

    def _places(self) -> Iterator[Place]:
        for block in self.blocks():
            for one in block.fields:
                spec = schema(_class(block)).get(one.key)
                if spec is not None:
                    yield Place(block, one, spec)

    def set(
        self, place: Place | None, value: Expression, code: str, *, plainly: bool = False
    ) -> Seeded | None:
        """Another value in a field; the fault is the value, unless it has a mark of its own inside."""
        if place is None:
            return None
        if MARK not in texts(value):
            value = Glued((MARK, value))
        new = Field(place.field.key, value, place.field.equals)
        return Seeded(changed(self.recipe, place.field, (new,)), code, plainly=plainly)

    def put(self, old: Block, new: Block, code: str) -> Seeded:
        """Another block in the place of one."""
        return Seeded(changed(self.recipe, old, new), code)

    def with_fields(self, block: Block, fields: Sequence[Field]) -> Block:
        return Block(block.head, tuple(fields), block.cls, block.copies, block.held)

    def marked(self, block: Block) -> Block:
        """The same block, blamed on its head."""
        return Block(f"{MARK}{block.head}", block.fields, block.cls, block.copies, block.held)

    def add(self, text: str, code: str) -> Seeded:
        """A declaration more, behind all others."""
        return Seeded(self.recipe, code, text if MARK in text else f"{MARK}{text}")

    def declared(self, *words: str) -> list[Declaration]:
        return [one for one in self.recipe.declarations if one.word in words]

    def behind(self, place: Place | None, text: str, code: str) -> Seeded | None:
        """A second field directly behind one, on a line of its own; `text` has the mark."""
        if place is None:
            return None
        new = Field(place.field.key, Glued((place.field.value, f",\n  {text}")), place.field.equals)
        return Seeded(changed(self.recipe, place.field, (new,)), code)


def _class(block: Block) -> type[Constructor]:
    assert block.cls is not None
    return block.cls


def beyond(bounds: Bounds) -> list[int]:
    """Numbers that a field cannot be."""
    found: list[int] = []
    if bounds.at_least is not None:
        found.append(int(bounds.at_least) - 1)
    if bounds.above is not None:
        found.append(int(bounds.above))
    if bounds.at_most is not None:
        found.append(int(bounds.at_most) + 1)
    if bounds.below is not None and bounds.below == int(bounds.below):
        found.append(int(bounds.below))
    return found


def misspelt(pick: Callable[[Sequence[int]], int], word: str, known: Sequence[str]) -> str:
    """A word with a slip of the fingers that makes it none of the known ones."""
    at = pick(range(len(word)))
    slips = [
        word[:at] + word[at] + word[at:],
        word[:at] + word[at + 1 :],
        word[:at] + "x" + word[at:],
        f"{word}_",
    ]
    return next(slip for slip in slips[pick(range(3)) :] if slip not in known and slip.isidentifier())
