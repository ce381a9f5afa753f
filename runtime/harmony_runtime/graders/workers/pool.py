"""Worker processes for rules that may hang. No torch here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from harmony_compiler.graph import graders as nodes
from harmony_compiler.graph.graph import constructor_to_json
from harmony_runtime.cores import cores
from harmony_runtime.graders.answered import grade_of_json
from harmony_runtime.graders.kinds import TryAgain
from harmony_runtime.graders.protocol import Failure, Grade, Sample
from harmony_runtime.graders.workers.process import Ended, Process

_MAKING = 60.0
"""Seconds that a worker gets to start and to make a rule: its libraries may take a while to load."""


class Seats:
    """Places for processes: each is taken when it is first needed, and again after its process ended."""

    def __init__(self, processes: int, each: int, start: Callable[[], Awaitable[Process]]) -> None:
        """`each` process is asked so many things at the same time."""
        self._start = start
        self._seats = [_Seat() for _ in range(processes)]
        self._places = asyncio.Semaphore(processes * each)

    @asynccontextmanager
    async def one(self) -> AsyncIterator[Process]:
        """A process that has time."""
        async with self._places:
            seat = min(self._seats, key=lambda seat: (seat.taken, seat.process is None))
            seat.taken += 1
            try:
                async with seat.lock:
                    if seat.process is None or seat.process.over:
                        seat.process = None
                        seat.process = await self._start()
                yield seat.process
            finally:
                seat.taken -= 1

    @property
    def processes(self) -> list[Process]:
        """Those that run."""
        return [seat.process for seat in self._seats if seat.process is not None and not seat.process.over]

    async def close(self) -> None:
        await asyncio.gather(*(seat.process.end() for seat in self._seats if seat.process is not None))


class _Seat:
    def __init__(self) -> None:
        self.process: Process | None = None
        self.taken = 0
        self.lock = asyncio.Lock()


class Workers:
    """Processes that make rules from their nodes, and apply them; used from one event loop."""

    def __init__(self, processes: int | None = None) -> None:
        """`processes` are by default one fewer than the cores, at least 1 and at most 4; each is started when
        a question waits for it."""
        self._seats = Seats(processes or max(1, min(4, cores() - 1)), 1, Process.start)
        self._nodes: dict[int, nodes.Grader] = {}

    async def grade(self, node: nodes.Grader, sample: Sample, seconds: float) -> Grade:
        """What a rule, made from its node in a worker, says. A worker that takes longer than `seconds` is
        killed, and the grade is a `Failure`.

        Raises:
            TryAgain: the worker died.
            OSError: the system starts no process.
        """
        async with self._seats.one() as process:
            try:
                return await self._asked(process, node, sample, seconds)
            except Ended as fault:
                raise TryAgain(str(fault)) from fault

    async def close(self) -> None:
        """End all workers."""
        await self._seats.close()

    async def _asked(self, process: Process, node: nodes.Grader, sample: Sample, seconds: float) -> Grade:
        number = id(node)
        self._nodes[number] = node  # kept, so that its number stays its own
        if number not in process.made:
            made = {"make": number, "node": constructor_to_json(node)}
            told = await answered(process, made, _MAKING)
            if told is None:
                return Failure(f"a worker process was not ready within {_MAKING:g} s")
            if "made" not in told:
                return Failure(told.get("refused") or told["raised"])
            process.made.add(number)
        told = await answered(process, {"grade": number, "sample": sample_json(sample)}, seconds)
        return Failure(f"took longer than {seconds:g} s") if told is None else grade_told(told)


async def answered(
    process: Process, question: dict[str, Any], seconds: float, *, yields: bool = False
) -> dict[str, Any] | None:
    """What a process answers; None where it took too long, and was killed, or dropped the question.

    Raises:
        Ended: the process ended.
    """
    try:
        async with asyncio.timeout(seconds):
            told: dict[str, Any] = await process.ask(question, yields=yields)
            return told
    except TimeoutError:
        return None
    except (TypeError, ValueError, RecursionError) as fault:
        if "grade" in question:  # another try would end alike
            return {"grade": {"failed": f"the sample cannot be handed to a worker process: {fault}"}}
        return {"raised": f"it cannot be handed to a worker process: {fault}"}


def grade_told(told: dict[str, Any]) -> Grade:
    """The grade in an answer."""
    return Failure(told["raised"]) if "raised" in told else grade_of_json(told["grade"])


def sample_json(sample: Sample) -> dict[str, Any]:
    return {
        "completion": sample.completion,
        "prompt": sample.prompt,
        "turns": [dict(turn) for turn in sample.turns],
        "metadata": dict(sample.metadata),
        "tokens": sample.tokens,
    }
