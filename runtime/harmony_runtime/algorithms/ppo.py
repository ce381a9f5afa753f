"""Proximal policy optimisation (Schulman et al., 2017): reinforce what goes better than a critic expected.

A step draws one completion of each of its prompts and grades it. The reward of a token is -`kl_beta` times
its distance from the weights at the stage's start; the last token also has the grade (Ziegler et al., 2019,
*Fine-Tuning Language Models from Human Preferences*, equation 2). A critic with weights of its own says of
each token what is still to come. How far the rewards lie above that, by generalised advantage estimates, is
what the policy's clipped surrogate goes by, and the critic learns to expect what came.
"""

# Names of tensors end in their shape: C completions, M of an update, B rows, T tokens, N that count.
# ruff: noqa: N803, N806, N815

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from harmony_compiler.graph.algorithms import Ppo
from harmony_compiler.graph.values import Percent, Ref
from harmony_runtime.algorithms.gradients import Gradients
from harmony_runtime.algorithms.inside import Inside
from harmony_runtime.algorithms.loop import Loop
from harmony_runtime.algorithms.optimiser import Optimiser
from harmony_runtime.algorithms.reinforced import Actor, Reinforced, over_updates, reinforced
from harmony_runtime.algorithms.stage import Trained
from harmony_runtime.algorithms.validation import watching
from harmony_runtime.data.order import Order, mini_batches
from harmony_runtime.disk.checkpoints import Weights
from harmony_runtime.failures import RunFailed
from harmony_runtime.graders.panel import Panel
from harmony_runtime.losses import (
    PolicyLoss,
    ValueLoss,
    explained_variance,
    gae,
    k1,
    ppo_policy_loss,
    ppo_value_loss,
    token_weights,
    whiten,
)
from harmony_runtime.models import heads, weights
from harmony_runtime.models.blueprint import Blueprint
from harmony_runtime.processes.mesh import Mesh
from harmony_runtime.rollout.batch import Batch
from harmony_runtime.rollout.rewards import lines_of, measures_of, rewards_of
from harmony_runtime.rooms import Run
from harmony_runtime.watch import Number


@dataclass(frozen=True)
class PpoStage(Reinforced[Ppo]):
    critic: Blueprint
    """Of the model that the critic starts from."""
    critic_max_batch_tokens: int
    warmup: int
    """The first so many steps teach the critic alone."""


def prepare(run: Run, ref: Ref, name: str, identity: str) -> PpoStage:
    node = run.graph.nodes[ref]
    assert isinstance(node, Ppo)
    stage = reinforced(run, node, ref, name, identity)
    critic = run.blueprints.of(node.value_model)
    longest = stage.prompts.longest + node.sampling.max_tokens
    _refuse_unfit(critic, stage, longest)
    warmup = node.value_warmup
    warmup = warmup.of(stage.steps) if isinstance(warmup, Percent) else warmup
    if warmup >= stage.steps:
        raise RunFailed(
            f"{stage.place}`value_warmup` = {node.value_warmup} is all of the {stage.steps} steps, and only "
            "the critic would learn: lower it, or take more steps"
        )
    return PpoStage(
        **vars(stage),
        critic=critic,
        critic_max_batch_tokens=critic.max_batch_tokens(longest),
        warmup=warmup,
    )


def _refuse_unfit(critic: Blueprint, stage: Reinforced[Ppo], longest: int) -> None:
    if critic.tokenizer.get_vocab() != stage.blueprint.tokenizer.get_vocab():
        raise RunFailed(
            f"{stage.place}`value_model` has another tokenizer than `policy_model`, and cannot read what "
            "that writes: choose a model of the same family, or leave `value_model` out"
        )
    if critic.context < longest:
        raise RunFailed(
            f"{stage.place}the context of `value_model` is {critic.context} tokens, and the longest prompt "
            f"with its completion has {longest}: choose a model that reads as much, or lower "
            "`sampling.max_tokens`"
        )


