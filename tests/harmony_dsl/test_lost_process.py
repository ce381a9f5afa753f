"""A process of several that dies in mid-run: the others end soon, in words, whoever started them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dsl_support import Write
from test_launcher import one_thread, run, wait_for

__all__ = ["one_thread"]  # a fixture

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="the tests find processes as Linux shows them"),
]

SOON = 30
"""Seconds to the end of all processes: half of what is promised."""

METRICS = Path("run/metrics.jsonl")


@pytest.fixture
def recipe(write: Write, one_thread: None) -> str:
    """One that no test waits for."""
    return write(("steps = 3", "steps = 100_000")).name


def trains() -> bool:
    return METRICS.exists() and "\n" in METRICS.read_text(encoding="utf-8")


@pytest.mark.parametrize("lost", [0, 1])
def test_one_of_our_launcher_s(lost: int, recipe: str) -> None:
    process = run(recipe, "--out", "run", "--num-processes", "2")
    wait_for(trains, process)
    ranks = children(process.pid)
    began = time.monotonic()
    os.kill(ranks[lost], signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - began < SOON
    assert process.returncode == 2
    assert err.startswith(
        f"harmonyc: process {lost} of 2 was ended by SIGKILL (signal 9), and the run with it"
    )
    assert err.endswith(
        f"\nWhat was finished is kept: harmonyc run {recipe} --out run --num-processes 2 --resume\n"
    )
    assert err.count("harmonyc") == 2
    if lost == 1:  # else nobody was left to write it
        assert json.loads(Path("run/manifest.json").read_text())["exit"]["code"] == 2
    with pytest.raises(ProcessLookupError):
        os.kill(ranks[1 - lost], 0)


Bare = Callable[[str], list["subprocess.Popen[str]"]]


@pytest.fixture
def bare() -> Iterator[Bare]:
    """Start two processes of a run as others than torchrun may: they know their place, and nobody watches."""
    processes: list[subprocess.Popen[str]] = []

    def call(recipe: str) -> list[subprocess.Popen[str]]:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        environ = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        environ |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
        command = [sys.executable, "-m", "harmony_dsl", "run", recipe, "--out", "run", "--num-processes", "2"]
        for rank in ("0", "1"):
            options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
            ranks = {"RANK": rank, "LOCAL_RANK": rank}
            processes.append(subprocess.Popen(command, env=environ | ranks, **options))
        return processes

    yield call
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("lost", [0, 1])
def test_one_that_nobody_watches(lost: int, recipe: str, bare: Bare) -> None:
    processes = bare(recipe)
    wait_for(trains, processes[0])
    began = time.monotonic()
    processes[lost].kill()
    other = processes[1 - lost]
    _, err = other.communicate(timeout=60)
    assert time.monotonic() - began < SOON
    assert other.returncode == 2
    assert err.startswith("harmonyc: another process of this run ended, and this one cannot go on alone")
    assert "`--resume`" in err and err.count("\n") == 1  # one paragraph, no traceback


def children(parent: int) -> list[int]:
    """By their rank: the oldest first."""

    def found() -> Iterator[int]:
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with_name = stat.read_text().rpartition(")")[2].split()
            if int(with_name[1]) == parent:
                yield int(stat.parent.name)

    return sorted(found())
