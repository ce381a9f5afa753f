"""The page about the run folder, against what real runs write."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from dsl_support import ROOT, Harmonyc, Write

PAGE = (ROOT / "docs" / "run-folder.md").read_text(encoding="utf-8")

OF_A_GRADER = "^(grade|spread|not_applicable|failed|grade_seconds)/.+"

OF_COMPLETIONS = frozenset(
    ("completions_per_second", "drawing_seconds", "waiting_seconds", "grade_seconds/NAME")
)
"""What is timed where a stage draws completions."""


def documented(file: str, kind: str) -> set[str]:
    """The names in the page's table for a file; where it has tables by kind of stage, in that of `kind`."""
    _, found, section = PAGE.partition(f"\n## {file}\n")
    assert found, f"the page has no section {file}"
    section = section.partition("\n## ")[0]
    if "\n### " in section:
        _, found, section = section.partition(f"\n### {kind}\n")
        assert found, f"the page has no table of {file} for {kind}"
        section = section.partition("\n### ")[0]
    rows = re.findall(r"^\| (`.+?`) \| ", section, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def written(folder: Path, file: str, stage: str) -> list[set[str]]:
    """The names in each line of a stage."""
    lines = map(json.loads, (folder / file).read_text(encoding="utf-8").splitlines())
    return [
        {re.sub(OF_A_GRADER, r"\1/NAME", name) for name in line} for line in lines if line["stage"] == stage
    ]


def agree(folder: Path, file: str, stage: str, kind: str, *, without: frozenset[str] = frozenset()) -> None:
    """Every line of a stage holds exactly the documented names, but for those `without`."""
    lines = written(folder, file, stage)
    assert lines, f"{file} has no line of {stage}"
    for names in lines:
        assert names == documented(file, kind) - without


@pytest.fixture
def folder(harmonyc: Harmonyc, write: Write) -> Path:
    told = harmonyc("run", write().name, "--out", "there")
    assert told.code == 0, told.err
    return Path("there")


def test_sft_writes_what_the_page_says(folder: Path) -> None:
    agree(folder, "metrics.jsonl", "adder", "sft")
    agree(folder, "timings.jsonl", "adder", "sft", without=OF_COMPLETIONS)


def test_rows_are_counted_as_the_page_says(harmonyc: Harmonyc, write: Write) -> None:
    taken = ("  prompt =", '  split = "train[:80%]"\n  filter = question != "0+0"\n  limit = 6\n  prompt =')
    told = harmonyc("run", write(taken).name, "--out", "there")
    assert told.code == 0, told.err
    manifest = json.loads((Path("there") / "manifest.json").read_text(encoding="utf-8"))
    counts = manifest["stages"]["adder"]["rows"]
    fates = {name: count for name, count in counts.items() if count}
    assert fates == {"read": 10, "outside_split": 2, "filtered_out": 1, "beyond_limit": 1, "kept": 6}
    assert counts.keys() <= documented("What became of the rows", "")
    assert manifest["stages"]["adder"]["tokens"].keys() == {"all", "trained", "unknown"}
    assert "adder  of 10 rows, 2 outside split, 1 filtered out, 1 beyond limit\n" in told.out


REINFORCED = """
dataset prompts = sums { metadata = { answer = "{{ answer }}" }, completion = none }
grader right = equals { expected = "{{ metadata.answer }}" }
grader brief = 1 - chars(completion) / 10
train better = grpo {
  model = adder
  dataset = prompts
  grader = right + brief
  completions_per_sample = 2
  samples_per_batch = 8
  samples_per_mini_batch = 4
  kl_beta = BETA
  sampling { max_tokens = 4 }
  steps = 2
}
evaluate report = compare {
  models = [adder, better]
  dataset = prompts
  graders = [right]
  sampling { max_tokens = 4 }
}
"""


@pytest.mark.parametrize(("beta", "without"), [("0.1", frozenset()), ("0", frozenset({"kl"}))])
def test_grpo_and_evaluate_write_what_the_page_says(
    harmonyc: Harmonyc, write: Write, beta: str, without: frozenset[str]
) -> None:
    recipe = write()
    text = recipe.read_text(encoding="utf-8") + REINFORCED.replace("BETA", beta)
    recipe.write_text(text.replace("save adder", "save better"), encoding="utf-8")
    told = harmonyc("run", recipe.name, "--out", "there")
    assert told.code == 0, told.err
    folder = Path("there")
    agree(folder, "metrics.jsonl", "better", "grpo", without=without)
    agree(folder, "timings.jsonl", "better", "grpo")
    agree(folder, "samples.jsonl", "better", "grpo")
    agree(folder, "samples.jsonl", "report", "evaluate")
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    (measured,) = manifest["evaluations"].values()
    for counts in (manifest["stages"]["better"]["rows"], *measured["rows"].values()):
        assert counts == {"read": 10, "kept": 10, "too_long_and_dropped": 0}
    assert measured["rows"].keys() == {"adder", "better"}
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert results["evaluations"]["report"].keys() == {"adder", "better"}
    example = json.loads(PAGE.partition("```json\n")[2].partition("```")[0])
    of_example = example["evaluations"]["report"]["tuned"]["correct"].keys()
    assert results["evaluations"]["report"]["better"]["right"].keys() == of_example


@pytest.mark.parametrize(("beta", "without"), [("0.1", frozenset()), ("0", frozenset({"kl"}))])
def test_ppo_writes_what_the_page_says(
    harmonyc: Harmonyc, write: Write, beta: str, without: frozenset[str]
) -> None:
    recipe = write()
    stage = REINFORCED.partition("evaluate")[0].replace("BETA", beta)
    for grpo, ppo in (
        ("= grpo", "= ppo"),
        ("  model =", "  policy_model ="),
        ("  completions_per_sample = 2\n", ""),
        ("steps = 2", "max_num_ppo_steps = 2"),
    ):
        assert grpo in stage
        stage = stage.replace(grpo, ppo)
    text = recipe.read_text(encoding="utf-8") + stage
    recipe.write_text(text.replace("save adder", "save better"), encoding="utf-8")
    told = harmonyc("run", recipe.name, "--out", "there")
    assert told.code == 0, told.err
    agree(Path("there"), "metrics.jsonl", "better", "ppo", without=without)
    agree(Path("there"), "timings.jsonl", "better", "ppo")
    described = documented("samples.jsonl", "ppo") | documented("samples.jsonl", "grpo")
    for names in written(Path("there"), "samples.jsonl", "better"):
        assert names == described


def test_dpo_writes_what_the_page_says(harmonyc: Harmonyc, write: Write) -> None:
    recipe = write()
    pairs = 'dataset pairs = sums { completion = none, chosen = "{{ answer }}", rejected = "0" }\n'
    stage = "train better = dpo { model = adder, dataset = pairs, samples_per_batch = 4, steps = 2 }\n"
    text = recipe.read_text(encoding="utf-8") + pairs + stage
    recipe.write_text(text.replace("save adder", "save better"), encoding="utf-8")
    told = harmonyc("run", recipe.name, "--out", "there")
    assert told.code == 0, told.err
    agree(Path("there"), "metrics.jsonl", "better", "dpo")
    agree(Path("there"), "timings.jsonl", "better", "dpo", without=OF_COMPLETIONS)
    manifest = json.loads((Path("there") / "manifest.json").read_text(encoding="utf-8"))
    counts = manifest["stages"]["better"]["rows"]
    assert counts.keys() <= documented("What became of the rows", "")
    assert {name: count for name, count in counts.items() if count} == {
        "read": 10,
        "kept": 10,
        "with_equal_answers": 1,
    }


def test_the_page_names_what_is_in_the_folder(folder: Path) -> None:
    listed = set(re.findall(r"^\| `([^`/]+)", PAGE.partition("\n## ")[0], re.MULTILINE))
    assert {place.name for place in folder.iterdir()} <= listed


def test_the_example_of_results_is_as_they_are(folder: Path) -> None:
    example = json.loads(PAGE.partition("```json\n")[2].partition("```")[0])
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert results.keys() == example.keys()
    assert results["saved"]["small"].keys() == example["saved"]["gsm8k-tuned"].keys()
