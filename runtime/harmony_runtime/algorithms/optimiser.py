"""The optimiser's step: clip, set the rate, update; and keep out what is not finite."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from harmony_compiler.graph.algorithms import Algorithm
from harmony_runtime.algorithms.schedules import rate
from harmony_runtime.processes import cuts

HOPELESS = 3
"""After so many updates in a row that were not applied, a stage ends: the next ones would fare no better."""


class Optimiser:
    """AdamW over a model's trained parameters, with the numbers of an algorithm node."""

    def __init__(
        self,
        model: torch.nn.Module,
        node: Algorithm,
        lr: float,
        steps: int,
        place: str,
        *,
        first: int = 0,
        named: str = "lr",
    ) -> None:
        """`first` is the step with which the updates begin, and with them the schedule; `named` is what the
        recipe calls the rate."""
        self._trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        # AdamW goes number by number, so each process updates the parts that it holds.
        self._parameters = {name: cuts.part(p) for name, p in self._trained.items()}
        self._node = node
        self._lr = lr
        self._steps = steps
        self._place = place
        self._first = first
        self._named = named
        # Matrices decay, embeddings among them; biases and the scales of norms do not: pulling a scale
        # towards 0 is no regularisation.
        matrices = [p for p in self._parameters.values() if p.ndim >= 2]
        others = [p for p in self._parameters.values() if p.ndim < 2]
        settings = node.optimizer
        self._adamw = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": node.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=lr,
            betas=(settings.beta1, settings.beta2),
            eps=settings.eps,
            fused=True,
        )
        self._refused: list[dict[str, Any]] = []
        self._refused_in_a_row = 0

    def update(self, step: int, loss: float, number: int = 0, **rows: Tensor) -> dict[str, float]:
        """Apply the gradients of `step` (from 0) and clear them. Gives the rate and the norm before clipping.

        An update whose loss or gradients are not finite is not applied, and the weights stay as they are:
        `refused` tells about it, with its `number` in the step and what it was to learn from, `rows`.
        """
        norm, lr = self._clip(), self._rate(step)
        if math.isfinite(loss) and math.isfinite(norm):
            for group in self._adamw.param_groups:
                group["lr"] = lr
            self._adamw.step()
            self._refused_in_a_row = 0
        else:
            about = {name: numbers.tolist() for name, numbers in rows.items()}
            why = {"loss": f"{loss:g}", "grad_norm": f"{norm:g}", self._named: f"{lr:g}"}
            self._refused.append({"update": number, **why, **about})
            self._refused_in_a_row += 1
        for held in (*self._parameters.values(), *self._trained.values()):
            held.grad = None
        return {"lr": lr, "grad_norm": norm}

    def refused(self) -> list[dict[str, Any]]:
        """The updates that were not applied since the last call, as `quarantine.jsonl` tells them."""
        refused, self._refused = self._refused, []
        return refused

    @property
    def hopeless(self) -> str:
        """Why the stage cannot go on; empty where it can."""
        if self._refused_in_a_row < HOPELESS:
            return ""
        return (
            f"{self._place}the last {self._refused_in_a_row} updates had no finite loss or gradient and were "
            f"not applied; the weights are those before them. Usually the learning rate, `{self._named}`, is "
            "too high or the warm-up too short; `quarantine.jsonl` names the rows"
        )

    def _clip(self) -> float:
        """Scale the gradients down to the largest norm that is wanted. Gives the norm that they had."""
        gradients = []
        for name, trained in self._trained.items():
            if trained.grad is not None:
                part = self._parameters[name]
                part.grad = cuts.part_of(trained.grad, like=trained)
                gradients.append(cuts.joined(part.grad, like=trained))
        norm = cuts.norm(gradients)
        torch.nn.utils.clip_grads_with_norm_(self._parameters.values(), self._node.max_grad_norm, norm)
        return float(norm)

    def skip(self, step: int) -> dict[str, float]:
        """What `update` gives, for a step without anything to train on: nothing is applied."""
        return {"lr": self._rate(step), "grad_norm": 0.0}

    def _rate(self, step: int) -> float:
        return rate(self._node.schedule, self._lr, step - self._first, self._steps - self._first)

    def state(self) -> dict[str, Any]:
        """The moments of each parameter, by its name, and what was not applied. The rate follows from the
        step."""
        held = self._adamw.state
        moments = {
            name: {
                key: tensor if key == "step" else cuts.joined(tensor, like=self._trained[name])
                for key, tensor in held[p].items()
            }
            for name, p in self._parameters.items()
            if p in held
        }
        return {"moments": moments, "refused": self._refused, "refused_in_a_row": self._refused_in_a_row}

    def restore(self, state: dict[str, Any]) -> None:
        self._refused, self._refused_in_a_row = state["refused"], state["refused_in_a_row"]
        for name, moments in state["moments"].items():
            parameter = self._parameters[name]
            # AdamW counts its steps on the CPU, whatever the device.
            self._adamw.state[parameter] = {
                key: tensor
                if key == "step"
                else cuts.part_of(tensor, like=self._trained[name]).to(parameter.device)
                for key, tensor in moments.items()
            }
