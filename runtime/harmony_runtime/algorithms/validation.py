"""Validation: a stage is measured on rows that it is not trained on.

Without a grader that is the loss, which each algorithm measures in its own way; with one, the model answers
prompts, always with the likeliest token. Nothing of the training is touched, and none of its streams of
chance: a run with a validation computes the same bits as one without.
"""

# Names of tensors end in their shape: R rows.
# ruff: noqa: N803, N806

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, NamedTuple, Protocol, TypedDict

import torch
from torch import Tensor
from transformers import PreTrainedModel

from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.measures import GRADES
from harmony_compiler.graph.settings import Sampling
from harmony_compiler.graph.values import Duration, Percent, Ref
from harmony_grammar.records import replace
from harmony_runtime.algorithms.early_stop import EarlyStop
from harmony_runtime.algorithms.stage import Stage
from harmony_runtime.data.order import micro_batches
from harmony_runtime.data.tokens.prompts import Prompts, prompts_of
from harmony_runtime.disk.checkpoints import Tree
from harmony_runtime.failures import RunFailed
from harmony_runtime.graders.panel import Panel
from harmony_runtime.models.blueprint import Blueprint
from harmony_runtime.processes.context import Context
from harmony_runtime.processes.mesh import Mesh
from harmony_runtime.rollout.answers import answers, refuse_graders
from harmony_runtime.rollout.local import LocalEngine
from harmony_runtime.rollout.rewards import grades_of, lines_of, measures_of, rewards_of
from harmony_runtime.rooms import Run
from harmony_runtime.watch import Metrics


class Measures(NamedTuple):
    """What a validation found: both are empty after a step without one."""

    metrics: Metrics
    """By names that begin with `validation_`."""
    samples: Sequence[Mapping[str, Any]] = ()
    """Lines of `samples.jsonl`."""


@dataclass(frozen=True)
class Exam:
    """Prompts that a stage is validated on by graders, prepared."""

    prompts: Prompts
    sampling: Sampling
    graders: tuple[Ref, ...]
    """The reward, then what is measured beside it."""

    @property
    def counts(self) -> Mapping[str, int]:
        return self.prompts.counts


