"""Group relative policy optimisation (Shao et al., 2024): reinforce completions that score above their group.

A step draws `completions_per_sample` completions of each prompt, grades them, and takes one or more updates
of the weights. The advantage of a completion is its reward against those of its group; the loss of an update
is the clipped surrogate, plus `kl_beta` times the distance from the weights at the stage's start.
"""

# Names of tensors end in their shape: P prompts, G completions of each, C = P * G, B rows, T tokens.
# ruff: noqa: N803, N806

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from harmony_compiler.graph.algorithms import Grpo
from harmony_compiler.graph.values import Ref
from harmony_runtime.algorithms.loop import Loop, Stage, Trained
from harmony_runtime.algorithms.losses import (
    clipped_policy_loss,
    group_advantages,
    k3,
    token_logprobs,
    token_weights,
)
from harmony_runtime.algorithms.optimiser import Optimiser
from harmony_runtime.context import stream
from harmony_runtime.data.order import Order, micro_batches
from harmony_runtime.data.tokens.prompts import Prompts, prompts_of
from harmony_runtime.failures import place
from harmony_runtime.graders.panel import Panel, measured
from harmony_runtime.models import weights
from harmony_runtime.models.blueprint import Blueprint
from harmony_runtime.models.reference import Reference
from harmony_runtime.rollout.answers import Answer, answers
from harmony_runtime.rollout.batch import Batch, Part
from harmony_runtime.rollout.local import LocalEngine
from harmony_runtime.rooms import Run
from harmony_runtime.watch import Number


@dataclass(frozen=True)
class GrpoStage(Stage):
    node: Grpo
    blueprint: Blueprint
    prompts: Prompts
    max_batch_tokens: int


