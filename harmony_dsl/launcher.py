"""Several processes on this machine: starts them, hands signals on, and tells how they ended.

torchrun answers Ctrl-C by killing its workers. Here each finishes its step, and the faults of all come out as
one. Process 0 has the terminal; what the others say is kept, and told where they alone know it. Standard
input is a pipe that ends with this process, so that no worker outlives it for long: see `worker`.
"""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from harmony_dsl.cli.output import complain
from harmony_dsl.worker import AGAIN, LOST

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_LOOK = 0.05
"""Seconds between two looks at the workers."""

_LAST_LINES = 20
"""How much of a crashed worker's last words is shown."""


@dataclass(frozen=True)
class Patience:
    """Seconds that workers get to end by themselves."""

    told: float = 3
    """After process 0 has said what was wrong."""
    alone: float = 15
    """After another one has gone: whoever waits for it usually notices."""
    impatient: float = 3
    """After a second Ctrl-C."""
    terminated: float = 15
    """Between being terminated and being killed."""


def launch(
    command: Sequence[str], processes: int, again: str, logs: Path, patience: Patience = Patience()
) -> int:
    """Run `command` in so many processes, until the last has ended; gives the exit code of them all.

    What the others say goes into the folder `logs`, under their ranks.
    """
    reader, writer = os.pipe()
    workers: list[_Worker] = []
    try:
        with _signals() as received:
            place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), AGAIN: again}
            sizes = dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), str(processes))
            for rank in range(processes):
                ranks = dict.fromkeys(("RANK", "LOCAL_RANK"), str(rank))
                environ = {**os.environ, **place, **sizes, **ranks}
                workers.append(_Worker.start(rank, command, environ, reader, logs / f"{rank}.txt"))
            _see_to_the_end(workers, received, patience)
        return _tell(workers, received, again)
    finally:
        for worker in workers:
            worker.kill()
        os.close(reader)
        os.close(writer)


@dataclass
class _Worker:
    rank: int
    process: subprocess.Popen[bytes]
    log: Path
    sent: list[int] = field(default_factory=list)
    """Signals that it got from us."""

    @staticmethod
    def start(
        rank: int, command: Sequence[str], environ: Mapping[str, str], stdin: int, log: Path
    ) -> _Worker:
        # In a session of its own no Ctrl-C reaches it but ours.
        options: dict[str, Any] = {"env": environ, "stdin": stdin, "start_new_session": True}
        if rank == 0:
            return _Worker(rank, subprocess.Popen(command, **options), log)
        with log.open("wb") as said:
            process = subprocess.Popen(command, **options, stdout=subprocess.DEVNULL, stderr=said)
        return _Worker(rank, process, log)

    @property
    def code(self) -> int | None:
        """How it ended; negative is the signal that ended it; None while it lives."""
        return self.process.poll()

    @property
    def by_our_signal(self) -> bool:
        return self.code is not None and any(self.code in (-number, 128 + number) for number in self.sent)

    @property
    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace").strip() if self.log.exists() else ""

    def send(self, number: int) -> None:
        if self.code is None:
            self.sent.append(number)
            self.process.send_signal(number)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self.process.wait()


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect signals instead of dying of them."""
    received: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        received.append(number)

    before = {number: signal.signal(number, remember) for number in _SIGNALS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _see_to_the_end(workers: Sequence[_Worker], received: Sequence[int], patience: Patience) -> None:
    """Hand signals on, each once, and end whoever cannot end by itself."""
    handed_on, terminated = 0, False
    terminate_at = kill_at = math.inf
    while any(worker.code is None for worker in workers):
        now = time.monotonic()
        for number in received[handed_on:]:
            handed_on += 1
            for worker in workers:
                worker.send(number)
        if handed_on > 1:
            kill_at = min(kill_at, now + patience.impatient)
        if any(worker.code for worker in workers):
            terminate_at = min(terminate_at, now + (patience.told if workers[0].code else patience.alone))
        if now >= terminate_at and not terminated:
            terminated = True
            kill_at = min(kill_at, now + patience.terminated)
            for worker in workers:
                worker.send(signal.SIGTERM)
        if now >= kill_at:
            for worker in workers:
                worker.send(signal.SIGKILL)
        time.sleep(_LOOK)


def _tell(workers: Sequence[_Worker], received: Sequence[int], again: str) -> int:
    """Say how it ended, where process 0 has not; gives the exit code."""
    main = workers[0]
    if not main.code and (received or not any(worker.code for worker in workers)):
        return 0
    for worker in workers:
        code = worker.code or 0
        if code < 0 and -code not in worker.sent:
            complain(f"harmonyc: {_lost(worker, len(workers))}\nWhat was finished is kept: {again}")
            return 2
    if received and main.by_our_signal:
        if main.code and main.code < 0:
            complain("harmonyc: interrupted")
        return 128 + received[0]
    for worker in workers:
        if worker.code not in (0, LOST) and not worker.by_our_signal:
            if worker is not main:
                told = worker.said or f"it ended with the exit code {worker.code}"
                complain(f"harmonyc: process {worker.rank} of {len(workers)} could not go on:\n{told}")
            return worker.code or 2
    complain(f"harmonyc: the processes of this run lost one another. What was finished is kept: {again}")
    return 2


def _lost(worker: _Worker, processes: int) -> str:
    number = -(worker.code or 0)
    try:
        name = f"{signal.Signals(number).name} (signal {number})"
    except ValueError:
        name = f"signal {number}"
    cause = (
        ": usually the machine ran out of memory. Lower the model's `max_batch_tokens`, or start fewer "
        "processes"
        if number == signal.SIGKILL
        else ""
    )
    last = "".join(f"\n{line}" for line in worker.said.splitlines()[-_LAST_LINES:])
    return f"process {worker.rank} of {processes} was ended by {name}, and the run with it{cause}{last}"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
