"""Hypothesis strategies for recipes: well-typed ones, and broken ones with what must be said of them.

They are made from the catalogue, the node classes of the language: a constructor or field that is new there
is generated, without a word here.

>>> from hypothesis import given
>>> from harmony_dsl.testing import recipes, write_data
>>> folder = Path("somewhere")
>>> write_data(folder)          # the files that generated recipes name
>>> @given(recipes())
... def test_no_recipe_has_errors(recipe):
...     ...                      # compile `recipe.text` as a file of that folder

`recipes` and `broken` are the strategies, and `formulas` is that of graders' formulas. `reordered`, `inlined`
and `split` write a recipe otherwise without changing what it means. `running` runs small ones.
"""

from __future__ import annotations

from harmony_dsl.testing.broken import KINDS, Broken, broken
from harmony_dsl.testing.data import write_data
from harmony_dsl.testing.formulas import formulas
from harmony_dsl.testing.recipes import recipes
from harmony_dsl.testing.tree import Declaration, Recipe
from harmony_dsl.testing.values import SECRETS
from harmony_dsl.testing.variants import inlined, reordered, split

__all__ = [
    "KINDS",
    "SECRETS",
    "Broken",
    "Declaration",
    "Recipe",
    "broken",
    "formulas",
    "inlined",
    "recipes",
    "reordered",
    "split",
    "write_data",
]
