"""Work beside the training: one thing at a time, in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread

from harmony_runtime.failures import machine_faults


class Background:
    """A run that is told to end at once does not wait for it: what it leaves half done must be told from
    what is whole."""

    def __init__(self) -> None:
        self._doing = ""
        self._future: Future[None] | None = None

    def start(self, doing: str, work: Callable[[], None]) -> None:
        """Begin, when what was begun before is done; `doing` completes "while …" where it fails.

        Raises:
            RunFailed: what was begun before could not be done.
        """
        self.wait()
        self._doing, self._future = doing, Future()
        Thread(target=_do, args=(work, self._future), daemon=True).start()

    def wait(self) -> None:
        """Until it is done.

        Raises:
            RunFailed: it could not be done.
        """
        future, self._future = self._future, None
        if future is not None:
            with machine_faults(self._doing):
                future.result()


def _do(work: Callable[[], None], future: Future[None]) -> None:
    try:
        work()
    except BaseException as fault:
        future.set_exception(fault)
    else:
        future.set_result(None)
