"""A server of judges on loopback that answers what a test scripts."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from threading import Thread
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

Script = Callable[[dict[str, Any]], Any]


def says(text: str | None, *, tokens: list[dict[str, Any]] | None = None, **changes: Any) -> dict[str, Any]:
    """An answer of the chat API; `tokens` are its log-probabilities."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    if tokens is not None:
        choice["logprobs"] = {"content": tokens}
    usage = {"prompt_tokens": 30, "completion_tokens": 12, "total_tokens": 42}
    return {"object": "chat.completion", "choices": [choice], "usage": usage, **changes}


def verdict(answer: Any, reasoning: str = "because") -> dict[str, Any]:
    return says(json.dumps({"reasoning": reasoning, "answer": answer}))


def refusal(status: int, message: str, **headers: str) -> Response:
    return JSONResponse({"error": {"message": message}}, status, headers)


def reset(body: dict[str, Any]) -> None:
    """A script: the connection is cut before an answer."""
    raise ConnectionResetError


def nobody() -> str:
    """An address at which no server stands."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}/v1"


def half(body: dict[str, Any]) -> Response:
    """A script: the connection is cut in the middle of the answer."""

    async def parts() -> Any:
        yield b'{"choices": ['
        raise ConnectionResetError

    return StreamingResponse(parts(), headers={"content-length": "1000"})


class JudgeServer:
    """In a thread of its own; `asked` holds the questions, `headers` those of the last one."""

    def __init__(self) -> None:
        self.plays(lambda _: refusal(500, "no script"))
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"
        config = uvicorn.Config(self._app(), log_level="critical", lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)

    def plays(self, script: Script, key: str | None = None) -> None:
        """From now on it answers by `script`, and asks for a key."""
        self.script = script
        self.key = key
        self.asked: list[dict[str, Any]] = []
        self.headers: dict[str, str] = {}

    def __enter__(self) -> JudgeServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join()
        self._socket.close()

    def _app(self) -> FastAPI:
        app = FastAPI()

        def refuses(request: Request) -> bool:
            self.headers = dict(request.headers)
            return self.key is not None and self.headers.get("authorization") != f"Bearer {self.key}"

        @app.get("/v1/models")
        async def models(request: Request) -> Any:
            sent = request.headers.get("authorization", "nothing")
            return refusal(401, f"no key is {sent}") if refuses(request) else {"data": [{"id": "wise"}]}

        @app.post("/v1/chat/completions")
        async def completions(request: Request) -> Any:
            if refuses(request):
                return refusal(401, f"no key is {self.headers.get('authorization', 'nothing')}")
            body = await request.json()
            self.asked.append(body)
            try:
                answer = self.script(body)
            except ConnectionResetError:
                request.receive.__self__.transport.abort()
                return Response()
            return await answer if hasattr(answer, "__await__") else answer

        return app
