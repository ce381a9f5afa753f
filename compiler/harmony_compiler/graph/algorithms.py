"""Algorithm nodes: what trains a model, and with which numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from harmony_compiler.graph.datasets import ThreadRows
from harmony_compiler.graph.models import ModelRef
from harmony_compiler.graph.node import RECIPE_SEED, Node, Rule, field
from harmony_compiler.graph.settings import AdamW, Cosine, Schedule
from harmony_compiler.graph.types import MODEL, Type


@dataclass(frozen=True, kw_only=True)
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


@dataclass(frozen=True, kw_only=True)
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
