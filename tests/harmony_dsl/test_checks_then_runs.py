"""A recipe that checks also runs: small ones over real files and tiny models, for a step, in this process."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from harmony_dsl.testing import Recipe
from harmony_dsl.testing.running import (
    ROW_BY_ROW,
    compiled,
    first_view,
    pair_recipes,
    run_once,
    small_recipes,
    write_models,
)
from harmony_grammar.diagnostics import Diagnostic

RUNS = 50


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_models(folder)
    return folder


STEADY = settings(
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=RUNS,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.slow
@STEADY
@given(recipe=small_recipes())
def test_what_checks_runs(models: Path, recipe: Recipe) -> None:
    registry = models / "home" / "models"
    compilation = compiled(recipe, models, registry)
    assert [finding.words.message for finding in compilation.diagnostics if finding.severity == "error"] == []
    assert compilation.graph is not None
    run_once(compilation.graph, models, registry)


@pytest.mark.slow
@STEADY
@given(recipe=pair_recipes())
def test_pairs_that_check_are_read_or_refused_at_their_row(models: Path, recipe: Recipe) -> None:
    registry = models / "home" / "models"
    compilation = compiled(recipe, models, registry)
    assert [finding.words.message for finding in compilation.diagnostics if finding.severity == "error"] == []
    assert compilation.graph is not None
    view = first_view(compilation.graph, models, registry)
    assert view.rows
    found = [*view.faults, *(fault for row in view.rows for fault in row.faults)]
    codes = {fault.code if isinstance(fault, Diagnostic) else fault for fault in found}
    assert codes <= ROW_BY_ROW
    assert view.sound or found
