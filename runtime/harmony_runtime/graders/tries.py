"""Tries: one question, asked again where that may help. No torch here.

So many questions at the same time, each try within its time, and pauses between the tries that grow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from harmony_compiler.graph.values import Duration
from harmony_runtime.graders.answered import in_words
from harmony_runtime.graders.hosting import Outcome, contained
from harmony_runtime.graders.kinds import TryAgain

_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 30.0
"""Seconds before a second try; each further pause is twice as long, up to the longest."""

_MOST_PATIENT = 60.0
"""Seconds that a server may ask for between two tries."""

_HANGS = 2
"""Tries that ran out of time, after which there is no other: a third would hang as well."""


class Hung(TryAgain):
    """A try ran out of time."""


@dataclass(frozen=True)
class Tried:
    """What the last try gave, how many there were, and what those before it cost."""

    value: Any
    fault: BaseException | None
    tries: int
    tokens: int
    """Of the tries that gave nothing."""

    @property
    def reason(self) -> str:
        """Why there is no value."""
        assert self.fault is not None
        return str(self.fault) if isinstance(self.fault, TryAgain) else in_words(self.fault)

    def counted(self, reason: str) -> str:
        """A reason that says of how many tries it is the last one's."""
        return f"{reason} (tried {self.tries} times)" if self.tries > 1 else reason


class Tries:
    """Used in one event loop."""

    def __init__(self, places: int, timeout: Duration | None, retries: int) -> None:
        """`places` questions are asked at the same time; `timeout` is that of one try."""
        self._places = asyncio.Semaphore(places)
        self._timeout = timeout
        self._retries = retries

    async def of(self, question: Callable[[], Awaitable[Any]], name: str) -> Tried:
        """What `question` gives; whatever it raises may be mended by another try. `name` tells the question
        from others."""
        tries = hangs = tokens = 0
        while True:
            async with self._places:
                value, fault = await self._once(question)
            tries += 1
            hangs += isinstance(fault, Hung)
            tokens += fault.tokens if isinstance(fault, TryAgain) else 0
            final = fault is None or isinstance(fault, KeyboardInterrupt)
            if final or tries > self._retries or hangs == _HANGS:
                return Tried(value, fault, tries, tokens)
            await asyncio.sleep(_pause(tries, fault.after if isinstance(fault, TryAgain) else None, name))

    async def _once(self, question: Callable[[], Awaitable[Any]]) -> Outcome:
        task = asyncio.create_task(contained(question))
        try:
            seconds = None if self._timeout is None else self._timeout.seconds
            done, _ = await asyncio.wait({task}, timeout=seconds)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if done:
            return task.result()
        task.cancel()  # it may take its time to end: nobody waits for it
        return Outcome(fault=Hung(f"took longer than {self._timeout}"))


def _pause(tries: int, asked: float | None, name: str) -> float:
    """Seconds before the next try. The jitter keeps questions apart that failed together."""
    longest: float = min(_FIRST_PAUSE * 2.0 ** (tries - 1), _LONGEST_PAUSE)
    jitter = Random(f"{name} {tries}").uniform(0.5, 1.0)
    return max(longest * jitter, min(asked or 0.0, _MOST_PATIENT))
