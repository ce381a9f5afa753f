"""Lifelines: who stands where nothing wakes it ends, too, when another process has gone; and nobody else."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harmony_runtime.failures import LostProcess

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")

GRACE, LONG = 0.2, 60.0
"""Seconds: what a process has to end by itself, and what a test waits at most."""

PROCESS = """
import json, os, sys, time
from pathlib import Path
from harmony_runtime.processes.lifelines import Lifelines

rank, size, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])

def agree(mine):
    told = folder / "place"
    if mine:
        ((port, key),) = mine
        (folder / "fresh").write_text(json.dumps([port, key.hex()]))
        (folder / "fresh").rename(told)
    while not told.exists():
        time.sleep(0.01)
    port, key = json.loads(told.read_text())
    return [(port, bytes.fromhex(key))]

lines = Lifelines(rank, agree, grace=float(sys.argv[4]))
while len(lines._open) < (size if rank == 0 else 1):  # one to each other process, and where to meet
    time.sleep(0.01)
(folder / f"{rank} is there").touch()
while not (folder / "over").exists():
    time.sleep(0.01)
lines.leave()
if rank == 0:
    time.sleep(1)
"""

RUN = """
import sys, time
from pathlib import Path
from harmony_compiler.graph.graph import Launch
from harmony_runtime.processes.context import Context
from harmony_runtime.processes.lifelines import Lifelines

Lifelines.__init__.__defaults__ = (float(sys.argv[4]),)
context = Context(Launch(2))
while len(context._lifelines._open) < 2 - context.rank:
    time.sleep(0.01)
(Path(sys.argv[3]) / f"{context.rank} is there").touch()
time.sleep(600)
"""

Start = Callable[..., list[subprocess.Popen[str]]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    processes: list[subprocess.Popen[str]] = []

    def call(*graces: float, script: str = PROCESS) -> list[subprocess.Popen[str]]:
        number = len(graces)
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        environ = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        environ |= dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), str(number))
        environ |= {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
        for rank, grace in enumerate(graces):
            command = [sys.executable, "-c", script, *map(str, (rank, number, tmp_path, grace))]
            ranked = environ | dict.fromkeys(("RANK", "LOCAL_RANK"), str(rank))
            processes.append(subprocess.Popen(command, env=ranked, stderr=subprocess.PIPE, text=True))
        end = time.monotonic() + LONG
        while not all((tmp_path / f"{rank} is there").exists() for rank in range(number)):
            assert time.monotonic() < end and all(process.poll() is None for process in processes)
            time.sleep(0.01)
        return processes

    yield call
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_process_ends_all_others(lost: int, start: Start) -> None:
    processes = start(*[GRACE] * 3)
    processes[lost].kill()
    for rank, process in enumerate(processes):
        _, said = process.communicate(timeout=LONG)
        if rank != lost:
            assert (process.returncode, said) == (2, f"{LostProcess()}\n")


def test_process_0_hands_on_at_once_what_it_heard(start: Start) -> None:
    main, lost, other = start(LONG, GRACE, GRACE)
    lost.kill()
    _, said = other.communicate(timeout=LONG)
    assert (other.returncode, said) == (2, f"{LostProcess()}\n")
    assert main.poll() is None


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_the_processes_of_a_run_have_them(lost: int, start: Start) -> None:
    processes = start(GRACE, GRACE, script=RUN)
    processes[lost].kill()
    _, said = processes[1 - lost].communicate(timeout=LONG)
    assert processes[1 - lost].returncode == 2
    assert said.endswith(f"{LostProcess()}\n")


def test_who_ends_by_itself_meanwhile_is_left_alone(start: Start, tmp_path: Path) -> None:
    processes = start(LONG, LONG)
    processes[1].kill()
    processes[1].wait()
    (tmp_path / "over").touch()
    _, said = processes[0].communicate(timeout=LONG)
    assert (processes[0].returncode, said) == (0, "")


def test_a_run_that_is_over_misses_nobody(start: Start, tmp_path: Path) -> None:
    processes = start(*[GRACE] * 3)
    (tmp_path / "over").touch()  # process 0 lives a second more, five times what it would have to end
    for process in processes:
        _, said = process.communicate(timeout=LONG)
        assert (process.returncode, said) == (0, "")


def test_a_process_that_is_stopped_has_not_gone_and_strangers_may_come_and_go(
    start: Start, tmp_path: Path
) -> None:
    processes = start(GRACE, GRACE)
    processes[1].send_signal(signal.SIGSTOP)
    port = int((tmp_path / "place").read_text().strip("[").partition(",")[0])
    for words in (b"", b"x" * 16, b"hello"):
        with socket.create_connection(("127.0.0.1", port)) as stranger:
            stranger.sendall(words)
    time.sleep(1)  # five times what it would have to end
    assert processes[0].poll() is None
    processes[1].send_signal(signal.SIGCONT)
    (tmp_path / "over").touch()
    for process in processes:
        _, said = process.communicate(timeout=LONG)
        assert (process.returncode, said) == (0, "")
