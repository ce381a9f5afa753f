"""What holds for every recipe: well-typed ones have no errors, one fault is one finding, and nothing but what
a recipe means decides its training digest. `make properties` asks this of thousands."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from harmony_compiler.compile import Compilation, compile_recipe
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.identity import training_digest
from harmony_compiler.plan.plan import Where, plan_of
from harmony_compiler.plan.text import plan_text
from harmony_compiler.store.files import content_hash
from harmony_dsl.testing import (
    KINDS,
    SECRETS,
    Broken,
    Recipe,
    broken,
    inlined,
    recipes,
    reordered,
    split,
    write_data,
)
from harmony_dsl.testing.running import compiled
from harmony_grammar.rendering import render_text, to_json
from harmony_grammar.source import Source

# To see a smaller example of a failure, add Phase.shrink: it takes minutes.
STEADY = settings(
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=60,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)

Compile = Callable[[Recipe], Compilation]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_data(folder)
    return folder


@pytest.fixture(scope="module")
def check(data: Path) -> Compile:
    return lambda recipe: compiled(recipe, data, data / "home" / "models")


def errors(compilation: Compilation) -> list[tuple[str, int]]:
    """Code and line of every error."""
    return [(f.code, f.span.first.line) for f in compilation.diagnostics if f.severity == "error"]


@STEADY
@given(recipe=recipes())
def test_a_well_typed_recipe_has_no_errors(check: Compile, recipe: Recipe) -> None:
    compilation = check(recipe)
    assert [f.words.message for f in compilation.diagnostics if f.severity == "error"] == []
    assert compilation.graph is not None
    assert Graph.from_json(json.loads(json.dumps(compilation.graph.to_json()))) == compilation.graph
    assert plan_text(plan_of(compilation, Where()))


@pytest.mark.parametrize("kind", KINDS)
def test_one_fault_is_one_finding_on_its_line(check: Compile, data: Path, kind: str) -> None:
    @settings(STEADY, max_examples=2)
    @given(broken([kind]))
    def holds(recipe: Broken) -> None:
        assert errors(check(recipe.recipe)) == [(recipe.code, recipe.line)]

    holds()


@settings(STEADY, max_examples=30)
@given(recipe=recipes(), seed=st.integers(1, 2**16), drawn=st.data())
def test_what_means_the_same_trains_the_same(
    check: Compile, data: Path, recipe: Recipe, seed: int, drawn: st.DataObject
) -> None:
    content = cache(content_hash)

    def digest(variant: Recipe) -> str:
        compilation = check(variant)
        assert errors(compilation) == []
        assert compilation.graph is not None
        return training_digest(compilation.graph, content, data / "home" / "models")

    whole = digest(recipe)
    assert digest(reordered(recipe, seed)) == whole
    assert digest(inlined(recipe, seed)) == whole
    if not recipe.files:
        assert digest(split(recipe, lambda found: drawn.draw(st.sampled_from(found)), seed)) == whole


@settings(STEADY, max_examples=100)
@given(recipe=recipes(), start=st.integers(0, 2000), size=st.integers(1, 40))
def test_a_recipe_with_a_stretch_cut_out_has_findings_or_a_graph(
    check: Compile, data: Path, recipe: Recipe, start: int, size: int
) -> None:
    source = Source("cut.recipe", recipe.text[:start] + recipe.text[start + size :], data / "cut.recipe")
    compilation = compile_recipe(source, launch=recipe.launch, registry=data / "home" / "models")
    assert (compilation.graph is None) == bool(errors(compilation))
    render_text(compilation.diagnostics).encode()
    json.dumps(to_json(compilation.diagnostics))


# --- secrets --------------------------------------------------------------------------------------------

VALUE = "the-secret-itself-7f3a"


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, VALUE)


@settings(STEADY, max_examples=100)
@given(recipe=recipes())
def test_a_secret_is_nowhere(check: Compile, secrets: None, recipe: Recipe) -> None:
    compilation = check(recipe)
    told = [render_text(compilation.diagnostics), json.dumps(to_json(compilation.diagnostics))]
    if compilation.graph is not None:
        told += [plan_text(plan_of(compilation, Where())), json.dumps(compilation.graph.to_json())]
    assert not any(VALUE in text for text in told)


@settings(STEADY, max_examples=20)
@given(broken(["secret as text"]))
def test_a_secret_that_was_written_is_not_said_again(recipe: Broken) -> None:
    source = Source("generated.recipe", recipe.text)
    said = [finding.words for finding in compile_recipe(source).diagnostics]
    assert not any("sk-1234567890" in str(words) for words in said)
