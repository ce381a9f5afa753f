"""What the stages share that learn from completions: how they are prepared, and how they count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import Generic, TypeVar

from torch import Tensor

from harmony_compiler.graph.algorithms import Grpo, Ppo
from harmony_compiler.graph.values import Ref
from harmony_runtime.algorithms.loop import Stage
from harmony_runtime.data.tokens.prompts import Prompts, prompts_of
from harmony_runtime.failures import place
from harmony_runtime.mesh import Mesh
from harmony_runtime.models.blueprint import Blueprint
from harmony_runtime.models.reference import Reference
from harmony_runtime.rollout.batch import Batch
from harmony_runtime.rooms import Run

A = TypeVar("A", bound=Grpo | Ppo)


@dataclass(frozen=True)
class Reinforced(Stage, Generic[A]):
    """A stage that learns from completions, prepared."""

    node: A
    blueprint: Blueprint
    """Of the model that writes them, and is trained."""
    prompts: Prompts
    max_batch_tokens: int

    def from_the_start(self, batch: Batch, reference: Reference | None, mesh: Mesh) -> Tensor | None:
        """What the stage's start says about a batch: log-probabilities of shape CT, where anybody asks."""
        if reference is None:
            return None
        score = partial(reference.logprobs, temperature=self.node.sampling.temperature)
        return batch.each(score, mesh, self.max_batch_tokens)


def reinforced(run: Run, node: A, ref: Ref, name: str, identity: str) -> Reinforced[A]:
    """The stage of a node, prepared."""
    where, blueprint = place(run.graph, ref), run.blueprints.of(getattr(node, type(node).trains))
    prompts = prompts_of(run, node.dataset, blueprint, node.sampling.max_tokens)
    blueprint.warn_of_training(run.watcher)
    if node.rows_per_step > len(prompts):
        run.watcher.warning(
            f"{where}a step takes {node.rows_per_step} prompts of a dataset of {len(prompts)}: it sees "
            "prompts twice"
        )
    return Reinforced(
        ref=ref,
        name=name,
        identity=identity,
        place=where,
        algorithm=node.constructor,
        steps=node.steps_over(len(prompts)),
        seed=node.seed,
        counts={"rows": dict(prompts.counts)},
        node=node,
        blueprint=blueprint,
        prompts=prompts,
        max_batch_tokens=blueprint.max_batch_tokens(prompts.longest + node.sampling.max_tokens),
    )


def over_updates(updates: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean over a step's updates of each of their numbers."""
    return {name: fmean(update[name] for update in updates) for name in updates[0]}
