"""Broken recipes: well-typed ones with one fault, and what must be said of it."""

from __future__ import annotations

from collections.abc import Collection

from hypothesis import reject
from hypothesis import strategies as st

from harmony_dsl.testing import faults, slips
from harmony_dsl.testing.layout import write
from harmony_dsl.testing.recipes import recipes
from harmony_dsl.testing.seeding import FAULTS, Hand
from harmony_dsl.testing.tree import MARK, Recipe
from harmony_grammar.records import Record, replace

KINDS: tuple[str, ...] = tuple(sorted(FAULTS))
"""Every kind of fault that is seeded."""

assert faults and slips  # their import puts the kinds there


class Broken(Record, eq=False):
    """A recipe with one fault: `code` must be found on `line`, and nothing else."""

    recipe: Recipe
    """The whole of it, with the launch, the inputs and the imported files."""
    code: str
    line: int
    kind: str

    @property
    def text(self) -> str:
        return self.recipe.text

    def __repr__(self) -> str:  # what Hypothesis shows of an example that fails
        return f"--- {self.kind}: {self.code} on line {self.line}\n{self.recipe!r}"


@st.composite
def broken(draw: st.DrawFn, kinds: Collection[str] = KINDS) -> Broken:
    """A well-typed recipe of `recipes` with one seeded fault of one of the kinds."""
    kind = draw(st.sampled_from(tuple(kinds)))
    recipe = draw(recipes(layouts=False))
    seeded = FAULTS[kind](Hand(draw, recipe))
    if seeded is None:
        reject()
    seed = 0 if seeded.plainly else draw(st.integers(0, 2**16))
    text = write(seeded.recipe.declarations, seed) + seeded.behind
    line = text.count("\n", 0, text.index(MARK)) + 1
    return Broken(replace(recipe, text=text.replace(MARK, "")), seeded.code, line, kind)
