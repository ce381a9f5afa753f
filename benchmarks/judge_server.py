"""A judge behind an OpenAI-compatible API on loopback, with the faults that real ones have.

    python benchmarks/judge_server.py [--port 0] [--latency 0.2] [--errors 5] [--hangs 1] [--seed 0]

It answers by a number from 1 to 5 that the question decides. The question decides its faults, too: whether it
is answered, ends in a 500 or hangs is drawn from its text and how often it was asked before, so every run
meets the same ones. `--errors` and `--hangs` are percents. The first line that it prints is its address.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
from collections import Counter
from hashlib import sha256
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from starlette.responses import JSONResponse

FOR_EVER = 3600.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    for name in ("latency", "errors", "hangs"):
        parser.add_argument(f"--{name}", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    listening = socket.create_server(("127.0.0.1", options.port))
    print(f"http://127.0.0.1:{listening.getsockname()[1]}/v1", flush=True)
    config = uvicorn.Config(app(options), log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[listening])


def app(options: argparse.Namespace) -> FastAPI:
    made, asked = FastAPI(), Counter[str]()

    @made.get("/v1/models")
    async def models() -> Any:
        return {"data": [{"id": "judge"}]}

    @made.post("/v1/chat/completions")
    async def completions(request: Request) -> Any:
        question = json.dumps((await request.json())["messages"])
        asked[question] += 1
        fate = _drawn(f"{options.seed} {asked[question]} {question}") * 100
        if fate < options.hangs:
            await asyncio.sleep(FOR_EVER)
        await asyncio.sleep(options.latency)
        if fate < options.hangs + options.errors:
            return JSONResponse({"error": {"message": "out of luck"}}, 500)
        answer = {"reasoning": "as it is", "answer": 1 + int(5 * _drawn(question))}
        message = {"role": "assistant", "content": json.dumps(answer)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 30, "completion_tokens": 12, "total_tokens": 42}
        return {"object": "chat.completion", "choices": [choice], "usage": usage}

    return made


def _drawn(text: str) -> float:
    """A number in [0, 1) that a text decides."""
    return int.from_bytes(sha256(text.encode()).digest()[:6], "big") / 2**48


if __name__ == "__main__":
    main()
