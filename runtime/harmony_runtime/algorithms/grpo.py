"""Group relative policy optimisation (Shao et al., 2024): reinforce completions that score above their group.

A step draws `completions_per_sample` completions of each prompt, grades them, and takes one or more updates
of the weights. The advantage of a completion is its reward against those of its group; the loss of an update
is the clipped surrogate, plus `kl_beta` times the distance from the weights at the stage's start.
"""

# Names of tensors end in their shape: P prompts, G completions of each, C = P * G, B rows, T tokens.
# ruff: noqa: N803, N806, N815

from __future__ import annotations

import math
from functools import partial
from statistics import fmean
from typing import NamedTuple

from torch import Tensor, nn

from harmony_compiler.graph.algorithms import Grpo
from harmony_compiler.graph.values import Ref
from harmony_runtime.algorithms.gradients import Gradients
from harmony_runtime.algorithms.inside import Inside
from harmony_runtime.algorithms.loop import Loop
from harmony_runtime.algorithms.optimiser import Optimiser
from harmony_runtime.algorithms.reinforced import Actor, Reinforced, over_updates, reinforced
from harmony_runtime.algorithms.stage import Trained
from harmony_runtime.algorithms.validation import watching
from harmony_runtime.data.order import Order, mini_batches
from harmony_runtime.graders.panel import Panel
from harmony_runtime.losses import group_advantages, grpo_loss, token_weights
from harmony_runtime.processes.mesh import Mesh
from harmony_runtime.rollout.batch import Batch
from harmony_runtime.rollout.rewards import lines_of, measures_of, rewards_of
from harmony_runtime.rooms import Run
from harmony_runtime.watch import Number

GrpoStage = Reinforced[Grpo]


def prepare(run: Run, ref: Ref, name: str, identity: str) -> GrpoStage:
    node = run.graph.nodes[ref]
    assert isinstance(node, Grpo)
    return reinforced(run, node, ref, name, identity)


def train(run: Run, stage: GrpoStage) -> Trained:
    node, mesh = stage.node, Mesh(run.context, stage.blueprint)
    with Panel(run.bench, [node.grader, *node.metrics]) as panel:
        actor = Actor(run, stage, panel, mesh)
        optimiser = Optimiser(actor.model, node, node.lr, stage.steps, stage.place)
        order = Order(len(stage.prompts), node.seed)
        learner = _Learner(stage, mesh, mesh.prepare(actor.scorer), optimiser)

        watched = watching(run, stage, actor.model, mesh, stage.exam, panel=panel)
        loop = Loop(run, stage, actor.model, **watched, optimiser=optimiser, order=order, panel=panel)
        for step in loop:
            rollout = actor.rollout(loop.inside, order, node.completions_per_sample, step)
            answered = rollout.answered
            rewards_C = rewards_of(answered)
            rewards_PG = rewards_C.view(-1, node.completions_per_sample)
            advantages_C = group_advantages(rewards_PG, node.advantage).flatten()
            batch = Batch.of(answered, node.truncated)
            reference_CT = actor.at_the_start(loop.inside, batch)

            loop.record(
                **learner.learn(loop.inside, _Step(step, batch, advantages_C, reference_CT)),
                **measures_of(answered, panel),
                **_group_measures(rewards_PG),
                sampler_gap=rollout.gap,
                timing=rollout.seconds,
                tokens=int(batch.lengths_C.sum()),
                trained_tokens=int(batch.trained_CT.sum()),
                rows=len(rewards_PG),
                completions=len(answered),
                epoch=order.epochs,
                samples=lines_of(answered, rewards_C, advantage=advantages_C),
            )
    return loop.trained


class _Step(NamedTuple):
    number: int
    batch: Batch
    advantages_C: Tensor
    reference_CT: Tensor | None


class _Learner:
    """The updates of one step."""

    def __init__(self, stage: GrpoStage, mesh: Mesh, scorer: nn.Module, optimiser: Optimiser) -> None:
        self._stage = stage
        self._node = stage.node
        self._mesh = mesh
        self._scorer = scorer
        self._optimiser = optimiser

    def learn(self, inside: Inside, step: _Step) -> dict[str, float | None]:
        """Mini-batch by mini-batch; gives the means over all updates."""
        node = self._node
        parts = mini_batches(
            len(step.batch), node.samples_per_mini_batch, node.mini_epochs, node.seed, step.number
        )
        return over_updates(inside.each(parts, partial(self._update, step)))

    def _update(self, step: _Step, number: int, rows_M: Tensor) -> dict[str, float]:
        node, mesh, batch = self._node, self._mesh, step.batch
        # Every process knows the whole update, so what the loss is divided by needs no communication.
        trained_M = batch.trained_CT[rows_M].sum(1)
        tokens, rows = int(trained_M.sum()), int((trained_M > 0).sum())
        # Where every completion was cut and is masked, there is nothing to do.
        parts = batch.cut(mesh.own(rows_M), self._stage.max_batch_tokens) if tokens else []
        others_CT = [batch.drawn_CT] if step.reference_CT is None else [batch.drawn_CT, step.reference_CT]

        gradients = Gradients(mesh, self._scorer)
        with mesh.seeded(node.seed, f"dropout {number}", step.number):
            for rows_B in gradients.over(parts):
                ids_BT, trained_BT, drawn_BT, *kept = batch.part(rows_B, mesh.device, *others_CT)
                policy = grpo_loss(
                    self._scorer(ids_BT, trained_BT, node.sampling.temperature),
                    drawn_BT,
                    step.advantages_C[rows_B].to(mesh.device),
                    token_weights(trained_BT, tokens, rows, node.reduce, node.sampling.max_tokens),
                    clip_range=node.clip_range,
                    clip_range_high=node.clip_range_high,
                    ratio=node.ratio,
                    reference_BT=kept[0] if kept else None,
                    kl_beta=node.kl_beta,
                )
                measures = {"clipped": policy.clipped_BT.sum() / tokens}
                if policy.kl_BT is not None:
                    measures["kl"] = policy.kl_BT.sum() / tokens
                gradients.add(policy.loss, **measures)
        if not tokens:
            nothing = {"loss": 0.0, "clipped": 0.0} | ({} if step.reference_CT is None else {"kl": 0.0})
            return nothing | self._optimiser.skip(step.number)
        sums = gradients.sums()
        return sums | self._optimiser.update(step.number, sums["loss"], number, completions=rows_M)


def _group_measures(rewards_PG: Tensor) -> dict[str, Number | None]:
    """How far the completions of one prompt lie apart."""
    has_PG = ~rewards_PG.isnan()
    highest_P = rewards_PG.nan_to_num(-math.inf).amax(1)
    lowest_P = rewards_PG.nan_to_num(math.inf).amin(1)
    spreads = [
        group[has].std(correction=0).item()
        for group, has in zip(rewards_PG, has_PG, strict=True)
        if has.any()
    ]
    return {
        "reward_std": fmean(spreads) if spreads else None,
        "no_signal": (highest_P <= lowest_P).double().mean().item(),
    }
