"""A worker's end of the line: train so many steps, say how long they took, wait to be told on.

Used by both sides, so it needs nothing that is installed.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections import Counter
from time import perf_counter, process_time


class Blocks:
    """`begin()` where training begins, `step()` behind each step; both wait for the parent's word.

    The parent writes a number of steps to standard input, and gets one line of JSON from the descriptor
    `answers` when they are done: seconds by this process's own clock, those that its threads were busy, what
    was counted, the losses that were logged, and the process's peak memory in bytes so far.
    """

    def __init__(self, answers: int) -> None:
        self._answers = answers
        self._counts: Counter[str] = Counter()
        self._losses: list[float] = []
        self._upfront = 0.0
        self._steps = self._left = 0

    def upfront(self, seconds: float) -> None:
        """Work for the whole pass over the rows that was done before the first step."""
        self._upfront += seconds

    def count(self, **counts: float) -> None:
        self._counts.update(counts)

    def loss(self, loss: float) -> None:
        self._losses.append(loss)

    def begin(self) -> None:
        self._tell({"ready": True, "upfront": self._upfront})
        self._wait()

    def step(self) -> None:
        self._left -= 1
        if self._left:
            return
        seconds, busy = perf_counter() - self._started, process_time() - self._busy
        self._tell(
            {
                "seconds": seconds,
                "busy": busy,
                "steps": self._steps,
                "counts": dict(self._counts),
                "losses": self._losses,
                "peak": peak_bytes(),
            }
        )
        self._counts.clear()
        self._losses = []
        self._wait()

    def _tell(self, answer: dict[str, object]) -> None:
        os.write(self._answers, json.dumps(answer).encode() + b"\n")

    def _wait(self) -> None:
        word = sys.stdin.readline().strip()
        if not word:
            os._exit(0)  # the parent has what it wants: nothing is saved
        self._steps = self._left = int(word)
        self._started, self._busy = perf_counter(), process_time()


class Marked:
    """In the place of `Blocks`: makes a file when the first step is done, for who measures the start."""

    def __init__(self, mark: str) -> None:
        self._mark = mark

    def upfront(self, seconds: float) -> None:
        pass

    def count(self, **counts: float) -> None:
        pass

    def loss(self, loss: float) -> None:
        pass

    def begin(self) -> None:
        pass

    def step(self) -> None:
        with open(self._mark, "w"):  # noqa: PTH123 - no import before the first step
            pass
        os._exit(0)


def peak_bytes() -> int:
    """The most memory that this process has held."""
    # Linux counts in kilobytes, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
