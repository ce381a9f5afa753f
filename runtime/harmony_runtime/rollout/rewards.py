"""What the completions of a step brought: rewards, metrics, lines of `samples.jsonl`."""

# Names of tensors end in their shape: C completions.
# ruff: noqa: N803, N806

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from harmony_runtime.graders.grading import measured, spreads
from harmony_runtime.graders.panel import Panel
from harmony_runtime.rollout.answers import Answer
from harmony_runtime.watch import Number


def rewards_of(answered: Sequence[Answer]) -> Tensor:
    """float64 of shape C; NaN where no grader applied."""
    scores = (answer.verdict.scores[0] for answer in answered)
    return torch.tensor([math.nan if score is None else score for score in scores], dtype=torch.float64)


def shown_of(panel: Panel) -> tuple[str, ...]:
    """The graders that are measured one by one: what the reward, the panel's first root, is made of, and what
    is measured beside it."""
    return tuple(dict.fromkeys((*panel.parts, *panel.roots[1:])))


def grades_of(panel: Panel) -> dict[str, str]:
    """The metrics that are means of grades, each with its grader's name."""
    return {f"grade/{name}": name for name in shown_of(panel)}


def measures_of(answered: Sequence[Answer], panel: Panel) -> dict[str, Number | None]:
    """What completions were like. What does not apply or failed is counted of all graders, and of each it is
    a share; `spread/NAME` is the standard deviation of its scores.

    `entropy` is that of the distributions which the tokens were drawn from, in nats a token, estimated by
    the tokens that were drawn: the mean of -log p.
    """
    rewards_C = rewards_of(answered)
    given_C = rewards_C[~rewards_C.isnan()]
    grades = measured(answer.verdict for answer in answered)
    spread = spreads(answer.verdict for answer in answered)
    shown = shown_of(panel)
    drawn_N = torch.cat([answer.completion.logprobs_T for answer in answered])
    return {
        "reward": given_C.mean().item() if len(given_C) else None,
        **{metric: grades[name].mean for metric, name in grades_of(panel).items()},
        **{f"spread/{name}": spread[name] for name in shown},
        **{f"not_applicable/{name}": grades[name].not_applicable / len(answered) for name in shown},
        **{f"failed/{name}": grades[name].failed / len(answered) for name in shown},
        "no_reward": len(rewards_C) - len(given_C),
        "not_applicable": sum(grade.not_applicable for grade in grades.values()),
        "failed": sum(grade.failed for grade in grades.values()),
        "truncated": fmean(answer.completion.stop == "length" for answer in answered),
        "completion_tokens": fmean(len(answer.completion.ids_T) for answer in answered),
        "entropy": -drawn_N.double().mean().item(),
    }


def lines_of(answered: Sequence[Answer], rewards_C: Tensor, **others_C: Tensor) -> list[dict[str, Any]]:
    """A line for each completion; `others_C` are more numbers of each."""
    numbers = zip(*(held.tolist() for held in (rewards_C, *others_C.values())), strict=True)
    return [
        answer.line()
        | {"reward": None if math.isnan(reward) else reward}
        | dict(zip(others_C, others, strict=True))
        for answer, (reward, *others) in zip(answered, numbers, strict=True)
    ]
