"""Early stop: when a stage ends, and that it yields its best weights."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from runtime_support import Told, Train, read_lines, same, tiny
from torch import nn
from validation_support import ADAPTED, stage_of, validated

from harmony_compiler.graph import settings
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.measures import HIGHER, LOWER, better
from harmony_runtime.algorithms.early_stop import EarlyStop
from harmony_runtime.disk import checkpoints
from harmony_runtime.failures import Interrupted

# --- what is better -------------------------------------------------------------------------------------


def test_a_metric_becomes_better_in_one_way() -> None:
    assert not HIGHER & LOWER
    assert better("validation_loss") == better("kl") == "lower"
    assert (
        better("validation_reward") == better("grade/short") == better("validation_grade/short") == "higher"
    )
    assert better("lr") is better("tokens") is better("validation_completion_tokens") is None


def watching(metric: str, patience: int = 2, said: list[str] | None = None) -> tuple[EarlyStop, nn.Linear]:
    model = nn.Linear(1, 1, bias=False)
    told = [] if said is None else said
    return EarlyStop(
        settings.EarlyStop(metric=metric, patience=patience), model, "here: ", told.append
    ), model


COURSES: dict[str, tuple[str, list[float | None], int, int]] = {
    "lower": ("validation_loss", [3.0, 2.0, 2.5, 2.1, 1.0], 2, 4),
    "higher": ("validation_reward", [3.0, 2.0, 3.5, 2.1, 1.0], 3, 5),
    "equal is not better": ("validation_loss", [3.0, 3.0, 3.0, 1.0], 1, 3),
    "nothing is not better": ("validation_loss", [3.0, None, 2.0, None, None], 3, 5),
    "nothing at first": ("validation_loss", [None, 2.0, 3.0, 3.0], 2, 4),
    "no finite number": ("validation_reward", [math.nan, 1.0, math.inf, 1.5, 1.0, 1.0], 4, 6),
    "to the end": ("validation_loss", [3.0, 2.0, 1.0], 3, 3),
}


@pytest.mark.parametrize("course", COURSES)
def test_a_stage_ends_after_validations_without_a_better_value(course: str) -> None:
    """The model has the number of the step as its weight."""
    metric, values, best_step, ended_at = COURSES[course]
    stop, model = watching(metric)
    for step, value in enumerate(values, 1):
        assert not stop.is_over
        model.weight.data.fill_(step)
        stop.after(step, {metric: value})
        if stop.is_over:
            break
    stop.settle()
    assert model.weight.item() == best_step
    assert stop.facts() == {
        "metric": metric,
        "best_value": values[best_step - 1],
        "best_step": best_step,
        "ended_at": ended_at,
    }


def test_where_no_validation_had_a_number_the_last_weights_stay_and_it_is_said() -> None:
    said: list[str] = []
    stop, model = watching("validation_reward", 2, said)
    for step in (1, 2):
        model.weight.data.fill_(step)
        stop.after(step, {"validation_reward": None})
    assert stop.is_over
    stop.settle()
    assert model.weight.item() == 2
    assert stop.facts()["best_value"] is stop.facts()["best_step"] is None
    assert said == [
        "here: `early_stop` watches `validation_reward`, which was no number after any validation: the stage "
        "yields its last weights"
    ]


def test_what_it_remembers_goes_through_a_checkpoint(tmp_path: Path) -> None:
    stop, model = watching("validation_loss")
    for step, value in enumerate((2.0, 1.0, 3.0), 1):
        model.weight.data.fill_(step)
        stop.after(step, {"validation_loss": value})
    checkpoints.save(stop.state(), tmp_path / "kept")
    again, other = watching("validation_loss")
    again.restore(checkpoints.load(tmp_path / "kept"))
    assert not again.is_over
    again.after(4, {"validation_loss": 1.0})
    assert again.is_over
    again.settle()
    assert other.weight.item() == 2
    assert again.facts() == {"metric": "validation_loss", "best_value": 1.0, "best_step": 2, "ended_at": 4}


# --- stages ---------------------------------------------------------------------------------------------


def watched(algorithm: str, metric: str, patience: int, **stage: Any) -> Graph:
    stop = settings.EarlyStop(metric=metric, patience=patience)
    return validated(algorithm, early_stop=stop, **{"validation": {"every": 1}, "steps": 8, **stage})


def stage_in(out: Path) -> Path:
    return next((out / "stages").iterdir())


def facts_of(out: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((out / "manifest.json").read_text())["stages"]["tuned"]
    return facts


METRICS = {
    "sft": "validation_loss",
    "dpo": "validation_margin",
    "grpo": "validation_reward",
    "ppo": "validation_grade/short",
}
WAYS = {"higher": max, "lower": min}


@pytest.mark.parametrize("algorithm", METRICS)
def test_a_stage_yields_the_weights_of_its_best_validation(
    algorithm: str, train: Train, tmp_path: Path
) -> None:
    """They are those of a stage that ends there: all steps are taken at one rate."""
    metric = METRICS[algorithm]
    train(watched(algorithm, metric, 2))
    values = [line[metric] for line in read_lines(tmp_path / "out" / "metrics.jsonl")]
    best = values.index(WAYS[better(metric) or ""](values)) + 1
    facts = facts_of(tmp_path / "out")["early_stop"]
    assert (facts["best_step"], facts["best_value"]) == (best, values[best - 1])
    assert facts["ended_at"] == len(values) == min(best + 2, 8)
    train(stage_of(algorithm, steps=best), "shorter")
    assert same(stage_in(tmp_path / "out"), stage_in(tmp_path / "shorter"))


def test_a_stage_that_becomes_worse_at_once_ends(train: Train, tmp_path: Path) -> None:
    """A metric of the training counts, too, where a validation comes."""
    train(watched("sft", "loss", 3, lr=10.0, max_grad_norm=1e6))
    losses = [line["loss"] for line in read_lines(tmp_path / "out" / "metrics.jsonl")]
    assert len(losses) == losses.index(min(losses)) + 1 + 3 < 8


def test_an_adapter_is_kept_at_its_best(train: Train, tmp_path: Path) -> None:
    model = tiny(adapter=ADAPTED)
    train(watched("sft", "validation_loss", 1, model=model, lr=0.3))
    best = facts_of(tmp_path / "out")["early_stop"]["best_step"]
    assert best < len(read_lines(tmp_path / "out" / "metrics.jsonl"))
    train(stage_of("sft", model, steps=best, lr=0.3), "shorter")
    one, other = (stage_in(tmp_path / name) / "adapter_model.safetensors" for name in ("out", "shorter"))
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("algorithm", ["sft", "ppo"])
def test_a_stage_that_was_stopped_ends_where_it_would_have(
    algorithm: str, train: Train, tmp_path: Path
) -> None:
    graph = watched(algorithm, METRICS[algorithm], 1, **({"lr": 0.3} if algorithm == "sft" else {}))
    train(graph, "whole")
    steps = len(read_lines(tmp_path / "whole" / "metrics.jsonl"))
    assert steps < 8
    for stop in range(1, steps + 1):
        out = f"stopped-{stop}"
        with pytest.raises(Interrupted):
            train(graph, out, watcher=Told(stop_at=stop))
        train(graph, out, resume=True)
        assert same(stage_in(tmp_path / out), stage_in(tmp_path / "whole"))
        lines = [(tmp_path / folder / "metrics.jsonl").read_bytes() for folder in (out, "whole")]
        assert lines[0] == lines[1]
        assert facts_of(tmp_path / out)["early_stop"] == facts_of(tmp_path / "whole")["early_stop"]
