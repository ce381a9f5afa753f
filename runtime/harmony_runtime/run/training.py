"""Training one stage of a run: from what was prepared to a folder that later stages and runs read."""

from __future__ import annotations

import shutil
from contextlib import suppress
from time import perf_counter
from typing import Any

from harmony_runtime.algorithms.stage import Stage, Trained
from harmony_runtime.algorithms.table import TRAININGS
from harmony_runtime.failures import RunFailed, machine_faults
from harmony_runtime.models import weights
from harmony_runtime.rooms import Run
from harmony_runtime.watch import StageSummary


def train(run: Run, stage: Stage[Any]) -> StageSummary:
    """Train what was prepared, and put it where finished stages stand.

    Raises:
        RunFailed: the stage cannot go on, or the machine is at fault.
    """
    started, context = perf_counter(), run.context
    with machine_faults(f"training `{stage.name}`"), context.pulse.doing(f"training `{stage.name}`"):
        trained = _trained(run, stage)
        known = run.folder.manifest["stages"]
        run.folder.note(stages={**known, stage.name: {**known[stage.name], **trained.facts}})
        with run.interrupts.held():
            _finish(run, stage, trained)
    context.free()
    seconds = perf_counter() - started
    run.watcher.stage_finished(stage.name, seconds)
    run.interrupts.check()
    return StageSummary(
        stage.name,
        stage.node.constructor,
        stage.identity,
        trained.facts["steps"],
        stage.counts["rows"],
        trained.metrics,
        seconds,
        reused=False,
        spent=trained.facts.get("graders", {}),
    )


def _trained(run: Run, stage: Stage[Any]) -> Trained:
    try:
        return TRAININGS[type(stage.node)].train(run, stage)
    except Exception:
        with suppress(RunFailed):
            run.folder.background.wait()  # a checkpoint on its way is worth as much as before
        raise


def _finish(run: Run, stage: Stage[Any], trained: Trained) -> None:
    """Write the stage's model; its checkpoints are not needed any more."""
    context, folder = run.context, run.folder
    tensors = weights.gathered(trained.model, keep=context.is_main)
    if context.is_main:
        blueprint, place = run.blueprints.of(stage.ref), folder.stage(stage.identity)
        with folder.finishing(stage.name, stage.identity) as growing:
            weights.write(trained.model, blueprint, growing, place, tensors=tensors)
        shutil.rmtree(folder.checkpoint(stage.name, stage.identity), ignore_errors=True)
    context.wait()
