"""What stages share that learn from completions: how they are prepared, who writes, how they count."""

# Names of tensors end in their shape: C completions, T tokens, S rows of a step.
# ruff: noqa: N803

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import Generic, TypeVar

from torch import Tensor

from harmony_compiler.graph.algorithms import Grpo, Ppo
from harmony_compiler.graph.spawning import has_reference
from harmony_compiler.graph.values import Ref
from harmony_runtime.algorithms.inside import Inside
from harmony_runtime.algorithms.stage import Stage
from harmony_runtime.algorithms.validation import Exam, counts_of, exam_of
from harmony_runtime.data.order import Order
from harmony_runtime.data.tokens.lengths import say_repeats
from harmony_runtime.data.tokens.prompts import Prompts, prompts_of
from harmony_runtime.failures import place
from harmony_runtime.graders.panel import Panel, PolicyStop
from harmony_runtime.models import weights
from harmony_runtime.models.reference import Reference
from harmony_runtime.models.scorer import Scorer
from harmony_runtime.processes.mesh import Mesh
from harmony_runtime.rollout.answers import answers, refuse_graders
from harmony_runtime.rollout.batch import Batch
from harmony_runtime.rollout.canary import sampler_gap
from harmony_runtime.rollout.kept import Rollout
from harmony_runtime.rollout.local import LocalEngine
from harmony_runtime.rooms import Run

A = TypeVar("A", bound=Grpo | Ppo)


@dataclass(frozen=True)
class Reinforced(Stage[A]):
    """A stage that learns from completions, prepared."""

    prompts: Prompts
    exam: Exam | None
    """What the stage is validated on."""


def reinforced(run: Run, node: A, ref: Ref, name: str, identity: str) -> Reinforced[A]:
    """The stage of a node, prepared."""
    where, blueprint = place(run.graph, ref), run.blueprints.of(getattr(node, type(node).trains))
    prompts = prompts_of(run, node.dataset, blueprint, node.sampling.max_tokens)
    blueprint.warn_of_training(run.watcher)
    say_repeats(node.rows_per_step, len(prompts), where, run.watcher, what="prompts")
    refuse_graders(run, [node.grader, *node.metrics], prompts)
    exam = exam_of(run, node, blueprint)
    return Reinforced(
        ref=ref,
        name=name,
        identity=identity,
        place=where,
        node=node,
        blueprint=blueprint,
        steps=node.steps_over(len(prompts)),
        counts={"rows": dict(prompts.counts), **counts_of(exam)},
        max_batch_tokens=blueprint.max_batch_tokens(prompts.longest + node.sampling.max_tokens),
        prompts=prompts,
        exam=exam,
    )


class Actor(Generic[A]):
    """The model that writes completions and learns from them, with the weights that it started from."""

    def __init__(self, run: Run, stage: Reinforced[A], panel: Panel, mesh: Mesh) -> None:
        self._told = run.watcher.answering
        self._stage = stage
        self._panel = panel
        self._mesh = mesh
        self.model = mesh.place(weights.load(stage.blueprint))
        self.model.train()
        # Without the KL term nothing asks for the weights of the start.
        self._start = Reference(self.model, stage.blueprint, mesh) if has_reference(stage.node) else None
        self.scorer = Scorer(self.model, mesh, stage.blueprint.settings.dtype)
        self._engine = LocalEngine(self.model, stage.blueprint, mesh)

    def rollout(self, inside: Inside, order: Order, n: int, step: int) -> Rollout:
        """`n` graded completions of each prompt of a step: drawn once, also by a run that was stopped then.

        Raises:
            RunFailed: the policy of a grader ends the run, or sampler and loss disagree.
        """
        return inside.once(
            "rollout",
            lambda: self._draw(order, n, step),
            keep=Rollout.tree,
            back=lambda tree: Rollout.of(tree, self._stage.prompts),
        )

    def _draw(self, order: Order, n: int, step: int) -> Rollout:
        """A step that a policy ends here has not begun: what it took from its rooms goes back."""
        before = order.state(), self._panel.state()
        try:
            return self._drawn(order.take(self._stage.node.rows_per_step), n, step)
        except PolicyStop:
            order.restore(before[0])
            self._panel.restore(before[1])
            raise

    def _drawn(self, rows_S: Tensor, n: int, step: int) -> Rollout:
        node, stage = self._stage.node, self._stage
        round_ = answers(
            [stage.prompts[row] for row in rows_S.tolist()],
            n,
            node.sampling,
            engine=self._engine,
            panel=self._panel,
            mesh=self._mesh,
            seed=node.seed,
            step=step,
            told=self._told,
        )
        answered = round_.answers
        gap = sampler_gap(answered, self.scorer, self._mesh, node.sampling.temperature, stage.place)
        return Rollout(rows_S, answered, gap, round_.seconds)

    def at_the_start(self, inside: Inside, batch: Batch) -> Tensor | None:
        """What the stage's start says about a batch: log-probabilities of shape CT, where anybody asks."""
        if self._start is None:
            return None
        score = partial(self._start.logprobs, temperature=self._stage.node.sampling.temperature)
        return inside.once("start", lambda: batch.each(score, self._mesh, self._stage.max_batch_tokens))


def over_updates(updates: Sequence[Mapping[str, float]]) -> dict[str, float | None]:
    """The mean over a step's updates of each of their numbers, of those that are finite."""
    return {name: _mean(update[name] for update in updates) for name in updates[0]}


def _mean(numbers: Iterable[float]) -> float | None:
    finite = [number for number in numbers if math.isfinite(number)]
    return fmean(finite) if finite else None
