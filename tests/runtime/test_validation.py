"""Validation: what is measured on rows that are not trained on, when, and that it changes nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from reinforcement_support import COMPLETION, DIGITS, REWARD, SHORT
from runtime_support import Told, Train, graph_of, read_lines, sums, tiny
from test_dpo import at_the_start, logprob
from test_sft import char_ids
from transformers import AutoModelForCausalLM
from validation_support import ADAPTED, HELD_OUT, LENGTH, held_out, stage_of, validated

from harmony_compiler.graph.graders import Combination, Formula
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.measures import GRADED
from harmony_compiler.graph.settings import EarlyStop
from harmony_compiler.graph.values import Duration, Percent
from harmony_grammar.records import replace
from harmony_runtime.algorithms.validation import Measures, Validator
from harmony_runtime.failures import Interrupted, RunFailed
from harmony_runtime.models.chars import MARKS

ALGORITHMS = ("sft", "dpo", "grpo", "ppo")

Refused = Callable[..., RunFailed]


def lines_of(out: Path) -> list[dict[str, Any]]:
    return read_lines(out / "metrics.jsonl")


def found_in(line: dict[str, Any]) -> dict[str, Any]:
    """What a validation adds to a line."""
    return {name: value for name, value in line.items() if name.startswith("validation_")}


def stage_in(out: Path) -> Path:
    return next((out / "stages").iterdir())


def model_of(out: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(stage_in(out), dtype=torch.float64)


def rows_held(algorithm: str) -> list[dict[str, str]]:
    return list(HELD_OUT[algorithm].items)  # type: ignore[attr-defined]


# --- nothing else changes -------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_stage_with_a_validation_computes_the_same_bits(
    algorithm: str, train: Train, tmp_path: Path
) -> None:
    model = tiny(adapter=ADAPTED)
    train(stage_of(algorithm, model), "without")
    ways: dict[str, dict[str, Any]] = {"own": {}, "graded": {"grader": LENGTH}}
    for name, asked in ways.items():
        rows = HELD_OUT["prompts"] if asked else HELD_OUT.get(algorithm, HELD_OUT["prompts"])
        train(held_out(validated(algorithm, model, validation={"every": 1, **asked}), rows), name)
        one, other = (
            (stage_in(tmp_path / way) / "adapter_model.safetensors").read_bytes() for way in ("without", name)
        )
        assert one == other
        plain = [
            {key: value for key, value in line.items() if key not in found_in(line)}
            for line in lines_of(tmp_path / name)
        ]
        assert plain == lines_of(tmp_path / "without")
        assert all(found_in(line) for line in lines_of(tmp_path / name))


@pytest.mark.parametrize("algorithm", ["sft", "dpo"])
def test_dropout_is_off(algorithm: str, train: Train, tmp_path: Path) -> None:
    """Nobody names a stream for it here, so that it would be another one each time."""
    for name in ("one", "two"):
        train(validated(algorithm, tiny(adapter=ADAPTED)), name)
    one, two = ((tmp_path / name / "metrics.jsonl").read_bytes() for name in ("one", "two"))
    assert one == two


# --- what is measured -----------------------------------------------------------------------------------


@pytest.mark.parametrize("reduce", ["tokens", "sequences"])
def test_the_loss_of_rows_is_that_worked_out_by_hand(reduce: str, train: Train, tmp_path: Path) -> None:
    train(validated("sft", reduce=reduce))
    model, means = model_of(tmp_path / "out"), []
    for row in rows_held("sft"):
        answer = char_ids(row["a"], "<eos>")
        total = -logprob(model, char_ids("<bos>", "<user>", row["q"], "<assistant>"), answer).item()
        means.append((total, len(answer)))
    by_tokens = sum(total for total, _ in means) / sum(count for _, count in means)
    by_rows = sum(total / count for total, count in means) / len(means)
    assert abs(by_tokens - by_rows) > 1e-3
    expected = by_tokens if reduce == "tokens" else by_rows
    assert lines_of(tmp_path / "out")[-1]["validation_loss"] == pytest.approx(expected, rel=1e-5)


def test_pairs_are_measured_against_the_start_of_the_stage(train: Train, tmp_path: Path) -> None:
    train(validated("dpo", beta=0.5))
    model, start, margins = model_of(tmp_path / "out"), at_the_start(), []
    for row in rows_held("dpo"):
        prompt = char_ids("<bos>", "<user>", row["q"], "<assistant>")
        moved = [
            logprob(model, prompt, answer).item() - logprob(start, prompt, answer).item()
            for answer in (char_ids(row["good"], "<eos>"), char_ids(row["bad"], "<eos>"))
        ]
        margins.append(0.5 * (moved[0] - moved[1]))
    found = found_in(lines_of(tmp_path / "out")[-1])
    assert found.keys() == {"validation_loss", "validation_margin", "validation_accuracy"}
    losses = -torch.nn.functional.logsigmoid(torch.tensor(margins))
    assert found["validation_margin"] == pytest.approx(sum(margins) / 3, rel=1e-4)
    assert found["validation_loss"] == pytest.approx(losses.mean().item(), rel=1e-4)
    assert found["validation_accuracy"] == pytest.approx(sum(margin > 0 for margin in margins) / 3)


def of_each(*graders: str) -> set[str]:
    """What is measured of each grader beside its mean."""
    kinds = ("spread", "not_applicable", "failed")
    return {f"validation_{kind}/{name}" for kind in kinds for name in graders}


@pytest.mark.parametrize("algorithm", ["grpo", "ppo"])
def test_the_own_grader_grades_the_likeliest_answers(algorithm: str, train: Train, tmp_path: Path) -> None:
    train(validated(algorithm))
    line = lines_of(tmp_path / "out")[-1]
    grades = {f"validation_grade/{name}" for name in ("exact", "digits", "short")}
    assert found_in(line).keys() == {*GRADED, *grades, *of_each("exact", "digits", "short")}
    samples = [one for one in read_lines(tmp_path / "out" / "samples.jsonl") if "validation" in one]
    assert [one["step"] for one in samples] == [2] * 3 + [4] * 3
    model, last = model_of(tmp_path / "out"), samples[3:]
    for row, sample in zip(rows_held("prompts"), last, strict=True):
        assert sample["validation"] is True
        assert sample["prompt"] == row["q"]
        prompt = torch.tensor([char_ids("<bos>", "<user>", row["q"], "<assistant>")])
        likeliest = model.generate(prompt, do_sample=False, max_new_tokens=6, eos_token_id=3, pad_token_id=0)
        tokens = likeliest[0, prompt.shape[1] :]
        assert len(tokens) == sample["completion_tokens"]
        assert tokens[tokens >= len(MARKS)].tolist() == char_ids(sample["completion"])
    assert line["validation_reward"] == pytest.approx(sum(one["reward"] for one in last) / 3)
    short = sum(one["grades"]["short"]["score"] for one in last) / 3
    assert line["validation_grade/short"] == pytest.approx(short)


def test_a_grader_of_its_own_grades_a_stage_that_imitates(train: Train, tmp_path: Path) -> None:
    graph = held_out(
        validated("sft", validation={"grader": LENGTH}, metrics=(SHORT,), log_samples=2), HELD_OUT["prompts"]
    )
    train(graph)
    assert [bool(found_in(line)) for line in lines_of(tmp_path / "out")] == [False, True, False, True]
    line = lines_of(tmp_path / "out")[-1]
    grades = {"validation_grade/length", "validation_grade/short"}
    assert found_in(line).keys() == {*GRADED, *grades, *of_each("length", "short")}
    assert line["validation_reward"] == line["validation_grade/length"]
    samples = read_lines(tmp_path / "out" / "samples.jsonl")
    assert [one["step"] for one in samples] == [2, 2, 4, 4]  # of three answers two are kept
    assert all(one["completion_tokens"] <= 20 for one in samples)  # half of the context


def test_graders_are_measured_without_being_rewarded(train: Train, tmp_path: Path) -> None:
    """One that is part of the reward already appears once; a combination that is measured appears, too."""
    train(stage_of("grpo"), "without")
    train(stage_of("grpo", metrics=(LENGTH, SHORT, REWARD)), "with")
    one, other = (stage_in(tmp_path / way) / "model.safetensors" for way in ("without", "with"))
    assert one.read_bytes() == other.read_bytes()
    for plain, line in zip(lines_of(tmp_path / "without"), lines_of(tmp_path / "with"), strict=True):
        more = line.keys() - plain.keys()
        of_these = {name.removeprefix("validation_") for name in of_each("length", "reward")}
        assert more == {"grade/length", "grade/reward", *of_these}
        assert {name: line[name] for name in plain} == plain
        assert line["grade/reward"] == pytest.approx(line["reward"])


def test_a_grader_of_weight_0_is_measured_without_being_rewarded(train: Train, tmp_path: Path) -> None:
    alone = Combination(expression=("grader", 0), graders=(DIGITS,))
    beside = Combination(
        expression=("+", ("grader", 0), ("*", ("constant", 0), ("grader", 1))), graders=(DIGITS, SHORT)
    )
    for way, reward in (("alone", alone), ("beside", beside)):
        graph = stage_of("grpo")
        train(graph_of({**graph.nodes, REWARD: reward}, graph.outputs), way)
    one, other = (stage_in(tmp_path / way) / "model.safetensors" for way in ("alone", "beside"))
    assert one.read_bytes() == other.read_bytes()
    for plain, line in zip(lines_of(tmp_path / "alone"), lines_of(tmp_path / "beside"), strict=True):
        assert line["reward"] == plain["reward"]
        assert line["grade/short"] > 0
        assert "grade/short" not in plain


def test_how_rows_are_cut_changes_rounding_only(train: Train, tmp_path: Path) -> None:
    for algorithm in ("sft", "dpo"):
        for name, budget in (("whole", 4096), ("one", 30)):
            train(validated(algorithm, tiny(max_batch_tokens=budget)), f"{algorithm}-{name}")
        whole, one = (lines_of(tmp_path / f"{algorithm}-{name}")[1] for name in ("whole", "one"))
        assert found_in(whole)
        for name, value in found_in(whole).items():
            assert one[name] == pytest.approx(value, rel=1e-3, abs=1e-4)


# --- when -----------------------------------------------------------------------------------------------


class Counting:
    """A measure that counts."""

    taken = 0

    def take(self) -> Measures:
        self.taken += 1
        return Measures({"validation_loss": float(self.taken)})

    def state(self) -> dict[str, int]:
        return {"taken": self.taken}

    def restore(self, state: dict[str, int]) -> None:
        self.taken = state["taken"]


DUE = [
    (2, 5, [2, 4, 5]),
    (Percent(30), 10, [3, 6, 9, 10]),
    (Percent(10), 3, [1, 2, 3]),
    (Percent(34), 7, [3, 6, 7]),
    (9, 4, [4]),
]


@pytest.mark.parametrize(("every", "steps", "due"), DUE)
def test_a_validation_is_due_every_so_often_and_at_the_end(
    every: int | Percent, steps: int, due: list[int], context: Any
) -> None:
    validator = Validator(Counting(), every, steps, context)
    assert [step for step in range(1, steps + 1) if validator.after(step).metrics] == due


def test_a_time_counts_from_the_last_validation(context: Any) -> None:
    now = 100.0
    validator = Validator(Counting(), Duration(10, "s"), 9, context, clock=lambda: now)
    found = []
    for step in range(1, 10):
        now += 4
        if validator.after(step).metrics:
            found.append(step)
    assert found == [3, 6, 9]


@pytest.fixture
def context() -> Any:
    from harmony_compiler.graph.graph import ONE_DEVICE
    from harmony_runtime.processes.context import Context

    return Context(ONE_DEVICE)


# --- going on -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_stage_that_was_stopped_measures_what_it_would_have(
    algorithm: str, train: Train, tmp_path: Path
) -> None:
    graph = validated(algorithm)
    train(graph, "whole")
    for stop in (1, 2, 3):
        with pytest.raises(Interrupted):
            train(graph, f"stopped-{stop}", watcher=Told(stop_at=stop))
        train(graph, f"stopped-{stop}", resume=True)
        for name in ("metrics.jsonl", "samples.jsonl"):
            whole = tmp_path / "whole" / name
            assert not whole.exists() or (tmp_path / f"stopped-{stop}" / name).read_bytes() == (
                whole.read_bytes()
            )


def test_failures_are_counted_over_all_validations(train: Train, tmp_path: Path) -> None:
    """Three answers each time: at the twentieth too many have failed, also where the run was stopped."""
    never = Formula(
        expression=("log", ("-", ("words", COMPLETION), ("constant", 99))), max_failure_rate=Percent(50)
    )
    graph = held_out(
        validated("sft", validation={"grader": LENGTH, "every": 1}, steps=9), HELD_OUT["prompts"]
    )
    graph = replace(graph, nodes=graph.nodes | {LENGTH: never})
    with pytest.raises(RunFailed, match="21 of 21 grades failed"):
        train(graph)
    assert len(lines_of(tmp_path / "out")) == 6
    with pytest.raises(Interrupted):
        train(graph, "stopped", watcher=Told(stop_at=4))
    with pytest.raises(RunFailed, match="21 of 21 grades failed"):
        train(graph, "stopped", resume=True)


# --- refusals -------------------------------------------------------------------------------------------


def test_what_became_of_the_rows_is_counted(train: Train, tmp_path: Path) -> None:
    long = sums(items=({"q": "1", "a": "2"}, {"q": "1", "a": "2" * 50}))
    heard = Told()
    train(held_out(validated("sft"), long), watcher=heard)
    stages = json.loads((tmp_path / "out" / "manifest.json").read_text())["stages"]
    counts = stages["tuned"]["validation"]
    assert (counts["read"], counts["kept"], counts["too_long_and_dropped"]) == (2, 1, 1)
    assert any("1 of 2 rows are longer than 40 tokens" in text for text in heard.warnings)


REFUSALS: dict[str, tuple[Callable[[], Graph], str]] = {
    "rows": (
        lambda: held_out(validated("sft"), sums(items=({"q": "1", "a": "2" * 50},))),
        "all of 1 rows are longer than 40 tokens",
    ),
    "prompts": (
        lambda: held_out(
            validated("sft", validation={"grader": LENGTH}),
            sums(items=({"q": "1" * 30, "a": ""},), completion=None),
        ),
        "all of 1 prompts leave no room for 20 tokens of completion in the model's context of 40: "
        "shorten the prompts of the validation, or take a model with a longer context",
    ),
    "own prompts": (
        lambda: held_out(
            validated("grpo"),
            sums(items=({"q": "1" * 35, "a": ""},), completion=None, metadata={"answer": "{{ a }}"}),
        ),
        "all of 1 prompts leave no room for 6 tokens",
    ),
    "micro-batches": (
        lambda: held_out(
            validated("sft", tiny(max_batch_tokens=20)), sums(items=({"q": "1", "a": "2" * 30},))
        ),
        "`max_batch_tokens` = 20 is smaller than the longest row of 35 tokens",
    ),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_rows_that_cannot_be_measured_are_refused(what: str, refused: Refused) -> None:
    graph, message = REFUSALS[what]
    assert message in str(refused(graph()))


def test_a_grade_to_watch_is_one_of_the_stage(train: Train) -> None:
    stop = EarlyStop(metric="validation_grade/sort", patience=1)
    with pytest.raises(RunFailed) as caught:
        train(validated("grpo", early_stop=stop))
    assert str(caught.value) == (
        "small.recipe:9: `tuned`: `early_stop` watches `validation_grade/sort`, and the grades of this stage "
        "are grade/exact, grade/digits, grade/short, validation_grade/exact, validation_grade/digits, "
        "validation_grade/short: name one of them"
    )
