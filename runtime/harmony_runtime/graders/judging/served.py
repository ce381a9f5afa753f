"""Judges behind an OpenAI-compatible API. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harmony_compiler.graph import graders as nodes
from harmony_compiler.graph.models import Endpoint
from harmony_runtime.graders.endpoint import Chat
from harmony_runtime.graders.http import Refused
from harmony_runtime.graders.judging.answers import Unreadable
from harmony_runtime.graders.judging.dialogue import Dialogue
from harmony_runtime.graders.kinds import Asked, Priced, TryAgain
from harmony_runtime.graders.protocol import Failure, Grade, Sample

if TYPE_CHECKING:
    from harmony_runtime.graders.making import Bench


class ServedJudge(Asked):
    def __init__(self, node: nodes.Judge, bench: Bench) -> None:
        endpoint = bench.graph.nodes[node.model]
        assert isinstance(endpoint, Endpoint)
        self._node = node
        self._bench = bench
        self._endpoint = endpoint
        self._dialogue = Dialogue(node)
        self._chat: Chat | None = None
        self.keeps = node.cache

    async def check(self, rows: Sequence[Mapping[str, Any]]) -> None:
        async with self._new_chat() as chat:
            await chat.check()

    async def set_up(self) -> None:
        self._chat = self._new_chat()

    async def tear_down(self) -> None:
        if self._chat is not None:
            await self._chat.close()
            self._chat = None

    async def grade(self, sample: Sample) -> Grade | Priced:  # type: ignore[override]
        """The judge's opinion; an answer that cannot be read is asked for once more."""
        turns = self._dialogue.question(sample)
        if isinstance(turns, Failure):
            return turns
        assert self._chat is not None
        spent, why = 0, Unreadable("")
        for _ in range(2):
            try:
                answer = await self._chat.answer(
                    turns,
                    temperature=self._node.temperature,
                    max_tokens=self._node.max_tokens,
                    response_format=self._dialogue.response_format,
                    logprobs=self._node.weighted,
                )
            except Refused as refused:
                return Priced(Failure(str(refused)), spent)
            spent += answer.spent
            read = self._dialogue.read(answer.text, answer.tokens)
            if not isinstance(read, Unreadable):
                return Priced(read, spent)
            if answer.cut:
                cut = Failure(f"its answer ends at `max_tokens = {self._node.max_tokens}`: let it be longer")
                return Priced(cut, spent)
            turns, why = self._dialogue.again(turns, answer.text, read), read
        raise TryAgain(f"its answer cannot be read: {why.why}", tokens=spent)

    def _new_chat(self) -> Chat:
        concurrency = self._node.concurrency or self.usual_concurrency
        return Chat(self._endpoint, concurrency, self._bench.warn)
