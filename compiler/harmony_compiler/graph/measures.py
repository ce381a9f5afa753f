"""Measures: what a stage is measured by beside its training, and what counts as better."""

from __future__ import annotations

from typing import Literal

from harmony_compiler.graph.datasets import AnyRows
from harmony_compiler.graph.graders import GraderRef
from harmony_compiler.graph.node import Needs, Rule, Settings, field
from harmony_compiler.graph.values import Duration, Percent


class Validation(Settings):
    """Measure the stage on rows that it is not trained on."""

    constructor = "validation"

    dataset: AnyRows = field(doc="rows of the stage's own kind, or prompts for the grader")
    grader: GraderRef | None = field(
        None, doc="grades answers to the rows; by default the stage's own does, or the loss is measured"
    )
    every: int | Percent | Duration = field(
        Percent(10), at_least=1, doc="steps, share of all steps, or time between two"
    )


NO_CLOCK = Rule(
    "validation.every",
    ("early_stop",),
    lambda every, stop: not isinstance(every, Duration),
    "`early_stop` counts validations, and with `every` = {every} the clock decides how many there are",
    "give `every` in steps or as a share of them",
)
"""What ends a stage early decides its result, which no clock may."""

UNGRADED = tuple(
    Needs(name, "validation.grader", "nothing else asks for completions")
    for name in ("metrics", "log_samples")
)
"""What means nothing where a stage itself writes no completions."""


GRADED = (
    *("validation_reward", "validation_no_reward", "validation_not_applicable", "validation_failed"),
    *("validation_truncated", "validation_completion_tokens"),
)
"""What a validation measures whose answers are graded, beside `validation_grade/NAME`."""

GRADES = ("grade/", "validation_grade/")
"""What the metrics begin with that are named after graders."""

# Which way a metric becomes better: an early stop watches one that can. What is neither good nor bad by
# itself, such as a learning rate or a number of tokens, is in neither list.

HIGHER = frozenset(
    (
        *("validation_reward", "validation_accuracy", "validation_margin"),
        *("reward", "reward_chosen", "accuracy", "margin", "logprob_chosen", "entropy", "return"),
        "explained_variance",
    )
)
"""Those of which more is better; what begins as `GRADES` says is, too."""

LOWER = frozenset(
    (
        *("validation_loss", "validation_no_reward", "validation_not_applicable", "validation_failed"),
        *("validation_truncated", "loss", "loss_policy", "loss_value", "kl", "grad_norm", "grad_norm_value"),
        *("no_signal", "no_reward", "not_applicable", "failed", "truncated"),
    )
)
"""Those of which less is better."""


def better(metric: str) -> Literal["higher", "lower"] | None:
    """Which way a metric becomes better; None where neither is."""
    if metric in HIGHER or metric.startswith(GRADES):
        return "higher"
    return "lower" if metric in LOWER else None
