"""What is known about the stages of a run while they train, and how people read it.

No terminal and no library here: `display` draws what this module words.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

_KEEP = 0.9
"""How much of a running mean each step keeps: it looks back about ten steps."""


@dataclass
class Mean:
    """A running mean that forgets. It is unbiased from the first value on (as in Adam)."""

    _sum: float = 0.0
    _weight: float = 0.0

    def add(self, value: float) -> None:
        self._sum = _KEEP * self._sum + (1 - _KEEP) * value
        self._weight = _KEEP * self._weight + (1 - _KEEP)

    @property
    def value(self) -> float | None:
        return self._sum / self._weight if self._weight else None


@dataclass
class Stage:
    """One stage as its steps come in."""

    name: str
    algorithm: str
    steps: int
    parameters: int
    clock: Callable[[], float] = time.monotonic
    first_step: int = 0
    """Above 1 where the stage went on from a checkpoint."""
    step: int = 0
    first_loss: float | None = None
    loss: float | None = None
    seconds: float | None = None
    """How long the stage took; None while it trains."""
    _loss: Mean = field(default_factory=Mean)
    _pace: Mean = field(default_factory=Mean)
    _speed: Mean = field(default_factory=Mean)
    _last: float | None = None

    def add(self, step: int, metrics: Mapping[str, object], tokens_per_second: float | None) -> None:
        self.first_step = self.first_step or step
        self.step = step
        loss = metrics.get("loss")
        if isinstance(loss, int | float):
            self.loss = float(loss)
            self._loss.add(self.loss)
            if self.first_loss is None:
                self.first_loss = self.loss
        if tokens_per_second is not None:
            self._speed.add(tokens_per_second)
        now = self.clock()
        if self._last is not None:
            self._pace.add(now - self._last)
        self._last = now

    @property
    def heading(self) -> str:
        return f"{self.algorithm}, {self.parameters:,} trained parameters"

    @property
    def progress(self) -> str:
        return f"step {self.step:,} of {self.steps:,}"

    @property
    def readings(self) -> list[str]:
        """`loss 0.031 (now 0.028)`, `11,300 tokens/s`, `12 s left`: as far as they are known."""
        known = []
        if self.loss is not None and self._loss.value is not None:
            known.append(f"loss {number(self._loss.value)} (now {number(self.loss)})")
        if self._speed.value is not None:
            known.append(f"{self._speed.value:,.0f} tokens/s")
        if self._pace.value is not None and self.step < self.steps:
            known.append(f"{duration(self._pace.value * (self.steps - self.step))} left")
        return known

    @property
    def story(self) -> str:
        """The stage in one line, when it is over."""
        parts = [self.algorithm]
        if self.seconds is None:
            parts.append(f"stopped at {self.progress}")
        elif self.first_step > 1:
            parts.append(f"steps {self.first_step:,} to {self.step:,} in {duration(self.seconds)}")
        elif self.step:
            parts.append(f"{self.steps:,} steps in {duration(self.seconds)}")
        else:
            parts.append(duration(self.seconds))
        if self.first_loss is not None and self.loss is not None:
            parts.append(f"loss {number(self.first_loss)} → {number(self.loss)}")
        return ", ".join(parts)


def number(value: float) -> str:
    """Four digits: enough to see a loss move."""
    return f"{value:.4g}"


def duration(seconds: float) -> str:
    """`0.8 s`, `24 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 0.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    hours, minutes = divmod(round(whole / 60), 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
