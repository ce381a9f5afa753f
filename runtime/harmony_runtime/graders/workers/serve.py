"""What a worker process does: it makes graders and asks them, as its questions say. No torch here.

Questions come in lines of JSON at the standard input, and are answered at the standard output:

    {"id": 0, "make": 7, "node": …}             {"id": 0, "made": {}}, or {"id": 0, "refused": "why"}
    {"id": 1, "make": 8, "file": …, "name": …}  {"id": 1, "made": {"waits": …, "batch": …, "schema": …}}
    {"id": 2, "set_up": 8}                      {"id": 2, "done": true}, or {"id": 2, "raised": "why"}
    {"id": 3, "grade": 8, "sample": …}          {"id": 3, "grade": {"score": 1.0}}
    {"id": 4, "cancel": 3}                      {"id": 4, "done": true}, after the answer to 3
    {"id": 5, "tear_down": 8}                   {"id": 5, "done": true}
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any, BinaryIO

from harmony_runtime.graders.answered import grade_json, grade_of
from harmony_runtime.graders.functions import FunctionGrader, metadata_schema
from harmony_runtime.graders.kinds import Rule
from harmony_runtime.graders.protocol import Grade, Grader, Sample
from harmony_runtime.graders.workers.batches import Batches
from harmony_runtime.graders.workers.loading import Refused, in_file, load, rule
from harmony_runtime.graders.workers.threads import MainThread

LONGEST_ANSWER = 2**20
"""Bytes of an answer; a longer one is a failure."""


def main() -> None:
    _end_with(int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    with suppress(OSError):
        os.nice(5)  # the threads that train go first
    with suppress(OSError):  # where memory runs out, this process is the one to end; the file is Linux's
        Path("/proc/self/oom_score_adj").write_text("1000")
    # The channels move away from where prints and `input()` would find them.
    questions, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    main_thread = MainThread()
    desk = Desk(answers, main_thread)
    Thread(target=asyncio.run, args=(_serve(questions, desk),), daemon=True).start()
    main_thread.work()


def _end_with(parent: int) -> None:
    """Have the system end this process with its parent, where it can: Python may be busy in C then."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            sys.exit("the parent process has gone")


async def _serve(questions: BinaryIO, desk: Desk) -> None:
    loop = asyncio.get_running_loop()
    Thread(target=_listen, args=(questions, loop, desk.take), daemon=True).start()
    await asyncio.Event().wait()  # until the parent ends it


def _listen(questions: BinaryIO, loop: asyncio.AbstractEventLoop, take: Callable[[Any], None]) -> None:
    for line in questions:
        loop.call_soon_threadsafe(take, json.loads(line))
    os.killpg(0, signal.SIGKILL)  # the parent has gone: so does this process, with all that it started


class Desk:
    """Takes questions, and answers each when its answer is there."""

    def __init__(self, answers: BinaryIO, main_thread: MainThread) -> None:
        self._answers = answers
        self._main_thread = main_thread
        self._graders: dict[int, Grader] = {}
        self._files: dict[int, str] = {}
        self._working: dict[int, asyncio.Task[None]] = {}

    def take(self, question: dict[str, Any]) -> None:
        task = asyncio.create_task(self._answer(question))
        self._working[question["id"]] = task
        task.add_done_callback(lambda _: self._working.pop(question["id"]))

    async def _answer(self, question: dict[str, Any]) -> None:
        try:
            answer = await self._found(question)
            line = json.dumps({"id": question["id"], **answer}).encode()
            if len(line) > LONGEST_ANSWER:
                what = f"answered with {len(line):,} bytes, more than {LONGEST_ANSWER:,}"
                answer = {"grade": {"failed": what}} if "grade" in question else {"raised": what}
        except Refused as fault:
            answer = {"refused": str(fault)}
        except BaseException as fault:  # `sys.exit()` too is no reason to end here
            number = question.get("grade", question.get("set_up", question.get("tear_down", -1)))
            answer = {"raised": in_file(fault, self._files.get(number, ""))}
        self._answers.write(json.dumps({"id": question["id"], **answer}).encode() + b"\n")
        self._answers.flush()

    async def _found(self, question: dict[str, Any]) -> dict[str, Any]:
        match question:
            case {"grade": number, "sample": told}:
                sample = Sample(**{**told, "turns": tuple(told["turns"])})
                return {"grade": grade_json(grade_of(await self._grade(self._graders[number], sample)))}
            case {"make": number, "node": node}:
                self._graders[number] = await self._main_thread.run(rule, node)
                return {"made": {}}
            case {"make": number, "file": file, "name": name}:
                made, grader = await self._main_thread.run(load, file, name)
                about: dict[str, Any] = {"waits": True, "batch": None, "schema": metadata_schema(made)}
                if isinstance(grader, FunctionGrader):
                    about |= {"waits": grader.waits, "batch": grader.batch}
                    grader = Batches(grader, self._main_thread) if grader.batch else grader
                self._files[number], self._graders[number] = file, grader
                return {"made": about}
            case {"set_up": number}:
                await self._graders[number].set_up()
            case {"tear_down": number}:
                await self._graders[number].tear_down()
            case {"cancel": number}:
                if task := self._working.get(number):
                    task.cancel()
                    await asyncio.wait([task])
        return {"done": True}

    async def _grade(self, grader: Grader, sample: Sample) -> Grade:
        match grader:
            case Rule():
                grade: Grade = await self._main_thread.run(grader.apply, sample)
                return grade
            case FunctionGrader():
                return (await grader.grade_all([sample], self._main_thread.run))[0]
        return await grader.grade(sample)


if __name__ == "__main__":
    main()
