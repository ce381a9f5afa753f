"""The pulse of a process: what it does now, and when something last moved. No torch here.

Work beats; a thread looks whether it still does. Where nothing has moved for long, the thread says what the
process is at, since when, and where its code stands: a run that hangs says why, and is not ended by it, for
it may only be slow.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event, Thread, get_ident
from typing import NamedTuple

STALLED_AFTER = 120.0
"""Seconds without a beat. What beats (a micro-batch, a token of a batch, a grade) takes less, by far."""

_LOOK = 5.0
"""Seconds between two looks, or less where a stall is sooner one."""


class Stall(NamedTuple):
    """What there is to say about a process in which nothing moves."""

    words: str
    """What it is at, and since when."""
    place: str
    """Where the watched thread stands, innermost: one line."""
    stack: str
    """The calls from the outermost to there."""


class Pulse:
    def __init__(self, stalled_after: float = STALLED_AFTER) -> None:
        self._stalled_after = stalled_after
        self._doing: tuple[str, ...] = ()
        self._moved = time.monotonic()

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Within it the process is at `what`, as a part of what it is at already."""
        before, self._doing = self._doing, (*self._doing, what)
        self.beat()
        try:
            yield
        finally:
            self._doing = before
            self.beat()

    def beat(self) -> None:
        """Something moved. Cheap enough for every token."""
        self._moved = time.monotonic()

    @contextmanager
    def watched(self, tell: Callable[[Stall], None]) -> Iterator[None]:
        """Within it `tell` hears, from a thread of its own, of every stall of the thread that enters: after
        `stalled_after` seconds without a beat, after twice as many, and so on. What `tell` raises is lost."""
        over = Event()
        watch = Thread(target=self._watch, args=(get_ident(), tell, over), daemon=True)
        self.beat()
        watch.start()
        try:
            yield
        finally:
            over.set()
            watch.join(timeout=1)  # what it writes to may hang, too

    def _watch(self, thread: int, tell: Callable[[Stall], None], over: Event) -> None:
        due = limit = self._stalled_after
        while not over.wait(min(_LOOK, limit / 4)):
            seconds = time.monotonic() - self._moved
            if seconds < limit:
                due = limit
            elif seconds >= due:
                due = 2 * seconds
                with suppress(Exception):  # a run must not end because nobody can be told that it stalls
                    tell(self._stall(thread, seconds))

    def _stall(self, thread: int, seconds: float) -> Stall:
        since = datetime.now() - timedelta(seconds=seconds)
        doing = f": {', '.join(self._doing)}" if self._doing else ""
        calls = traceback.extract_stack(sys._current_frames()[thread])
        return Stall(
            f"nothing has moved for {seconds:,.0f} s, since {since:%Y-%m-%d %H:%M:%S}{doing}",
            _place(calls[-1]),
            "\n".join(f"  {_place(call)}\n    {call.line}" for call in calls),
        )


def _place(call: traceback.FrameSummary) -> str:
    """With the end of the file's path, which names package and module."""
    return f"{'/'.join(Path(call.filename).parts[-3:])}:{call.lineno} in {call.name}"
