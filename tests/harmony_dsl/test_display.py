"""What people see of a run, line by line, with a clock of our own."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from harmony_compiler.graph.graph import Graph
from harmony_dsl.cli import display as display_module
from harmony_dsl.cli.display import Display, LiveDisplay, display
from harmony_dsl.cli.progress import Mean, Stage, duration, number
from harmony_runtime.watch import StageSummary, Summary, Watcher

GRAPH = Graph(name="sums", seed=3, nodes={}, outputs=())
OUT = Path("runs/sums-1")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(display_module, "time", clock)
    monkeypatch.setattr(display_module, "Stage", lambda *told: Stage(*told, clock=clock.monotonic))
    return clock


def train(watcher: Watcher, clock: Clock, steps: int, seconds: float, until: int | None = None) -> None:
    watcher.stage_started("adder", "sft", steps, 1234)
    for step in range(1, (until or steps) + 1):
        clock.now += seconds
        watcher.step("adder", step, {"loss": 4.0 / step, "lr": 0.1}, {"tokens_per_second": 1000.0})
    if until is None:
        watcher.stage_finished("adder", steps * seconds)


def summary(**changes: Any) -> Summary:
    stage = {
        "name": "adder",
        "algorithm": "sft",
        "identity": "0",
        "steps": 100,
        "rows": {"read": 10, "kept": 8, "too_long_and_dropped": 2},
        "metrics": {},
        "seconds": 1.0,
        "reused": False,
    }
    return Summary(out=OUT, stages=(StageSummary(**(stage | changes)),), saved={}, seconds=1.0)


def test_plain_lines_of_a_quick_run(clock: Clock) -> None:
    stream = io.StringIO()
    with display(stream) as watcher:
        watcher.run_started(GRAPH, OUT)
        watcher.note("something to know")
        train(watcher, clock, steps=100, seconds=0.3)
        watcher.saved("sums", Path("models/sums"))
        watcher.finished(summary())
    lines = stream.getvalue().splitlines()
    steps = [line for line in lines if line.startswith("adder: step")]
    assert lines[:3] == [
        f"run sums, seed 3, in {OUT}",
        "note: something to know",
        "adder: sft, 1,234 trained parameters",
    ]
    assert [line.split()[2] for line in steps] == ["1", *map(str, range(11, 100, 10)), "100"]
    assert steps[0] == "adder: step 1 of 100, loss 4 (now 4), 1,000 tokens/s"
    assert steps[1].endswith("1,000 tokens/s, 27 s left")
    assert lines[-4:] == [
        "adder  sft, 100 steps in 30 s, loss 4 → 0.04",
        "adder  of 10 rows, 2 too long and dropped",
        "saved as sums: models/sums",
        f"everything is in {OUT}",
    ]


def test_plain_lines_of_a_slow_and_of_a_hasty_run(clock: Clock) -> None:
    slow, hasty = io.StringIO(), io.StringIO()
    train(Display(slow), clock, steps=1000, seconds=25)
    train(Display(hasty), clock, steps=1000, seconds=0.001)
    assert slow.getvalue().count("step") == 334
    assert hasty.getvalue().count("step") == 2


def test_a_run_that_stops_says_how_far_it_came(clock: Clock) -> None:
    stream = io.StringIO()
    with pytest.raises(KeyboardInterrupt), display(stream) as watcher:
        train(watcher, clock, steps=100, seconds=1, until=40)
        raise KeyboardInterrupt
    assert stream.getvalue().splitlines()[-1] == "adder  sft, stopped at step 40 of 100, loss 4 → 0.1"


def test_a_stage_that_was_done_before(clock: Clock) -> None:
    stream = io.StringIO()
    with display(stream) as watcher:
        watcher.finished(summary(reused=True, rows={}))
    assert stream.getvalue().splitlines()[0] == "adder  sft, done in an earlier run"


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_the_live_display(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    stream = Terminal()
    with display(stream) as watcher:
        assert isinstance(watcher, LiveDisplay)
        watcher.run_started(GRAPH, OUT)
        train(watcher, clock, steps=100, seconds=1, until=40)
        drawn = draw(watcher)
        watcher.stage_finished("adder", 40)
        after = draw(watcher)
    assert "adder  sft, 1,234 trained parameters" in drawn
    assert "  40 of 100" in drawn
    assert "loss " in drawn
    assert "1,000 tokens/s · 1 min left" in drawn
    assert max(map(len, drawn.splitlines())) <= 80
    assert "✓ adder  sft, 100 steps in 40 s, loss 4 → 0.1" in after
    assert "finishing" in after


def draw(shown: LiveDisplay) -> str:
    from rich.console import Console

    console = Console(file=io.StringIO(), width=80, force_terminal=False)
    console.print(shown._draw())
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(("term", "encoding"), [("dumb", "utf-8"), ("xterm", "ascii")])
def test_a_poor_terminal_gets_plain_lines(term: str, encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", term)
    stream = Terminal()
    stream.encoding = encoding
    with display(stream) as watcher:
        assert type(watcher) is Display


def test_a_running_mean_follows_and_is_unbiased() -> None:
    mean = Mean()
    assert mean.value is None
    mean.add(5.0)
    assert mean.value == pytest.approx(5.0)
    for _ in range(100):
        mean.add(1.0)
    assert mean.value == pytest.approx(1.0, abs=1e-3)


def test_numbers_and_durations_as_people_read_them() -> None:
    assert [number(x) for x in (4.53678, 0.00131249, 12)] == ["4.537", "0.001312", "12"]
    seconds = (0.42, 24, 59.6, 200, 3600, 7500)
    assert [duration(s) for s in seconds] == ["0.4 s", "24 s", "1 min", "3 min 20 s", "1 h", "2 h 5 min"]
