"""The loop that every algorithm runs in: resuming, stopping between steps, metrics, samples, checkpoints.

Of several processes all go through the same steps, the main one writes. Its rooms are what a checkpoint
holds, and all processes go on from it: a room's state must be the same in each of them.

loop = Loop(run, stage, model, optimiser=optimiser, order=order)
for step in loop:
    …
    loop.record(loss=…, tokens=…)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Generic, NamedTuple, TypeVar

from transformers import PreTrainedModel

from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.values import Ref
from harmony_runtime import checkpoints, cuts
from harmony_runtime.checkpoints import Remembers, Weights
from harmony_runtime.failures import RunFailed, machine_faults
from harmony_runtime.interrupts import Stop
from harmony_runtime.models.blueprint import Blueprint
from harmony_runtime.models.weights import trained_parameters
from harmony_runtime.rooms import Run
from harmony_runtime.watch import Metrics, Number

A = TypeVar("A", bound=Algorithm)


@dataclass(frozen=True)
class Stage(Generic[A]):
    """One training stage, prepared: everything is checked, no weight is made."""

    ref: Ref
    name: str
    identity: str
    place: str
    """Where the recipe writes it: the beginning of every message about it."""
    node: A
    blueprint: Blueprint
    """Of the model that is trained."""
    steps: int
    counts: dict[str, dict[str, int]]
    """What became of the rows, and how many tokens they have: `{"rows": {…}, "tokens": {…}}`."""
    max_batch_tokens: int


class Trained(NamedTuple):
    model: PreTrainedModel
    metrics: Metrics
    """Those of the last step."""


class Loop:
    def __init__(self, run: Run, stage: Stage[Any], model: PreTrainedModel, **rooms: Remembers) -> None:
        """`rooms` are what a checkpoint keeps beside the weights."""
        self._run = run
        self._stage = stage
        self._parameters = trained_parameters(model)
        self._rooms = {"model": Weights(model), **rooms}
        tp = stage.blueprint.settings.tp
        self._conditions = {**run.conditions, "dtype": str(model.dtype), "tp": tp}
        self._checkpoint = run.folder.checkpoint(stage.name, stage.identity)
        self._samples: Sequence[Mapping[str, Any]] = ()
        self.metrics: Metrics = {}

    def record(self, *, samples: Sequence[Mapping[str, Any]] = (), **metrics: Number | None) -> None:
        """The step's metrics and samples: only what the recipe determines."""
        self.metrics, self._samples = metrics, samples

    def __iter__(self) -> Iterator[int]:
        """The steps that are left, from 0. A first Ctrl-C waits until the body is through."""
        run, stage = self._run, self._stage
        step = self._resume()
        for lines in (run.folder.metrics, run.folder.samples, run.folder.timings):
            lines.cut_back(stage.name, step)
        run.watcher.stage_started(stage.name, stage.node.constructor, stage.steps, self._parameters)
        with run.interrupts.held():
            while step < stage.steps:
                started = perf_counter()
                yield step
                step += 1
                timing = self._write_down(step, perf_counter() - started)
                try:
                    run.watcher.step(stage.name, step, self.metrics, timing)
                except Stop:
                    raise
                except KeyboardInterrupt:
                    run.interrupts.ask()
                if run.interrupts.asked():
                    self._keep(step)
                    raise run.interrupts.stop()

    def _write_down(self, step: int, seconds: float) -> dict[str, Number]:
        folder = self._run.folder
        head: dict[str, Any] = {"stage": self._stage.name, "step": step}
        timing: dict[str, Number] = {"seconds": seconds}
        for what in ("tokens", "completions"):
            if (count := self.metrics.get(what)) is not None:
                timing[f"{what}_per_second"] = count / seconds
        folder.samples.append(*(head | dict(sample) for sample in self._samples))
        folder.metrics.append({**head, **self.metrics})
        folder.timings.append(head | timing)
        return timing

    def _keep(self, step: int) -> None:
        context = self._run.context
        rooms = {name: room.state() for name, room in self._rooms.items()}
        rooms = cuts.gathered(rooms, keep=context.is_main)  # all processes give their parts
        if context.is_main:
            tree = {"step": step, "conditions": self._conditions, **rooms}
            with machine_faults("writing a checkpoint"):
                checkpoints.save(tree, self._checkpoint)
        context.wait()

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
