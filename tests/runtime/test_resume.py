"""Stopping and going on: exactly, from what a run folder keeps."""

from __future__ import annotations

import errno
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from runtime_support import (
    DATA,
    MODEL,
    SAVE,
    STAGE,
    Ref,
    Told,
    Train,
    graph_of,
    read_lines,
    same,
    sft,
    tiny,
    training,
)

from harmony_compiler.graph.outputs import Save
from harmony_runtime.disk import checkpoints
from harmony_runtime.disk.folders import seal
from harmony_runtime.failures import Interrupted, RunFailed
from harmony_runtime.processes.interrupts import Interrupts, Stop
from harmony_runtime.watch import Silent


def test_a_stopped_stage_goes_on_bit_by_bit(train: Train, tmp_path: Path) -> None:
    graph = training(samples_per_batch=3, weight_decay=0.1)
    whole = train(graph, "whole")
    with pytest.raises(Interrupted) as caught:
        train(graph, "parts", watcher=Told(stop_at=3))
    assert caught.value.exit_code == 130
    assert "a checkpoint of `tuned`" in caught.value.kept
    parts = tmp_path / "parts"
    manifest = json.loads((parts / "manifest.json").read_text())
    assert manifest["exit"] == {"code": 130, "reason": "interrupted"}
    assert not any((parts / "stages").iterdir())

    # What a crash may have left behind the checkpoint is cut off.
    with (parts / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"stage": "tuned", "step": 4, "loss": 9.9}) + '\n{"stage": "tu')
    assert train(graph, "parts", resume=True).stages[0].metrics == whole.stages[0].metrics
    assert (parts / "metrics.jsonl").read_bytes() == (tmp_path / "whole/metrics.jsonl").read_bytes()
    stage = f"stages/{whole.stages[0].identity}"
    assert same(parts / stage, tmp_path / "whole" / stage)
    assert not any((parts / "checkpoints").iterdir())
    assert len(read_lines(parts / "timings.jsonl")) == 6


def test_a_run_can_be_stopped_at_every_step(train: Train, tmp_path: Path) -> None:
    graph = training(steps=4)
    whole = train(graph, "whole")
    for step in range(1, 5):
        with pytest.raises(Interrupted):
            train(graph, "parts", watcher=Told(stop_at=step), resume=True)
    train(graph, "parts", resume=True)
    assert (tmp_path / "parts/metrics.jsonl").read_bytes() == (tmp_path / "whole/metrics.jsonl").read_bytes()
    stage = f"stages/{whole.stages[0].identity}"
    assert same(tmp_path / "parts" / stage, tmp_path / "whole" / stage)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_stop_between_steps(number: signal.Signals, code: int, train: Train, tmp_path: Path) -> None:
    class Kill(Silent):
        def step(self, name: str, step: int, *_: Any) -> None:
            if step == 2:
                os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with pytest.raises(Interrupted) as caught:
        train(training(), watcher=Kill())
    assert caught.value.exit_code == code
    assert signal.getsignal(number) is before
    assert len(read_lines(tmp_path / "out" / "metrics.jsonl")) == 2


def test_a_signal_waits_for_the_end_of_a_step_and_a_second_one_does_not() -> None:
    with Interrupts() as interrupts:
        done = []
        with interrupts.held():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("whole")
        assert done == ["whole"]
        with pytest.raises(Stop):
            interrupts.check()
        interrupts.check()
        with pytest.raises(Stop), interrupts.held():
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
            done.append("torn")
        assert done == ["whole"]


