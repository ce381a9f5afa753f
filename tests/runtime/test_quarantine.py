"""What is no finite number is never trained on."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from reinforcement_support import COMPLETION, SHORT, reinforcing, samples_of
from runtime_support import Told, Train, read_lines, rooms_in, training

from harmony_compiler.graph.graders import Formula
from harmony_compiler.graph.values import Percent
from harmony_grammar import records
from harmony_runtime.algorithms import grpo, sft
from harmony_runtime.algorithms.optimiser import HOPELESS
from harmony_runtime.failures import Interrupted, RunFailed


def broken(real: Callable[..., Any], at: int, spoil: Callable[[Any], Any]) -> Callable[..., Any]:
    """A loss that is spoilt when it is asked for the time `at`, from 0; where that is negative, from the time
    -`at` on."""
    asked = [0]

    def loss(*given: Any, **named: Any) -> Any:
        number, asked[0] = asked[0], asked[0] + 1
        found = real(*given, **named)
        return spoil(found) if number == at or (at < 0 and number >= -at) else found

    return loss


@pytest.mark.parametrize("added", [math.nan, math.inf])
def test_an_update_that_is_not_finite_leaves_the_weights_of_the_step_before(
    added: float, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = training(samples_per_batch=4, steps=6)
    with pytest.raises(Interrupted):
        train(graph, "before", watcher=Told(2))
    monkeypatch.setattr(sft, "sft_loss", broken(sft.sft_loss, 2, lambda loss: loss + added))
    with pytest.raises(Interrupted):
        train(graph, watcher=Told(3))
    before, after = rooms_in(tmp_path / "before"), rooms_in(tmp_path / "out")
    for name, held in before["model"].items():
        assert torch.equal(held, after["model"][name])
    for name, moments in before["optimiser"]["moments"].items():
        for key, held in moments.items():
            assert torch.equal(held, after["optimiser"]["moments"][name][key])

    lines = read_lines(tmp_path / "out" / "metrics.jsonl")
    assert [line["quarantined"] for line in lines] == [0, 0, 1]
    assert lines[2]["loss"] is None
    (told,) = read_lines(tmp_path / "out" / "quarantine.jsonl")
    assert (told["stage"], told["step"], told["update"]) == ("tuned", 3, 0)
    assert not math.isfinite(float(told["loss"]))
    assert len(told["rows"]) == 4

    train(graph, resume=True)  # and the stage goes on
    assert [line["quarantined"] for line in read_lines(tmp_path / "out" / "metrics.jsonl")] == [
        0,
        0,
        1,
        0,
        0,
        0,
    ]


def test_a_gradient_that_is_not_finite_is_kept_out(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(loss: torch.Tensor) -> torch.Tensor:
        loss.register_hook(lambda gradient: gradient * math.inf)
        return loss

    monkeypatch.setattr(sft, "sft_loss", broken(sft.sft_loss, 2, spoil))
    train(training(steps=4))
    lines = read_lines(tmp_path / "out" / "metrics.jsonl")
    assert [line["quarantined"] for line in lines] == [0, 0, 1, 0]
    assert lines[2]["grad_norm"] is None
    assert lines[2]["loss"] is not None


def test_a_stage_that_only_makes_such_updates_ends_and_keeps_its_weights(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = training(steps=8)
    with pytest.raises(Interrupted):
        train(graph, "before", watcher=Told(2))
    monkeypatch.setattr(sft, "sft_loss", broken(sft.sft_loss, -2, lambda loss: loss * math.nan))
    with pytest.raises(RunFailed, match=r"`tuned`: the last 3 updates had no finite loss") as caught:
        train(graph)
    assert caught.value.exit_code == 1
    assert len(read_lines(tmp_path / "out" / "quarantine.jsonl")) == HOPELESS
    before, after = rooms_in(tmp_path / "before")["model"], rooms_in(tmp_path / "out")["model"]
    assert all(torch.equal(held, after[name]) for name, held in before.items())


def test_an_update_of_several_is_kept_out_alone(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(policy: Any) -> Any:
        return policy._replace(loss=policy.loss * math.nan)

    monkeypatch.setattr(grpo, "grpo_loss", broken(grpo.grpo_loss, 1, spoil))
    train(reinforcing(steps=2, samples_per_batch=8, samples_per_mini_batch=4))
    first, second = read_lines(tmp_path / "out" / "metrics.jsonl")
    assert (first["quarantined"], second["quarantined"]) == (1, 0)
    assert first["loss"] is not None  # the mean of the other one
    (told,) = read_lines(tmp_path / "out" / "quarantine.jsonl")
    assert (told["step"], told["update"], len(told["completions"])) == (1, 1, 4)
    assert json.dumps(told, allow_nan=False)


BEYOND = Formula(
    # Beyond 64 bits where a completion has more than three characters, and at most 1 where it has fewer.
    expression=("exp", ("*", ("constant", 1000.0), ("-", ("chars", COMPLETION), ("constant", 3))))
)


@pytest.mark.parametrize("policy", ["skip", "zero", "stop"])
def test_an_infinite_grade_is_a_failure(policy: Any, train: Train, tmp_path: Path) -> None:
    grader = records.replace(BEYOND, on_failure=policy, max_failure_rate=Percent(100))
    graph = reinforcing(graders={SHORT: grader}, grader=SHORT, steps=2, lr=1e-3)
    if policy == "stop":
        with pytest.raises(RunFailed, match="a number is too large"):
            train(graph)
        return
    train(graph)
    samples = samples_of(tmp_path / "out")
    failed = [sample for sample in samples if "failed" in sample["grades"]["short"]]
    assert 0 < len(failed) < len(samples)
    assert all(len(sample["completion"]) > 3 for sample in failed)
    for sample in failed:
        assert sample["reward"] == (0.0 if policy == "zero" else None)
        assert policy == "zero" or sample["advantage"] == 0
    lines = read_lines(tmp_path / "out" / "metrics.jsonl")
    assert [line["failed"] for line in lines] == [
        sum(sample["step"] == step for sample in failed) for step in (1, 2)
    ]
    assert [line["quarantined"] for line in lines] == [0, 0]
    assert all(line["loss"] is not None for line in lines)


def test_rewards_whose_advantage_is_infinite_are_not_trained_on(train: Train, tmp_path: Path) -> None:
    """1e300 is a number in 64 bits and none in the 32 of a loss."""
    huge = Formula(expression=("*", ("chars", COMPLETION), ("constant", 1e300)))
    with pytest.raises(RunFailed, match="no finite loss"):
        train(reinforcing(graders={SHORT: huge}, grader=SHORT))
    assert [line["quarantined"] for line in read_lines(tmp_path / "out" / "metrics.jsonl")] == [1, 1, 1]
    assert any(sample["reward"] > 1e300 for sample in samples_of(tmp_path / "out"))
