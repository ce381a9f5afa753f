"""What people see of a run, line by line, with a clock of our own."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from harmony_compiler.graph.graph import Graph
from harmony_dsl.cli import display as display_module
from harmony_dsl.cli.display import Display, LiveDisplay, display
from harmony_dsl.cli.progress import Mean, Stage, duration, fold, number, score, shorten, spent
from harmony_runtime.watch import Measured, StageSummary, Summary, Watcher

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
    return Summary(
        out=OUT, stages=(StageSummary(**(stage | changes)),), saved={}, evaluations={}, seconds=1.0
    )


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


def reinforce(watcher: Watcher, clock: Clock, steps: int = 100, until: int | None = None) -> None:
    """A stage whose reward and first part rise, and whose last part never applies."""
    watcher.stage_started("tuned", "grpo", steps, 204_000)
    for step in range(1, (until or steps) + 1):
        clock.now += 0.36
        metrics: dict[str, Any] = {
            "loss": 0.01,
            "reward": 0.8 + step / 100,
            "reward_std": 0.3,
            "grade/exact": step / 100,
            "grade/close": 0.8,
            "grade/1 - words(completion) / 200": None,
            "lr": 0.1,
        }
        watcher.step("tuned", step, metrics, {"tokens_per_second": 9e4, "completions_per_second": 1400.0})
    if until is None:
        watcher.stage_finished("tuned", 90.0)


def evaluate(watcher: Watcher, clock: Clock, models: int = 3) -> Mapping[str, Mapping[str, Measured]]:
    scores = {
        model: {"exact": all_scored(exact), "close": all_scored(close)}
        for model, exact, close in (("base", 0.004, 0.2123), ("warm", 0.5, 0.81), ("tuned", 0.9115, 1.0))
    }
    watcher.evaluation_started("report", list(scores), 500)
    for model, graders in list(scores.items())[:models]:
        clock.now += 12
        watcher.evaluated("report", model, graders, 12.0)
    return scores


def all_scored(mean: float) -> Measured:
    return Measured(mean, 500, 0, 0)


TABLE = [
    "report: mean scores on 500 rows",
    "         exact  close",
    "  base   0.004  0.212",
    "  warm   0.500  0.810",
    "  tuned  0.911  1.000",
]


def test_plain_lines_of_reinforcement_and_evaluation(clock: Clock) -> None:
    stream = io.StringIO()
    with display(stream) as watcher:
        reinforce(watcher, clock)
        evaluate(watcher, clock)
        watcher.saved("sorter", Path("models/sorter"))
        watcher.finished(summary(rows={}))
    lines = stream.getvalue().splitlines()
    assert lines[0] == "tuned: grpo, 204,000 trained parameters"
    assert lines[1] == (
        "tuned: step 1 of 100, reward 0.81 (now 0.81), exact 0.01, close 0.80, "
        "1 - words(completion) / 200 –, 1,400 completions/s"
    )
    assert lines[2] == (
        "tuned: step 11 of 100, reward 0.87 (now 0.91), exact 0.07, close 0.80, "
        "1 - words(completion) / 200 –, 1,400 completions/s, 32 s left"
    )
    assert lines[-12:] == [
        "report: 3 models on 500 rows",
        "report: 1 of 3 models, base in 12 s",
        "report: 2 of 3 models, warm in 12 s",
        "report: 3 of 3 models, tuned in 12 s",
        "tuned  grpo, 100 steps in 1 min 30 s, reward 0.81 → 1.80",
        *TABLE,
        "saved as sorter: models/sorter",
        f"everything is in {OUT}",
    ]


def test_a_stage_without_any_reward_says_so(clock: Clock) -> None:
    stream = io.StringIO()
    with display(stream) as watcher:
        watcher.stage_started("tuned", "grpo", 1, 10)
        nothing: dict[str, Any] = {"loss": 0.0, "reward": None, "grade/exact": None}
        watcher.step("tuned", 1, nothing, {"completions_per_second": 0.84})
        watcher.stage_finished("tuned", 1.0)
    assert stream.getvalue().splitlines()[1:] == [
        "tuned: step 1 of 1, reward – (now –), exact –, 0.8 completions/s",
        "tuned  grpo, 1 step in 1 s, reward – → –",
    ]


def test_an_evaluation_that_stops_shows_what_it_has(clock: Clock) -> None:
    stream = io.StringIO()
    with pytest.raises(KeyboardInterrupt), display(stream) as watcher:
        evaluate(watcher, clock, models=2)
        raise KeyboardInterrupt
    assert stream.getvalue().splitlines()[-4:] == [
        "report: stopped at 2 of 3 models, mean scores on 500 rows",
        "        exact  close",
        "  base  0.004  0.212",
        "  warm  0.500  0.810",
    ]
    stream = io.StringIO()
    with pytest.raises(KeyboardInterrupt), display(stream) as watcher:
        evaluate(watcher, clock, models=0)
        raise KeyboardInterrupt
    assert stream.getvalue().splitlines()[-1] == "report: stopped at 0 of 3 models"


def test_an_evaluation_of_an_earlier_run_is_shown_too(clock: Clock) -> None:
    scores = evaluate(Display(io.StringIO()), clock)
    stream = io.StringIO()
    with display(stream) as watcher:
        watcher.finished(Summary(OUT, (), {}, {"report": scores}, 1.0))
    assert stream.getvalue().splitlines() == [
        "report: mean scores",
        *TABLE[1:],
        f"everything is in {OUT}",
    ]


def test_a_note_and_a_warning_appear_once() -> None:
    stream = io.StringIO()
    with display(stream) as watcher:
        for _ in range(2):
            watcher.note("something to know")
            watcher.warning("something to mend")
        watcher.warning("something else")
    assert stream.getvalue().splitlines() == [
        "note: something to know",
        "warning: something to mend",
        "warning: something else",
    ]


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


def test_the_live_display_of_reinforcement(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    with display(stream) as watcher:
        assert isinstance(watcher, LiveDisplay)
        reinforce(watcher, clock, until=40)
        training = draw(watcher).splitlines()
        watcher.answering(40, 28, 64)
        answering = draw(watcher).splitlines()
        watcher.answering(0, 0, 64)
        watcher._console.width = 40
        narrow = draw(watcher, 40).splitlines()
        watcher._console.width = 80
        watcher.stage_finished("tuned", 90)
        evaluate(watcher, clock, models=2)
        clock.now += 5
        measuring = draw(watcher).splitlines()
        watcher.evaluated("report", "tuned", {"exact": all_scored(1.0), "close": all_scored(1.0)}, 8.0)
        after = draw(watcher).splitlines()
    assert training == [
        "tuned  grpo, 204,000 trained parameters",
        f"{'━' * 26 + '╸':67}  40 of 100",
        "reward 1.12 (now 1.20) · 1,400 completions/s · 22 s left",
        "exact 0.32 · close 0.80 · 1 - words(completion) / 200 –",
    ]
    assert answering == [*training, "40 of 64 completions drawn, 28 graded"]
    assert narrow == [
        "tuned  grpo, 204,000 trained parameters",
        f"{'━' * 10 + '╸':27}  40 of 100",
        "reward 1.12 (now 1.20)",
        "1,400 completions/s · 22 s left",
        "exact 0.32 · close 0.80",
        "1 - words(completion) / 200 –",
        "0 of 64 completions drawn, 0 graded",
    ]
    told = "✓ tuned  grpo, 100 steps in 1 min 30 s, reward 0.81 → 1.20"
    assert measuring == [told, "report  2 of 3 models on 500 rows … 29 s"]
    assert after == [told, "✓ report  3 models on 500 rows in 32 s", "finishing … 43 s"]
    assert stream.getvalue().splitlines()[-4:] == [
        "         exact  close",
        "  base   0.004  0.212",
        "  warm   0.500  0.810",
        "  tuned  1.000  1.000",
    ]


def draw(shown: LiveDisplay, width: int = 80) -> str:
    from rich.console import Console

    console = Console(file=io.StringIO(), width=width, force_terminal=False)
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


def test_scores_and_names_as_people_read_them() -> None:
    scores = (0.0, 0.004, -0.004, 0.62, 1.0, 1234.5, None)
    assert [score(x) for x in scores] == ["0.00", "0.004", "-0.004", "0.62", "1.00", "1,234.50", "–"]
    assert [score(x, decimals=3) for x in (0.0004, 0.9115)] == ["0.0004", "0.911"]
    name = "1 - words(completion)\n  / 200"
    assert shorten(name, 80) == "1 - words(completion) / 200"
    assert [shorten(name, width) for width in (13, 12)] == ["1 - wo… / 200", "1 - wo…/ 200"]


def test_what_was_spent_is_told_by_grader() -> None:
    costs = {
        "clear": {"grades": 640, "known": 12, "tries": 660, "tokens": 41_200, "budgeted_tokens": 42_000},
        "served": {"grades": 1, "known": 0, "tries": 1, "tokens": 0, "budgeted_tokens": 0},
    }
    assert spent(costs) == [
        "clear: 640 grades, 12 known before; 660 tries, 41,200 tokens",
        "served: 1 grade; 1 try",
    ]


def test_lines_end_between_items() -> None:
    assert fold(["one", "two", "three"], 9) == ["one · two", "three"]
    assert fold(["one", "two"], 8) == ["one", "two"]
    assert fold(["longer than that"], 3) == ["longer than that"]
    assert fold([], 3) == []


def test_rows_of_a_large_dataset_move_on(clock: Clock) -> None:
    out = io.StringIO()
    shown = Display(out)
    for done in range(0, 100_001, 10_000):
        clock.now += 4
        shown.tokenised("sums", done, 100_000)
    assert out.getvalue().splitlines() == [
        "sums: 30,000 of 100,000 rows in tokens",
        "sums: 60,000 of 100,000 rows in tokens",
        "sums: 90,000 of 100,000 rows in tokens",
    ]
