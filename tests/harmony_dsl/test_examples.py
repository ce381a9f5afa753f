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

ONE_UPDATE = ("W0401", "`samples_per_mini_batch` is all of `samples_per_batch`: one update a batch")

SAID = {
    "quickstart": [ONE_UPDATE],
    "chat": [("N0502", "`data/chat.jsonl` is recognised as conversations")],
    "sft": [],
    "dpo": [],
    "grpo": [ONE_UPDATE],
    "ppo": [ONE_UPDATE],
    "judges": [],
}
"""What `check` has to say about each example."""


def rows(name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("recipe", sorted(EXAMPLES.glob("*.recipe")), ids=lambda path: path.stem)
def test_every_example_checks_and_explains_its_warnings(recipe: Path, harmonyc: Harmonyc) -> None:
    told = harmonyc("check", str(recipe), "--format", "json")
    assert told.code == 0
    said = [(found["code"], found["message"]) for found in json.loads(told.out)["diagnostics"]]
    assert said == SAID[recipe.stem]
    if ONE_UPDATE in said:
        assert "check` warns that one update is taken of each batch" in recipe.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("script", "files"),
    [("make_sort", ("sort_train.jsonl", "sort_heldout.jsonl")), ("make_chat", ("chat.jsonl",))],
)
def test_the_rows_come_out_of_their_script_again(script: str, files: tuple[str, ...], house: Path) -> None:
    copy = shutil.copy(DATA / f"{script}.py", house)
    spec = importlib.util.spec_from_file_location(script, copy)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    made.write(house)
    for name in files:
        assert (house / name).read_bytes() == (DATA / name).read_bytes()


def test_the_chat_example_trains_an_adapter_on_a_model_of_yours(
    harmonyc: Harmonyc, house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it says of `--set 'base=…'`, with the merged model of a first run as the model of yours."""
    first = harmonyc("run", str(EXAMPLES / "chat.recipe"), "--out", "first")
    assert first.code == 0, first.err
    found = json.loads((house / "first" / "results.json").read_text(encoding="utf-8"))["saved"]
    assert Path(found["shop-adapter"]["path"], "adapter_model.safetensors").is_file()
    merged = Path(found["shop"]["path"])
    assert (merged / "model.safetensors").is_file()

    base = f'base=local("{merged}")'
    again = harmonyc("run", str(EXAMPLES / "chat.recipe"), "--out", "again", "--set", base)
    assert again.code == 0, again.err
    steps = (house / "again" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    losses = [json.loads(line)["loss"] for line in steps]
    first_loss = json.loads((house / "first" / "metrics.jsonl").read_text().splitlines()[0])["loss"]
    assert losses[-1] < losses[0] < first_loss


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
