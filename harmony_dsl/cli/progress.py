"""What is known about the stages of a run while they train, and how people read it.

No terminal and no library here: `display` draws what this module words.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from harmony_dsl.cli.output import counted

_KEEP = 0.9
"""How much of a running mean each step keeps: it looks back about ten steps."""

_GRADE = "grade/"
"""How the metrics of graders begin."""

_LONGEST_PART = 32
"""A grader without a name is called by its source text, which may be long."""

NOTHING = "–"
"""Where nothing was measured."""

_DOT = " · "


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
class Trace:
    """One metric as the steps come in. A step without a value (None) leaves the mean alone."""

    first: float | None = None
    now: float | None = None
    mean: Mean = field(default_factory=Mean)

    def add(self, value: object) -> None:
        self.now = float(value) if isinstance(value, int | float) else None
        if self.now is not None:
            self.mean.add(self.now)
            if self.first is None:
                self.first = self.now


@dataclass
class Stage:
    """One stage as its steps come in. The reward leads where there is one, else the loss."""

    name: str
    algorithm: str
    steps: int
    parameters: int
    clock: Callable[[], float] = time.monotonic
    first_step: int = 0
    """Above 1 where the stage went on from a checkpoint."""
    step: int = 0
    seconds: float | None = None
    """How long the stage took; None while it trains."""
    _traces: dict[str, Trace] = field(default_factory=dict)
    """By metric."""
    _pace: Mean = field(default_factory=Mean)
    _speed: Mean = field(default_factory=Mean)
    _counted: str = "tokens"
    _last: float | None = None

    def add(self, step: int, metrics: Mapping[str, object], timing: Mapping[str, object]) -> None:
        self.first_step = self.first_step or step
        self.step = step
        for name, value in metrics.items():
            if name in ("loss", "reward") or name.startswith(_GRADE):
                self._traces.setdefault(name, Trace()).add(value)
        if "completions_per_second" in timing:
            self._counted = "completions"
        speed = timing.get(f"{self._counted}_per_second")
        if isinstance(speed, int | float):
            self._speed.add(speed)
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
    def result(self) -> list[str]:
        """`loss 0.031 (now 0.028)` or `reward 1.21 (now 1.28)`; empty before the first step."""
        name, shown = self._led_by
        trace = self._traces.get(name)
        return [f"{name} {shown(trace.mean.value)} (now {shown(trace.now)})"] if trace else []

    @property
    def parts(self) -> list[str]:
        """`exact 0.62`, `close 0.81`: the graders below the reward, each with its running mean."""
        return [
            f"{shorten(name.removeprefix(_GRADE), _LONGEST_PART)} {score(trace.mean.value)}"
            for name, trace in self._traces.items()
            if name.startswith(_GRADE)
        ]

    @property
    def pace(self) -> list[str]:
        """`11,300 tokens/s`, `12 s left`: as far as they are known."""
        known = []
        if (speed := self._speed.value) is not None:
            known.append(f"{speed:,.{0 if speed >= 10 else 1}f} {self._counted}/s")
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
            parts.append(f"{counted(self.steps, 'step')} in {duration(self.seconds)}")
        else:
            parts.append(duration(self.seconds))
        name, shown = self._led_by
        if trace := self._traces.get(name):
            parts.append(f"{name} {shown(trace.first)} → {shown(trace.now)}")
        return ", ".join(parts)

    @property
    def _led_by(self) -> tuple[str, Callable[[float | None], str]]:
        """The metric that tells how the stage goes, and how its values are written."""
        return ("reward", score) if "reward" in self._traces else ("loss", number)


def answering(drawn: int, graded: int, of: int) -> str:
    """`40 of 64 completions drawn, 28 graded`: the two go on at the same time."""
    return f"{drawn:,} of {counted(of, 'completion')} drawn, {graded:,} graded"


def spent(graders: Mapping[str, Mapping[str, int]]) -> list[str]:
    """A line for each grader that was asked: `clear: 640 grades, 12 known before; 660 tries, 41 tokens`."""
    lines = []
    for name, cost in graders.items():
        known = f", {cost['known']:,} known before" if cost["known"] else ""
        tokens = f", {counted(cost['tokens'], 'token')}" if cost["tokens"] else ""
        tries = "1 try" if cost["tries"] == 1 else f"{cost['tries']:,} tries"
        grades = counted(cost["grades"], "grade")
        lines.append(f"{shorten(name, _LONGEST_PART)}: {grades}{known}; {tries}{tokens}")
    return lines


def number(value: float | None) -> str:
    """Four digits: enough to see a loss move."""
    return NOTHING if value is None else f"{value:.4g}"


def score(value: float | None, decimals: int = 2) -> str:
    """`0.62`, `0.00`, but `0.004`: what is more than nothing does not look like nothing."""
    if value is None:
        return NOTHING
    shown = f"{value:,.{decimals}f}"
    return f"{value:.1g}" if value and not float(shown.replace(",", "")) else shown


def one_line(name: str) -> str:
    """A name that is the source text of an expression may go over several lines."""
    return " ".join(name.split())


def shorten(name: str, width: int) -> str:
    """A name in at most `width` characters: where it is longer, its beginning and its end."""
    text = one_line(name)
    if len(text) <= width:
        return text
    tail = (width - 1) // 2
    return f"{text[: width - 1 - tail]}…{text[len(text) - tail :]}"


def fold(items: Iterable[str], width: int) -> list[str]:
    """Items with dots between them, on as many lines as it takes: lines end between items only."""
    lines: list[str] = []
    for item in items:
        if lines and len(lines[-1]) + len(_DOT) + len(item) <= width:
            lines[-1] += _DOT + item
        else:
            lines.append(item)
    return lines


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
