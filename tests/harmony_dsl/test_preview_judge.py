"""`harmonyc preview FILE JUDGE`: what a judge is asked about the rows that its stages grade."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from dsl_support import Harmonyc

RECIPE = """\
let wise = endpoint("http://127.0.0.1:9/v1") { model = "judge" }
grader polite = judge { model = wise, criteria = "It says {{ metadata.answer }}." }
grader mixed = 0.5 * polite + 0.5 * contains("4")
dataset asked = rows([{ q = "1+1", a = "2" }, { q = "2+2", a = "4" }]) {
  prompt = "{{ q }}"
  metadata = { answer = "{{ a }}" }
}
model tiny = scratch { hidden_size = 8, layers = 1, heads = 2, context = 64 }
evaluate report = compare {
  models = [tiny]
  dataset = asked
  graders = [mixed]
  sampling { max_tokens = 4 }
}
"""

SYSTEM = """\
  system
    You judge what an assistant wrote, by these criteria alone:↵
    ↵
    It says 4.↵
"""
USER = """\
  user
    <conversation>↵
    user: 2+2↵
    </conversation>↵
    ↵
    <completion>↵
    [what the model writes]↵
    </completion>
"""


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, house: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    recipe = tmp_path / "judged.recipe"
    recipe.write_text(RECIPE, encoding="utf-8")
    return recipe


@pytest.mark.usefixtures("written")
def test_the_whole_question_is_shown_and_nobody_is_asked(harmonyc: Harmonyc) -> None:
    told = harmonyc("preview", "judged.recipe", "polite", "--from", "2")
    assert (told.err, told.code) == ("", 0)
    assert "polite: what the judge is asked about asked\n" in told.out
    assert SYSTEM in told.out
    assert told.out.endswith(USER)


@pytest.mark.usefixtures("written")
def test_programs_get_the_turns(harmonyc: Harmonyc) -> None:
    told = harmonyc("preview", "judged.recipe", "polite", "--json")
    (view,) = json.loads(told.out)["views"]
    assert (view["judge"], view["stage"], view["dataset"]) == ("polite", None, "asked")
    assert [[turn["role"] for turn in row["turns"]] for row in view["rows"]] == [["system", "user"]] * 2


def test_the_rows_that_a_validation_grades_are_shown_and_not_those_that_are_imitated(
    harmonyc: Harmonyc, written: Path
) -> None:
    stage = """\
dataset sums = asked { completion = "{{ a }}" }
train adder = sft {
  model = tiny
  dataset = sums
  steps = 2
  samples_per_batch = 2
  validation { dataset = asked, grader = mixed, every = 1 }
}
save adder as "adder"
"""
    written.write_text(RECIPE[: RECIPE.index("evaluate")] + stage, encoding="utf-8")
    told = harmonyc("preview", "judged.recipe", "polite", "--json")
    assert [view["dataset"] for view in json.loads(told.out)["views"]] == ["asked"]


def test_a_template_that_fails_is_said_at_its_row(harmonyc: Harmonyc, written: Path) -> None:
    written.write_text(RECIPE.replace("{{ metadata.answer }}", "{{ 1 / 0 }}"), encoding="utf-8")
    told = harmonyc("preview", "judged.recipe", "polite", "--rows", "1")
    assert told.code == 1
    assert "error: the template of `criteria` fails: division by zero" in told.out


def test_what_is_wrong_with_the_judge_is_said_with_its_place(harmonyc: Harmonyc, written: Path) -> None:
    schema = 'judge { answer = { type = "objekt", properties = { score = {} } },'
    written.write_text(RECIPE.replace("judge {", schema, 1), encoding="utf-8")
    told = harmonyc("preview", "judged.recipe", "polite", "--rows", "1")
    assert told.code == 1
    flat = " ".join(told.out.split())
    assert "error: judged.recipe:2: `polite`: the schema of `answer` is no JSON schema" in flat
