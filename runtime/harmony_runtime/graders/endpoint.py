"""A model behind an OpenAI-compatible chat API. No torch here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harmony_compiler.graph.models import Endpoint
from harmony_compiler.graph.values import Secret
from harmony_runtime.failures import RunFailed
from harmony_runtime.graders.http import Http, Refused
from harmony_runtime.graders.judging.answers import Token
from harmony_runtime.graders.kinds import TryAgain
from harmony_runtime.graders.protocol import Turn
from harmony_runtime.secrets import value_of

_LIKELIEST = 20
"""Tokens that are asked for in each place: the most that such servers tell."""
_NOT_KNOWN = (400, 422)
"""Statuses with which a server refuses a field."""
_DISPENSABLE = {
    "response_format": (
        ("response_format", "json_schema"),
        "its answers are asked for as JSON in words alone, and read as strictly",
    ),
    "logprobs": (("logprobs",), "its answers are taken as they are, and not `weighted`"),
    "seed": (("seed",), "what it writes is drawn anew in each run"),
}
"""Fields that a question goes without where the server refuses them: words for each, and what follows."""
_PATIENCE = 60.0
"""Seconds that a server gets to say that it is there."""
_CHARS_A_TOKEN = 4


@dataclass(frozen=True)
class Answer:
    text: str
    tokens: tuple[Token, ...]
    """Empty where the server tells none."""
    spent: int
    """Tokens of question and answer; a guess from their characters where the server does not tell."""
    written: int | None
    """Tokens of the answer, where the server tells."""
    end: str
    """What ended it: `stop`, `length` or another word of the server."""

    @property
    def cut(self) -> bool:
        """Whether it is as long as an answer may be, and perhaps not whole."""
        return self.end == "length"


class Chat:
    """Asks one model, many questions at the same time. Used in one event loop, and closed there."""

    def __init__(self, node: Endpoint, concurrency: int, warn: Callable[[str], None]) -> None:
        """`warn` hears, once, what the server cannot do.

        Raises:
            RunFailed: a secret is not set in the environment, or a header cannot be sent.
        """
        headers = {} if node.key is None else {"authorization": f"Bearer {value_of(node.key)}"}
        secrets = [] if node.key is None else [node.key]
        for name, value in (node.headers or {}).items():
            secret = isinstance(value, Secret)
            headers[name.lower()] = value_of(value) if secret else value
            secrets += [value] if secret else []
        self._node = node
        self._http = Http(node.url, headers, secrets, concurrency)
        self._warn = warn
        self._left_out: set[str] = set()

    async def __aenter__(self) -> Chat:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.close()

    async def check(self) -> None:
        """Is the server there, and does it take the key?

        Raises:
            RunFailed: no.
        """
        node = self._node
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._http.get("/models")
        except TimeoutError as fault:
            raise RunFailed(
                f"{node.url}/models did not answer within {_PATIENCE:g} s: see what the server does, or mend "
                "the endpoint's `url`",
                exit_code=2,
            ) from fault
        except TryAgain as fault:
            raise RunFailed(
                f"{fault}: start the server of `{node.model}`, or mend the endpoint's `url`", exit_code=2
            ) from fault
        except Refused as refused:
            if refused.status in (401, 403):
                mend = f"check what {node.key} holds" if node.key else "give the endpoint a `key`"
                raise RunFailed(f"{refused}: {mend}") from refused
            # It is there. Not every server lists its models.

    async def answer(
        self,
        turns: Sequence[Turn],
        *,
        temperature: float,
        max_tokens: int,
        response_format: Mapping[str, Any] | None = None,
        logprobs: bool = False,
        top_p: float | None = None,
        stop: Sequence[str] = (),
        seed: int | None = None,
    ) -> Answer:
        """The model's answer to a conversation. A text of `stop`, which ends it, is not in it.

        Raises:
            TryAgain: another try may help.
            Refused: the server refuses the question.
        """
        question: dict[str, Any] = {
            "model": self._node.model,
            "messages": list(turns),
            "temperature": temperature,
            "max_tokens": max_tokens,
            "stream": False,
        }
        others = {
            "response_format": response_format,
            "top_p": top_p,
            "stop": list(stop) or None,
            "seed": seed,
        }
        question |= {name: value for name, value in others.items() if value is not None}
        if logprobs:
            question |= {"logprobs": True, "top_logprobs": _LIKELIEST}
        while True:
            asked = self._as_known(question)
            try:
                told = await self._http.post("/chat/completions", asked)
            except Refused as refused:
                if refused.status not in _NOT_KNOWN or not (unknown := _unknown(asked, str(refused))):
                    raise
                self._leave_out(unknown)
            else:
                return self._read(told, asked)

    def _read(self, told: Any, asked: Mapping[str, Any]) -> Answer:
        match told:
            case {"choices": [{"message": {"content": str() | None as content}} as choice, *_]}:
                text = (content or "").encode("utf-8", "replace").decode()  # JSON may carry half a character
            case {"error": error}:
                raise TryAgain(f"the server answers with an error: {self._http.tame(str(error))}")
            case _:
                raise TryAgain("the server's answer has no `choices` with a message")
        usage = told.get("usage")
        counts = usage if isinstance(usage, dict) else {}
        spent, written = (_count(counts.get(name)) for name in ("total_tokens", "completion_tokens"))
        if spent is None:
            chars = sum(len(str(turn.get("content") or "")) for turn in asked["messages"]) + len(text)
            spent = chars // _CHARS_A_TOKEN
        end = str(choice.get("finish_reason") or "stop")
        return Answer(text, _tokens(choice.get("logprobs")), spent, written, end)

    def _leave_out(self, field: str) -> None:
        if field not in self._left_out and field in _DISPENSABLE:
            self._warn(f"the server of `{self._node.model}` knows no `{field}`: {_DISPENSABLE[field][1]}")
        self._left_out.add(field)

    def _as_known(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """A question as the server takes it, by what it refused before."""
        asked = {name: value for name, value in question.items() if name not in self._left_out}
        if "logprobs" not in asked:
            asked.pop("top_logprobs", None)
        if "max_tokens" in self._left_out:
            asked["max_completion_tokens"] = question["max_tokens"]
        return asked


def _unknown(asked: Mapping[str, Any], refusal: str) -> str:
    """The field that a refusal is about, where the question can be asked without it; else ""."""
    if "max_tokens" in asked and "max_completion_tokens" in refusal:
        return "max_tokens"  # its name in newer versions of the API
    for name, (words, _) in _DISPENSABLE.items():
        if name in asked and any(word in refusal for word in words):
            return name
    return ""


def _count(told: Any) -> int | None:
    return told if isinstance(told, int) and told >= 0 else None


def _tokens(told: Any) -> tuple[Token, ...]:
    """The tokens of an answer; none where they are not told as the API says."""
    try:
        return tuple(
            Token(
                str(token["token"]),
                float(token["logprob"]),
                {str(other["token"]): float(other["logprob"]) for other in token["top_logprobs"]},
            )
            for token in told["content"]
        )
    except (KeyError, TypeError, ValueError):
        return ()
