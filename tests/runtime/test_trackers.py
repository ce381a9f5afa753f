"""Where else the metrics go: what is in TensorBoard's files, and that no tracker ends a training."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from runtime_support import Told, Train, read_lines, sft, training
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c

from harmony_compiler.graph.graph import Launch
from harmony_compiler.graph.settings import Cosine
from harmony_runtime.failures import Interrupted, RunFailed
from harmony_runtime.processes.context import Context
from harmony_runtime.trackers import Trackers

IDENTITY = "0123456789abcdef0123456789abcdef"


def events(folder: Path) -> list[Event]:
    """All of a folder of TensorBoard's, its files in the order of their names."""
    found = []
    for file in sorted(folder.glob("events.out.tfevents.*")):
        data = file.read_bytes()
        while data:
            size = int.from_bytes(data[:8], "little")
            body = data[12 : 12 + size]
            assert int.from_bytes(data[12 + size : 16 + size], "little") == masked_crc32c(body)
            found.append(Event.FromString(body))
            data = data[16 + size :]
    return found


def shown(folder: Path) -> list[tuple[int, dict[str, float]]]:
    """What TensorBoard shows: a session that starts at a step cuts off what was there from that step on."""
    steps: dict[int, dict[str, float]] = {}
    for event in events(folder):
        if event.HasField("session_log"):
            steps = {step: numbers for step, numbers in steps.items() if step < event.step}
        for value in event.summary.value:
            steps.setdefault(event.step, {})[value.tag] = value.simple_value
    return sorted(steps.items())


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., Trackers]:
    Context(Launch())  # Accelerate's trackers ask which process they are in

    def call(told: Told, step: int = 0, **stage: Any) -> Trackers:
        trackers = Trackers("tuned", told.warning)
        node = sft(**({"trackers": ("tensorboard",)} | stage))
        trackers.open(node, tmp_path, project="small", identity=IDENTITY, step=step)
        return trackers

    return call


def test_the_metrics_of_each_step_are_in_the_file(opened: Callable[..., Trackers], tmp_path: Path) -> None:
    told = Told()
    with opened(told) as trackers:
        trackers.log(1, {"loss": 0.5, "rows": 4, "grade/right": None})
        trackers.log(2, {"loss": 0.25, "rows": 4, "grade/right": 1.0, "validation_loss": 0.75})
    assert shown(tmp_path / "tensorboard" / "tuned") == [
        (1, {"loss": 0.5, "rows": 4}),
        (2, {"loss": 0.25, "rows": 4, "grade/right": 1.0, "validation_loss": 0.75}),
    ]
    assert told.texts == []


def test_what_decides_the_result_goes_in_once(opened: Callable[..., Trackers], tmp_path: Path) -> None:
    for step in (0, 3):
        opened(Told(), step, schedule=Cosine(), samples_per_batch=2, log_samples=5).close()
    (config,) = (tmp_path / "tensorboard" / "tuned").glob("*/hparams.yml")
    held = yaml.safe_load(config.read_text(encoding="utf-8"))
    assert held["identity"] == IDENTITY
    assert (held["algorithm"], held["lr"], held["samples_per_batch"], held["seed"]) == ("sft", 0.01, 2, 7)
    assert (held["schedule"], held["schedule.warmup"], held["optimizer.beta1"]) == ("cosine", "10%", 0.9)
    assert held.keys().isdisjoint({"trackers", "log_samples", "checkpoint"})


def test_a_resumed_stage_goes_on_where_its_checkpoint_was(
    opened: Callable[..., Trackers], tmp_path: Path
) -> None:
    with opened(Told()) as trackers:
        for step in (1, 2, 3, 4):
            trackers.log(step, {"loss": 1 / step})
    with opened(Told(), step=2) as trackers:
        trackers.log(3, {"loss": 8.0})
    assert [step for step, _ in shown(tmp_path / "tensorboard" / "tuned")] == [1, 2, 3]
    assert shown(tmp_path / "tensorboard" / "tuned")[-1] == (3, {"loss": 8.0})


def test_a_tracker_that_fails_is_closed_with_one_warning(
    opened: Callable[..., Trackers], tmp_path: Path
) -> None:
    told = Told()
    with opened(told) as trackers:
        trackers.log(1, {"tokens": 1})
        trackers.log(2, {"tokens": 10**400})  # more than a float holds
        trackers.log(3, {"tokens": 3})
    assert shown(tmp_path / "tensorboard" / "tuned") == [(1, {"tokens": 1})]
    assert len(told.warnings) == 1
    assert told.warnings[0].startswith("`tuned`: the tracker `tensorboard` fails at step 2, ")
    assert "The training goes on" in told.warnings[0]


def test_one_that_does_not_start_leaves_the_others_alone(
    opened: Callable[..., Trackers], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trackio", None)
    told = Told()
    with opened(told, trackers=("trackio", "tensorboard")) as trackers:
        trackers.log(1, {"loss": 0.5})
    assert shown(tmp_path / "tensorboard" / "tuned") == [(1, {"loss": 0.5})]
    (warning,) = told.warnings
    assert warning.startswith("`tuned`: the tracker `trackio` does not start, ")


def test_without_a_right_to_write_there_is_a_warning(opened: Callable[..., Trackers], tmp_path: Path) -> None:
    (tmp_path / "tensorboard").write_text("a file where the folder should be")
    told = Told()
    opened(told).close()
    assert len(told.warnings) == 1


@pytest.mark.parametrize(
    ("name", "package"), [("tensorboard", "tensorboardX"), ("wandb", "wandb"), ("mlflow", "mlflow")]
)
def test_a_package_that_is_missing_is_refused(
    name: str, package: str, refused: Callable[..., RunFailed], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("tensorboard", package):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    fault = refused(training(trackers=(name,)))
    assert fault.exit_code == 2
    assert fault.message == (
        f"small.recipe:3: `tuned`: the tracker `{name}` needs the package {package}: "
        f"pip install 'harmony-dsl[{name}]'"
    )


def test_a_package_that_does_not_work_is_refused(
    refused: Callable[..., RunFailed], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "trackio.py").write_text("raise RuntimeError('http://me:key@host/x is down')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "trackio", raising=False)
    fault = refused(training(trackers=("trackio",)))
    assert fault.exit_code == 2
    assert "the tracker `trackio` cannot start: http://host/x is down: mend that" in fault.message


def test_a_run_tells_what_its_metrics_hold_once_also_when_it_was_stopped(
    train: Train, tmp_path: Path
) -> None:
    graph = training(trackers=("tensorboard",))
    with pytest.raises(Interrupted):
        train(graph, watcher=Told(stop_at=2))
    train(graph, resume=True)
    lines = read_lines(tmp_path / "out" / "metrics.jsonl")
    wanted = [
        (line["step"], {name: number for name, number in line.items() if name not in ("stage", "step")})
        for line in lines
    ]
    found = shown(tmp_path / "out" / "tensorboard" / "tuned")
    assert [step for step, _ in found] == [1, 2, 3, 4, 5, 6]
    for (_, numbers), (_, written) in zip(found, wanted, strict=True):
        assert numbers == pytest.approx(written, rel=1e-6)  # in float32


def test_nothing_is_loaded_where_nobody_asks(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("tensorboard", "tensorboardX", "wandb", "mlflow", "trackio"):
        monkeypatch.setitem(sys.modules, package, None)
    told = Told()
    train(training(steps=1), watcher=told)
    assert told.warnings == []
