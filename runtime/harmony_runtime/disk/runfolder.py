"""The folder that a run writes.

graph.json       the graph that ran
manifest.json    versions, identities, seeds, counts of rows, how the run ended
metrics.jsonl    one flat object a step, only what the recipe determines
samples.jsonl    one object a completion: prompt, completion, every grade
timings.jsonl    what a clock measured
quarantine.jsonl updates that were not applied, and why
results.json     {"evaluations": {NAME: {MODEL: {GRADER: {"mean", …}}}}, "saved": {KEY: {"path", "key"}}}
stages/IDENTITY/             each finished stage's model, as `save_pretrained` writes it, or its adapter; with
                             stage.json, what the manifest says of it, and a seal: see `folders`
checkpoints/STAGE-IDENTITY/  where an interrupted stage goes on
.lock            held while a run works here: see `locks`

Of several processes the main one `open`s the folder and writes; the others `join` it once it is open, read,
and whatever they would write comes to nothing.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harmony_compiler.graph.graph import Graph
from harmony_runtime.disk.background import Background
from harmony_runtime.disk.folders import faults_of, seal, sweep, whole, write_text
from harmony_runtime.disk.lines import Lines
from harmony_runtime.disk.locks import LOCK_FILES
from harmony_runtime.failures import RunFailed, machine_faults
from harmony_runtime.watch import Evaluations, Measured, Saved

FORMAT_VERSION = 1

STAGE = "stage.json"
"""What the manifest says of a finished stage, in the stage's folder: for runs that take it over."""

CARRIED = ("registry", "parents", "stages", "evaluations")
"""What a resumed run goes on with of the manifest; `registry`, `parents`: what a key held when the run first
started is what it means until the end."""

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
        self.quarantine = Lines(path / "quarantine.jsonl", writes=writes)
        self.background = Background()
        """Writes checkpoints."""
        self.stages = path / "stages"
        self.checkpoints = path / "checkpoints"

    @staticmethod
    def open(path: Path, graph: Graph, *, resume: bool) -> RunFolder:
        """Make the folder, or with `resume` go on in it.

        Raises:
            RunFailed: it is not for this run, or damaged; then nothing in it has changed.
        """
        path = path.absolute()
        refuse_foreign(path, resume=resume)
        path.mkdir(parents=True, exist_ok=True)
        _read(path / "graph.json", _anew(path))
        before = _manifest(path)
        if not (path / "graph.json").exists():
            # First of all: by this file a folder is known as a run's, and a stop may come any time.
            _write(path / "graph.json", graph.to_json())
        kept = {part: before.get(part, {}) for part in CARRIED}
        kept["drift"] = before.get("drift", [])
        folder = RunFolder(path, {"format_version": FORMAT_VERSION, **kept}, writes=True)
        for part in (folder.stages, folder.checkpoints):
            part.mkdir(exist_ok=True)
            sweep(part)
        folder.note(recipe=graph.name, seed=graph.seed, exit=None)
        return folder

    @staticmethod
    def join(path: Path) -> RunFolder:
        """The folder that another process has opened, to read from."""
        return RunFolder(path, _manifest(path), writes=False)

    def discard_if_untouched(self) -> None:
        """Remove the folder where nothing was trained: a run that was refused leaves nothing in the way."""
        if self._writes and not _has_results(self.path):
            shutil.rmtree(self.path)

    @property
    def lines(self) -> tuple[Lines, ...]:
        """The files that grow with the steps."""
        return self.metrics, self.samples, self.timings, self.quarantine

    def keep(self, graph: Graph) -> None:
        """Note the graph that runs, which may be another one than before: nothing has refused it."""
        if self._writes:
            _write(self.path / "graph.json", graph.to_json())

    def stage(self, identity: str) -> Path:
        return self.stages / identity

    @contextmanager
    def finishing(self, stage: str, identity: str) -> Iterator[Path]:
        """A folder for the model of a stage, which is finished with the block."""
        place = self.stage(identity)
        with machine_faults(f"writing the model of `{stage}` into {place}"), whole(place) as growing:
            yield growing
            _write(growing / STAGE, {"name": stage, **self.manifest["stages"][stage]})
            seal(growing)

    def damaged(self, stages: Mapping[str, str]) -> list[str]:
        """A paragraph for each finished stage that is not as it was written; `stages` says by identity where
        the recipe writes it."""
        there = {self.stage(identity): where for identity, where in stages.items()}
        return [
            f"{where}the finished stage in {folder} is damaged: {fault}. Put that file back as it was, or "
            "remove that folder to train the stage anew"
            for folder, where in there.items()
            if folder.is_dir() and (fault := faults_of(folder))
        ]

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


def refuse_foreign(path: Path, *, resume: bool) -> None:
    """Refuse a folder that holds something else than a run that goes on.

    Raises:
        RunFailed: so it is.
    """
    if path.exists() and not path.is_dir():
        raise RunFailed(f"{path} is a file, and the run's folder should go there", exit_code=2)
    used = path.is_dir() and any(file.name not in LOCK_FILES for file in path.iterdir())
    if used and not resume:
        raise RunFailed(
            f"the folder {path} is not empty: resume the run in it, or choose another", exit_code=2
        )
    if used and not (path / "graph.json").exists():
        raise RunFailed(f"the folder {path} is not a run's: it holds no graph.json", exit_code=2)


def stage_facts(folder: Path) -> dict[str, Any]:
    """What the manifest says of a stage, by the folder of its finished model.

    Raises:
        RunFailed: the folder does not say it.
    """
    mend = "remove that folder to train the stage anew"
    facts = _read(folder / STAGE, mend)
    if facts is None or not {"steps", "rows"} <= facts.keys():
        raise RunFailed(f"{folder} holds no `{STAGE}` that says what was trained: {mend}", exit_code=2)
    return {part: fact for part, fact in facts.items() if part != "name"}


def _manifest(folder: Path) -> dict[str, Any]:
    """What a run's manifest says; nothing where the run had not come so far.

    Raises:
        RunFailed: it is damaged.
    """
    path = folder / "manifest.json"
    found = _read(path, _anew(folder))
    if found is None and _has_results(folder):
        raise RunFailed(f"{path} is missing: {_anew(folder)}", exit_code=2)
    if found is not None and not all(isinstance(found.get(part, {}), dict) for part in CARRIED):
        raise RunFailed(f"{path} is no manifest of a run: {_anew(folder)}", exit_code=2)
    return found or {}


def _anew(folder: Path) -> str:
    return f"put it back, or start a new run with `--reuse {folder}`, which takes over what is finished there"


def _has_results(folder: Path) -> bool:
    """Whether anything was trained in a run's folder."""
    results = (place for part in ("stages", "checkpoints") for place in (folder / part).glob("*"))
    return (folder / "metrics.jsonl").exists() or any(results)


def _write(path: Path, data: Mapping[str, Any]) -> None:
    with machine_faults(f"writing {path}"):
        write_text(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def _read(path: Path, mend: str) -> dict[str, Any] | None:
    """A file of one JSON object; None where there is none.

    Raises:
        RunFailed: it is damaged; `mend` says what to do then.
    """
    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text) if text.strip() else None
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError):
        data = text = "?"
    if isinstance(data, dict):
        return data
    what = "is not the JSON that it was, as if it were cut off" if text.strip() else "is empty"
    raise RunFailed(f"{path} is damaged, for it {what}: {mend}", exit_code=2)


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