def train(run: Run, stage: PpoStage) -> Trained:
    node, mesh = stage.node, Mesh(run.context, stage.blueprint)
    with Panel(run.bench, [node.grader, *node.metrics]) as panel:
        actor = Actor(run, stage, panel, mesh)
        beside = Mesh(run.context, stage.critic)
        scalar = beside.place(heads.critic(stage.critic, node.seed))
        scalar.train()
        critic = heads.Critic(scalar, beside, stage.critic.settings.dtype)
        # The policy's schedule begins when the policy does.
        optimiser = Optimiser(
            actor.model, node, node.lr_policy, stage.steps, stage.place, first=stage.warmup, named="lr_policy"
        )
        critic_optimiser = Optimiser(scalar, node, node.lr_value, stage.steps, stage.place, named="lr_value")
        order = Order(len(stage.prompts), node.seed)
        of_policy = partial(_policy_loss, node=node, mesh=mesh)
        of_value = partial(_value_loss, node=node, mesh=mesh)
        learner = _Learner(
            stage,
            mesh,
            _Trainee("policy", mesh.prepare(actor.scorer), optimiser, stage.max_batch_tokens, of_policy),
            _Trainee(
                "critic", mesh.prepare(critic), critic_optimiser, stage.critic_max_batch_tokens, of_value
            ),
        )

        watched = watching(run, stage, actor.model, mesh, stage.exam, panel=panel)
        loop = Loop(
            run,
            stage,
            actor.model,
            **watched,
            critic=Weights(scalar),
            optimiser=optimiser,
            critic_optimiser=critic_optimiser,
            order=order,
            panel=panel,
        )
        for step in loop:
            rollout = actor.rollout(loop.inside, order, 1, step)
            answered = rollout.answered
            rewards_C = rewards_of(answered)
            # A completion without a reward teaches neither of the two.
            batch = Batch.of(answered).only(~rewards_C.isnan())
            reference_CT = actor.at_the_start(loop.inside, batch)
            values_CT = loop.inside.once(
                "values", partial(values_of, critic, batch, mesh, stage.critic_max_batch_tokens)
            )
            lesson = lesson_of(batch, rewards_C, reference_CT, values_CT, node)

            loop.record(
                **learner.learn(loop.inside, step, lesson),
                **_lesson_measures(lesson, reference_CT),
                **measures_of(answered, panel),
                sampler_gap=rollout.gap,
                timing=rollout.seconds,
                tokens=int(batch.lengths_C.sum()),
                trained_tokens=int(batch.trained_CT.sum()),
                rows=len(answered),
                completions=len(answered),
                epoch=order.epochs,
                samples=lines_of(answered, rewards_C, **_of_completions(lesson)),
            )
    return loop.trained


def values_of(critic: heads.Critic, batch: Batch, mesh: Mesh, max_tokens: int) -> Tensor:
    """What the critic expects of a batch, float32 of shape CT."""
    with torch.no_grad(), weights.answering(critic):
        return batch.each(critic.forward, mesh, max_tokens)


class Lesson(NamedTuple):
    """What a step has to teach, on the CPU: worked out in float64, kept in float32, 0 where nothing is
    trained."""

    batch: Batch
    values_CT: Tensor
    """What the critic expected."""
    advantages_CT: Tensor
    """How much better it went."""
    returns_CT: Tensor
    """What the critic should have expected."""
    weighed_CT: Tensor
    """The advantages that the policy learns by: those above, whitened where the recipe says so."""


def lesson_of(
    batch: Batch, rewards_C: Tensor, reference_CT: Tensor | None, values_CT: Tensor, node: Ppo
) -> Lesson:
    """Rewards of tokens, and by the critic's word advantages and returns."""
    trained_CT, values_CT = batch.trained_CT, values_CT.double()
    rewards_CT = values_CT.new_zeros(values_CT.shape)
    if reference_CT is not None:
        rewards_CT -= node.kl_beta * _distances(batch, reference_CT)
    last_C1 = batch.lengths_C[:, None] - 1
    rewards_CT.scatter_add_(1, last_C1, rewards_C[:, None].nan_to_num(0.0))
    advantages_CT, returns_CT = gae(
        rewards_CT, values_CT, trained_CT, gamma=node.gae_gamma, lambda_=node.gae_lambda
    )
    weighed_CT = whiten(advantages_CT, trained_CT) if node.whiten else advantages_CT
    return Lesson(batch, *(held.float() for held in (values_CT, advantages_CT, returns_CT, weighed_CT)))


def _distances(batch: Batch, reference_CT: Tensor) -> Tensor:
    """Each trained token's distance of the policy that wrote it from the stage's start, in nats."""
    return k1(batch.drawn_CT.double(), reference_CT.double()).where(batch.trained_CT, 0.0)


class _Trainee(NamedTuple):
    """One of the two that a step updates."""

    name: str
    module: nn.Module
    """As `mesh.prepare` gave it."""
    optimiser: Optimiser
    max_batch_tokens: int
    loss: Callable[[nn.Module, Lesson, Tensor, int], PolicyLoss | ValueLoss]
    """Of some completions of a lesson, in an update over so many tokens."""


