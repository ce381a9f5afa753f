"""Whether the disks have room for a run, before anything costs time.

What is counted is the least that the run will write: weights as they are kept, and checkpoints where the
recipe says after how many steps. A run that would fit is never refused.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoModelForCausalLM

from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.outputs import Save
from harmony_compiler.graph.values import Duration, Percent
from harmony_compiler.store.registry import size_of
from harmony_runtime import registry as saved_models
from harmony_runtime.algorithms.stage import Stage
from harmony_runtime.models import adapters
from harmony_runtime.models.blueprint import Blueprint
from harmony_runtime.models.origins import Adapted, Fresh, address, trusts_code
from harmony_runtime.rooms import Run

MOMENTS = 2
"""What AdamW keeps of each trained number, in the type of the weights."""


@dataclass
class _Disk:
    free: int
    places: tuple[Path, ...] = ()
    written: int = 0
    most: int = 0
    """Bytes, at the fullest moment of the run."""

    def write(self, size: int) -> None:
        self.written += size
        self.most = max(self.most, self.written)

    def remove(self, size: int) -> None:
        self.written -= size


def faults_of(run: Run, stages: Iterable[Stage[Any]], saves: Iterable[Save], registry: Path) -> list[str]:
    """A paragraph for each disk that has no room for a run, and one where the registry may only be read.
    `stages` are those to train, in their order."""
    disks = dict[int, _Disk]()
    faults = list[str]()
    for stage in {stage.identity: stage for stage in stages}.values():
        _train(stage, run, _disk(disks, run.folder.path))
    for save in saves:
        identity = run.identities[save.model]
        if not saved_models.kept(registry, save.key, identity, save.if_exists, save.merge):
            if not os.access(_existing(registry), os.W_OK):
                faults = [_read_only(registry)]
            _save(run.blueprints.of(save.model), save, registry, run, _disk(disks, registry))
    return faults + [_too_little(disk) for disk in disks.values() if disk.most > disk.free]


def _too_little(disk: _Disk) -> str:
    where = " and ".join(map(str, disk.places))
    return (
        f"the disk of {where} has {_in_words(disk.free)} free, and this run writes at least "
        f"{_in_words(disk.most)} there: free some space, keep fewer checkpoints, or choose another disk with "
        "`--out` or `HARMONY_HOME`"
    )


def _read_only(registry: Path) -> str:
    return (
        f"the registry {registry} cannot be written, and this run saves there: check the rights of that "
        "place, or choose another with `HARMONY_HOME`"
    )


def _disk(disks: dict[int, _Disk], place: Path) -> _Disk:
    """The disk on which a place is, or will be."""
    there = _existing(place)
    disk = disks.setdefault(there.stat().st_dev, _Disk(shutil.disk_usage(there).free))
    disk.places = tuple(dict.fromkeys((*disk.places, place)))
    return disk


def _existing(place: Path) -> Path:
    return next(folder for folder in (place, *place.parents) if folder.is_dir())


# --- what is written ------------------------------------------------------------------------------------


def _train(stage: Stage[Any], run: Run, disk: _Disk) -> None:
    """A stage's checkpoints, and its model, behind which the checkpoints go."""
    of = _weights(stage.blueprint)
    there = size_of(run.folder.checkpoint(stage.name, stage.identity))
    # Of a stage that goes on nobody knows how many are still to come.
    due, keep = (0, 0) if there else _checkpoints(stage.node, stage.steps)
    each = (of.trained + _critic(stage)) * (1 + MOMENTS)
    most, left = min(due, keep + 1), min(due, keep)  # a new one is whole before the oldest goes
    disk.write(most * each)
    disk.remove((most - left) * each)
    disk.write(_kept(stage.blueprint, of, passing=()))
    disk.remove(left * each + there)


def _save(blueprint: Blueprint, save: Save, registry: Path, run: Run, disk: _Disk) -> None:
    of = _weights(blueprint)
    if save.merge:
        disk.write(of.whole)
    else:
        disk.write(_kept(blueprint, of, passing=(registry, run.folder.path)))
    if save.if_exists == "overwrite":
        disk.remove(size_of(registry / save.key))


def _checkpoints(node: Algorithm, steps: int) -> tuple[int, int]:
    """How many a stage writes at least, and how many of them are kept."""
    asked = node.checkpoint
    if asked is None or isinstance(asked.every, Duration) or node.early_stop is not None:
        return 0, 0
    every = max(1, asked.every.of(steps)) if isinstance(asked.every, Percent) else asked.every
    return (steps - 1) // every, asked.keep


def _kept(blueprint: Blueprint, of: _Sizes, passing: tuple[Path, ...]) -> int:
    """Bytes of a model as `weights.write` writes it."""
    if not isinstance(blueprint.weights, Adapted | Fresh):
        return of.whole
    return of.trained + (of.whole if address(blueprint.weights.base, passing) is None else 0)


# --- sizes ----------------------------------------------------------------------------------------------


class _Sizes(NamedTuple):
    """Of a model's weights, in bytes."""

    whole: int
    """Without an adapter."""
    trained: int
    backbone: int
    """What is trained where a scalar head takes the place of the model's own."""


def _critic(stage: Stage[Any]) -> int:
    """Bytes of the weights that are trained beside the stage's model."""
    critic: Blueprint | None = getattr(stage, "critic", None)
    return _weights(critic).backbone if critic else 0


def _weights(blueprint: Blueprint) -> _Sizes:
    origin = blueprint.weights
    if trusts_code(origin):
        return _Sizes(0, 0, 0)  # only that code knows
    width = blueprint.dtype.itemsize
    with torch.device("meta"):  # names and shapes, without weights
        model = AutoModelForCausalLM.from_config(deepcopy(blueprint.config))
        whole, below = (_numbers(part) for part in (model, model.base_model))
        if not isinstance(origin, Adapted | Fresh):
            return _Sizes(whole * width, whole * width, below * width)
        if isinstance(origin, Adapted):
            return _Sizes(whole * width, 0, 0)  # how large the adapter is, its folder will say
        # Adapters are float32, whatever stands below them.
        trained = _numbers(adapters.fresh(model, origin.lora), trained=True) * torch.float32.itemsize
    return _Sizes(whole * width, trained, trained)


def _numbers(model: torch.nn.Module, *, trained: bool = False) -> int:
    return sum(held.numel() for held in model.parameters() if held.requires_grad or not trained)


def _in_words(size: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"
