"""Answers of a served model: what it writes is asked for over its chat API.

Nothing of the model is here: turns go out as they stand in the data, and texts come back. Each completion has
a seed of its own, named as the random streams of models that draw here; whether it decides anything is the
server's affair.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harmony_compiler.graph.models import Endpoint
from harmony_compiler.graph.settings import Sampling
from harmony_compiler.graph.values import Duration
from harmony_runtime.chance import stream
from harmony_runtime.data.tokens.prompts import Prompt
from harmony_runtime.graders.endpoint import Chat
from harmony_runtime.graders.grading import Verdict
from harmony_runtime.graders.hosting import Hosting, contained
from harmony_runtime.graders.http import Refused
from harmony_runtime.graders.panel import Panel, PolicyStop
from harmony_runtime.graders.protocol import Failure, Turn
from harmony_runtime.graders.tries import Tries
from harmony_runtime.processes.context import Context
from harmony_runtime.rollout.answers import Progress, Told, line_of, sample_of

_AT_ONCE = 32
"""Completions that are asked for at the same time, by all processes together."""
_LONGEST = Duration(300, "s")
"""One try."""
_RETRIES = 4
_MOST_MISSING = 10
"""Completions of a hundred without which an evaluation still says something about a model."""
_SEEDS = 2**31
"""Some servers take seeds of 32 bits, with a sign."""


@dataclass(frozen=True)
class Reply:
    text: str
    end: str
    """What ended it, in the server's word."""
    tokens: int | None
    """Of the reply, where the server tells."""


@dataclass(frozen=True)
class Missing:
    """The model gave no reply."""

    reason: str


@dataclass(frozen=True)
class Answered:
    """A reply with its grades, or a missing one, which is a failure of every grader."""

    prompt: Prompt
    reply: Reply | Missing
    verdict: Verdict

    def line(self) -> dict[str, Any]:
        """What `samples.jsonl` says about it."""
        if isinstance(self.reply, Missing):
            nothing = {"completion": None, "stop": None}
            return line_of(sample_of(self.prompt, "", None), "", self.verdict) | nothing
        sample = sample_of(self.prompt, self.reply.text, self.reply.tokens)
        return line_of(sample, self.reply.end, self.verdict)


