"""Runs in processes forked from one that has torch loaded, and killed where the caller says.

A boundary is a place where a checkpoint may be kept: between two steps, and between two parts of one.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import datasets  # noqa: F401 - loaded here, it need not be in each process
import peft  # noqa: F401 - likewise
import torch
import transformers.models.qwen3.modeling_qwen3  # noqa: F401 - likewise
from torch.distributed import TCPStore

from harmony_compiler.graph.graph import Graph, Launch
from harmony_grammar import records
from harmony_runtime.algorithms.loop import Loop
from harmony_runtime.executor import run
from harmony_runtime.failures import Interrupted
from harmony_runtime.watch import Silent

torch.set_num_threads(1)  # a pool of threads does not survive a fork
gc.freeze()  # what is loaded here need not be looked through in each process

PATIENCE = 120
"""Seconds that one run may take."""


class Stuck(Exception):  # noqa: N818
    """A run did not end, or not as it should have."""


class Kill(NamedTuple):
    """How the processes of a run end: at the boundary with the number `at`, from 0, or after a time."""

    at: int | None = None
    sent: signal.Signals = signal.SIGKILL
    after: float | None = None
    """Seconds, after which all are sent SIGKILL."""

    @property
    def code(self) -> int:
        """The exit code of a process that this ended; negative is a signal."""
        return -self.sent if self.sent == signal.SIGKILL else 128 + self.sent


NEVER = Kill()


def train(graph: Graph, place: Path, kill: Kill = NEVER, *, processes: int = 1) -> bool:
    """Go on with the run in `place`, and say whether it ended by itself."""
    launched = records.replace(graph, launch=Launch(processes, 1, False))
    # Held here, as torchrun holds it: a free port that is only looked up may be another's when it is taken.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False) if processes > 1 else None
    # What is written meanwhile must not be written twice.
    sys.stdout.flush()
    pids = []
    for rank in range(processes):
        pid = os.fork()
        if pid == 0:
            if store is not None:
                _take_place(rank, processes, store.port)
            if kill.at is not None:
                _end_at(kill.at, kill.sent)
            os._exit(_run(launched, place))
        pids.append(pid)
    if kill.after is not None:
        time.sleep(kill.after)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
    codes = [_ended(pid, place) for pid in pids]
    if all(code == 0 for code in codes):
        return True
    if kill is NEVER or any(code not in (0, kill.code) for code in codes):
        raise Stuck(f"{place} ended with {codes}:\n{_said(place).read_text()}")
    return False


def boundaries(graph: Graph, place: Path) -> int:
    """How many boundaries the run has, from a whole run in `place`."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        counted: list[None] = []
        _at_boundaries(lambda: counted.append(None))
        _run(graph, place)
        os.write(writer, str(len(counted)).encode())
        os._exit(0)
    os.close(writer)
    if _ended(pid, place):
        raise Stuck(f"{place} did not end:\n{_said(place).read_text()}")
    with os.fdopen(reader) as told:
        return int(told.read())


def environment(home: Path) -> dict[str, str]:
    """That of a run by the real command, with the models in `home`, which computes as one that is forked."""
    return {**os.environ, "HARMONY_HOME": str(home), "OMP_NUM_THREADS": "1"}


def _take_place(rank: int, processes: int, port: int) -> None:
    """This process is one of several, as torchrun would start it."""
    size = str(processes)
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    os.environ |= {"ACCELERATE_USE_CPU": "true"}
    os.environ |= {"WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "RANK": str(rank), "LOCAL_RANK": str(rank)}


def _end_at(boundary: int, sent: signal.Signals) -> None:
    left = [boundary]

    def count() -> None:
        if left[0] == 0:
            os.kill(os.getpid(), sent)
        left[0] -= 1

    _at_boundaries(count)


def _said(place: Path) -> Path:
    """Where a run says why it could not go on."""
    return place.with_name(f"{place.name}.said")


def _run(graph: Graph, place: Path) -> int:
    stands = _said(place).open("a", encoding="utf-8")
    faulthandler.dump_traceback_later(PATIENCE - 10, file=stands)  # where one stands that will not end
    try:
        run(
            graph,
            place,
            watcher=Silent(),
            registry=place.parent / f"{place.name}.home" / "models",
            resume=True,
        )
    except Interrupted as stop:
        return stop.exit_code
    except BaseException:
        traceback.print_exc(file=stands)
        stands.flush()
        return 70
    return 0


def _at_boundaries(call: Callable[[], None]) -> None:
    """Let `call` be called wherever the loop might keep a checkpoint, before it does."""
    for name in ("_pause", "_go_on"):
        before = getattr(Loop, name)

        def counted(self: Loop, *given: Any, before: Callable[..., None] = before) -> None:
            call()
            before(self, *given)

        setattr(Loop, name, counted)


def _ended(pid: int, place: Path) -> int:
    """The exit code of a process, negative where a signal ended it."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    raise Stuck(f"{place} did not end within {PATIENCE} s:\n{_said(place).read_text()}")
