"""`remote`: the score of a reward server. docs/own-graders.md has the protocol. No torch here."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harmony_compiler.graph import graders as nodes
from harmony_compiler.graph.values import Duration
from harmony_runtime.failures import RunFailed
from harmony_runtime.graders.answered import grade_of
from harmony_runtime.graders.http import Http, Refused
from harmony_runtime.graders.kinds import Asked, TryAgain
from harmony_runtime.graders.making import Bench
from harmony_runtime.graders.protocol import DoesNotApply, Failure, Grade, Sample, Score
from harmony_runtime.graders.row_schemas import check_rows
from harmony_runtime.secrets import hidden, value_of

PROTOCOL = 1


@dataclass(frozen=True)
class _Info:
    """What a server says of itself."""

    name: str
    version: str


class Remote(Asked):
    """Asks its server about one sample with each request."""

    def __init__(self, node: nodes.Remote, bench: Bench) -> None:
        self._node = node
        self._secrets = (node.key,) if node.key else ()
        self._info: _Info | None = None
        self._http: Http | None = None
        self.keeps = node.cache

    @property
    def version(self) -> str:
        return f"{self._info.name} {self._info.version}" if self._info else ""

    async def check(self, rows: Sequence[Mapping[str, Any]]) -> None:
        async with self._client() as http:
            info = await self._introduced(http)
            told = await self._met(http, "/metadata_schema")
        by = f"the server `{info.name}` at {http.url}"
        check_rows(rows, told, f"{by}: its `/metadata_schema`", by)

    async def set_up(self) -> None:
        self._http = self._client()
        self._info = await self._introduced(self._http)

    async def grade(self, sample: Sample) -> Grade:
        assert self._http is not None, "set up first"
        try:
            answer = await self._http.post("/score", {"samples": [_told(sample)]})
        except Refused as refusal:
            return Failure(str(refusal))
        except (TypeError, ValueError) as fault:
            return Failure(f"the sample cannot be sent as JSON: {fault}")
        # What has the wrong shape comes from the server's program, which would say it again.
        match answer:
            case {"grades": [told], **others} if not others:
                return self._read(told)
            case {"grades": list(told), **others} if not others:
                return Failure(f"{self._http.url} answers with {len(told)} grades to one sample")
        return Failure(f'{self._http.url} answers without `{{"grades": […]}}`: {self._http.shown(answer)}')

    async def tear_down(self) -> None:
        if self._http is not None:
            await self._http.close()

    def _client(self) -> Http:
        key, concurrency = self._node.key, self._node.concurrency or self.usual_concurrency
        headers = {"authorization": f"Bearer {value_of(key)}"} if key else {}
        return Http(self._node.url, headers, self._secrets, concurrency)

    async def _introduced(self, http: Http) -> _Info:
        match await self._met(http, "/info"):
            case {"protocol": int(number)} if number != PROTOCOL:
                raise RunFailed(
                    f"the server at {http.url} speaks protocol {number} of reward servers, and this version "
                    f"of Harmony speaks {PROTOCOL}: use a server, or a version of Harmony, that fits"
                )
            case {"protocol": int(), "name": str(name), "version": str(version)}:
                return _Info(name, version)
            case told:
                raise RunFailed(
                    f"what answers at {http.url} is no reward server: its `/info` is {http.shown(told)}, not "
                    f'`{{"protocol": {PROTOCOL}, "name": "…", "version": "…"}}`; check `url`'
                )

    async def _met(self, http: Http, path: str) -> Any:
        """What the server says before the first grade."""
        patience = self._node.timeout or Duration(self.usual_timeout, "s")
        try:
            async with asyncio.timeout(patience.seconds):
                return await http.get(path)
        except TimeoutError as fault:
            raise RunFailed(
                f"{http.url}{path} did not answer within {patience}: see what the server does, or raise "
                "`timeout`",
                exit_code=2,
            ) from fault
        except TryAgain as fault:
            raise RunFailed(
                f"{fault}: start the server, as with `harmonyc serve-grader`, or correct `url`", exit_code=2
            ) from fault
        except Refused as refusal:
            mend = "set `key` to what the server asks for" if refusal.status in (401, 403) else "check `url`"
            raise RunFailed(f"{refusal}: {mend}") from refusal

    def _read(self, told: Any) -> Grade:
        assert self._http is not None
        if isinstance(told, dict) and isinstance(said := told.get("reasoning", ""), str):
            reasoning = hidden(said, *self._secrets)
            match {key: value for key, value in told.items() if key != "reasoning"}:
                case {"score": float() | int() as value, **others} if not (others or isinstance(value, bool)):
                    return grade_of(Score(value, reasoning))
                case {"not_applicable": True, **others} if not others:
                    return DoesNotApply(reasoning)
                case {"failed": str(reason), **others} if not others:
                    return Failure(hidden(reason, *self._secrets))
        return Failure(f"{self._http.url} answers with what is no grade: {self._http.shown(told)}")


def _told(sample: Sample) -> dict[str, Any]:
    """A sample as `/score` takes it."""
    return {
        "completion": sample.completion,
        "prompt": sample.prompt,
        "turns": [dict(turn) for turn in sample.turns],
        "metadata": dict(sample.metadata),
    }
