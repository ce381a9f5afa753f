"""The main thread of a worker process computes; its event loop, in another thread, takes questions meanwhile.

Libraries expect the main thread where they set alarms, and none with an event loop where they start one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any


class MainThread:
    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()

    async def run(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Any:
        """What the main thread gets from `function`, one call after another."""
        found: Future[Any] = Future()
        self._calls.put((found, lambda: function(*arguments, **named)))
        return await asyncio.wrap_future(found)

    def work(self) -> None:
        """Compute what is asked, until the process ends."""
        while True:
            found, call = self._calls.get()
            if found.set_running_or_notify_cancel():
                try:
                    found.set_result(call())
                except StopIteration as fault:  # no future takes it
                    found.set_exception(RuntimeError(f"StopIteration: {fault}"))
                except BaseException as fault:  # `sys.exit()`, too
                    found.set_exception(fault)
