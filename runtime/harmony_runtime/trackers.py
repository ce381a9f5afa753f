"""Trackers: where else a stage's metrics go, through Accelerate.

Decided here: which tracker, what the stage is called there, what goes in, how it goes on after a resume.
Everything else, accounts and servers among it, is between the tracker and its environment variables.

What a tracker calls the stage is kept in `trackers/STAGE-IDENTITY.json` of the run's folder, and a resumed
stage goes on there.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.graph import value_to_json
from harmony_compiler.graph.node import Constructor, schema
from harmony_compiler.graph.values import Duration, Percent, Ref, Secret
from harmony_runtime.failures import RunFailed, place
from harmony_runtime.rooms import Run
from harmony_runtime.watch import Metrics


def refuse_missing(run: Run, ref: Ref) -> None:
    """All processes must ask; the main one looks.

    Raises:
        RunFailed: the package of a tracker is not installed, or says already that it cannot start.
    """
    node = run.graph.nodes[ref]
    assert isinstance(node, Algorithm)
    for name in node.trackers:
        (reason, *_) = run.context.gather([_missing(name) if run.context.is_main else None])
        if reason is not None:
            raise RunFailed(f"{place(run.graph, ref)}the tracker `{name}` {reason}", exit_code=2)


def _missing(name: str) -> str | None:
    package, try_out = _ASKED[name]
    try:
        with redirect_stdout(StringIO()):
            try_out()
    except Exception as fault:
        if isinstance(fault, ModuleNotFoundError) and fault.name == package:
            return f"needs the package {package}: pip install 'harmony-dsl[{name}]'"
        return f"cannot start: {_in_words(fault)}: mend that, or leave it out of `trackers`"
    return None


def _ask_tensorboard() -> None:
    try:
        import_module("torch.utils.tensorboard")
    except ModuleNotFoundError:
        import_module("tensorboardX")


def _ask_wandb() -> None:
    wandb = import_module("wandb")
    if os.environ.get("WANDB_MODE", "online") == "online":
        wandb.login()  # by the key that it has, or asks for


def _ask_mlflow() -> None:
    import_module("mlflow").search_experiments(max_results=1)  # is the store there?


def _ask_trackio() -> None:
    import_module("trackio")


_ASKED: Mapping[str, tuple[str, Callable[[], None]]] = {
    "tensorboard": ("tensorboardX", _ask_tensorboard),
    "wandb": ("wandb", _ask_wandb),
    "mlflow": ("mlflow", _ask_mlflow),
    "trackio": ("trackio", _ask_trackio),
}
"""The package of each, and what fails where it cannot start."""


class Trackers:
    """Those of one stage. Of several processes the main one opens them, and those of the others do nothing.

    No tracker ends a training: one that fails is closed with a warning, and the others go on.
    """

    def __init__(self, stage: str, warn: Callable[[str], None]) -> None:
        """`stage` is its name."""
        self._stage = stage
        self._warn = warn
        self._open: dict[str, Any] = {}

    def open(self, node: Algorithm, folder: Path, *, project: str, identity: str, step: int) -> None:
        """Those that `node` asks for, of a stage in the run's `folder` that has done `step` steps."""
        if node.trackers:
            config = {**_config(node), "identity": identity}
            begun = _Begun(folder, project, self._stage, step, config)
            for name in node.trackers:
                self._start(name, begun)

    def log(self, step: int, metrics: Metrics) -> None:
        """What a step measured; `step` counts from 1. A mean over nothing is left out."""
        measured = {name: number for name, number in metrics.items() if number is not None}
        for name, tracker in list(self._open.items()):
            try:
                tracker.log(measured, step=step)
            except Exception as fault:
                self._give_up(name, f"fails at step {step}", fault)

    def close(self) -> None:
        for name, tracker in list(self._open.items()):
            try:
                with redirect_stdout(StringIO()):
                    tracker.finish()
            except Exception as fault:
                self._give_up(name, "fails at the end", fault)
        self._open.clear()

    def __enter__(self) -> Trackers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, name: str, begun: _Begun) -> None:
        try:
            with redirect_stdout(StringIO()):
                self._open[name] = begun.start(name)
        except Exception as fault:
            self._give_up(name, "does not start", fault)

    def _give_up(self, name: str, what: str, fault: Exception) -> None:
        self._warn(
            f"`{self._stage}`: the tracker `{name}` {what}, and gets nothing more of this stage: "
            f"{_in_words(fault)}. The training goes on; metrics.jsonl has every step"
        )
        if (tracker := self._open.pop(name, None)) is not None:
            with suppress(Exception), redirect_stdout(StringIO()):
                tracker.finish()