def test_a_step_that_was_torn_apart_is_not_kept(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def twice(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("harmony_runtime.algorithms.optimiser.Optimiser.update", twice)
    with pytest.raises(Interrupted, match="no finished stage and no checkpoint"):
        train(training())


def test_ctrl_c_while_the_folder_is_made(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("harmony_runtime.disk.runfolder.RunFolder.note", stopped)
        with pytest.raises(Interrupted):
            train(training())
    assert train(training(), resume=True).stages[0].steps == 6


def test_a_disk_that_is_full_from_the_start(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(path: Path, text: str, **options: Any) -> int:
        with path.open("w", **options) as file:
            file.write(text[: len(text) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", half)
        with pytest.raises(RunFailed, match="free some space, then go on with `resume`"):
            train(training())
    assert train(training(), resume=True).stages[0].steps == 6


def test_ctrl_c_while_rows_are_read(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    class Impatient(Silent):
        def run_started(self, *_: object) -> None:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="no finished stage and no checkpoint"):
        train(training(), watcher=Impatient())


def two_stages(second_lr: float) -> Any:
    nodes = training(steps=2).nodes
    second = Ref("second")
    nodes[second] = sft(model=STAGE, steps=2, lr=second_lr)
    nodes[SAVE] = Save(model=second, key="small", if_exists="overwrite")
    return graph_of(
        {
            MODEL: nodes[MODEL],
            DATA: nodes[DATA],
            STAGE: nodes[STAGE],
            second: nodes[second],
            SAVE: nodes[SAVE],
        },
        (SAVE,),
    )


def test_an_edit_to_the_second_stage_does_not_retrain_the_first(train: Train, tmp_path: Path) -> None:
    first = train(two_stages(1e-2))
    assert [stage.name for stage in first.stages] == ["tuned", "second"]
    told = Told()
    again = train(two_stages(1e-3), watcher=told, resume=True)
    assert told.started == ["second"]
    assert [stage.reused for stage in again.stages] == [True, False]
    assert again.stages[0].rows == first.stages[0].rows
    lines = read_lines(tmp_path / "out" / "metrics.jsonl")
    assert [(line["stage"], line["step"]) for line in lines] == [
        *(("tuned", 1), ("tuned", 2), ("second", 1), ("second", 2))
    ]
    # A stage that starts from a finished one does as it does in one go.
    train(two_stages(1e-3), "fresh")
    assert (tmp_path / "out/metrics.jsonl").read_bytes() == (tmp_path / "fresh/metrics.jsonl").read_bytes()


def test_stages_that_differ_in_placement_only_train_once(train: Train) -> None:
    nodes = training(steps=1).nodes
    cut, again = Ref("cut"), Ref("again")
    nodes = {**nodes, cut: tiny(max_batch_tokens=20), again: sft(model=cut, steps=1)}
    told = Told()
    summary = train(graph_of(nodes, (SAVE, again)), watcher=told)
    assert told.started == ["tuned"]
    assert [stage.reused for stage in summary.stages] == [False, True]


def test_a_finished_run_resumed_trains_nothing(train: Train) -> None:
    first = train(training())
    told = Told()
    again = train(training(), watcher=told, resume=True)
    assert told.started == []
    assert again.saved == first.saved


def test_other_versions_do_not_go_on_inside_a_stage(train: Train, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(training(), watcher=Told(stop_at=2))
    (state,) = (tmp_path / "out" / "checkpoints").glob("*/2/state.json")
    state.write_text(state.read_text().replace(torch.__version__, "1.0"))
    seal(state.parent)
    with pytest.raises(RunFailed, match=r"torch was 1\.0, is 2") as caught:
        train(training(), resume=True)
    assert caught.value.exit_code == 2


def test_a_used_folder_is_refused(train: Train, tmp_path: Path, refused: Any) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    fault = refused(training())
    assert "is not empty" in fault.message
    assert fault.exit_code == 2
    assert "not a run's" in refused(training(), resume=True).message
    (tmp_path / "file").write_text("")
    assert "is a file" in refused(training(), "file").message
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_a_tree_of_states_comes_back_as_it_was(tmp_path: Path) -> None:
    tree = {
        "step": 3,
        "name": "warm",
        "none": None,
        "list": [1.5, {"x": torch.arange(3)}, []],
        "deep": {"bf16": torch.ones(2, 2, dtype=torch.bfloat16), "flag": True},
        "turned": torch.arange(6).view(2, 3).T,
    }
    checkpoints.save(tree, tmp_path / "at")
    checkpoints.save(tree, tmp_path / "at")
    back = checkpoints.load(tmp_path / "at")
    assert torch.equal(back["list"][1].pop("x"), torch.arange(3))
    assert back["deep"]["bf16"].dtype == torch.bfloat16
    assert torch.equal(back.pop("turned"), tree["turned"])  # type: ignore[arg-type]
    del back["deep"]["bf16"]
    assert back == {"step": 3, "name": "warm", "none": None, "list": [1.5, {}, []], "deep": {"flag": True}}
    assert [path.name for path in tmp_path.iterdir()] == ["at"]


def test_the_registry_means_what_it_held_when_the_run_started(
    train: Train, refused: Any, registry: Path
) -> None:
    from harmony_compiler.graph.models import RegistryModel

    train(training(), "first")
    graph = training(RegistryModel(key="small"), save={"key": "small", "if_exists": "overwrite"})
    with pytest.raises(Interrupted):
        train(graph, watcher=Told(stop_at=2))
    train(graph, resume=True)  # overwrites what it started from
    told = Told()
    train(graph, watcher=told, resume=True)
    assert told.started == []

    with pytest.raises(Interrupted):
        train(graph, "other", watcher=Told(stop_at=2))
    train(training(seed=9, save={"if_exists": "overwrite"}), "third")
    assert "holds another model than when this run started" in refused(graph, "other", resume=True).message
