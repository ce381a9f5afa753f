"""Finished stages of another run's folder, taken over into this one. The other folder is only read."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from harmony_compiler.store.adapters import CONFIG, OWN_BASE
from harmony_runtime.disk.folders import SUMS, faults_of, seal_anew, whole
from harmony_runtime.failures import RunFailed
from harmony_runtime.models import adapters


def refuse_unfit(reused: Path, out: Path) -> None:
    """Refuse a folder from which nothing can be taken over.

    Raises:
        RunFailed: it is no run's, or the very folder `out` that the run goes into.
    """
    if not (reused / "graph.json").is_file():
        what = "holds no graph.json" if reused.is_dir() else "is not there"
        raise RunFailed(f"the folder {reused} is not a run's, and cannot be reused: it {what}", exit_code=2)
    if out.exists() and out.samefile(reused):
        raise RunFailed(
            f"{reused} is the folder that this run goes into: `--resume` the run there, and what it has "
            "finished is reused",
            exit_code=2,
        )


def finished(reused: Path, identity: str) -> Path | None:
    """Where another run keeps the model of a stage, whole; None where it has not finished it.

    Raises:
        RunFailed: what it keeps is damaged.
    """
    folder = reused / "stages" / identity
    if not folder.is_dir():
        return None
    if fault := faults_of(folder):
        raise RunFailed(
            f"{folder} is damaged, and cannot be reused: {fault}. Restore it, or remove it, and its stage is "
            "trained anew",
            exit_code=2,
        )
    return folder


def take_over(folder: Path, place: Path) -> None:
    """Let `place` hold what the folder of a finished stage holds: as links, where the disk has them."""
    # These name the place that they stand in.
    own = {CONFIG, SUMS} if (folder / OWN_BASE).is_dir() else set()

    def take(file: str, to: str) -> None:
        if Path(file).relative_to(folder).as_posix() in own:
            shutil.copyfile(file, to)
            return
        try:
            os.link(file, to)
        except OSError:  # another disk, or one without links
            shutil.copyfile(file, to)

    with whole(place) as growing:
        shutil.copytree(folder, growing, copy_function=take, dirs_exist_ok=True)
        if own:
            adapters.settle_base(growing, place)
            seal_anew(growing, CONFIG)