def prepare(run: Run, ref: Ref, name: str, identity: str) -> GrpoStage:
    node, where = run.graph.nodes[ref], place(run.graph, ref)
    assert isinstance(node, Grpo)
    blueprint = run.blueprints.of(node.model)
    prompts = prompts_of(run, node.dataset, blueprint, node.sampling.max_tokens)
    blueprint.warn_of_training(run.watcher)
    if node.rows_per_step > len(prompts):
        run.watcher.warning(
            f"{where}a step takes {node.rows_per_step} prompts of a dataset of {len(prompts)}: it sees "
            "prompts twice"
        )
    return GrpoStage(
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


def train(run: Run, stage: GrpoStage) -> Trained:
    node, context, prompts = stage.node, run.context, stage.prompts
    with Panel(run.graph, [node.grader]) as panel:
        model = weights.load(stage.blueprint)
        model.train()
        # Without the KL term nothing asks for the weights of the start.
        reference = Reference(model, stage.blueprint, context.device) if node.kl_beta else None
        forward = context.prepare(model)
        engine = LocalEngine(model, stage.blueprint, context)
        optimiser = Optimiser(model, node, node.lr, stage.steps, stage.place)
        order = Order(len(prompts), node.seed)
        learner = _Learner(run, stage, forward, reference, optimiser)

        loop = Loop(run, stage, model, optimiser=optimiser, order=order, panel=panel)
        for step in loop:
            answered = answers(
                [prompts[row] for row in order.take(node.rows_per_step).tolist()],
                node.completions_per_sample,
                node.sampling,
                engine=engine,
                panel=panel,
                context=context,
                seed=node.seed,
                step=step,
            )
            rewards_PG = _rewards(answered).view(-1, node.completions_per_sample)
            advantages_C = group_advantages(rewards_PG, node.advantage).flatten()
            batch = Batch.of(answered, node.truncated)

            loop.record(
                **learner.learn(step, batch, advantages_C),
                **_measures(answered, rewards_PG, panel),
                tokens=int(batch.lengths_C.sum()),
                trained_tokens=int(batch.trained_CT.sum()),
                rows=len(rewards_PG),
                completions=len(answered),
                epoch=order.epochs,
                samples=_lines(answered, rewards_PG.flatten(), advantages_C),
            )
    return Trained(model, loop.metrics)


class _Learner:
    """The updates of one step."""

    def __init__(
        self,
        run: Run,
        stage: GrpoStage,
        model: torch.nn.Module,
        reference: Reference | None,
        optimiser: Optimiser,
    ) -> None:
        self._context = run.context
        self._stage = stage
        self._node = stage.node
        self._model = model
        self._reference = reference
        self._optimiser = optimiser

    def learn(self, step: int, batch: Batch, advantages_C: Tensor) -> dict[str, Number]:
        """Mini-batch by mini-batch; gives the means over all updates."""
        updates = [
            self._update(step, number, batch, rows_M, advantages_C)
            for number, rows_M in enumerate(self._mini_batches(step, len(advantages_C)))
        ]
        return {name: fmean(update[name] for update in updates) for name in updates[0]}

    def _mini_batches(self, step: int, completions: int) -> Iterator[Tensor]:
        """A seeded permutation of the completions each mini-epoch, cut into updates."""
        for epoch in range(self._node.mini_epochs):
            generator = stream(self._node.seed, f"mini-batches {epoch}", step)
            permutation_C = torch.randperm(completions, generator=generator)
            yield from torch.split(permutation_C, self._node.samples_per_mini_batch)

    def _update(
        self, step: int, number: int, batch: Batch, rows_M: Tensor, advantages_C: Tensor
    ) -> dict[str, Number]:
        node, context = self._node, self._context
        # Every process knows the whole update, so what the loss is divided by needs no communication.
        trained_M = batch.trained_CT[rows_M].sum(1)
        tokens, rows = int(trained_M.sum()), int((trained_M > 0).sum())
        own_rows = rows_M[context.rank :: context.world_size]
        lengths = batch.lengths_C[own_rows]
        # Where every completion was cut and is masked, there is nothing to do.
        parts = micro_batches(own_rows, lengths, self._stage.max_batch_tokens) if tokens else []

        loss = clipped = divergence = 0.0
        with context.seeded(node.seed, f"dropout {number}", step):
            for done, rows_B in enumerate(parts, 1):
                part = batch.part(rows_B, context.device)
                weights_BT = token_weights(
                    part.trained_BT, tokens, rows, node.reduce, node.sampling.max_tokens
                )
                with context.accumulating(self._model, last=done == len(parts)):
                    new_BT = self._logprobs(self._model, part)
                    policy = clipped_policy_loss(
                        new_BT,
                        part.drawn_BT,
                        advantages_C[rows_B].to(context.device),
                        weights_BT,
                        clip_range=node.clip_range,
                        clip_range_high=node.clip_range_high,
                        ratio=node.ratio,
                    )
                    part_loss = policy.loss
                    if self._reference is not None:
                        with self._reference.lent() as start:
                            reference_BT = self._logprobs(start, part)
                        kl_BT = k3(new_BT, reference_BT)
                        part_loss = part_loss + node.kl_beta * (kl_BT * weights_BT).sum()
                        divergence += kl_BT.sum().item()
                    # Processes average their gradients, and the weights have divided already.
                    (part_loss * context.world_size).backward()  # type: ignore[no-untyped-call]
                loss += part_loss.item()
                clipped += policy.clipped_BT.sum().item()
        loss, clipped, divergence = context.sum([loss, clipped, divergence])
        measures = {"loss": loss, "clipped": clipped / max(tokens, 1)}
        if self._reference is not None:
            measures["kl"] = divergence / max(tokens, 1)
        return measures | (self._optimiser.update(step, loss) if tokens else self._optimiser.skip(step))

    def _logprobs(self, model: torch.nn.Module, part: Part) -> Tensor:
        """What `model` thinks of the trained tokens, at the temperature at which they were drawn."""
        with self._context.arithmetic(self._stage.blueprint.settings.dtype):
            logits_BTV = model(
                input_ids=part.ids_BT, attention_mask=part.attention_BT, use_cache=False
            ).logits
        return token_logprobs(logits_BTV, part.ids_BT, part.trained_BT, self._node.sampling.temperature)


def _rewards(answered: Sequence[Answer]) -> Tensor:
    """float64 of shape C; NaN where no grader applied."""
    scores = (answer.verdict.scores[0] for answer in answered)
    return torch.tensor([math.nan if score is None else score for score in scores], dtype=torch.float64)


def _measures(answered: Sequence[Answer], rewards_PG: Tensor, panel: Panel) -> dict[str, Any]:
    """What the completions of a step were like."""
    has_PG = ~rewards_PG.isnan()
    highest_P = rewards_PG.nan_to_num(-math.inf).amax(1)
    lowest_P = rewards_PG.nan_to_num(math.inf).amin(1)
    spreads = [
        group[has].std(correction=0).item()
        for group, has in zip(rewards_PG, has_PG, strict=True)
        if has.any()
    ]
    grades = measured(answer.verdict for answer in answered)
    return {
        "reward": rewards_PG[has_PG].mean().item() if has_PG.any() else None,
        "reward_std": fmean(spreads) if spreads else None,
        **{f"grade/{name}": grades[name].mean for name in panel.parts},
        "no_signal": (highest_P <= lowest_P).double().mean().item(),
        "no_reward": int((~has_PG).sum()),
        "not_applicable": sum(grade.not_applicable for grade in grades.values()),
        "failed": sum(grade.failed for grade in grades.values()),
        "truncated": fmean(answer.completion.stop == "length" for answer in answered),
        "completion_tokens": fmean(len(answer.completion.ids_T) for answer in answered),
    }


def _lines(answered: Sequence[Answer], rewards_C: Tensor, advantages_C: Tensor) -> list[dict[str, Any]]:
    numbers = zip(answered, rewards_C.tolist(), advantages_C.tolist(), strict=True)
    return [
        answer.line() | {"reward": None if math.isnan(reward) else reward, "advantage": advantage}
        for answer, reward, advantage in numbers
    ]
