"""Reward servers: the real one in its own process, one that says what a test wants, and how to ask them."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import Any, NamedTuple

import pytest
from graders_support import graph_of

from harmony_compiler.graph import graders as nodes
from harmony_runtime.failures import RunFailed
from harmony_runtime.graders.making import BUILT_IN, Bench
from harmony_runtime.graders.protocol import Grade, Sample
from harmony_runtime.graders.remote import Remote


class Served(NamedTuple):
    url: str
    process: subprocess.Popen[str]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextmanager
def served(file: Path, name: str = "score", *options: str, port: int = 0) -> Iterator[Served]:
    """`harmonyc serve-grader` in a process of its own, once it says where it is."""
    command = [sys.executable, "-m", "harmony_dsl", "serve-grader", f"{file}:{name}", "--port", str(port)]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith(f"serving {name} on http://127.0.0.1:"), line
            yield Served(line.split()[-1], process)
        finally:
            process.kill()


class Asked(NamedTuple):
    """A request that came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


RESET = b""
"""An answer that is none: the connection is reset."""

Answer = Callable[[Asked], bytes]


@contextmanager
def scripted(answer: Answer) -> Iterator[tuple[str, list[Asked]]]:
    """A server that answers with the bytes a test says, at its address, and the requests that came."""
    came: list[Asked] = []

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            method, path, _ = self.rfile.readline().decode().split(" ")
            lines = iter(lambda: self.rfile.readline().decode().strip(), "")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            body = self.rfile.read(int(headers.get("content-length", 0)))
            came.append(Asked(method, path, headers, body))
            said = answer(came[-1])
            if said == RESET:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
            else:
                self.wfile.write(said)

        def finish(self) -> None:
            if self.connection.fileno() >= 0:
                super().finish()

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads, server.block_on_close = True, False
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", came
        finally:
            server.shutdown()
            thread.join()


def says(told: Any, status: int = 200, **headers: str) -> bytes:
    """An answer of HTTP with JSON in it, or with a text."""
    body = told.encode() if isinstance(told, str) else json.dumps(told).encode()
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    head = [f"HTTP/1.1 {status} Said", f"content-length: {len(body)}", "connection: close", *lines, "", ""]
    return "\r\n".join(head).encode() + body


def speaks(score: bytes | Answer, info: Any = None, schema: Any = None) -> Answer:
    """A reward server that answers `/score` in a way of its own."""
    known = {
        "/info": info or {"protocol": 1, "name": "own", "version": "7"},
        "/metadata_schema": schema or {},
    }

    def answer(asked: Asked) -> bytes:
        if asked.path in known:
            return says(known[asked.path])
        return score if isinstance(score, bytes) else score(asked)

    return answer


GOOD = says({"grades": [{"score": 0.5}]})


# --- asking ---------------------------------------------------------------------------------------------

ONE = Sample("4", "2+2", turns=({"role": "user", "content": "2+2"},), metadata={"answer": "4"})


def remote(url: str, **fields: Any) -> Remote:
    node = nodes.Remote(url=url, **fields)
    made = BUILT_IN[nodes.Remote](node, Bench(graph_of({"g": node})))
    assert isinstance(made, Remote)
    return made


@asynccontextmanager
async def set_up(url: str, **fields: Any) -> AsyncIterator[Remote]:
    grader = remote(url, **fields)
    await grader.set_up()
    try:
        yield grader
    finally:
        await grader.tear_down()


def grade(url: str, *samples: Sample, **fields: Any) -> list[Grade]:
    """The grades of samples that are asked about at the same time."""

    async def all_() -> list[Grade]:
        async with set_up(url, **fields) as grader:
            return list(await asyncio.gather(*map(grader.grade, samples)))

    return asyncio.run(all_())


def refused(url: str, *rows: dict[str, Any], **fields: Any) -> str:
    """Why a server does not do, before any training."""
    with pytest.raises(RunFailed) as caught:
        asyncio.run(remote(url, **fields).check(rows))
    return str(caught.value)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as held:
        return int(held.getsockname()[1])
