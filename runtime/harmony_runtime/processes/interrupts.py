"""Why a run stops early: Ctrl-C, SIGTERM, or the end of its time. A stop waits for the end of a step.

While a step is *held*, the first signal is remembered, so that weights and optimiser always stand between
two steps; `asked` and `check` tell about it. A second signal does not wait.

Several processes must stop between the same two steps. Once they are `joined`, every first signal is
remembered, and `asked` and `check`, which all of them reach, are where they agree: a signal that one got
stops all. Of the time process 0's clock decides; it interrupts nothing, and a signal that comes later counts
as the first.
"""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # it loads torch
    from harmony_runtime.processes.context import Context

SIGNALS = (signal.SIGINT, signal.SIGTERM)

TIME_OVER = 0
"""Among the numbers of signals, for the end of the run's time."""


class Stop(KeyboardInterrupt):
    """A signal, or the end of its time, asked the run to end."""

    def __init__(self, number: int) -> None:
        self.exit_code = 128 + number if number else 0
        self.reason = "interrupted" if number else "max-time"
        super().__init__(f"signal {number}" if number else self.reason)


class Interrupts:
    """Catches the signals while it is entered. Only the main thread can; elsewhere it hears none."""

    def __init__(self, seconds: float | None = None, clock: Callable[[], float] = monotonic) -> None:
        """The run may take so many `seconds` from here on, by `clock`."""
        self._clock = clock
        self._end = math.inf if seconds is None else clock() + seconds
        self._held = False
        self._pending: int | None = None
        self._before: dict[int, Any] = {}
        self._processes: Context | None = None

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._received) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def pending(self) -> bool:
        """Whether this process was asked to stop and has not yet."""
        return self._pending is not None

    def join(self, processes: Context) -> None:
        """From here on a stop is an agreement of all processes."""
        if processes.world_size > 1:
            self._processes = processes
        if not processes.is_main:
            self._end = math.inf

    @contextmanager
    def held(self) -> Iterator[None]:
        """Remember a first signal; the next `check` raises it."""
        self._held = True
        try:
            yield
        finally:
            self._held = False

    def ask(self) -> None:
        """Stop as after Ctrl-C."""
        self._pending = self._pending or signal.SIGINT

    def asked(self) -> bool:
        """Whether the run is to stop: the same in all processes."""
        if self._pending is None and self._clock() >= self._end:
            self._pending = TIME_OVER
        if self._processes is None:
            return self._pending is not None
        reasons = (*SIGNALS, TIME_OVER)
        counts = self._processes.sum([float(self._pending == number) for number in reasons])
        agreed = [number for number, count in zip(reasons, counts, strict=True) if count]
        if agreed:  # else one that came meanwhile stays for the next time
            self._pending = agreed[0]
        return bool(agreed)

    def check(self) -> None:
        """Raise the stop that was asked for, in all processes."""
        if self.asked():
            raise self.stop()

    def stop(self) -> Stop:
        """The stop that was asked for, to be raised."""
        assert self._pending is not None
        number, self._pending = self._pending, None
        return Stop(number)

    def _received(self, number: int, frame: FrameType | None) -> None:
        first = self._pending in (None, TIME_OVER)
        if first and (self._held or self._processes is not None):
            self._pending = number
        else:
            raise Stop(number)
