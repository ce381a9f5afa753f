"""`--reuse`, `--allow-drift` and `--max-time`: runs that go on, through the command."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from dsl_support import Harmonyc, Write

from harmony_dsl import launcher
from harmony_dsl.cli.parser import seconds


def test_a_run_that_has_no_more_time(harmonyc: Harmonyc, write: Write) -> None:
    recipe = write().name
    again = f"harmonyc run {recipe} --max-time 1ms --resume"
    for step in (1, 2):  # one more each time: none comes too late to do anything
        told = harmonyc("run", recipe, "--max-time", "1ms", *["--resume"] * (step > 1))
        assert told.code == 0
        assert told.err == (
            f"harmonyc: the time that `--max-time` gave is over; {Path('runs/small-1').absolute()} keeps a "
            f"checkpoint of `adder`.\nTo go on from there: {again}\n"
        )
        assert f"stopped at step {step} of 3" in told.out
        lines = Path("runs/small-1/metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == list(range(1, step + 1))
        manifest = json.loads(Path("runs/small-1/manifest.json").read_text())
        assert manifest["exit"] == {"code": 0, "reason": "max-time"}
    told = harmonyc("run", recipe, "--resume", "--max-time=1h", "--allow-drift")
    assert told.code == 0, told.err
    assert told.out.splitlines()[-1] == f"everything is in {Path('runs/small-1').absolute()}"


def test_a_run_takes_over_what_another_has_finished(harmonyc: Harmonyc, write: Write) -> None:
    recipe = write().name
    assert harmonyc("run", recipe).code == 0
    told = harmonyc("run", recipe, "--reuse", "runs/small-1")
    assert told.code == 0, told.err
    assert f"`adder` is finished in {Path('runs/small-1').absolute()}, and its model is reused" in told.out
    assert harmonyc("run", recipe, "--reuse", "nowhere").code == 2
    assert not Path("runs/small-3").exists()


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("250ms", 0.25),
        ("30s", 30),
        ("5min", 300),
        ("2h", 7200),
        ("1d", 86400),
        ("1.5h", 5400),
        (" 1_000s", 1000),
    ],
)
def test_durations(text: str, number: float) -> None:
    assert seconds(text) == number


@pytest.mark.parametrize("text", ["2", "h", "2 h", "2hours", "0s", "-1h", "1e999s", "50%", ""])
def test_what_is_no_duration(text: str, harmonyc: Harmonyc, write: Write) -> None:
    told = harmonyc("run", write().name, f"--max-time={text}")
    assert told.code == 2
    assert f"`{text}` is not a duration above 0" in told.err


def test_the_options_reach_the_processes(
    harmonyc: Harmonyc, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []

    def launch(command: Sequence[str], *_: object) -> int:
        started.extend(command)
        return 0

    monkeypatch.setattr(launcher, "launch", launch)
    recipe = write().name
    options = ["--reuse", "runs/old", "--allow-drift", "--max-time", "2h", "--resume", "--out", "here"]
    assert harmonyc("run", recipe, "--num-processes", "2", *options).code == 0
    handed_on = started[started.index("--out") :]
    *rest, time = handed_on
    assert rest == ["--out", "here", "--resume", "--allow-drift", "--reuse=runs/old"]
    # What is left of it, written so that it can be read.
    assert 7000 < seconds(time.removeprefix("--max-time=")) <= 7200
