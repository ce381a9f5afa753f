"""The loop that every algorithm runs in: resuming, stopping, measuring, what is written of a step.

Of several processes all go through the same steps, the main one writes. Its rooms are what a checkpoint
holds, and all processes go on from it: a room's state must be the same in each of them.

loop = Loop(run, stage, model, optimiser=optimiser, order=order)
for step in loop:
    …
    loop.record(loss=…, tokens=…)
return loop.trained
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from time import perf_counter
from typing import Any, TypeVar

from transformers import PreTrainedModel

from harmony_runtime.algorithms.alarms import Alarms
from harmony_runtime.algorithms.early_stop import EarlyStop
from harmony_runtime.algorithms.inside import Inside
from harmony_runtime.algorithms.keeper import Keeper
from harmony_runtime.algorithms.optimiser import Optimiser
from harmony_runtime.algorithms.stage import Stage, Trained
from harmony_runtime.algorithms.validation import Validator
from harmony_runtime.disk.checkpoints import Position, Remembers, Tree, Weights
from harmony_runtime.failures import RunFailed
from harmony_runtime.graders.panel import Panel, PolicyStop
from harmony_runtime.models.weights import trained_parameters
from harmony_runtime.processes.interrupts import Stop
from harmony_runtime.rooms import Run
from harmony_runtime.trackers import Trackers
from harmony_runtime.watch import Metrics, Number

T = TypeVar("T")


class Loop:
    def __init__(
        self,
        run: Run,
        stage: Stage[Any],
        model: PreTrainedModel,
        *,
        validator: Validator | None = None,
        early_stop: EarlyStop | None = None,
        panel: Panel | None = None,
        **rooms: Remembers,
    ) -> None:
        """`rooms` are what a checkpoint keeps beside the weights."""
        self._panel = panel
        self._run = run
        self._stage = stage
        self._model = model
        self._validator = validator
        self._early_stop = early_stop
        self._optimisers = [room for room in rooms.values() if isinstance(room, Optimiser)]
        self._alarms = Alarms(stage.place, run.watcher.warning)
        self._trackers = Trackers(stage.name, run.watcher.warning)
        self.inside = Inside(self._pause, self._stopped)
        """What the current step has done."""
        rooms |= {"model": Weights(model), "inside": self.inside, "alarms": self._alarms, "loop": self}
        rooms |= {"validator": validator} if validator else {}
        rooms |= {"early_stop": early_stop} if early_stop else {}
        rooms |= {"panel": panel} if panel else {}
        self._keeper = Keeper(run, stage, rooms)
        self._step = 0
        self._metrics: Metrics = {}
        self._samples: Sequence[Mapping[str, Any]] = ()
        self._timing: Mapping[str, float] = {}
        self._is_unmeasured = False

    def record(
        self,
        *,
        samples: Sequence[Mapping[str, Any]] = (),
        timing: Mapping[str, float] | None = None,
        **metrics: Number | None,
    ) -> None:
        """The step's metrics and samples: only what the recipe determines. A number that is not finite is
        none. `timing` is what a clock measured."""
        self._metrics = _finite(metrics)
        self._timing = timing or {}
        self._samples = [_finite(sample) for sample in samples[: self._stage.node.log_samples]]

    def __iter__(self) -> Iterator[int]:
        """The steps that are left, from 0. A first Ctrl-C waits for a place where a checkpoint can be kept:
        between two steps, or between two parts of one."""
        run, stage = self._run, self._stage
        self._step = self._keeper.resume().step
        parameters = trained_parameters(self._model)
        run.watcher.stage_started(stage.name, stage.node.constructor, stage.steps, parameters)
        with run.interrupts.held(), self._trackers:
            self._open_trackers()
            if self._is_unmeasured:  # a grader's policy ended the run there
                self._end_step(seconds=0.0)
            while self._step < stage.steps and not (self._early_stop and self._early_stop.is_over):
                started = perf_counter()
                yield self._step
                self._step += 1
                self._end_step(perf_counter() - started)
            self._keeper.finish()
        if self._early_stop:
            self._early_stop.settle()

    @property
    def trained(self) -> Trained:
        """What came of it."""
        facts: dict[str, Any] = {"steps": self._step, "alarms": self._alarms.raised}
        if self._panel and self._panel.spent:
            facts["graders"] = self._panel.spent
        if self._early_stop:
            facts["early_stop"] = self._early_stop.facts()
        return Trained(self._model, self._metrics, facts)

    def state(self) -> Tree:
        state: Tree = {"metrics": dict(self._metrics)}
        if self._is_unmeasured:
            state["unmeasured"] = [dict(sample) for sample in self._samples]
        return state

    def restore(self, state: Tree) -> None:
        self._metrics = state["metrics"]
        self._is_unmeasured = "unmeasured" in state
        self._samples = state.get("unmeasured", [])

    def _end_step(self, seconds: float) -> None:
        self._measure()
        timing = self._write_down(seconds)
        self._trackers.log(self._step, self._metrics)
        self._tell(timing)
        self.inside.begin()
        self._go_on()

    def _measure(self) -> None:
        """What the step's weights are like on other rows, and by their course."""
        self._is_unmeasured = True
        if self._validator:
            try:
                found = self._validator.after(self._step)
            except PolicyStop as stop:
                self.inside.begin()
                raise self._stopped(stop) from stop
            self._metrics = {**self._metrics, **_finite(found.metrics)}
            self._samples = [*self._samples, *map(_finite, found.samples)]
            if self._early_stop and found.metrics:
                self._early_stop.after(self._step, self._metrics)
        self._is_unmeasured = False
        self._alarms.after(self._step, self._metrics)

    def _open_trackers(self) -> None:
        run, stage = self._run, self._stage
        if run.context.is_main:
            self._trackers.open(
                stage.node,
                run.folder.path,
                project=run.graph.name,
                identity=stage.identity,
                step=self._step,
            )

    def _write_down(self, seconds: float) -> dict[str, Number]:
        folder = self._run.folder
        head: dict[str, Any] = {"stage": self._stage.name, "step": self._step}
        refused = [line for optimiser in self._optimisers for line in optimiser.refused()]
        self._metrics = {**self._metrics, "quarantined": len(refused)}
        timing: dict[str, Number] = {"seconds": seconds, **self._timing}
        for what in ("tokens", "completions"):
            if (count := self._metrics.get(what)) is not None and seconds:
                timing[f"{what}_per_second"] = count / seconds
        folder.quarantine.append(*(head | line for line in refused))
        folder.samples.append(*(head | dict(sample) for sample in self._samples))
        folder.metrics.append({**head, **self._metrics})
        folder.timings.append(head | timing)
        return timing

    def _tell(self, timing: Mapping[str, Number]) -> None:
        run = self._run
        try:
            run.watcher.step(self._stage.name, self._step, self._metrics, timing)
        except Stop:
            raise
        except KeyboardInterrupt:
            run.interrupts.ask()

    def _go_on(self) -> None:
        """Between two steps: go on, or keep where the run stands and end it."""
        self._stop_if_asked(Position(self._step))
        for optimiser in self._optimisers:
            if reason := optimiser.hopeless:
                self._keep(Position(self._step))
                raise RunFailed(reason)
        self._keeper.between(self._step)

    def _pause(self) -> None:
        """Between two parts of a step."""
        at = Position(self._step, self.inside.parts)
        self._stop_if_asked(at)
        self._keeper.inside(at)

    def _stopped(self, stop: PolicyStop) -> PolicyStop:
        """A grader's policy ends the run: keep where it stands, and say so."""
        self._keep(Position(self._step, self.inside.parts))
        kept = f"a checkpoint is kept after step {self._step}: with `--resume` the run goes on from there"
        return PolicyStop(*stop.faults, kept, exit_code=stop.exit_code)

    def _stop_if_asked(self, at: Position) -> None:
        if self._run.interrupts.asked():
            self._keep(at)
            raise self._run.interrupts.stop()

    def _keep(self, at: Position) -> None:
        """Keep where the run stands; it is on the disk then."""
        self._keeper.keep(at)
        self._keeper.finish()


def _finite(told: Mapping[str, T]) -> dict[str, T | None]:
    """JSON knows no other numbers: None stands in their place."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in told.items()
    }
