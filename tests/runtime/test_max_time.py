"""A run whose time is over stops as a signal stops it, and goes on in the same bits."""

from __future__ import annotations

import json
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from runtime_support import Told, Train, same, training
from test_drift import two_stages

from harmony_runtime import executor
from harmony_runtime.failures import Interrupted
from harmony_runtime.processes.context import Context
from harmony_runtime.processes.interrupts import SIGNALS, Interrupts, Stop


class Slow(Told):
    """To whom a step takes a second, and the end of a stage another."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def step(self, *_: Any) -> None:
        self.now += 1

    def stage_finished(self, *_: Any) -> None:
        self.now += 1


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    told = Slow()
    monkeypatch.setattr(executor, "Interrupts", partial(Interrupts, clock=lambda: told.now))
    return told


def test_the_run_stops_after_the_step_in_which_the_time_is_over(
    train: Train, tmp_path: Path, slow: Slow
) -> None:
    whole = train(training(), "whole")
    for seconds, done in ((2.5, 3), (2, 5)):
        with pytest.raises(Interrupted) as caught:
            train(training(), watcher=slow, resume=True, max_time=seconds)
        assert (caught.value.exit_code, caught.value.reason) == (0, "max-time")
        assert "a checkpoint of `tuned`" in caught.value.kept
        assert len((tmp_path / "out/metrics.jsonl").read_text().splitlines()) == done
        manifest = json.loads((tmp_path / "out/manifest.json").read_text())
        assert manifest["exit"] == {"code": 0, "reason": "max-time"}
    train(training(), watcher=slow, resume=True, max_time=3)
    stage = f"stages/{whole.stages[0].identity}"
    assert same(tmp_path / "out" / stage, tmp_path / "whole" / stage)


def test_the_run_stops_between_two_stages(train: Train, tmp_path: Path, slow: Slow) -> None:
    with pytest.raises(Interrupted) as caught:
        train(two_stages(), watcher=slow, max_time=3)  # the steps take two, the end of the stage one
    assert "keeps 1 finished stage" in caught.value.kept
    assert slow.started == ["tuned"]
    train(two_stages(), watcher=slow, resume=True)
    assert slow.started == ["tuned", "later"]


def test_a_signal_after_the_time_counts_as_the_first() -> None:
    with Interrupts(1, clock=iter([0.0, 1.0, 2.0]).__next__) as interrupts, interrupts.held():
        assert interrupts.asked()
        os.kill(os.getpid(), signal.SIGINT)  # raises nothing: a checkpoint may be on its way
        assert interrupts.stop().exit_code == 130


class Others:
    """Several processes, as one of them sees them."""

    world_size = 2

    def __init__(self, *, is_main: bool, theirs: int | None) -> None:
        self.is_main = is_main
        self.theirs = theirs
        self.told: list[list[float]] = []

    def sum(self, values: list[float]) -> list[float]:
        self.told.append(values)
        reasons = (*SIGNALS, 0)
        return [value + (reason == self.theirs) for value, reason in zip(values, reasons, strict=True)]


@pytest.mark.parametrize(("theirs", "code"), [(0, 0), (signal.SIGTERM, 143), (None, None)])
def test_of_several_processes_the_main_one_has_the_clock(theirs: int | None, code: int | None) -> None:
    others = Others(is_main=False, theirs=theirs)
    interrupts = Interrupts(1, clock=iter([0.0, 9.0, 9.0]).__next__)
    interrupts.join(cast(Context, others))
    if code is None:
        interrupts.check()
    else:
        with pytest.raises(Stop) as caught:
            interrupts.check()
        assert caught.value.exit_code == code
    assert others.told == [[0, 0, 0]]

    main = Others(is_main=True, theirs=None)
    interrupts = Interrupts(1, clock=iter([0.0, 0.5, 1.0]).__next__)
    interrupts.join(cast(Context, main))
    interrupts.check()
    with pytest.raises(Stop):
        interrupts.check()
    assert main.told == [[0, 0, 0], [0, 0, 1]]