@dataclass(frozen=True)
class Served:
    """A model behind an endpoint."""

    node: Endpoint
    place: str
    """Where the recipe writes it: the beginning of every message about it."""
    warn: Callable[[str], None] = field(repr=False)

    def refuse_absent(self) -> None:
        """
        Raises:
            RunFailed: no server is there, or it does not take the key.
        """

        async def check() -> None:
            async with Chat(self.node, 1, self.warn) as chat:
                await chat.check()

        hosting = Hosting([])
        try:
            hosting.call(check, self.place)
        finally:
            hosting.tear_down()

    def answers(
        self,
        prompts: Sequence[Prompt],
        n: int,
        sampling: Sampling,
        *,
        panel: Panel,
        context: Context,
        seed: int,
        told: Told,
    ) -> list[Answered]:
        """`n` replies to each prompt, prompt by prompt, each graded as soon as it is there. The processes of
        a run share the work, and every one knows all of it in the end.

        Raises:
            PolicyStop: too many replies are missing, or the policy of a grader ends the run.
        """
        whole, ranks, rank = len(prompts) * n, context.world_size, context.rank
        share = range(whole * rank // ranks, whole * (rank + 1) // ranks)
        most_missing = whole * _MOST_MISSING // 100
        replies: dict[int, Reply | Missing] = {}
        progress = Progress(context.pulse.beat, len(share), told)
        with panel.grading(progress.graded) as grading:

            def heard(number: int, reply: Reply | Missing) -> None:
                replies[number] = reply
                if isinstance(reply, Reply):
                    grading.put(number, sample_of(prompts[number // n], reply.text, reply.tokens))
                progress.drawn(grading.graded)

            asked = _Asked(self, sampling, seed, max(1, _AT_ONCE // ranks))
            with context.pulse.doing(f"asking for {len(share):,} completions"):
                asked.all({number: prompts[number // n].turns for number in share}, most_missing, heard)
            with context.pulse.doing(f"grading {len(replies):,} completions"):
                graded = iter(grading.verdicts())
        own = [
            (number, reply, next(graded) if isinstance(reply, Reply) else _missed(panel, reply))
            for number, reply in sorted(replies.items())
        ]
        gathered = context.gather(own)
        self._refuse_gaps([reply for _, reply, _ in gathered], whole, most_missing)
        panel.admit([verdict for _, reply, verdict in gathered if isinstance(reply, Reply)])
        return [Answered(prompts[number // n], reply, verdict) for number, reply, verdict in gathered]

    def _refuse_gaps(self, replies: Sequence[Reply | Missing], whole: int, most: int) -> None:
        missing = [reply for reply in replies if isinstance(reply, Missing)]
        if len(missing) > most:
            raise PolicyStop(
                f"{self.place}more than {_MOST_MISSING} % of {whole:,} completions of `{self.node.model}` "
                f"are missing: {missing[-1].reason}. Mend the cause, then go on with `--resume`"
            )


def _missed(panel: Panel, missing: Missing) -> Verdict:
    failure = Failure(f"there is no completion: {missing.reason}")
    return Verdict((None,) * len(panel.roots), dict.fromkeys(panel.names, failure))


class _Asked:
    """A served model that is asked, in an event loop of its own; what it says is heard in this thread."""

    def __init__(self, model: Served, sampling: Sampling, seed: int, places: int) -> None:
        self._model = model
        self._sampling = sampling
        self._seed = seed
        self._places = places

    def all(
        self,
        conversations: Mapping[int, Sequence[Turn]],
        most_missing: int,
        heard: Callable[[int, Reply | Missing], None],
    ) -> None:
        """Reply to conversations, which have numbers. `heard` hears of each reply as soon as it is there;
        with more than `most_missing` missing nothing more is asked."""
        ready: deque[tuple[int, Reply | Missing]] = deque()

        def hear() -> None:
            while ready:
                heard(*ready.popleft())

        hosting = Hosting([])
        try:
            work = contained(lambda: self._all(conversations, most_missing, ready))
            (outcome,) = hosting.wait([hosting.start(work)], hear)
        finally:
            hosting.tear_down()
        if outcome.fault is not None:
            raise outcome.fault
        hear()

    async def _all(
        self,
        conversations: Mapping[int, Sequence[Turn]],
        most_missing: int,
        ready: deque[tuple[int, Reply | Missing]],
    ) -> None:
        missing = 0
        tries = Tries(self._places, _LONGEST, _RETRIES)
        async with Chat(self._model.node, self._places, self._model.warn) as chat:
            tasks = [
                asyncio.create_task(self._one(chat, tries, number, turns))
                for number, turns in conversations.items()
            ]
            try:
                for task in asyncio.as_completed(tasks):
                    number, reply = await task
                    ready.append((number, reply))
                    missing += isinstance(reply, Missing)
                    if missing > most_missing:
                        break
            finally:
                for left in tasks:
                    left.cancel()

    async def _one(
        self, chat: Chat, tries: Tries, number: int, turns: Sequence[Turn]
    ) -> tuple[int, Reply | Missing]:
        sampling, messages = self._sampling, [_message(turn) for turn in turns]
        draws = sampling.temperature > 0
        seed = stream(self._seed, f"completion {number}").initial_seed() % _SEEDS if draws else None

        async def ask() -> Reply | Missing:
            try:
                answer = await chat.answer(
                    messages,
                    temperature=sampling.temperature,
                    max_tokens=sampling.max_tokens,
                    top_p=sampling.top_p,
                    stop=sampling.stop,
                    seed=seed,
                )
            except Refused as refused:  # as it would be the next time
                return Missing(str(refused))
            # `stop` is the API's word for both: an end token, and a text of `sampling.stop`.
            end = "end" if answer.end == "stop" and not sampling.stop else answer.end
            return Reply(answer.text, end, answer.written)

        tried = await tries.of(ask, f"{number}")
        if tried.fault is not None:
            return number, Missing(tried.counted(tried.reason))
        reply: Reply | Missing = tried.value
        return number, reply


def _message(turn: Turn) -> dict[str, Any]:
    """A turn as the API takes it: there the arguments of a call are a text."""
    told = {name: held for name, held in turn.items() if name != "weight"}
    if calls := turn.get("tool_calls"):
        told["tool_calls"] = [_call(call) for call in calls]
    return told


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    inner = call.get("function")
    if isinstance(inner, dict) and isinstance(inner.get("arguments"), dict):
        text = json.dumps(inner["arguments"], ensure_ascii=False)
        return {**call, "function": {**inner, "arguments": text}}
    return dict(call)
