"""Bounds: how one grader is asked, so that it can neither hang a run nor flood a server. No torch here.

So many samples at the same time, each try within its time, another one where it may help, and none where the
answer is known. All of it happens in the graders' event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from harmony_compiler.graph import graders as nodes
from harmony_compiler.graph.identity import digest
from harmony_compiler.graph.values import Duration
from harmony_runtime.graders.answered import grade_of
from harmony_runtime.graders.hosting import Outcome
from harmony_runtime.graders.kept import Kept
from harmony_runtime.graders.kinds import Asked, Priced
from harmony_runtime.graders.protocol import Failure, Grade, Grader, Sample
from harmony_runtime.graders.tries import Tries


@dataclass(frozen=True)
class Cost:
    """What a grade took."""

    seconds: float
    """From the question to the grade, tries and waiting for a free place included."""
    tries: int = 1
    """0 where the grade was known."""
    tokens: int = 0
    """Of questions and answers, of all tries but those that ran out of time; those of a grade that was known
    are told, too."""


@dataclass(frozen=True)
class Answered:
    grade: Grade
    cost: Cost


class Bounds:
    def __init__(self, grader: Grader, node: nodes.Grader, key: str = "", kept: Kept | None = None) -> None:
        """`key` stands for what the node asks, in `kept`, where grades are looked up and kept."""
        usual = type(grader) if isinstance(grader, Asked) else Asked
        self._grader = grader
        timeout = None if usual.keeps_time else node.timeout or Duration(usual.usual_timeout, "s")
        self._tries = Tries(node.concurrency or usual.usual_concurrency, timeout, node.retries)
        self._key = key
        self._kept = kept if key and isinstance(grader, Asked) and grader.keeps else None
        self._asking: dict[str, asyncio.Task[Outcome]] = {}

    async def ask(self, sample: Sample) -> Outcome:
        """An `Answered`; whatever goes wrong is a `Failure` in it."""
        started = time.perf_counter()
        if self._kept is None:
            return await self._answered(sample, sample.completion, started)
        key = self._key_of(sample)
        if (known := self._kept.get(key)) is not None:
            return Outcome(Answered(known.grade, Cost(time.perf_counter() - started, 0, known.tokens)))
        if (asking := self._asking.get(key)) is not None:  # about an equal sample of the same step
            return _paid_by_another(await asyncio.shield(asking))
        task = self._asking[key] = asyncio.create_task(self._answered(sample, key, started))
        try:
            outcome = await asyncio.shield(task)
        except asyncio.CancelledError:
            task.cancel()
            raise
        finally:
            del self._asking[key]
        found = outcome.value
        if isinstance(found, Answered) and not isinstance(found.grade, Failure):
            self._kept.put(key, found.grade, found.cost.tokens)
        return outcome

    async def _answered(self, sample: Sample, name: str, started: float) -> Outcome:
        tried = await self._tries.of(lambda: self._grader.grade(sample), name)
        if isinstance(tried.fault, KeyboardInterrupt):
            return Outcome(fault=tried.fault)
        answer = tried.value if tried.fault is None else Failure(tried.reason)
        tokens = tried.tokens + (answer.tokens if isinstance(answer, Priced) else 0)
        grade = grade_of(answer.grade if isinstance(answer, Priced) else answer)
        if isinstance(grade, Failure):
            grade = Failure(tried.counted(grade.reason))
        return Outcome(Answered(grade, Cost(time.perf_counter() - started, tried.tries, tokens)))

    def _key_of(self, sample: Sample) -> str:
        told = {name: held for name, held in vars(sample).items() if name != "tokens"}
        version = self._grader.version if isinstance(self._grader, Asked) else ""
        return digest([self._key, version, told], default=_plain)


def _paid_by_another(outcome: Outcome) -> Outcome:
    """The same answer, for which nothing more was asked."""
    found = outcome.value
    if not isinstance(found, Answered):
        return outcome
    return Outcome(Answered(found.grade, replace(found.cost, tries=0)))


def _plain(value: Any) -> Any:
    """JSON for what stands in metadata and is none."""
    return dict(value) if isinstance(value, Mapping) else repr(value)
