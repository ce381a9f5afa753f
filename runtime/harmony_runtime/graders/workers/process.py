"""One worker process: it is asked in lines of JSON, and each line is answered by one. No torch here.

The process has a session of its own, and ends with this one, whatever happens to either. What it writes is
read all the time, and only the end of it is kept.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from itertools import count
from typing import Any

LONGEST = 64 * 2**20
"""Bytes of a question or an answer."""
_LAST_WORDS = 2000
"""Bytes of what a process wrote that are kept."""
_DROPPING = 1.0
"""Seconds that a process gets to drop a question."""
_LEFT = 1.0
"""Seconds that the last lines of a process get to arrive when it has ended."""
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class Ended(Exception):  # noqa: N818 - it names what happened
    """The process ended before it answered."""

    def __init__(self, reason: str, alone: bool) -> None:
        super().__init__(reason)
        self.alone = alone
        """Whether it was asked nothing else, so that this was the cause."""


class Process(asyncio.SubprocessProtocol):
    """A worker process; belongs to the event loop that started it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._numbers = count()
        self._answered, self._written = b"", b""
        self._over: str | None = None
        self._killed = False
        self._gone = asyncio.Event()
        self._dropping: set[asyncio.Task[None]] = set()
        self.made: set[int] = set()
        """The numbers of the graders that it has made."""

    @staticmethod
    async def start() -> Process:
        """Start a process.

        Raises:
            OSError: the system starts none.
        """
        _, process = await asyncio.get_running_loop().subprocess_exec(
            Process,
            *(sys.executable, "-uP", "-m", "harmony_runtime.graders.workers.serve", str(os.getpid())),
            start_new_session=True,
            env=os.environ | dict.fromkeys(_THREADS, "1"),
        )
        return process

    @property
    def pid(self) -> int:
        return self._transport.get_pid()

    @property
    def over(self) -> bool:
        """Whether it ended, or is about to."""
        return self._killed or self._over is not None

    @property
    def last_words(self) -> str:
        """The last line that it wrote, in parentheses, or nothing."""
        lines = self._written.decode(errors="replace").strip().splitlines()
        return f" (it last wrote: {lines[-1].strip()[-200:]})" if lines else ""

    async def ask(self, question: Mapping[str, Any], *, yields: bool = False) -> Any:
        """What the process answers. Who is cancelled while waiting leaves nothing behind: the process is
        killed, or, where it `yields`, drops the question.

        Raises:
            Ended: nothing, it is over.
            TypeError, ValueError, RecursionError: the question is no JSON, or too long.
        """
        number = next(self._numbers)
        line = json.dumps({"id": number, **question}).encode() + b"\n"
        if len(line) > LONGEST:
            raise ValueError(
                f"the sample has {len(line):,} bytes, more than the {LONGEST:,} that a worker takes"
            )
        if self.over:
            raise Ended(self._over or "the worker process was ended", alone=False)
        answer = self._asked[number] = self._loop.create_future()
        pipe = self._transport.get_pipe_transport(0)
        assert isinstance(pipe, asyncio.WriteTransport)
        pipe.write(line)  # where it is ending, `answer` tells it
        try:
            return await answer
        except asyncio.CancelledError:
            self._give_up(number, yields)
            raise
        finally:
            self._asked.pop(number, None)

    def _give_up(self, number: int, yields: bool) -> None:
        if not yields:
            self.kill()
        elif not self.over:
            task = asyncio.create_task(self._dropped(number))
            self._dropping.add(task)
            task.add_done_callback(self._dropping.discard)

    async def _dropped(self, number: int) -> None:
        with suppress(Ended, TimeoutError):  # too late, `ask` has killed it
            await asyncio.wait_for(self.ask({"cancel": number}), _DROPPING)

    def kill(self) -> None:
        """End it, with all processes that it started."""
        self._killed = True
        self._kill_all()

    async def end(self) -> None:
        """Kill it, and wait until it is gone."""
        self.kill()
        await self._gone.wait()

    def _kill_all(self) -> None:
        if self._over is None:
            with suppress(ProcessLookupError, PermissionError):  # nobody is left
                os.killpg(self.pid, signal.SIGKILL)

    # --- what the event loop calls ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.SubprocessTransport)
        self._transport = transport

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 2:
            self._written = (self._written + data)[-_LAST_WORDS:]
            return
        *lines, self._answered = (self._answered + data).split(b"\n")
        for line in lines:
            told = json.loads(line)
            answer = self._asked.get(told.pop("id"))
            if answer is not None and not answer.done():
                answer.set_result(told)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == 1:
            self._kill_all()

    def process_exited(self) -> None:
        # What it started in a session of its own may live on, and hold its pipes.
        self._kill_all()
        self._loop.call_later(_LEFT, self.connection_lost, None)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over: tell everybody who asked."""
        if self._over is not None:
            return
        self._over = f"the worker process {_ending(self._transport.get_returncode())}{self.last_words}"
        self._transport.close()
        alone = len(self._asked) == 1 and not self._killed
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(Ended(self._over, alone))
                answer.exception()  # who asked may have gone
        self._gone.set()


def _signal_name(number: int) -> str:
    """`SIGKILL`; one that has no name is told by its number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _ending(code: int | None) -> str:
    if code is None or code >= 0:
        return f"ended itself with exit code {code}"
    name = _signal_name(-code)
    memory = ": the machine may be short of memory" if name == "SIGKILL" else ""
    return f"was ended by {name}{memory}"