@dataclass(frozen=True)
class _Begun:
    """A stage that begins or goes on, as a tracker needs to know it."""

    folder: Path
    """The run's."""
    project: str
    stage: str
    step: int
    """The last one done."""
    config: dict[str, Any]

    def start(self, name: str) -> Any:
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        known = self._known()
        called, options = self._options(name, known.get(name))
        tracker = LOGGER_TYPE_TO_CLASS[name](called, **options)
        tracker.start()
        if name not in known:
            # The others took it at their start, and mlflow would refuse to be told twice.
            if name in ("tensorboard", "mlflow"):
                tracker.store_init_configuration(self.config)
            self._keep({**known, name: self._key(name, tracker.tracker)})
        return tracker

    @property
    def _title(self) -> str:
        return f"{self.folder.name}/{self.stage}"

    def _options(self, name: str, key: str | None) -> tuple[str, dict[str, Any]]:
        """What Accelerate's tracker is made of; `key` is what it calls a stage that it knows."""
        match name:
            case "tensorboard":
                # What an earlier start wrote of later steps is cut out. The name of a file has but seconds.
                cut = {"purge_step": self.step + 1, "filename_suffix": f".{self.step}"}
                return self.stage, {"logging_dir": self.folder / "tensorboard", **cut}
            case "wandb":
                folder = os.environ.get("WANDB_DIR", str(self.folder))
                quiet = {"console": "off", "silent": True}
                options = {"name": self._title, "dir": folder, "config": self.config, "settings": quiet}
                project = os.environ.get("WANDB_PROJECT", self.project)
                return project, {**options, "id": key, "resume": "allow"}
            case "mlflow":
                return self.project, {"run_name": self._title, "run_id": key}
            case _:
                resume = "allow" if key else "never"
                return self.project, {"name": self._title, "resume": resume, "config": self.config}

    def _key(self, name: str, started: Any) -> str:
        """What a tracker that has started calls the stage."""
        match name:
            case "wandb":
                return str(started.id)
            case "mlflow":
                return str(started.info.run_id)
            case _:
                return self._title

    @property
    def _file(self) -> Path:
        return self.folder / "trackers" / f"{self.stage}-{self.config['identity']}.json"

    def _known(self) -> dict[str, str]:
        try:
            known = json.loads(self._file.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def _keep(self, known: Mapping[str, str]) -> None:
        self._file.parent.mkdir(exist_ok=True)
        self._file.write_text(json.dumps(known) + "\n", encoding="utf-8")


def _config(node: Algorithm) -> dict[str, Any]:
    """What decides the result, flat: `{"lr": 1e-5, "schedule": "cosine", "schedule.warmup": "10%"}`. A secret
    is the name of its variable."""
    return {"algorithm": node.constructor, **_fields(node)}


def _fields(made: Constructor, prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, spec in schema(type(made)).items():
        if not spec.is_semantic(made):
            continue
        match getattr(made, name):
            case None:
                pass
            case Constructor() as inner:
                flat |= {prefix + name: inner.constructor, **_fields(inner, f"{prefix}{name}.")}
            case bool() | int() | float() | str() as value:
                flat[prefix + name] = value
            case Percent() | Duration() | Secret() as value:
                flat[prefix + name] = str(value)
            case value:
                flat[prefix + name] = json.dumps(value_to_json(value))
    return flat


def _in_words(fault: Exception) -> str:
    """The first line of what a library says, which may be a page; without the password of an address."""
    line = str(fault).strip().partition("\n")[0].rstrip(".") or type(fault).__name__
    return re.sub(r"//[^/@\s]+@", "//", line)
