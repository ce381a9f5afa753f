"""JSON over HTTP, as graders ask servers: bounded, and with the faults that another try may mend told apart.

Nothing is retried here, and only connecting has a time limit: tries and deadlines are the host's. No torch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Any

from harmony_compiler.graph.values import Secret
from harmony_runtime.failures import RunFailed
from harmony_runtime.graders.kinds import TryAgain
from harmony_runtime.secrets import hidden

try:
    import httpx2 as httpx
except ImportError as fault:
    raise RunFailed(
        "a grader that asks a server needs httpx2: install `harmony-dsl[graders]`", exit_code=2
    ) from fault

LARGEST = 4 * 2**20
"""Bytes of an answer that are read."""
_MENDED_BY_TIME = frozenset({408, 409, 425, 429})
"""Statuses below 500 after which another try may help."""
_TO_CONNECT = 10.0
"""Seconds."""
_LONGEST = 300
"""Characters of a server's words that are told."""


class Refused(Exception):  # noqa: N818 - it names what happened
    """The server answered, and would answer the same again."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        """Of the answer: 200 where its body is at fault."""


class Http:
    """One server, asked by a grader: a pool of connections, opened when they are needed."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        secrets: Sequence[Secret] = (),
        concurrency: int = 32,
    ) -> None:
        """`secrets` are those among the headers: their values are told to nobody but the server. At most
        `concurrency` connections are open at the same time.

        Raises:
            RunFailed: a header cannot be sent.
        """
        self.url = url.rstrip("/")
        self._secrets = secrets
        for name, value in (headers or {}).items():
            # A library's message about such a header would show its value.
            if not (value.isascii() and value.isprintable()):
                raise RunFailed(
                    f"the value of the header `{name}` has a character that headers cannot have, such as "
                    "a line's end: take it out of the recipe, or out of the variable that it comes from"
                )
        self._client = httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(None, connect=_TO_CONNECT),
            limits=httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
            trust_env=not _is_near(url),  # a proxy leads elsewhere
        )

    async def __aenter__(self) -> Http:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._client.aclose()

    async def get(self, path: str) -> Any:
        """The JSON at `path`, which begins with `/`. As Python reads it: NaN and infinity are let through.

        Raises:
            TryAgain: no server, half an answer, one that is no JSON, or a status that time may mend.
            Refused: any other status beside 2xx, and an answer that is too long.
        """
        return await self._ask("GET", path)

    async def post(self, path: str, question: Any) -> Any:
        """The JSON that answers `question`, which is sent as JSON.

        Raises:
            TryAgain, Refused: as for `get`.
            TypeError, ValueError: JSON cannot say the question.
        """
        body = json.dumps(question, allow_nan=False, separators=(",", ":")).encode()
        return await self._ask("POST", path, body)

    def tame(self, text: str) -> str:
        """A server's words, fit for a message: on one line, not too long, and without secrets."""
        line = " ".join(hidden(text, *self._secrets).split())
        return line if len(line) <= _LONGEST else line[:_LONGEST] + "…"

    def shown(self, told: Any) -> str:
        """A value that the server told, fit for a message."""
        return self.tame(json.dumps(told, ensure_ascii=False))

    async def _ask(self, method: str, path: str, body: bytes | None = None) -> Any:
        headers = {"content-type": "application/json"} if body is not None else {}
        place = f"{self.url}{path}"
        try:
            async with self._client.stream(method, place, content=body, headers=headers) as response:
                answer = await _bounded(response)
        except httpx.ConnectError as fault:
            raise TryAgain(f"no server answers at {self.url}: {self.tame(str(fault))}") from fault
        except httpx.HTTPError as fault:
            raise TryAgain(f"{place} broke off: {type(fault).__name__}: {self.tame(str(fault))}") from fault
        status = response.status_code
        if not response.is_success:
            words = f"{place} answers {status}{self._said(answer or b'')}"
            if status >= 500 or status in _MENDED_BY_TIME:
                raise TryAgain(words, after=_seconds(response.headers.get("retry-after", "")))
            raise Refused(status, words)
        if answer is None:
            raise Refused(status, f"{place} answers with more than {LARGEST:,} bytes")
        try:
            return json.loads(answer)
        except (ValueError, RecursionError) as fault:
            raise TryAgain(f"{place} answers with no JSON{self._said(answer)}") from fault

    def _said(self, answer: bytes) -> str:
        """`: the words`, in which a server says why, or nothing."""
        text = answer.decode("utf-8", "replace")
        try:
            told = json.loads(text)
        except (ValueError, RecursionError):
            told = text
        for key in ("error", "detail", "message"):
            if isinstance(told, dict) and told.get(key):
                told = told[key]
        words = self.tame(told) if isinstance(told, str) else self.shown(told)
        return f": {words}" if words else ""


async def _bounded(response: httpx.Response) -> bytes | None:
    """The body of an answer, or None where it is too long."""
    parts, size = [], 0
    async for part in response.aiter_bytes():
        parts.append(part)
        size += len(part)
        if size > LARGEST:
            return None
    return b"".join(parts)


def _seconds(retry_after: str) -> float | None:
    """The seconds of a `Retry-After`, which may be a date."""
    if re.fullmatch(r"[0-9]{1,9}", retry_after.strip()):
        return float(retry_after)
    try:
        moment = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _is_near(url: str) -> bool:
    """Whether the server stands on this machine."""
    host = httpx.URL(url).host
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
