"""The pulse: a run in which nothing moves says what it is at, since when and where; it is not ended by it."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from threading import Event, get_ident
from types import SimpleNamespace
from typing import Any

import pytest
from graders_support import graph_of as grading
from reinforcement_support import reinforcing
from runtime_support import Told, Train, training
from test_evaluation import comparing

from harmony_compiler.graph.graders import Contains
from harmony_compiler.graph.values import Ref
from harmony_runtime.graders.making import Bench
from harmony_runtime.graders.panel import Panel
from harmony_runtime.graders.protocol import Grade, Sample, Score
from harmony_runtime.processes.pulse import Pulse, Stall
from harmony_runtime.rollout.answers import Progress

SOON, LONG = 0.1, 60.0
"""Seconds: what is a stall here, and what a test waits for at most."""


class Heard:
    """Hears of stalls, and may refuse to."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.stalls: list[Stall] = []
        self._fault = fault
        self._again = Event()

    def __call__(self, stall: Stall) -> None:
        self.stalls.append(stall)
        self._again.set()
        if self._fault:
            raise self._fault

    def wait(self) -> Stall:
        """Until there is one more."""
        assert self._again.wait(LONG), "no stall was told"
        self._again.clear()
        return self.stalls[-1]


def test_a_stall_is_told_with_what_it_is_at_and_where() -> None:
    pulse, heard = Pulse(SOON), Heard()
    with pulse.doing("training `tuned`"), pulse.doing("waiting for somebody"), pulse.watched(heard):
        while "self._again.wait" not in (stall := heard.wait()).stack:
            pass
    assert re.fullmatch(
        r"nothing has moved for \d+ s, since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d: "
        "training `tuned`, waiting for somebody",
        stall.words,
    )
    assert re.search(r"runtime/test_pulse\.py:\d+ in wait\n    assert self\._again\.wait", stall.stack)
    assert "in test_a_stall_is_told_with_what_it_is_at_and_where\n" in stall.stack
    assert stall.place in stall.stack.splitlines()[-2]


def test_what_was_done_before_is_done_again() -> None:
    pulse, heard = Pulse(SOON), Heard()
    with pulse.doing("the whole"):
        with pytest.raises(ValueError), pulse.doing("a part"):
            raise ValueError
        with pulse.watched(heard):
            assert heard.wait().words.endswith(": the whole")


class Looks:
    """Stands for the event by which a watch ends and waits: before each look something happens."""

    def __init__(self, *happenings: Callable[[], None]) -> None:
        self._happenings = iter(happenings)

    def wait(self, seconds: float) -> bool:
        happening = next(self._happenings, None)
        if happening is not None:
            happening()
        return happening is None


def test_a_stall_is_told_again_ever_later_and_a_beat_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    now, told = [0.0], list[str]()
    monkeypatch.setattr("harmony_runtime.processes.pulse.time", SimpleNamespace(monotonic=lambda: now[0]))
    pulse = Pulse(100)

    def at(seconds: float) -> Callable[[], None]:
        return lambda: now.insert(0, seconds)

    times = (0, 90, 110, 190, 210, 230, 400, 430, 870)
    looks = Looks(*map(at, times), pulse.beat, at(960), at(980))
    pulse._watch(get_ident(), lambda stall: told.append(stall.words.split()[4]), looks)  # type: ignore[arg-type]
    assert told == ["110", "230", "870", "110"]


def test_who_cannot_be_told_ends_nothing() -> None:
    pulse, heard = Pulse(SOON), Heard(OSError("disk full"))
    with pulse.watched(heard):
        heard.wait()
        heard.wait()  # the watch goes on, too


def test_after_the_watch_nothing_is_told() -> None:
    pulse, heard = Pulse(SOON), Heard()
    with pulse.watched(heard):
        heard.wait()
    told = len(heard.stalls)
    pulse.beat()
    time.sleep(4 * SOON)
    assert len(heard.stalls) == told


class Stuck(Told):
    """Does not come back from the second step before that was written to `file`."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file

    def step(self, name: str, step: int, *_: Any) -> None:
        end = time.monotonic() + LONG
        while step == 2 and not (self.file.exists() and "in step\n" in self.file.read_text()):
            assert time.monotonic() < end, "no stall was told"
            time.sleep(0.01)


def test_a_run_that_stalls_says_so_and_goes_on(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pulse.__init__, "__defaults__", (SOON,))
    file = tmp_path / "out" / "stalled.txt"
    watcher = Stuck(file)
    (stage,) = train(training(steps=3), watcher=watcher).stages
    assert stage.steps == 3
    first, *_ = watcher.warnings
    assert re.match(r"nothing has moved for .*; it stands at .+:\d+ in .+: see ", first)
    assert first.endswith(f": see {file}")
    told = file.read_text(encoding="utf-8")
    assert told.startswith("process 0 of 1: nothing has moved for ")
    assert re.search(r"runtime/test_pulse\.py:\d+ in step\n", told)


def test_a_run_that_moves_leaves_no_such_file(train: Train, tmp_path: Path) -> None:
    watcher = Told()
    train(training(steps=2), watcher=watcher)
    assert not (tmp_path / "out" / "stalled.txt").exists()
    assert not any("nothing has moved" in text for text in watcher.warnings)


@pytest.fixture
def beats(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, ...]]:
    """How often something moved, by what the process was at."""
    found: Counter[tuple[str, ...]] = Counter()
    beat = Pulse.beat

    def counted(pulse: Pulse) -> None:
        found[pulse._doing] += 1
        beat(pulse)

    monkeypatch.setattr(Pulse, "beat", counted)
    return found


def test_a_step_of_reinforcement_says_what_it_is_at(train: Train, beats: Counter[tuple[str, ...]]) -> None:
    train(reinforcing(steps=1, samples_per_mini_batch=4))
    ends: Counter[str] = Counter()
    for doing, count in beats.items():
        ends[doing[-1] if doing else ""] += count
    assert ends["drawing 8 completions"] >= 2 + 6  # one of the eight is as long as it may be
    assert ends["grading 8 completions"] == 1
    assert ends["gradients of micro-batch 1 of 1"] == 2 * (1 + 1)  # its beginning and its forward pass


def test_an_evaluation_says_whom_it_measures(train: Train, beats: Counter[tuple[str, ...]]) -> None:
    train(comparing())
    for model in ("base", "tuned"):
        measuring = [doing for doing in beats if f"measuring {model} for `report`" in doing]
        assert {doing[-1].split()[0] for doing in measuring} == {"measuring", "drawing", "grading"}


def test_grades_that_come_are_beats_and_waiting_for_one_is_none() -> None:
    class Slow:
        async def set_up(self) -> None: ...

        async def tear_down(self) -> None: ...

        async def grade(self, sample: Sample) -> Grade:
            await asyncio.sleep(0.6 if sample.completion == "slow" else 0.0)
            return Score(1.0)

    beats: list[int] = []
    progress = Progress(lambda: beats.append(len(told)), 6, lambda *numbers: told.append(numbers))
    told: list[tuple[int, ...]] = []
    node = Contains(text="a")
    with Panel(Bench(grading({"g": node})), [Ref("g")], factories={Contains: lambda *_: Slow()}) as panel:
        panel.grade([Sample("x")] * 5 + [Sample("slow")], progress.graded)
    assert len(beats) == 1  # the five at once; the looks at the sixth are none
    assert told == [(0, 5, 6)]
