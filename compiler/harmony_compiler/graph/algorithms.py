"""Algorithm nodes: what trains a model, and with which numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from harmony_compiler.graph.datasets import PromptRows, ThreadRows
from harmony_compiler.graph.graders import GraderRef
from harmony_compiler.graph.models import ModelRef
from harmony_compiler.graph.node import RECIPE_SEED, Derived, Node, Rule, field
from harmony_compiler.graph.settings import AdamW, Cosine, Sampling, Schedule
from harmony_compiler.graph.types import MODEL, Type


class Algorithm(Node):
    """What every algorithm takes."""

    epochs: float | None = field(None, above=0, doc="passes over the dataset; fractions allowed")
    steps: int | None = field(None, at_least=1, doc="optimiser steps")
    schedule: Schedule = field(Cosine(), doc="course of the learning rate")
    optimizer: AdamW = field(AdamW(), doc="the optimiser and its numbers")
    weight_decay: float = field(0.0, at_least=0, doc="decay of the weight matrices a step, times the rate")
    max_grad_norm: float = field(1.0, above=0, doc="gradients are scaled down to this norm")
    seed: int = field(RECIPE_SEED, at_least=0, doc="seed of the stage's random streams")

    exactly_one = (("epochs", "steps"),)

    @property
    def rows_per_step(self) -> int:
        """Rows of the dataset in one optimiser step."""
        raise NotImplementedError

    def steps_over(self, rows: int) -> int:
        """Optimiser steps over a dataset of `rows`; the last one may reach into the next pass."""
        if self.epochs is None:
            assert self.steps is not None
            return self.steps
        from fractions import Fraction  # it costs more than all node classes together

        # By the decimal that the recipe writes: in floats, 1.1 * 10 is more than 11.
        return math.ceil(Fraction(repr(self.epochs)) * rows / self.rows_per_step)

    @classmethod
    def result(cls, given: Mapping[str, Any]) -> Type:
        return MODEL


BATCH_OVER_RANKS = Rule(
    "samples_per_batch",
    ("ctx.world_size",),
    lambda samples, world: samples % world == 0,
    "`samples_per_batch` = {samples_per_batch} does not divide over {world_size} processes",
    "choose a multiple of {world_size}",
)


class Sft(Algorithm):
    """Supervised fine-tuning: imitate the completions of a dataset."""

    constructor = "sft"
    rules = (BATCH_OVER_RANKS,)

    model: ModelRef = field(doc="the model to start from")
    dataset: ThreadRows = field(doc="the rows to imitate")
    lr: float = field(1e-5, above=0, doc="peak learning rate")
    samples_per_batch: int = field(512, at_least=1, doc="rows in one optimiser step")
    reduce: Literal["tokens", "sequences"] = field(
        "tokens", doc="average the loss over all trained tokens of a step, or first within each row"
    )
    train_on: Literal["last", "all", "everything"] = field(
        "last", doc="the last assistant turn, every assistant turn, or every token"
    )

    @property
    def rows_per_step(self) -> int:
        return self.samples_per_batch


class Grpo(Algorithm):
    """Group relative policy optimisation: reinforce completions that score above their group."""

    constructor = "grpo"
    rules = (
        Rule(
            "samples_per_batch",
            ("completions_per_sample",),
            lambda samples, group: samples % group == 0,
            "`samples_per_batch` = {samples_per_batch} is no multiple of `completions_per_sample` = "
            "{completions_per_sample}",
            "both count completions: a step takes `samples_per_batch / completions_per_sample` prompts",
        ),
        Rule(
            "samples_per_mini_batch",
            ("samples_per_batch",),
            lambda mini, samples: mini <= samples,
            "`samples_per_mini_batch` = {samples_per_mini_batch} is larger than `samples_per_batch` = "
            "{samples_per_batch}",
            "a mini-batch is a part of the batch: choose a divisor of {samples_per_batch}",
        ),
        Rule(
            "samples_per_mini_batch",
            ("samples_per_batch",),
            lambda mini, samples: samples % mini == 0,
            "`samples_per_mini_batch` = {samples_per_mini_batch} does not divide `samples_per_batch` = "
            "{samples_per_batch}",
            "choose a divisor of {samples_per_batch}",
        ),
        Rule(
            "samples_per_mini_batch",
            ("ctx.world_size",),
            lambda mini, world: mini % world == 0,
            "`samples_per_mini_batch` = {samples_per_mini_batch} does not divide over {world_size} processes",
            "choose a multiple of {world_size}",
        ),
        Rule(
            "samples_per_mini_batch",
            ("samples_per_batch",),
            lambda mini, samples: mini != samples,
            "`samples_per_mini_batch` is all of `samples_per_batch`: one update a batch",
            "this keeps to the policy that wrote the completions; smaller mini-batches take more updates of "
            "each batch",
            warns=True,
        ),
        Rule(
            "sampling.temperature",
            (),
            lambda temperature: temperature > 0,
            "at temperature 0 all completions of a group are the same, and nothing is learned",
            "leave `temperature` at 1.0",
        ),
        Rule(
            "sampling.top_k",
            (),
            lambda top_k: top_k > 1,
            "with `top_k` = 1 all completions of a group are the same, and nothing is learned",
            "leave it out",
        ),
    )

    model: ModelRef = field(doc="the model to start from")
    dataset: PromptRows = field(doc="the prompts to answer")
    grader: GraderRef = field(doc="the reward of a completion")
    completions_per_sample: int = field(8, at_least=2, doc="completions of one prompt: a group")
    lr: float = field(7.5e-7, above=0, doc="peak learning rate")
    kl_beta: float = field(
        0.01, at_least=0, doc="weight of the distance from the stage's start; 0 asks for none"
    )
    samples_per_batch: int = field(128, at_least=1, doc="completions in one step")
    samples_per_mini_batch: int = field(64, at_least=1, doc="completions in one update of the weights")
    mini_epochs: int = field(1, at_least=1, doc="passes over the completions of a step")
    clip_range: float = field(0.1, above=0, below=1, doc="how far below 1 a ratio of probabilities counts")
    clip_range_high: float = field(
        Derived("clip_range", ("clip_range",), lambda low: low),
        above=0,
        doc="how far above 1 a ratio of probabilities counts",
    )
    advantage: Literal["mean", "mean_std"] = field(
        "mean", doc="reward minus the group's mean, or also divided by the group's standard deviation"
    )
    ratio: Literal["token", "sequence"] = field(
        "token", doc="compare probabilities token by token, or by their geometric mean over a completion"
    )
    reduce: Literal["tokens", "sequences", "constant"] = field(
        "tokens",
        doc="average over all tokens of an update, first within each completion, or divide each completion's "
        "sum by `sampling.max_tokens`",
    )
    truncated: Literal["keep", "mask"] = field(
        "keep", doc="whether completions that reached `max_tokens` are trained on"
    )
    sampling: Sampling = field(Sampling(), doc="how completions are drawn")

    @property
    def rows_per_step(self) -> int:
        return self.samples_per_batch // self.completions_per_sample
