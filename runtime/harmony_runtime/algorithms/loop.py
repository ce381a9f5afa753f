"""The loop that every algorithm runs in: resuming, stopping between steps, metrics, checkpoints.

loop = Loop(run, stage, model, optimiser=optimiser, order=order)
for step in loop:
    …
    loop.record(loss=…, tokens=…)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple

from transformers import PreTrainedModel

from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.values import Ref
from harmony_runtime import checkpoints
from harmony_runtime.checkpoints import Remembers, Weights
from harmony_runtime.context import Context
from harmony_runtime.failures import RunFailed, machine_faults
from harmony_runtime.interrupts import Interrupts
from harmony_runtime.models.blueprint import Blueprints
from harmony_runtime.models.weights import trained_parameters
from harmony_runtime.runfolder import RunFolder
from harmony_runtime.watch import Number, Watcher


@dataclass(frozen=True)
class Run:
    """The rooms that all stages of a run share."""

    graph: Graph
    folder: RunFolder
    context: Context
    blueprints: Blueprints
    watcher: Watcher
    interrupts: Interrupts
    conditions: dict[str, Number | str]
    """What must be equal where a stage goes on inside: world size and versions."""


@dataclass(frozen=True)
class Stage:
    """One training stage, prepared: everything is checked, no weight is made."""

    ref: Ref
    name: str
    identity: str
    place: str
    """Where the recipe writes it: the beginning of every message about it."""
    algorithm: str
    steps: int
    seed: int
    counts: dict[str, dict[str, int]]
    """What became of the rows, and how many tokens they have: `{"rows": {…}, "tokens": {…}}`."""


class Trained(NamedTuple):
    model: PreTrainedModel
    metrics: dict[str, Number]
    """Those of the last step."""


class Loop:
    def __init__(self, run: Run, stage: Stage, model: PreTrainedModel, **rooms: Remembers) -> None:
        """`rooms` are what a checkpoint keeps beside the weights."""
        self._run = run
        self._stage = stage
        self._parameters = trained_parameters(model)
        self._rooms = {"model": Weights(model), **rooms}
        self._conditions = {**run.conditions, "dtype": str(model.dtype)}
        self._checkpoint = run.folder.checkpoint(stage.name, stage.identity)
        self.metrics: dict[str, Number] = {}

    def record(self, **metrics: Number) -> None:
        """The step's metrics: only what the recipe determines. `tokens` is among them."""
        self.metrics = metrics

    def __iter__(self) -> Iterator[int]:
        """The steps that are left, from 0. A first Ctrl-C waits until the body is through."""
        run, stage = self._run, self._stage
        step = self._resume()
        for lines in (run.folder.metrics, run.folder.timings):
            lines.cut_back(stage.name, step)
        run.watcher.stage_started(stage.name, stage.algorithm, stage.steps, self._parameters)
        between_steps = True
        try:
            while step < stage.steps:
                with run.interrupts.held():
                    between_steps = False
                    started = perf_counter()
                    yield step
                    step += 1
                    timing = self._write_down(step, perf_counter() - started)
                    between_steps = True
                run.watcher.step(stage.name, step, self.metrics, timing)
        except KeyboardInterrupt:
            if between_steps:
                self._keep(step)
            raise

    def _write_down(self, step: int, seconds: float) -> dict[str, Number]:
        head: dict[str, Number | str] = {"stage": self._stage.name, "step": step}
        timing: dict[str, Number] = {
            "seconds": seconds,
            "tokens_per_second": self.metrics["tokens"] / seconds,
        }
        self._run.folder.metrics.append(head | self.metrics)
        self._run.folder.timings.append(head | timing)
        return timing

    def _keep(self, step: int) -> None:
        tree = {"step": step, "conditions": self._conditions}
        tree |= {name: room.state() for name, room in self._rooms.items()}
        with self._run.interrupts.held(), machine_faults("writing a checkpoint"):
            checkpoints.save(tree, self._checkpoint)

    def _resume(self) -> int:
        """The step to go on with, after the rooms are as the checkpoint has them."""
        if not self._checkpoint.is_dir():
            return 0
        tree = checkpoints.load(self._checkpoint)
        was, now = tree["conditions"], self._conditions
        if drift := [f"{key} was {was.get(key)}, is {now[key]}" for key in now if was.get(key) != now[key]]:
            raise RunFailed(
                f"{self._stage.place}the stage cannot go on exactly where it stopped: {'; '.join(drift)}. "
                f"Restore that, or remove {self._checkpoint} to start the stage anew",
                exit_code=2,
            )
        for name, room in self._rooms.items():
            room.restore(tree[name])
        return int(tree["step"])
