"""Checkpoints: when they are kept, how many, and what a damaged one leads to."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from reinforcement_support import reinforcing
from runtime_support import Told, Train, read_lines, same, training

from harmony_compiler.graph.settings import Checkpoint
from harmony_compiler.graph.values import Duration, Percent
from harmony_runtime.algorithms.loop import Loop
from harmony_runtime.disk import checkpoints
from harmony_runtime.disk.background import Background
from harmony_runtime.disk.checkpoints import Position, Series
from harmony_runtime.failures import Interrupted, RunFailed
from harmony_runtime.rollout.local import LocalEngine
from harmony_runtime.watch import Silent


def places(run: Path) -> list[str]:
    """The positions of the checkpoints of the one unfinished stage."""
    (stage,) = (run / "checkpoints").iterdir()
    return sorted(place.name for place in stage.iterdir())


class Ended(Exception):  # noqa: N818
    """Stands for the loss of power."""


class Cut(Silent):
    """Ends the run after a step, as if nothing could be done any more."""

    def __init__(self, step: int) -> None:
        self._step = step

    def step(self, name: str, step: int, *_: Any) -> None:
        if step == self._step:
            raise Ended


def cut_off(train: Train, graph: Any, step: int, out: str = "out") -> None:
    with pytest.raises(Ended):
        train(graph, out, watcher=Cut(step))


@pytest.mark.parametrize(
    ("every", "kept"), [(2, ["2", "4"]), (Percent(50), ["3"]), (Percent(1), ["2", "3", "4"])], ids=str
)
def test_checkpoints_are_kept_as_the_recipe_says(
    every: Any, kept: list[str], train: Train, tmp_path: Path
) -> None:
    cut_off(train, training(checkpoint=Checkpoint(every=every)), 5)
    assert places(tmp_path / "out") == kept


def test_the_newest_are_kept(train: Train, tmp_path: Path) -> None:
    cut_off(train, training(checkpoint=Checkpoint(every=1, keep=2)), 5)
    assert places(tmp_path / "out") == ["3", "4"]


def test_by_the_clock_they_are_kept_inside_a_step_too(train: Train, tmp_path: Path) -> None:
    """After the rollout and each of the two updates of a step, where any time is long enough."""
    often = Checkpoint(every=Duration(1e-6, "s"), keep=100)
    cut_off(train, reinforcing(checkpoint=often, samples_per_mini_batch=4), 2)
    assert places(tmp_path / "out") == ["0.1", "0.2", "0.3", "1", "1.1", "1.2", "1.3"]


def test_by_the_clock_they_wait(train: Train, tmp_path: Path) -> None:
    cut_off(train, training(checkpoint=Checkpoint(every=Duration(1, "d"))), 5)
    assert not any((tmp_path / "out" / "checkpoints").iterdir())


@pytest.mark.parametrize("part", [1, 2, 3])
def test_a_run_stops_between_two_parts_of_a_step_and_goes_on(
    part: int, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = reinforcing(samples_per_mini_batch=4, steps=3, kl_beta=0.1)
    whole = train(graph, "whole")
    pause, drawn = Loop._pause, []

    def stopped(loop: Loop) -> None:
        if (loop._step, loop.inside.parts) == (1, part + 1):
            os.kill(os.getpid(), signal.SIGTERM)
        pause(loop)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_pause", stopped)
        with pytest.raises(Interrupted) as caught:
            train(graph)
    assert caught.value.exit_code == 143
    assert places(tmp_path / "out") == [f"1.{part + 1}"]
    assert len(read_lines(tmp_path / "out" / "metrics.jsonl")) == 1

    complete = LocalEngine.complete

    def counted(*given: Any, **named: Any) -> Any:
        drawn.append(named["step"])
        return complete(*given, **named)

    monkeypatch.setattr(LocalEngine, "complete", counted)
    train(graph, resume=True)
    assert drawn == [2]  # what step 2 had drawn was kept
    for name in ("metrics.jsonl", "samples.jsonl"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    stage = f"stages/{whole.stages[0].identity}"
    assert same(tmp_path / "out" / stage, tmp_path / "whole" / stage)


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-7])


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def empty(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json", "SHA256SUMS"])
@pytest.mark.parametrize("damage", [cut_short, flip, empty, Path.unlink])
def test_of_a_damaged_checkpoint_the_one_before_is_used(
    damage: Callable[[Path], None], name: str, train: Train, tmp_path: Path
) -> None:
    graph = training(steps=4, checkpoint=Checkpoint(every=1))
    whole = train(graph, "whole")
    cut_off(train, graph, 4)
    (stage,) = (tmp_path / "out" / "checkpoints").iterdir()
    damage(stage / "3" / name)
    told = Told()
    train(graph, watcher=told, resume=True)
    (warning,) = told.warnings
    assert "a checkpoint is damaged, and the one before is used, after step 2" in warning
    assert "SHA256SUMS" in warning or "`tens" in warning or name in warning
    assert (tmp_path / "out/metrics.jsonl").read_bytes() == (tmp_path / "whole/metrics.jsonl").read_bytes()
    finished = f"stages/{whole.stages[0].identity}"
    assert same(tmp_path / "out" / finished, tmp_path / "whole" / finished)


def test_where_no_checkpoint_is_whole_the_run_says_so(train: Train, tmp_path: Path) -> None:
    graph = training(steps=4, checkpoint=Checkpoint(every=1, keep=2))
    cut_off(train, graph, 4)
    (stage,) = (tmp_path / "out" / "checkpoints").iterdir()
    for place in stage.iterdir():
        flip(place / "tensors.safetensors")
    with pytest.raises(
        RunFailed, match=r"no checkpoint is whole: .*3: `tensors.safetensors` has .*2: "
    ) as caught:
        train(graph, resume=True)
    assert caught.value.exit_code == 2
    assert places(tmp_path / "out") == ["2", "3"]
    shutil.rmtree(stage)
    train(graph, resume=True)


def test_lines_that_somebody_removed_are_told(train: Train, tmp_path: Path) -> None:
    graph = training(steps=4, checkpoint=Checkpoint(every=1))
    cut_off(train, graph, 3)
    lines = tmp_path / "out" / "metrics.jsonl"
    lines.write_text("".join(lines.read_text().splitlines(keepends=True)[:1]))
    told = Told()
    train(graph, watcher=told, resume=True)
    assert any("metrics.jsonl has" in text and "are missing" in text for text in told.warnings)
    assert [line["step"] for line in read_lines(lines)] == [1, 3, 4]


def test_a_checkpoint_that_cannot_be_written_ends_the_run(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = training(steps=6, checkpoint=Checkpoint(every=1))
    save, written = checkpoints.save, []

    def full(tree: Any, folder: Path) -> None:
        if written:
            raise OSError(28, "No space left on device", str(folder))
        written.append(folder)
        save(tree, folder)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save", full)
        with pytest.raises(RunFailed, match="while writing a checkpoint: No space left") as caught:
            train(graph)
    assert caught.value.exit_code == 2
    assert places(tmp_path / "out") == ["1"]
    assert train(graph, resume=True).stages[0].steps == 6


def test_a_checkpoint_is_what_it_was_when_it_was_asked_for(tmp_path: Path) -> None:
    """The training changes its tensors while a checkpoint is on its way to the disk."""
    tensor = torch.zeros(1000)
    background = Background()
    series = Series(tmp_path / "stage", 2, background)
    for step in range(1, 4):
        tensor.fill_(step)
        series.save(Position(step), {"tensor": tensor, "at": [step, 0]})
        tensor.fill_(-1)
    background.wait()
    tree, damaged = series.newest()
    assert tree is not None
    assert (tree["tensor"] == 3).all()
    assert not damaged
    assert sorted(place.name for place in (tmp_path / "stage").iterdir()) == ["2", "3"]


def test_positions_are_names_in_order() -> None:
    ordered = [Position(2), Position(9, 3), Position(10), Position(10, 2), Position(10, 10)]
    assert sorted(ordered, reverse=True)[::-1] == ordered
    assert [Position.of(str(at)) for at in ordered] == ordered
    assert [Position.of(name) for name in ("", "1.2.3", ".unfinished-1", "1.x", "-1")] == [None] * 5
