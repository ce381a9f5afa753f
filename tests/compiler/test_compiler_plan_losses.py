"""The loss of a stage with the recipe's numbers in it; `test_equations.py` computes by it."""

from __future__ import annotations

from typing import Any

import pytest

from harmony_compiler.graph.algorithms import Algorithm, Dpo, Grpo, Ppo, Sft
from harmony_compiler.graph.catalogue import ALGORITHMS
from harmony_compiler.graph.settings import Sampling
from harmony_compiler.graph.values import Percent, Ref
from harmony_compiler.plan.losses import loss_of

NODE = Ref("another-node")
BATCH = {"samples_per_batch": 64, "samples_per_mini_batch": 32}
FIELDS: dict[type[Algorithm], dict[str, Any]] = {
    Sft: {"model": NODE, "steps": 1, "samples_per_batch": 64},
    Dpo: {"model": NODE, "steps": 1, "samples_per_batch": 64},
    Grpo: {"model": NODE, "grader": NODE, "steps": 1, "clip_range_high": 0.1, **BATCH},
    Ppo: {"policy_model": NODE, "value_model": NODE, "grader": NODE, "max_num_ppo_steps": 9, **BATCH},
}


def told(cls: type[Algorithm], **given: Any) -> list[str]:
    return list(loss_of(cls(dataset=NODE, seed=0, **{**FIELDS[cls], **given})))  # type: ignore[call-arg]


def test_sft() -> None:
    assert told(Sft) == [
        "w = n / sum(n)",
        "loss = -sum(w * log_p)",
        "averaged over all tokens of the last assistant turn in the 64 rows of a step",
    ]
    assert told(Sft, reduce="sequences", train_on="everything") == [
        "w = n / row_sum(n) / rows",
        "loss = -sum(w * log_p)",
        "averaged over the tokens in each row, then over the 64 rows of a step",
    ]


MARGIN = "m = better - better_at_start - (worse - worse_at_start)"


@pytest.mark.parametrize(
    ("given", "equations"),
    [
        ({}, ["agreed = log(sigmoid(0.1 * m))", "l = -agreed"]),
        (
            {"label_smoothing": 0.2, "beta": 1.0},
            ["agreed = log(sigmoid(m))", "opposed = log(sigmoid(-m))", "l = -0.8 * agreed - 0.2 * opposed"],
        ),
        ({"loss": "ipo", "beta": 0.25}, ["l = (m - 2)^2"]),
        ({"loss": "ipo", "beta": 0.3}, ["l = (m - 1 / 0.6)^2"]),
        ({"loss": "hinge"}, ["l = max(0, 1 - 0.1 * m)"]),
    ],
)
def test_dpo(given: dict[str, Any], equations: list[str]) -> None:
    words = "averaged over the 64 pairs of a step"
    assert told(Dpo, **given) == [MARGIN, *equations, "loss = mean(l)", words]


def test_grpo() -> None:
    assert told(Grpo) == [
        "A = R - group_mean(R)",
        "r = exp(new - old)",
        "k = exp(start - new) - (start - new) - 1",
        "l = -min(r * A, clip(r, 0.9, 1.1) * A) + 0.01 * k",
        "w = n / sum(n)",
        "loss = sum(w * l)",
        "averaged over all tokens in the 32 completions of an update, 2 updates a step",
        "A compares the 8 completions of a prompt",
    ]
    options = {"advantage": "mean_std", "ratio": "sequence", "reduce": "constant", "truncated": "mask"}
    clip = {"clip_range": 0.2, "clip_range_high": 0.28, "kl_beta": 0.0}
    sampling = Sampling(max_tokens=2_000)
    assert told(Grpo, **options, **clip, samples_per_mini_batch=64, sampling=sampling) == [
        "A = (R - group_mean(R)) / (group_std(R) + 0.0001)",
        "r = exp(row_mean(new - old))",
        "l = -min(r * A, clip(r, 0.8, 1.28) * A)",
        "w = n / 2000 / rows",
        "loss = sum(w * l)",
        "summed over the tokens of each completion, divided by 2,000 (`sampling.max_tokens`), averaged over "
        "the 64 completions of an update, one update a step",
        "A compares the 8 completions of a prompt",
        "completions cut off at 2,000 tokens do not count",
    ]


def test_ppo() -> None:
    assert told(Ppo) == [
        "reward[t] = -0.1 * (old[t] - start[t]) + R * last[t]",
        "delta[t] = reward[t] + value[t + 1] - value[t]",
        "A[t] = delta[t] + 0.95 * A[t + 1]",
        "G = A + value",
        "A = (A - step_mean(A)) / sqrt(step_var(A) + 1e-8)",
        "r = exp(new - old)",
        "loss_policy = -mean(min(r * A, clip(r, 0.9, 1.1) * A))",
        "loss_value = mean((critic - G)^2) / 2",
        "averaged over all tokens in the 32 completions of an update, 2 updates a step",
        "in the first 25% of the steps only the critic learns",
    ]
    plain = {"kl_beta": 0.0, "whiten": False, "clip_range_value": 0.2, "gae_gamma": 0.99, "gae_lambda": 0.0}
    assert told(Ppo, **plain, value_warmup=0, mini_epochs=2) == [
        "reward[t] = R * last[t]",
        "delta[t] = reward[t] + 0.99 * value[t + 1] - value[t]",
        "A[t] = delta[t]",
        "G = A + value",
        "r = exp(new - old)",
        "loss_policy = -mean(min(r * A, clip(r, 0.9, 1.1) * A))",
        "v = value + clip(critic - value, -0.2, 0.2)",
        "loss_value = mean(max((critic - G)^2, (v - G)^2)) / 2",
        "averaged over all tokens in the 32 completions of an update, 4 updates a step",
    ]


@pytest.mark.parametrize(("warmup", "words"), [(1, "step"), (3, "3 steps"), (Percent(5), "5% of the steps")])
def test_the_steps_of_the_critic_alone(warmup: int | Percent, words: str) -> None:
    assert told(Ppo, value_warmup=warmup)[-1] == f"in the first {words} only the critic learns"


@pytest.mark.parametrize("cls", ALGORITHMS, ids=lambda cls: cls.constructor)
def test_every_algorithm_says_what_it_averages(cls: type[Algorithm]) -> None:
    assert "averaged over" in " ".join(told(cls))
