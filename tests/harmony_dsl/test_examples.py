"""The examples are what they say they are."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
from dsl_support import ROOT, Harmonyc

EXAMPLES = ROOT / "examples"
DATA = EXAMPLES / "data"


def rows(name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("recipe", sorted(EXAMPLES.glob("*.recipe")), ids=lambda path: path.stem)
def test_every_example_checks_and_explains_its_warnings(recipe: Path, harmonyc: Harmonyc) -> None:
    told = harmonyc("check", str(recipe), "--format", "json")
    assert told.code == 0
    said = [(found["severity"], found["message"]) for found in json.loads(told.out)["diagnostics"]]
    assert said == [("warning", "`samples_per_mini_batch` is all of `samples_per_batch`: one update a batch")]
    assert "warns that one update is taken of each batch" in recipe.read_text(encoding="utf-8")


def test_the_rows_come_out_of_their_script_again(house: Path) -> None:
    script = shutil.copy(DATA / "make_sort.py", house)
    spec = importlib.util.spec_from_file_location("make_sort", script)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    made.write(house)
    for name in ("sort_train.jsonl", "sort_heldout.jsonl"):
        assert (house / name).read_bytes() == (DATA / name).read_bytes()


def test_answers_to_grade_stand_beside_the_right_ones() -> None:
    for row in rows("sort_answers.jsonl"):
        assert "".join(sorted(row["prompt"].removeprefix("sort "))) == row["metadata"]["answer"]  # type: ignore[index]


def test_held_out_rows_are_held_out() -> None:
    train, heldout = rows("sort_train.jsonl"), rows("sort_heldout.jsonl")
    assert (len(train), len(heldout)) == (8_000, 500)
    questions = {row["question"] for row in train}
    assert len(questions) == len(train)
    assert questions.isdisjoint(row["question"] for row in heldout)
    for row in train + heldout:
        assert "".join(sorted(row["question"].removeprefix("sort "))) == row["answer"]
