"""Ctrl-C and SIGTERM: a stop that waits for the end of a step.

While a step is *held*, the first signal is remembered and raised when the hold ends, so that weights and
optimiser always stand between two steps. A second signal does not wait.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop(KeyboardInterrupt):
    """A signal asked the run to end."""

    def __init__(self, number: int) -> None:
        self.exit_code = 128 + number
        super().__init__(f"signal {number}")


class Interrupts:
    """Catches the signals while it is entered. Only the main thread can; elsewhere it does nothing."""

    def __init__(self) -> None:
        self._held = False
        self._pending: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._received) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._pending is not None:
            number, self._pending = self._pending, None
            raise Stop(number)

    def _received(self, number: int, frame: FrameType | None) -> None:
        if self._held and self._pending is None:
            self._pending = number
        else:
            raise Stop(number)
