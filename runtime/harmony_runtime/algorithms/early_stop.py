"""Early stop: a stage ends when a metric has not become better for a while, and yields its best weights.

The weights are those of the best validation, also where the stage went through to its last step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from harmony_compiler.graph import settings
from harmony_compiler.graph.measures import better
from harmony_runtime.disk.checkpoints import Tree, Weights
from harmony_runtime.processes import cuts
from harmony_runtime.watch import Metrics, Number


class EarlyStop:
    """Watches a metric from validation to validation, and keeps the weights of the best one on the CPU.

    A validation after which the metric has no finite number is not better than any.
    """

    def __init__(
        self, asked: settings.EarlyStop, model: torch.nn.Module, place: str, warn: Callable[[str], None]
    ) -> None:
        self._asked = asked
        self._place = place
        self._warn = warn
        self._weights = Weights(model)
        self._sign = 1 if better(asked.metric) == "higher" else -1
        self._step = 0
        self._best: Number | None = None
        self._best_step = 0
        self._since = 0
        self._kept: dict[str, torch.Tensor] = {}
        """Of each tensor the part that this process holds."""

    @property
    def is_over(self) -> bool:
        """Whether the stage ends here."""
        return self._since >= self._asked.patience

    def after(self, step: int, metrics: Metrics) -> None:
        """A validation after `step`, from 1, and all that was measured of it."""
        self._step, value = step, metrics.get(self._asked.metric)
        if value is not None and math.isfinite(value) and self._is_better(value):
            self._best, self._best_step, self._since = value, step, 0
            # Made anew, not written over: a checkpoint may still be reading the last ones.
            self._kept = {
                name: cuts.part(held).to("cpu", copy=True) for name, held in self._weights.state().items()
            }
        else:
            self._since += 1

    def settle(self) -> None:
        """The stage is through: its model gets the best weights."""
        if not self._kept:
            self._warn(
                f"{self._place}`early_stop` watches `{self._asked.metric}`, which was no number after any "
                "validation: the stage yields its last weights"
            )
            return
        for name, held in self._weights.state().items():
            cuts.part(held).copy_(self._kept[name])

    def facts(self) -> dict[str, Any]:
        """What the manifest says."""
        return {
            "metric": self._asked.metric,
            "best_value": self._best,
            "best_step": self._best_step if self._kept else None,
            "ended_at": self._step,
        }

    def state(self) -> Tree:
        weights = self._weights.state()
        return {
            "step": self._step,
            "best": self._best,
            "best_step": self._best_step,
            "since": self._since,
            "weights": {
                name: cuts.joined(part.to(weights[name].device), weights[name])
                if cuts.is_cut(weights[name])
                else part
                for name, part in self._kept.items()
            },
        }

    def restore(self, state: Tree) -> None:
        self._step, self._best = state["step"], state["best"]
        self._best_step, self._since = state["best_step"], state["since"]
        like = self._weights.state()
        self._kept = {
            name: cuts.part_of(tensor, like=like[name]).to("cpu", copy=True)
            for name, tensor in state["weights"].items()
        }

    def _is_better(self, value: Number) -> bool:
        return self._best is None or self._sign * value > self._sign * self._best
