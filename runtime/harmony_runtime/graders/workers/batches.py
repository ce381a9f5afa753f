"""Batches: samples that wait go to a batched function together. No torch here."""

from __future__ import annotations

import asyncio

from harmony_runtime.graders.functions import FunctionGrader
from harmony_runtime.graders.protocol import Grade, Grader, Sample
from harmony_runtime.graders.workers.threads import MainThread

_GATHERING = 0.002
"""Seconds in which samples arrive that were handed over together."""


class Batches(Grader):
    """A batched function, asked about one sample at a time: while it computes, the next batch gathers."""

    def __init__(self, grader: FunctionGrader, main_thread: MainThread) -> None:
        self._grader = grader
        self._main_thread = main_thread
        self._waiting: list[tuple[Sample, asyncio.Future[Grade]]] = []
        self._work: asyncio.Task[None] | None = None

    async def grade(self, sample: Sample) -> Grade:
        answer: asyncio.Future[Grade] = asyncio.get_running_loop().create_future()
        self._waiting.append((sample, answer))
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._all())
        return await answer

    async def _all(self) -> None:
        size = self._grader.batch or 1
        while self._waiting:
            if len(self._waiting) < size:
                await asyncio.sleep(_GATHERING)
            batch, self._waiting = self._waiting[:size], self._waiting[size:]
            try:
                grades = await self._grader.grade_all([s for s, _ in batch], self._main_thread.run)
            except BaseException as fault:  # whatever the function raises is the failure of its batch
                for _, answer in batch:
                    answer.set_exception(fault)
            else:
                for (_, answer), grade in zip(batch, grades, strict=True):
                    answer.set_result(grade)
