"""`python`: people's own graders, asked in worker processes. No torch here.

The file is imported in the worker, which can be ended when a sample takes too long; no sandbox is around it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harmony_compiler.graph import graders as nodes
from harmony_compiler.graph.values import Duration
from harmony_runtime.failures import RunFailed
from harmony_runtime.graders.answered import grade_of_json
from harmony_runtime.graders.kinds import Asked, TryAgain
from harmony_runtime.graders.making import Bench
from harmony_runtime.graders.protocol import Failure, Grade, Sample
from harmony_runtime.graders.workers.pool import Seats, answered, sample_json
from harmony_runtime.graders.workers.process import Ended, Process

_MAKING = 300.0
"""Seconds that a file gets to be imported, and a `set_up`: it may load a model."""
_TEARING_DOWN = 30.0
"""Seconds that a `tear_down` gets."""
_AT_THE_SAME_TIME = 16
"""Samples that an async grader is asked about at the same time, where the recipe does not say."""


class PythonGrader(Asked):
    """A function takes one sample at a time in each of `concurrency` processes; a batched one, and what is
    async, takes `concurrency` samples at the same time in one process."""

    usual_concurrency = 1_000_000
    """What the processes take decides."""
    keeps_time = True

    def __init__(self, node: nodes.PythonGrader, bench: Bench) -> None:
        self._node = node
        self._timeout = node.timeout or Duration(self.usual_timeout, "s")
        self._file, _, self._name = node.function.rpartition(":")
        self._what = f"`{self._name}` of `{Path(self._file).name}`"
        self._waits = self._yields = False
        self._first: Process | None = None
        self._seats: Seats | None = None
        self._alone = Seats(1, 1, self._ready)
        self.keeps = node.cache

    async def check(self, rows: Sequence[Mapping[str, Any]]) -> None:
        process, about = await self._made()
        await process.end()
        if about["schema"]:
            from harmony_runtime.graders.row_schemas import check_rows  # most graders leave metadata untyped

            check_rows(rows, about["schema"], f"{self._what}: the type of `metadata`", self._what)

    async def set_up(self) -> None:
        self._first, about = await self._made()
        await self._set_up(self._first)
        self._waits, batch = about["waits"], about["batch"]
        self._yields = self._waits and batch is None
        # While a batch is computed, the next one gathers.
        together = self._node.concurrency or (2 * batch if batch else _AT_THE_SAME_TIME)
        in_one = self._waits or batch is not None
        processes, each = (1, together) if in_one else (self._node.concurrency or 1, 1)
        self._seats = Seats(processes, each, self._ready)

    async def grade(self, sample: Sample) -> Grade:
        assert self._seats is not None, "set up first"
        try:
            told = await self._told({"grade": 0, "sample": sample_json(sample)}, self._seats)
        except (RunFailed, Ended) as fault:
            raise TryAgain(str(fault)) from fault
        if told is None and not self._waits:  # it would compute as long again
            return Failure(f"took longer than {self._timeout}")
        if told is None or "raised" in told:
            raise TryAgain(told["raised"] if told else f"took longer than {self._timeout}")
        return grade_of_json(told["grade"])

    async def tear_down(self) -> None:
        seats = [self._alone] + ([self._seats] if self._seats else [])
        running = [process for seat in seats for process in seat.processes]
        running += [self._first] if self._first and not self._first.over else []
        try:
            said = await asyncio.gather(*(self._torn_down(process) for process in running))
        finally:
            await asyncio.gather(*(process.end() for process in running))
        if faults := [fault for fault in said if fault]:
            raise RunFailed(faults[0])

    async def _told(self, question: dict[str, Any], seats: Seats) -> dict[str, Any] | None:
        """What a process answers; None where it took too long. Where a process ended that was asked about
        several samples, any of them may be the cause: each is asked about again, alone."""
        async with seats.one() as process:
            try:
                return await answered(process, question, self._timeout.seconds, yields=self._yields)
            except Ended as fault:
                if fault.alone or seats is self._alone:
                    raise
        return await self._told(question, self._alone)

    # --- processes --------------------------------------------------------------------------------------

    async def _ready(self) -> Process:
        """A process that can be asked: the first, or another one where that has its place or ended.

        Raises:
            RunFailed: see `set_up`.
        """
        if self._first is not None and not self._first.over:
            process, self._first = self._first, None
            return process
        process, _ = await self._made()
        await self._set_up(process)
        return process

    async def _made(self) -> tuple[Process, dict[str, Any]]:
        """A process that has imported the file, and what it says about the grader.

        Raises:
            RunFailed: the file cannot be imported, or holds no such grader.
        """
        process = await Process.start()
        question = {"make": 0, "file": self._file, "name": self._name}
        told = await self._in_words(process, question, _MAKING, f"importing `{Path(self._file).name}`")
        if "made" not in told:
            await process.end()
            raise RunFailed(told.get("refused") or told["raised"])
        return process, told["made"]

    async def _set_up(self, process: Process) -> None:
        told = await self._in_words(process, {"set_up": 0}, _MAKING, f"`set_up` of {self._what}")
        if "raised" in told:
            also = await self._torn_down(process)
            await process.end()
            faults = [f"`set_up` of {self._what} failed: {told['raised']}", also]
            raise RunFailed(*filter(None, faults))

    async def _torn_down(self, process: Process) -> str:
        """What went wrong, or an empty text."""
        what = f"`tear_down` of {self._what}"
        try:
            told = await self._in_words(process, {"tear_down": 0}, _TEARING_DOWN, what)
        except RunFailed as fault:
            return str(fault)
        return f"{what} failed: {told['raised']}" if "raised" in told else ""

    async def _in_words(
        self, process: Process, question: dict[str, Any], seconds: float, doing: str
    ) -> dict[str, Any]:
        """What the process answers.

        Raises:
            RunFailed: it ended, or took too long.
        """
        try:
            told = await answered(process, question, seconds)
        except Ended as fault:
            raise RunFailed(f"{doing} failed: {fault}") from fault
        if told is None:
            raise RunFailed(f"{doing} took longer than {seconds:g} s{process.last_words}")
        return told
