"""Keeping a stage's state, and going on from it.

A checkpoint is everything that the next step depends on: the rooms of the stage, and how long the run's files
of lines were. All processes give their parts of it, the main one writes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

from harmony_compiler.graph.settings import Checkpoint
from harmony_compiler.graph.values import Duration, Percent
from harmony_runtime.algorithms.stage import Stage
from harmony_runtime.disk.checkpoints import Position, Remembers, Series
from harmony_runtime.disk.folders import sweep
from harmony_runtime.failures import RunFailed, machine_faults
from harmony_runtime.processes import cuts
from harmony_runtime.rooms import Run

KEPT = 3
"""Checkpoints that a recipe keeps which does not say."""


class Keeper:
    def __init__(
        self,
        run: Run,
        stage: Stage[Any],
        rooms: Mapping[str, Remembers],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._run = run
        self._stage = stage
        self._rooms = rooms
        self._conditions = run.drift.conditions(stage.ref)
        self._clock = clock
        self._last = clock()
        asked = stage.node.checkpoint
        self._folder = run.folder.checkpoint(stage.name, stage.identity)
        self._series = Series(self._folder, asked.keep if asked else KEPT, run.folder.background)
        self._every, self._seconds = _due(asked, stage.steps)

    def resume(self) -> Position:
        """Where the stage goes on, after the rooms are as the newest whole checkpoint has them.

        Raises:
            RunFailed: no checkpoint is whole, or it was kept under other conditions.
        """
        run, stage, context = self._run, self._stage, self._run.context
        if context.is_main and self._folder.is_dir():
            with machine_faults("looking for checkpoints"):
                sweep(self._folder)
        context.wait()
        tree, damaged = self._series.newest()
        at = Position(0) if tree is None else Position(*tree["at"])
        self._refuse_other_places(at)
        for fault in damaged:
            run.watcher.warning(
                f"{stage.place}a checkpoint is damaged, and the one before is used, after step {at.step}: "
                f"{fault}"
            )
        if tree is not None:
            run.drift.admit(stage, at, tree, self._conditions)
            for name, room in self._rooms.items():
                room.restore(tree["rooms"][name])
            inside = f", inside step {at.step + 1}" if at.part else ""
            run.watcher.note(f"`{stage.name}` goes on after step {at.step} of {stage.steps}{inside}")
        self._cut_back(at, {} if tree is None else tree["lines"])
        context.wait()  # all have read
        if context.is_main:
            self._series.forget_after(at)
        self._last = self._clock()
        return at

    def _refuse_other_places(self, at: Position) -> None:
        if any(other != at for other in self._run.context.gather([at])):
            raise RunFailed(
                f"{self._stage.place}the processes of this run see different checkpoints in {self._folder}: "
                "give all of them the same folder",
                exit_code=2,
            )

    def _cut_back(self, at: Position, lengths: Mapping[str, int]) -> None:
        """Let the files of lines be as they were at a position."""
        for lines in self._run.folder.lines:
            known = lengths.get(lines.path.name, 0)
            if (length := lines.length()) < known:
                self._run.watcher.warning(
                    f"{lines.path} has {length:,} bytes, and had {known:,} when the checkpoint was kept: "
                    "lines were removed since, and are missing"
                )
            lines.cut_back(self._stage.name, at.step, beyond=known)

    def between(self, step: int) -> None:
        """Keep a checkpoint after a step where one is due."""
        if (self._every and step % self._every == 0) or self._time_is_up():
            self.keep(Position(step))

    def inside(self, at: Position) -> None:
        """Keep a checkpoint inside a step where one is due."""
        if self._time_is_up():
            self.keep(at)

    def keep(self, at: Position) -> None:
        context, folder = self._run.context, self._run.folder
        rooms = {name: room.state() for name, room in self._rooms.items()}
        rooms = cuts.gathered(rooms, keep=context.is_main)  # all processes give their parts
        if context.is_main:
            with machine_faults("writing a checkpoint"):
                for lines in folder.lines:
                    lines.sync()
            tree = {
                "at": list(at),
                "conditions": self._conditions,
                "meaning": self._run.drift.meaning(self._stage),
                "lines": {lines.path.name: lines.length() for lines in folder.lines},
                "rooms": rooms,
            }
            self._series.save(at, tree)
        self._last = self._clock()

    def finish(self) -> None:
        """Wait until the last checkpoint is on the disk."""
        self._run.folder.background.wait()
        self._run.context.wait()

    def _time_is_up(self) -> bool:
        if self._seconds is None:
            return False
        # The main process's clock decides: all keep at the same place, or none.
        up = self._run.context.is_main and self._clock() - self._last >= self._seconds
        return bool(self._run.context.sum([float(up)])[0])


def _due(asked: Checkpoint | None, steps: int) -> tuple[int | None, float | None]:
    """After how many steps, and after how many seconds, a checkpoint is due."""
    match asked.every if asked else None:
        case Percent() as share:
            return max(1, share.of(steps)), None
        case Duration() as time:
            return None, time.seconds
        case every:
            return every, None