class _Learner:
    """The updates of a step: of the critic always, of the policy once the critic is warm."""

    def __init__(self, stage: PpoStage, mesh: Mesh, policy: _Trainee, critic: _Trainee) -> None:
        self._stage = stage
        self._node = stage.node
        self._mesh = mesh
        self._policy = policy
        self._critic = critic

    def learn(self, inside: Inside, step: int, lesson: Lesson) -> dict[str, Number | None]:
        """Mini-batch by mini-batch; gives the means over all updates."""
        node = self._node
        parts = mini_batches(
            len(lesson.batch), node.samples_per_mini_batch, node.mini_epochs, node.seed, step
        )
        updates = inside.each(parts, partial(self._updates, step, lesson))
        policy = [update["policy"] for update in updates if "policy" in update]
        of_policy = over_updates(policy) if policy else {"lr": 0.0}
        of_value = over_updates([update["critic"] for update in updates])
        return {
            "loss_policy": of_policy.get("loss"),
            "loss_value": of_value["loss"],
            "clipped": of_policy.get("clipped"),
            "clipped_value": of_value["clipped"],
            "lr": of_policy["lr"],
            "lr_value": of_value["lr"],
            "grad_norm": of_policy.get("grad_norm"),
            "grad_norm_value": of_value["grad_norm"],
        }

    def _updates(self, step: int, lesson: Lesson, number: int, rows_M: Tensor) -> dict[str, dict[str, float]]:
        """What a mini-batch teaches: the critic always, the policy once the critic is warm."""
        trainees = (self._policy, self._critic) if step >= self._stage.warmup else (self._critic,)
        return {trainee.name: self._update(trainee, step, number, lesson, rows_M) for trainee in trainees}

    def _update(
        self, trainee: _Trainee, step: int, number: int, lesson: Lesson, rows_M: Tensor
    ) -> dict[str, float]:
        node, mesh, batch = self._node, self._mesh, lesson.batch
        # Every process knows the whole update, so what the loss is divided by needs no communication.
        tokens = int(batch.trained_CT[rows_M].sum())
        if not tokens:  # none of the completions has a reward
            return {"loss": 0.0, "clipped": 0.0, **trainee.optimiser.skip(step)}
        gradients = Gradients(mesh, trainee.module)
        with mesh.seeded(node.seed, f"dropout of the {trainee.name} {number}", step):
            for rows_B in gradients.over(batch.cut(mesh.own(rows_M), trainee.max_batch_tokens)):
                part = trainee.loss(trainee.module, lesson, rows_B, tokens)
                gradients.add(part.loss, clipped=part.clipped_BT.sum() / tokens)
        sums = gradients.sums()
        return sums | trainee.optimiser.update(step, sums["loss"], number, completions=rows_M)


def _policy_loss(
    scorer: nn.Module, lesson: Lesson, rows_B: Tensor, tokens: int, *, node: Ppo, mesh: Mesh
) -> PolicyLoss:
    batch = lesson.batch
    ids_BT, trained_BT, drawn_BT, advantages_BT = batch.part(
        rows_B, mesh.device, batch.drawn_CT, lesson.weighed_CT
    )
    return ppo_policy_loss(
        scorer(ids_BT, trained_BT, node.sampling.temperature),
        drawn_BT,
        advantages_BT,
        token_weights(trained_BT, tokens, len(batch), "tokens"),
        clip_range=node.clip_range,
    )


def _value_loss(
    critic: nn.Module, lesson: Lesson, rows_B: Tensor, tokens: int, *, node: Ppo, mesh: Mesh
) -> ValueLoss:
    batch = lesson.batch
    ids_BT, trained_BT, old_BT, returns_BT = batch.part(
        rows_B, mesh.device, lesson.values_CT, lesson.returns_CT
    )
    return ppo_value_loss(
        critic(ids_BT, trained_BT),
        old_BT,
        returns_BT,
        token_weights(trained_BT, tokens, len(batch), "tokens"),
        clip_range=node.clip_range_value,
    )


def _lesson_measures(lesson: Lesson, reference_CT: Tensor | None) -> dict[str, Number | None]:
    """What the critic expected and what came, over the trained tokens."""
    trained_CT = lesson.batch.trained_CT
    values_N, returns_N = lesson.values_CT[trained_CT], lesson.returns_CT[trained_CT]
    advantages_N = lesson.advantages_CT[trained_CT]
    measures = {
        "value": _mean(values_N),
        "return": _mean(returns_N),
        "advantage": _mean(advantages_N),
        "advantage_std": advantages_N.std(correction=0).item() if len(advantages_N) else None,
        "explained_variance": explained_variance(values_N, returns_N),
    }
    if reference_CT is not None:
        measures["kl"] = _mean(_distances(lesson.batch, reference_CT)[trained_CT])
    return measures


def _mean(numbers_N: Tensor) -> float | None:
    return numbers_N.mean().item() if len(numbers_N) else None


def _of_completions(lesson: Lesson) -> dict[str, Tensor]:
    """What `samples.jsonl` says about each completion; 0 where it has no reward."""
    trained_CT = lesson.batch.trained_CT
    first_C1 = trained_CT.byte().argmax(1, keepdim=True)
    lengths_C = trained_CT.sum(1).clamp(min=1)
    return {
        "value": lesson.values_CT.gather(1, first_C1)[:, 0],
        "advantage": lesson.advantages_CT.sum(1) / lengths_C,
    }