def exam_of(run: Run, node: Algorithm, blueprint: Blueprint) -> Exam | None:
    """None where no grader validates.

    A stage that draws completions validates by answers as long as its own; any other by answers of up to 256
    tokens, in a small context of up to half of it.

    Raises:
        RunFailed: rows are faulty, or no prompt is left.
    """
    validation = node.validation
    if validation is None:
        return None
    grader, sampling = validation.grader or getattr(node, "grader", None), getattr(node, "sampling", None)
    if grader is None:
        return None
    shorter = "lower `max_tokens` of `sampling`"
    if sampling is None:
        usual = Sampling()
        sampling = replace(usual, max_tokens=min(usual.max_tokens, blueprint.context // 2))
        shorter = "shorten the prompts of the validation"
    sampling = replace(sampling, temperature=0.0, top_p=None, top_k=None)
    prompts = prompts_of(run, validation.dataset, blueprint, sampling.max_tokens, shorter=shorter)
    graders = (grader, *node.metrics)
    refuse_graders(run, graders, prompts)
    return Exam(prompts, sampling, graders)


class Counted(Protocol):
    """Rows that a stage is validated on."""

    @property
    def counts(self) -> Mapping[str, int]: ...


def counts_of(held_out: Counted | None) -> dict[str, dict[str, int]]:
    """What became of them, as `Stage.counts` has it."""
    return {} if held_out is None else {"validation": dict(held_out.counts)}


class Measure(Protocol):
    """What a validation does."""

    def take(self) -> Measures:
        """All processes must ask."""

    def state(self) -> Tree: ...

    def restore(self, state: Tree) -> None: ...


class Loss:
    """Measures rows of the stage's own kind; `measure` gives numbers by names."""

    def __init__(self, measure: Callable[[], Metrics]) -> None:
        self._measure = measure

    def take(self) -> Measures:
        return Measures({f"validation_{name}": value for name, value in self._measure().items()})

    def state(self) -> Tree:
        return {}

    def restore(self, state: Tree) -> None:
        pass


class Examiner:
    """Lets the model answer prompts, and grades the answers.

    Graders live while they are asked: what one holds is not held during the training.
    """

    def __init__(self, run: Run, stage: Stage[Any], exam: Exam, model: PreTrainedModel, mesh: Mesh) -> None:
        """
        Raises:
            RunFailed: a grader cannot be made.
        """
        self._run = run
        self._seed: int = stage.node.seed
        self._log: int | None = stage.node.log_samples
        self._exam = exam
        self._mesh = mesh
        self._engine = LocalEngine(model, stage.blueprint, mesh)
        panel = self._panel()
        self._counts = panel.state()
        self.grades = tuple(f"validation_{name}" for name in grades_of(panel))
        """The names of its metrics that are grades."""

    def take(self) -> Measures:
        exam = self._exam
        with self._panel() as panel:
            panel.restore(self._counts)
            round_ = answers(
                list(exam.prompts),
                1,
                exam.sampling,
                engine=self._engine,
                panel=panel,
                mesh=self._mesh,
                seed=self._seed,
                told=self._run.watcher.answering,
            )
            answered = round_.answers
            found = measures_of(answered, panel)
            self._counts = panel.state()
        del found["entropy"]  # of the likeliest tokens it would be something else
        lines = lines_of(answered[: self._log], rewards_of(answered[: self._log]))
        return Measures(
            {f"validation_{name}": value for name, value in found.items()},
            [{"validation": True, **line} for line in lines],
        )

    def state(self) -> Tree:
        """How many grades failed so far, for `max_failure_rate`."""
        return self._counts

    def restore(self, state: Tree) -> None:
        self._counts = state

    def _panel(self) -> Panel:
        return Panel(self._run.bench, self._exam.graders)


class Validator:
    """Measures a stage every so many steps or so much time, and at its last step."""

    def __init__(
        self,
        measure: Measure,
        every: int | Percent | Duration,
        steps: int,
        context: Context,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._measure = measure
        self._every = every.of(steps) if isinstance(every, Percent) else every
        self._steps = steps
        self._context = context
        self._clock = clock
        self._last = clock()

    def after(self, step: int) -> Measures:
        """What is found after `step`, from 1, where a validation is due. All processes must ask."""
        if not self._is_due(step):
            return Measures({})
        with self._context.pulse.doing(f"validating after step {step}"):
            found = self._measure.take()
        self._last = self._clock()
        return found

    def _is_due(self, step: int) -> bool:
        if step == self._steps:
            return True
        if not isinstance(self._every, Duration):
            return step % self._every == 0
        # The main process's clock decides: all measure at the same step.
        is_due = self._context.is_main and self._clock() - self._last >= self._every.seconds
        return bool(self._context.sum([float(is_due)])[0])

    def state(self) -> Tree:
        """A time that is asked for begins anew where a stage goes on."""
        return self._measure.state()

    def restore(self, state: Tree) -> None:
        self._measure.restore(state)


class Watching(TypedDict, total=False):
    """What a `Loop` takes; neither is there where the recipe asks for none."""

    validator: Validator
    early_stop: EarlyStop


def watching(
    run: Run,
    stage: Stage[Any],
    model: PreTrainedModel,
    mesh: Mesh,
    held_out: Exam | Callable[[], Metrics] | None,
    *,
    panel: Panel | None = None,
) -> Watching:
    """What measures a stage and what may end it, made before its first step.

    `held_out` is what it is measured by, `panel` the graders of its own completions.

    Raises:
        RunFailed: a grader cannot be made or set up, or there is no such grade to watch.
    """
    validation, stop = stage.node.validation, stage.node.early_stop
    if validation is None or held_out is None:
        return {}
    grades = [*grades_of(panel)] if panel else []
    measure: Measure
    if isinstance(held_out, Exam):
        measure = Examiner(run, stage, held_out, model, mesh)
        grades += measure.grades
    else:
        measure = Loss(held_out)
    validator = Validator(measure, validation.every, stage.steps, run.context)
    if stop is None:
        return {"validator": validator}
    if stop.metric.startswith(GRADES) and stop.metric not in grades:
        raise RunFailed(
            f"{stage.place}`early_stop` watches `{stop.metric}`, and the grades of this stage are "
            f"{', '.join(grades)}: name one of them"
        )
    early_stop = EarlyStop(stop, model, stage.place, run.watcher.warning)
    return {"validator": validator, "early_stop": early_stop}


def own_part(mesh: Mesh, lengths_R: Tensor, max_tokens: int) -> list[tuple[Tensor, bool]]:
    """This copy's part of all rows in micro-batches, and whether they count: see `Mesh.in_step`."""
    rows_R = torch.arange(len(lengths_R))
    own_R = mesh.own(rows_R)
    if len(own_R):
        return mesh.in_step(micro_batches(own_R, lengths_R[own_R], max_tokens))
    return [(part, False) for part, _ in mesh.in_step([rows_R[:1]])]  # there are fewer rows than copies
