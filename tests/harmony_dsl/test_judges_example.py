"""`examples/judges.recipe`: judges to import, each of which can be made and asked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from dsl_support import ROOT, Harmonyc

RECIPE = """\
import "judges.recipe" as judges { model = MODEL }
model base = scratch { hidden_size = 8, layers = 1, heads = 2, context = 64 }
dataset asked = rows([{ q = "When?", c = "It was opened in 1932." }]) {
  prompt = "{{ q }}"
  metadata = { context = "{{ c }}" }
}
evaluate report = compare {
  models = [base]
  dataset = asked
  graders = [judges.faithful, judges.relevant, judges.context_relevant, judges.harmless]
  sampling { max_tokens = 4 }
}
"""
CONTEXT = "It was opened in 1932."


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, house: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "examples" / "judges.recipe", tmp_path)
    return tmp_path / "own.recipe"


@pytest.mark.parametrize("model", ['endpoint("http://127.0.0.1:9/v1", model = "a")', "base"])
def test_they_take_an_endpoint_or_a_model(model: str, recipe: Path, harmonyc: Harmonyc) -> None:
    recipe.write_text(RECIPE.replace("MODEL", model), encoding="utf-8")
    told = harmonyc("check", "own.recipe")
    assert (told.code, told.out) == (0, "own.recipe: no problems found\n")


@pytest.mark.parametrize(
    ("judge", "reads_context", "reads_completion"),
    [
        ("faithful", True, True),
        ("relevant", False, True),
        ("context_relevant", True, False),
        ("harmless", False, True),
    ],
)
def test_what_each_is_asked(
    judge: str, reads_context: bool, reads_completion: bool, recipe: Path, harmonyc: Harmonyc
) -> None:
    recipe.write_text(RECIPE.replace("MODEL", "base"), encoding="utf-8")
    told = harmonyc("preview", "own.recipe", f"judges.{judge}", "--json")
    assert told.code == 0, told.err + told.out
    (view,) = json.loads(told.out)["views"]
    ((system, user),) = (row["turns"] for row in view["rows"])
    assert (CONTEXT in system["content"] + user["content"]) == reads_context
    assert ("[what the model writes]" in user["content"]) == reads_completion
    assert "When?" in user["content"]
