"""The strategies: they draw the whole catalogue, and what is new there without a change of theirs."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from harmony_compiler.graph import catalogue
from harmony_compiler.graph.algorithms import Sft
from harmony_compiler.graph.node import Constructor, Rule, field, schema
from harmony_compiler.graph.types import CONDITION, FORMULA, options_of
from harmony_compiler.naming import names
from harmony_dsl.testing import Recipe, broken, recipes, reordered, write_data
from harmony_dsl.testing.running import compiled, small_recipes
from harmony_dsl.testing.tree import blocks

DRAWS = settings(
    max_examples=800,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def test_every_constructor_and_field_is_drawn() -> None:
    """A field that several constructors share counts for all of them."""
    seen: Counter[tuple[str, str]] = Counter()

    @settings(DRAWS, max_examples=150)
    @given(recipes())
    def count(recipe: Recipe) -> None:
        for block in blocks(recipe):
            if block.cls is not None:
                seen[block.cls.__name__, ""] += 1
                seen.update(declared(block.cls, one.key) for one in block.fields)

    for start in range(8):  # one long draw keeps to what it drew first
        seed(start)(count)()
    all_of_them = {
        place
        for cls in catalogue.CONSTRUCTORS
        for place in ((cls.__name__, ""), *(declared(cls, name) for name in schema(cls)))
    }
    assert sorted(all_of_them - seen.keys()) == []


def declared(cls: type[Constructor], name: str) -> tuple[str, str]:
    """A field with the class in which it is declared."""
    base = next(base for base in reversed(cls.__mro__) if name in vars(base).get("__annotations__", {}))
    return base.__name__, name


class Extended(Sft):
    """Supervised fine-tuning, with fields that nobody has seen before."""

    constructor = "sft"
    rules = (
        *Sft.rules,
        Rule("twist", ("turns",), lambda twist, turns: turns % twist == 0, "`twist` does not divide `turns`"),
    )

    twist: int = field(2, at_least=2, at_most=40, doc="how much it is twisted")
    turns: int = field(4, at_least=2, doc="how often")
    flavour: Literal["sweet", "sour"] = field("sweet", doc="how it tastes")


class Soup(Sft):
    """Another algorithm."""

    constructor = "soup"


@pytest.fixture
def grown(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A catalogue with an algorithm more, and one that has new fields."""
    more = tuple(Extended if cls is Sft else cls for cls in catalogue.CONSTRUCTORS)
    caches = (
        catalogue.constructors_named,
        catalogue.constructor_names,
        catalogue.class_of,
        names.names_of_the_language,
    )
    monkeypatch.setattr(catalogue, "CONSTRUCTORS", (*more, Soup))
    for cached in caches:
        cached.cache_clear()
    yield
    monkeypatch.undo()
    for cached in caches:
        cached.cache_clear()


@pytest.mark.usefixtures("grown")
def test_what_is_new_in_the_catalogue_is_drawn(tmp_path: Path) -> None:
    seen: Counter[str] = Counter()
    registry = write_data(tmp_path)

    @settings(DRAWS, max_examples=100)
    @given(recipes())
    def count(recipe: Recipe) -> None:
        for block in blocks(recipe):
            if block.cls in (Extended, Soup):
                seen.update([block.head, *(one.key for one in block.fields)])
        compilation = compiled(recipe, tmp_path, registry)
        assert [f.words.message for f in compilation.diagnostics if f.severity == "error"] == []

    for start in range(3):  # one long draw keeps to what it drew first
        seed(start)(count)()
    assert min(seen[name] for name in ("soup", "sft", "twist", "turns", "flavour")) > 0


def test_what_is_left_out_is_not_drawn() -> None:
    @settings(DRAWS, max_examples=100)
    @given(small_recipes(without=("hf", "shuffle", '"mean_std"')))
    def count(recipe: Recipe) -> None:
        for block in blocks(recipe):
            assert block.head != "hf"
            for one in block.fields:
                assert one.key != "shuffle"
                assert one.value != '"mean_std"'

    count()


def test_each_layout_is_another_text() -> None:
    @settings(DRAWS, max_examples=20)
    @given(recipes())
    def count(recipe: Recipe) -> None:
        assert len({reordered(recipe, seed).text for seed in range(10)}) > 5

    count()


def test_a_fault_stands_on_the_line_that_it_names() -> None:
    @settings(DRAWS, max_examples=50)
    @given(broken(["unknown name"]))
    def stands(recipe: object) -> None:
        line = recipe.text.splitlines()[recipe.line - 1]  # type: ignore[attr-defined]
        assert "nothing_of_this_name" in line

    stands()


def test_every_type_of_a_field_can_be_drawn() -> None:
    """A new type of values needs a way to write it, or examples: this test says so first."""
    for cls in catalogue.CONSTRUCTORS:
        for spec in schema(cls).values():
            assert not {FORMULA} & set(options_of(spec.type)), spec
            assert CONDITION not in options_of(spec.type) or spec.examples, spec


def test_the_package_does_without_hypothesis() -> None:
    probe = "import sys, harmony_dsl.cli.main, harmony_dsl.api; print('hypothesis' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"
