"""The reference reward server: a grader of a Python file, over HTTP. docs/own-graders.md has the protocol.

Whatever the grader does is a grade in a 200; a 4xx says what is wrong with a question. No torch here.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any

from harmony_compiler.store.modules import code_hash
from harmony_runtime.failures import RunFailed
from harmony_runtime.graders.answered import failure_of, grade_json, grade_of, in_words
from harmony_runtime.graders.functions import FunctionGrader, metadata_schema
from harmony_runtime.graders.hosting import Outcome, contained
from harmony_runtime.graders.protocol import Grade, Grader, Sample
from harmony_runtime.graders.remote import PROTOCOL
from harmony_runtime.graders.workers.loading import Refused, load

try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route
except ImportError as fault:
    raise RunFailed(
        "a reward server needs starlette and uvicorn: install `harmony-dsl[graders]`", exit_code=2
    ) from fault

LARGEST = 16 * 2**20
"""Bytes of a question that are read."""
_PATIENCE = 5
"""Seconds that questions get which are under way when the server is asked to stop."""


def serve(file: Path, name: str, listener: socket.socket, workers: int, ready: Callable[[], None]) -> None:
    """Serve what `file` calls `name` at a socket that listens; `ready` is called when the grader is set up.

    A function that is not `async` grades `workers` samples, or batches, at the same time, each in a thread.

    Raises:
        RunFailed: the file has no such grader, or it cannot be set up.
        KeyboardInterrupt, SystemExit: Ctrl-C, or SIGTERM, after the last answer.
    """
    try:
        made, grader = load(str(file), name)
    except Refused as refusal:
        raise RunFailed(str(refusal)) from refusal
    try:
        version = code_hash(file)[:12]
    except (OSError, SyntaxError) as fault:  # of a module that is imported only later
        raise RunFailed(f"what {file} imports cannot be read: {fault}") from fault
    not_set_up: list[BaseException] = []

    @asynccontextmanager
    async def life(_: Starlette) -> AsyncIterator[None]:
        if (fault := (await contained(grader.set_up)).fault) is not None:
            not_set_up.append(fault)
            raise RuntimeError("not set up")
        ready()
        yield
        await contained(grader.tear_down)

    routes = [
        Route("/info", _says({"protocol": PROTOCOL, "name": name, "version": version})),
        Route("/metadata_schema", _says(metadata_schema(made))),
        Route("/score", _Scoring(grader, workers).answer, methods=["POST"]),
    ]
    config = uvicorn.Config(
        Starlette(routes=routes, lifespan=life),
        log_level="critical",
        lifespan="on",
        ws="none",
        timeout_graceful_shutdown=_PATIENCE,
    )
    before = signal.signal(signal.SIGTERM, _terminated)  # uvicorn comes back to it
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except SystemExit:
        if not not_set_up:
            raise
        raise RunFailed(f"`set_up` of `{name}` failed: {in_words(not_set_up[0])}") from not_set_up[0]
    finally:
        signal.signal(signal.SIGTERM, before)


class _Scoring:
    """What stands at `/score`."""

    def __init__(self, grader: Grader, workers: int) -> None:
        self._grader = grader
        self._threads = asyncio.Semaphore(workers)

    async def answer(self, request: Request) -> Response:
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > LARGEST:
                return _refusal(413, f"the question has more than {LARGEST:,} bytes: send fewer samples")
        try:
            samples = _samples(json.loads(body, parse_constant=_no_number))
        except (ValueError, RecursionError) as fault:
            return _refusal(422, str(fault))
        size = (self._grader.batch if isinstance(self._grader, FunctionGrader) else None) or 1
        batches = [samples[start : start + size] for start in range(0, len(samples), size)]
        graded = await asyncio.gather(*map(self._graded, batches))
        return _json({"grades": [grade_json(grade) for grades in graded for grade in grades]})

    async def _graded(self, batch: Sequence[Sample]) -> Sequence[Grade]:
        """The grades of a batch, or of one sample where the grader takes no batches."""
        grader = self._grader
        if isinstance(grader, FunctionGrader):
            outcome = await contained(lambda: grader.grade_all(batch, self._in_thread))
        else:
            (sample,) = batch
            outcome = await contained(lambda: grader.grade(sample))
            outcome = outcome._replace(value=[outcome.value])
        if outcome.fault is not None:
            return [failure_of(outcome.fault)] * len(batch)
        return [grade_of(answer) for answer in outcome.value]

    async def _in_thread(self, function: Callable[..., Any], **named: Any) -> Any:
        """What a function gives, in a thread that nobody waits for at the end: it may hang."""
        loop = asyncio.get_running_loop()
        found: asyncio.Future[Outcome] = loop.create_future()

        def call() -> None:
            try:
                outcome = Outcome(function(**named))
            except BaseException as fault:  # told in the loop, where `sys.exit()` in a thread would be lost
                outcome = Outcome(fault=fault)
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(_settle, found, outcome)

        async with self._threads:
            Thread(target=call, daemon=True).start()
            value, fault = await found
        if fault is not None:
            raise fault
        return value


def _settle(found: asyncio.Future[Outcome], outcome: Outcome) -> None:
    if not found.done():
        found.set_result(outcome)


def _terminated(*_: object) -> None:
    raise SystemExit(143)


# --- questions and answers ------------------------------------------------------------------------------


def _samples(question: Any) -> list[Sample]:
    """
    Raises:
        ValueError: it is no question, and why.
    """
    if not isinstance(question, dict) or not isinstance(question.get("samples"), list):
        raise ValueError('a question is `{"samples": [{"completion": "…"}, …]}`')
    return [_sample(told, number) for number, told in enumerate(question["samples"])]


def _sample(told: Any, number: int) -> Sample:
    if not isinstance(told, dict) or "completion" not in told:
        raise ValueError(f"`samples[{number}]` is no object with a `completion`")
    for key, value in told.items():
        if fault := _fault(key, value):
            raise ValueError(f"`{key}` of `samples[{number}]` is {fault}")
    return Sample(**{**told, "turns": tuple(told.get("turns", ()))})


def _fault(key: str, value: Any) -> str:
    """What the value of a key is in place of what should stand there; empty where nothing is wrong."""
    match key, value:
        case ("completion" | "prompt", str()) | ("metadata", dict()):
            return ""
        case ("turns", list()) if all(isinstance(turn, dict) and "role" in turn for turn in value):
            return ""
        case ("completion" | "prompt", _):
            return "no text"
        case ("metadata", _):
            return "no object"
        case ("turns", _):
            return 'no list of `{"role": "user", "content": "…"}`'
    return "unknown: a sample has `completion prompt turns metadata`"


def _no_number(constant: str) -> float:
    raise ValueError(f"`{constant}` is no number in JSON")


def _says(told: Any) -> Callable[[Request], Response]:
    """What always answers the same."""
    return lambda _: _json(told)


def _refusal(status: int, why: str) -> Response:
    return _json({"error": why}, status)


def _json(told: Any, status: int = 200) -> Response:
    # ASCII: a text may hold half a character, which UTF-8 cannot say.
    return Response(json.dumps(told), status, media_type="application/json")
