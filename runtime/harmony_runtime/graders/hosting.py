"""Hosting: the life of graders that wait for something. No torch here.

They live in an event loop of their own, in a thread of its own, from the first `set_up` to the last
`tear_down`: while a model still writes, what it has written is graded. Every grader whose `set_up` was called
is torn down, whatever else fails, and no failure hides another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Sequence
from concurrent.futures import Future
from inspect import isawaitable
from threading import Thread
from typing import Any, NamedTuple

from harmony_runtime.failures import RunFailed
from harmony_runtime.graders.answered import in_words
from harmony_runtime.graders.protocol import Grader

_PATIENCE = 5.0
"""Seconds that abandoned work gets for its clean-up."""

_LONGEST = {"check": 600.0, "set_up": 600.0, "tear_down": 60.0}
"""Seconds that a grader gets for each of these. A file that is imported, or a set-up, may load a model."""

_LOOK = 0.1
"""Seconds after which a thread that waits looks up: a signal may have come, and progress is to be told."""


class Outcome(NamedTuple):
    """What work came to. A `KeyboardInterrupt` that went through an event loop would end it."""

    value: Any = None
    fault: BaseException | None = None


async def contained(work: Callable[[], Any]) -> Outcome:
    """What `work`, asynchronous or not, gives or raises."""
    try:
        answer = work()
        return Outcome(await answer if isawaitable(answer) else answer)
    except asyncio.CancelledError as fault:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return Outcome(fault=fault)
    except BaseException as fault:
        return Outcome(fault=fault)


class Hosting:
    def __init__(self, graders: Sequence[tuple[Grader, str]]) -> None:
        """`graders` in the order of their set-up, each with its place in the recipe."""
        self._graders = graders
        self._open: list[tuple[Grader, str]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: Thread | None = None

    def set_up(self) -> None:
        """Set up all graders, or none.

        Raises:
            RunFailed: one cannot be set up.
        """
        try:
            for grader, where in self._graders:
                self._open.append((grader, where))
                self.call(grader.set_up, where)
        except BaseException as fault:
            self.tear_down(fault)
            raise

    def tear_down(self, fault: BaseException | None = None) -> None:
        """Tear down, in reverse order, what was set up. `fault` is why, where something failed before.

        Raises:
            RunFailed: a tear-down failed. A `fault` that is a `RunFailed` is told with it.
        """
        failures: list[RunFailed] = []
        stop: BaseException | None = None
        while self._open:
            grader, where = self._open.pop()
            try:
                self.call(grader.tear_down, where)
            except RunFailed as failure:
                failures.append(failure)
            except BaseException as signal:  # Ctrl-C ends this one; the others still have their turn
                stop = signal
        try:
            self._end()
        finally:
            _tell(fault, failures, stop)

    def call(self, method: Callable[..., Any], where: str, *arguments: Any) -> None:
        """Call a method of a grader and wait for it.

        Raises:
            RunFailed: it failed, or took too long.
        """
        name: str = method.__name__

        async def bounded() -> Outcome:
            task = asyncio.create_task(contained(lambda: method(*arguments)))
            done, _ = await asyncio.wait({task}, timeout=_LONGEST[name])
            if done:
                return task.result()
            task.cancel()
            return Outcome(fault=TimeoutError(f"it took longer than {_LONGEST[name]:.0f} s"))

        (outcome,) = self.wait([self.start(bounded())])
        match outcome.fault:
            case None:
                return
            case RunFailed() as fault:
                raise RunFailed(f"{where}{fault}", exit_code=fault.exit_code) from fault
            case Exception() | SystemExit() | asyncio.CancelledError() as fault:
                raise RunFailed(f"{where}`{name}` of the grader failed: {in_words(fault)}") from fault
        raise outcome.fault

    def start(self, work: Coroutine[Any, Any, Outcome]) -> Future[Outcome]:
        """Begin work; others go on meanwhile."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = Thread(target=self._loop.run_forever, name="graders", daemon=True)
            self._thread.start()
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def wait(
        self, futures: Sequence[Future[Outcome]], tick: Callable[[], None] = lambda: None
    ) -> list[Outcome]:
        """What each came to, in order; `tick` is called while it waits. After Ctrl-C nothing goes on."""
        try:
            return [_outcome(future, tick) for future in futures]
        except BaseException:
            self.abandon()
            raise

    def abandon(self) -> None:
        """Cancel whatever still runs: after Ctrl-C it would go on while the graders are torn down."""
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(_cancel_all(), self._loop).result()

    def _end(self) -> None:
        if self._loop is None or self._thread is None:
            return
        try:
            self.abandon()
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            self._loop = self._thread = None


def _outcome(future: Future[Outcome], tick: Callable[[], None]) -> Outcome:
    while True:
        try:
            outcome = future.result(timeout=_LOOK)
        except TimeoutError:
            tick()
            continue
        if isinstance(outcome.fault, KeyboardInterrupt):
            raise outcome.fault
        return outcome


async def _cancel_all() -> None:
    tasks: Collection[asyncio.Task[Any]] = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_PATIENCE)


def _tell(fault: BaseException | None, failures: Sequence[RunFailed], stop: BaseException | None) -> None:
    """Raise what came up while graders were torn down, together with the `fault` that came before."""
    told = [said for failure in failures for said in failure.faults]
    if stop is not None or (fault is not None and not isinstance(fault, RunFailed)):
        loudest = stop or fault
        assert loudest is not None
        for said in told:
            loudest.add_note(str(said))
        if stop is not None:
            raise stop
    elif told:
        before = fault.faults if fault else ()
        raise RunFailed(*before, *told, exit_code=fault.exit_code if fault else 1) from fault
