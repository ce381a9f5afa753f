"""The folder that a run writes.

graph.json       the graph that ran
manifest.json    versions, identities, seeds, counts of rows, how the run ended
metrics.jsonl    one flat object a step, only what the recipe determines
samples.jsonl    one object a completion: prompt, completion, every grade
timings.jsonl    what a clock measured
results.json     {"evaluations": {NAME: {MODEL: {GRADER: {"mean", …}}}}, "saved": {KEY: {"path", "key"}}}
stages/IDENTITY/             each finished stage's model, as `save_pretrained` writes it, or its adapter
checkpoints/STAGE-IDENTITY/  where an interrupted stage goes on

Of several processes the main one `open`s the folder and writes; the others `join` it once it is open, read,
and whatever they would write comes to nothing.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harmony_compiler.graph.graph import Graph
from harmony_runtime.failures import RunFailed
from harmony_runtime.folders import sweep
from harmony_runtime.metrics import Lines
from harmony_runtime.watch import Evaluations, Measured, Saved

FORMAT_VERSION = 1

Evaluation = Mapping[str, Mapping[str, Measured]]
"""By model and grader."""


class RunFolder:
    def __init__(self, path: Path, manifest: dict[str, Any], *, writes: bool) -> None:
        self.path = path
        self.manifest = manifest
        self._writes = writes
        self.metrics = Lines(path / "metrics.jsonl", writes=writes)
        self.samples = Lines(path / "samples.jsonl", writes=writes)
        self.timings = Lines(path / "timings.jsonl", writes=writes)
        self.stages = path / "stages"
        self.checkpoints = path / "checkpoints"

    @staticmethod
    def open(path: Path, graph: Graph, *, resume: bool) -> RunFolder:
        """Make the folder, or with `resume` go on in it."""
        path = path.absolute()
        if path.exists() and not path.is_dir():
            raise RunFailed(f"{path} is a file, and the run's folder should go there", exit_code=2)
        used = path.is_dir() and any(path.iterdir())
        if used and not resume:
            raise RunFailed(
                f"the folder {path} is not empty: resume the run in it, or choose another", exit_code=2
            )
        if used and not (path / "graph.json").exists():
            raise RunFailed(f"the folder {path} is not a run's: it holds no graph.json", exit_code=2)
        path.mkdir(parents=True, exist_ok=True)
        # First of all: by this file a folder is known as a run's, and a stop may come any time.
        _write(path / "graph.json", graph.to_json())
        before = _read(path / "manifest.json")
        # `registry`, `parents`: what a key held when the run first started is what it means until the end.
        kept = {part: before.get(part, {}) for part in ("registry", "parents", "stages", "evaluations")}
        folder = RunFolder(path, {"format_version": FORMAT_VERSION, **kept}, writes=True)
        for part in (folder.stages, folder.checkpoints):
            part.mkdir(exist_ok=True)
            sweep(part)
        folder.note(recipe=graph.name, seed=graph.seed, exit=None)
        return folder

    @staticmethod
    def join(path: Path) -> RunFolder:
        """The folder that another process has opened, to read from."""
        return RunFolder(path, _read(path / "manifest.json"), writes=False)

    def discard_if_untouched(self) -> None:
        """Remove the folder where nothing was trained: a run that was refused leaves nothing in the way."""
        if not self._writes:
            return
        results = (self.path / "metrics.jsonl", *self.stages.iterdir(), *self.checkpoints.iterdir())
        if not any(result.exists() for result in results):
            shutil.rmtree(self.path)

    def stage(self, identity: str) -> Path:
        return self.stages / identity

    def checkpoint(self, stage: str, identity: str) -> Path:
        return self.checkpoints / f"{stage}-{identity}"

    def note(self, **facts: Any) -> None:
        """Put facts into the manifest."""
        self.manifest.update(facts)
        if self._writes:
            _write(self.path / "manifest.json", self.manifest)

    def measured(self, identity: str, names: Mapping[str, Any]) -> Evaluation | None:
        """What an evaluation of this identity found, if it was made and called its columns by these names."""
        held = self.manifest["evaluations"].get(identity)
        return _from_json(held["found"]) if held and held["names"] == names else None

    def note_evaluation(
        self, identity: str, names: Mapping[str, Any], found: Evaluation, rows: Mapping[str, Any]
    ) -> None:
        held = {"names": names, "rows": rows, "found": _to_json(found)}
        self.note(evaluations={**self.manifest["evaluations"], identity: held})

    def write_results(self, evaluations: Evaluations, saved: Mapping[str, Saved]) -> None:
        results = {
            "evaluations": {name: _to_json(found) for name, found in evaluations.items()},
            "saved": {name: {"path": str(entry.path), "key": entry.key} for name, entry in saved.items()},
        }
        if self._writes:
            _write(self.path / "results.json", results)

    def kept(self) -> str:
        """What a resumed run will find here, in words."""
        stages = sum(1 for place in self.stages.iterdir() if place.is_dir())
        checkpoints = [
            place.name.rpartition("-")[0] for place in self.checkpoints.iterdir() if place.is_dir()
        ]
        parts = []
        if stages:
            parts.append(f"{stages} finished stage{'s' if stages > 1 else ''}")
        parts += [f"a checkpoint of `{name}`" for name in checkpoints]
        return f"{self.path} keeps {' and '.join(parts) or 'no finished stage and no checkpoint'}"


def _write(path: Path, data: Mapping[str, Any]) -> None:
    """Replace a file in one move, so that a reader never sees half of it."""
    fresh = path.with_suffix(".fresh")
    try:
        fresh.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _to_json(found: Evaluation) -> dict[str, Any]:
    return {
        model: {grader: asdict(measured) for grader, measured in graders.items()}
        for model, graders in found.items()
    }


def _from_json(held: Mapping[str, Any]) -> Evaluation:
    return {
        model: {grader: Measured(**measured) for grader, measured in graders.items()}
        for model, graders in held.items()
    }
