"""What must be equal where a stage goes on inside, and what becomes of a difference.

The recipe's own part is in the stage's identity. A checkpoint of a stage that has another one now cannot go
on: its result would not be what its name says. The conditions change bits, not meaning: they may be accepted,
and the manifest says so.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import torch

from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.differences import differences
from harmony_compiler.graph.graph import Graph, value_to_json
from harmony_compiler.graph.identity import Meanings
from harmony_compiler.graph.node import Constructor, schema
from harmony_compiler.graph.values import Ref
from harmony_runtime.algorithms.stage import Stage
from harmony_runtime.disk import checkpoints
from harmony_runtime.disk.checkpoints import Position
from harmony_runtime.disk.runfolder import RunFolder
from harmony_runtime.failures import RunFailed, machine_faults, place
from harmony_runtime.processes.context import Context
from harmony_runtime.watch import Watcher

LIBRARIES = (
    *("torch", "transformers", "accelerate", "peft", "datasets", "tokenizers", "safetensors", "numpy"),
    "harmony-dsl",
)

Conditions = dict[str, Any]
"""By name, as JSON."""


@dataclass(frozen=True)
class Drift:
    graph: Graph
    meanings: Meanings
    machine: Conditions
    """What all stages of the run have in common: see `machine`."""
    accepted: bool
    """Whether a stage goes on under other conditions."""
    folder: RunFolder
    context: Context
    watcher: Watcher

    def meaning(self, stage: Stage[Any]) -> dict[str, Any]:
        """What a stage's identity stands for, as JSON: what a checkpoint keeps, to tell of a change."""
        return self.meanings.of(stage.ref)

    def conditions(self, ref: Ref) -> Conditions:
        """What must be equal where this stage goes on inside, as JSON."""
        return self.machine | dict(_placements(self.graph, self.graph.nodes[ref], "", {ref}))

    def admit(self, stage: Stage[Any], at: Position, tree: Any, now: Mapping[str, Any]) -> None:
        """Let a stage go on after `at`, from a checkpoint whose conditions are the same, or where others are
        accepted.

        Raises:
            RunFailed: they are not.
        """
        changes = _changes(tree["conditions"], now)
        if not changes:
            return
        if not self.accepted:
            raise RunFailed(_other_conditions(stage.place, f" after step {at.step}", changes), exit_code=2)
        noted = {"stage": stage.name, "step": at.step, "differences": changes}
        self.folder.note(drift=[*self.folder.manifest["drift"], noted])
        self.watcher.warning(
            f"{stage.place}the stage goes on after step {at.step}, but not in the bits of one run: "
            f"{'; '.join(changes)}"
        )

    def refuse(self, unfinished: Mapping[Ref, tuple[str, str]]) -> None:
        """Refuse what keeps a checkpoint from being gone on from, before anything costs time: stages that
        were edited while they trained, were given another name, or have other conditions.

        `unfinished` are the names and identities of the stages to train.

        Raises:
            RunFailed: with a paragraph for each of them.
        """
        found: list[_Finding] = []
        if self.context.is_main:
            with machine_faults("looking at checkpoints"):
                for folder in sorted(self.folder.checkpoints.iterdir()):
                    found += self._look(folder, unfinished)
        (found, *_) = self.context.gather([found])
        for finding in found:
            if not finding.exit_code:
                self.watcher.warning(finding.text)
        if faults := [finding for finding in found if finding.exit_code]:
            raise RunFailed(
                *(fault.text for fault in faults), exit_code=max(fault.exit_code for fault in faults)
            )

    def _look(self, folder: Path, unfinished: Mapping[Ref, tuple[str, str]]) -> Iterator[_Finding]:
        name, _, identity = folder.name.rpartition("-")
        called = next((ref for ref, stage in unfinished.items() if stage[0] == name), None)
        # Of equal stages the first one trains.
        equal = next((ref for ref, stage in unfinished.items() if stage[1] == identity), None)
        held = checkpoints.described(folder) if equal or called else None
        step = f" after step {held['at'][0]}" if held else ""
        anew = f"start a new run with `--reuse {self.folder.path}`"
        if equal is not None and unfinished[equal][0] == name:
            changes = _changes(held["conditions"], self.conditions(equal)) if held else []
            if changes and not self.accepted:
                yield _Finding(2, _other_conditions(place(self.graph, equal), step, changes))
        elif equal is not None:
            yield _Finding(
                1,
                f"{place(self.graph, equal)}the stage was called `{name}` when it was stopped{step}, and so "
                f"it is in metrics.jsonl: give it that name again, or {anew}, which trains it anew",
            )
        elif called is not None:
            changes = differences(held["meaning"], self.meanings.of(called)) if held else []
            said = "; ".join(changes) or "in what, its damaged checkpoint cannot say"
            yield _Finding(
                1,
                f"{place(self.graph, called)}the recipe has changed inside this stage, which was stopped"
                f"{step}: {said}. Put that back to go on, or {anew}, which takes over the finished stages "
                "and trains this one anew",
            )
        else:
            yield _Finding(
                0,
                f"{folder} keeps a checkpoint of `{name}`, and the recipe has no such stage to train any "
                "more: remove that folder if it is not needed",
            )


class _Finding(NamedTuple):
    exit_code: int
    """0: a warning."""
    text: str


def machine(context: Context) -> Conditions:
    """What may change bits, and is the same for all stages of a run. All processes must ask: what differs
    between them stands there with each of its values."""
    own: Conditions = {"python": platform.python_version(), **versions(), "device": _device(context)}
    if context.device.type == "cpu":
        own["instructions"] = torch.backends.cpu.get_cpu_capability()
        own["threads"] = torch.get_num_threads()
    found: Conditions = {"world_size": context.world_size, "shard": context.shard}
    all_of = context.gather([own])
    for key in own:
        values = list(dict.fromkeys(other.get(key) for other in all_of))
        found[key] = values[0] if len(values) == 1 else values
    return found


def versions() -> dict[str, str]:
    """Of the libraries that a run computes with."""
    found = {}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            found[library] = "not installed"
    return found


def _device(context: Context) -> str:
    device = context.device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _placements(graph: Graph, made: Constructor, path: str, seen: set[Ref]) -> Iterator[tuple[str, Any]]:
    """How the models that a stage reads are placed, by path. A stage before it matters by its model only."""
    trains = type(made).trains if isinstance(made, Algorithm) else None
    for name, spec in schema(type(made)).items():
        held, at = getattr(made, name), f"{path}.{name}" if path else name
        if trains and path and name != trains:
            continue
        if spec.role == "placement":
            yield at, value_to_json(held)
        elif isinstance(held, Constructor):
            yield from _placements(graph, held, at, seen)
        elif spec.is_edge and held is not None:
            several: Sequence[Ref] = held if isinstance(held, tuple) else ()
            for number, ref in enumerate(several or (held,), 1):
                if ref and ref not in seen:
                    seen.add(ref)
                    below = f"{at}.{number}" if several else at
                    yield from _placements(graph, graph.nodes[ref], below, seen)


def _changes(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In words. What one side does not know cannot be compared: it is of another version, which is named."""
    return [
        f"{key} was {_shown(was[key])}, is {_shown(now[key])}"
        for key in now
        if key in was and was[key] != now[key]
    ]


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " and ".join(map(_shown, value))
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _other_conditions(where: str, step: str, changes: Sequence[str]) -> str:
    return (
        f"{where}the stage was stopped{step} under other conditions, and would not go on in the same bits: "
        f"{'; '.join(changes)}. Restore that, or accept it with `--allow-drift`, which manifest.json records"
    )
