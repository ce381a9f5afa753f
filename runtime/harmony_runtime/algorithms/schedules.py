"""The course of the learning rate: pure functions of the step.

With `w` warm-up steps of `n`, step `s` (from 0) has the rate `peak * (s + 1) / w` while it warms up. From the
peak on, the curve falls so that it stands at its floor when the training ends, which is one step after the
last: no step is spent at a rate of 0.
"""

from __future__ import annotations

import math

from harmony_compiler.graph.settings import Constant, Cosine, Linear, Schedule
from harmony_compiler.graph.values import Percent


def rate(schedule: Schedule, peak: float, step: int, steps: int) -> float:
    """The learning rate of `step`, counted from 0, of `steps`."""
    warmup = schedule.warmup.of(steps) if isinstance(schedule.warmup, Percent) else schedule.warmup
    if step < warmup:
        return peak * (step + 1) / warmup
    top = max(warmup - 1, 0)
    done = (step - top) / (steps - top)
    match schedule:
        case Constant():
            return peak
        case Linear(floor=floor):
            share = 1 - done
        case Cosine(floor=floor):
            share = (1 + math.cos(math.pi * done)) / 2
    return peak * (floor.share + (1 - floor.share) * share)
