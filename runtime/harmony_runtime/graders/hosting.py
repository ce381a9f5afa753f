"""Hosting: the life of graders that wait for something. No torch here.

They live in an event loop of their own, from the first `set_up` to the last `tear_down`. Every grader whose
`set_up` was called is torn down, whatever else fails, and no failure hides another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from inspect import isawaitable
from typing import Any

from harmony_runtime.failures import RunFailed
from harmony_runtime.graders.answered import failure_of, grade_of, in_words
from harmony_runtime.graders.protocol import Grade, Grader, Sample

_PATIENCE = 5.0
"""Seconds that abandoned work gets for its clean-up."""


class Hosting:
    def __init__(self, graders: Sequence[tuple[Grader, str]]) -> None:
        """`graders` in the order of their set-up, each with its place in the recipe."""
        self._graders = graders
        self._open: list[tuple[Grader, str]] = []
        self._runner = asyncio.Runner()

    def set_up(self) -> None:
        """Set up all graders, or none.

        Raises:
            RunFailed: one cannot be set up.
        """
        try:
            for grader, where in self._graders:
                self._open.append((grader, where))
                self._call(grader.set_up, where)
        except BaseException as fault:
            self.tear_down(fault)
            raise

    def ask(self, questions: Sequence[tuple[Grader, Sample]], graded: Callable[[], None]) -> list[Grade]:
        """The grades of all questions in order; they are asked at the same time, and `graded` is called after
        each."""
        return self._run(_all(questions, graded)) if questions else []

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
                self._call(grader.tear_down, where)
            except RunFailed as failure:
                failures.append(failure)
            except BaseException as signal:  # Ctrl-C ends this one; the others still have their turn
                stop = signal
        try:
            self._runner.close()
        finally:
            _tell(fault, failures, stop)

    def _call(self, method: Callable[[], Any], where: str) -> None:
        try:
            self._run(_awaited(method))
        except RunFailed:
            raise
        except (Exception, SystemExit, asyncio.CancelledError) as fault:
            raise RunFailed(f"{where}`{method.__name__}` of the grader failed: {in_words(fault)}") from fault

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        loop = self._runner.get_loop()
        task = loop.create_task(work)
        try:
            return loop.run_until_complete(task)
        except BaseException:
            self._abandon()
            _forget(task)
            raise

    def _abandon(self) -> None:
        """Cancel what still runs: after Ctrl-C it would go on while the graders are torn down."""
        loop = self._runner.get_loop()
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks, timeout=_PATIENCE))


async def _all(questions: Sequence[tuple[Grader, Sample]], graded: Callable[[], None]) -> list[Grade]:
    tasks = [asyncio.create_task(_one(grader, sample)) for grader, sample in questions]
    for task in tasks:
        task.add_done_callback(lambda _: graded())
    try:
        await asyncio.wait(tasks)
        return [task.result() for task in tasks]
    finally:
        for task in tasks:
            _forget(task)


async def _one(grader: Grader, sample: Sample) -> Grade:
    task = asyncio.current_task()
    try:
        return grade_of(await _awaited(grader.grade, sample))
    except asyncio.CancelledError as fault:
        if task is not None and task.cancelling():
            raise
        return failure_of(fault)
    except (Exception, SystemExit) as fault:
        return failure_of(fault)


async def _awaited(method: Callable[..., Any], *arguments: Any) -> Any:
    answer = method(*arguments)
    return await answer if isawaitable(answer) else answer


def _forget(task: asyncio.Task[Any]) -> None:
    """asyncio complains of an exception that nobody asked a finished task for."""
    if task.done() and not task.cancelled():
        task.exception()


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
