"""A training stage: what it is before it trains, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from transformers import PreTrainedModel

from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.values import Ref
from harmony_runtime.models.blueprint import Blueprint
from harmony_runtime.watch import Metrics

A = TypeVar("A", bound=Algorithm)


@dataclass(frozen=True)
class Stage(Generic[A]):
    """One training stage, prepared: everything is checked, no weight is made."""

    ref: Ref
    name: str
    identity: str
    place: str
    """Where the recipe writes it: the beginning of every message about it."""
    node: A
    blueprint: Blueprint
    """Of the model that is trained."""
    steps: int
    counts: dict[str, dict[str, int]]
    """What became of the rows, and how many tokens they have: `{"rows": {…}, "tokens": {…}}`."""
    max_batch_tokens: int


class Trained(NamedTuple):
    model: PreTrainedModel
    metrics: Metrics
    """Those of the last step."""
    facts: dict[str, Any]
    """How the stage went, as the manifest keeps it."""
