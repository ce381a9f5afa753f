"""Judges by a model of the recipe, which answers on the device."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial

from harmony_compiler.graph import graders as nodes
from harmony_compiler.graph.settings import Sampling
from harmony_runtime.failures import RunFailed
from harmony_runtime.graders.judging.answers import Unreadable
from harmony_runtime.graders.judging.dialogue import Dialogue
from harmony_runtime.graders.kinds import OnDevice
from harmony_runtime.graders.making import Bench
from harmony_runtime.graders.protocol import Failure, Grade, Sample, Turn
from harmony_runtime.models.blueprint import Blueprint
from harmony_runtime.models.chat import ChatError
from harmony_runtime.rollout.engine import Completion
from harmony_runtime.rollout.inference import at_hand
from harmony_runtime.rollout.local import LocalEngine

_FOR_SERVED = ("token_budget", "weighted")
"""What is for judges that are served elsewhere: a bound of what they cost, and odds that a server tells."""

_PROBE = [{"role": role, "content": "words"} for role in ("system", "user", "assistant", "user")]
"""A question that is asked again."""


class LocalJudge(OnDevice):
    """Asks a model of the recipe about all samples of a step together; equal questions are asked once."""

    def __init__(self, node: nodes.Judge, bench: Bench) -> None:
        self._node = node
        self._inference = at_hand(bench.inference)
        self._dialogue = Dialogue(node)
        blueprint = self._inference.blueprint(node.model)
        _refuse(node, blueprint)
        self._chat = blueprint.chat
        self._room = blueprint.context - node.max_tokens
        self._sampling = Sampling(max_tokens=node.max_tokens, temperature=node.temperature)
        self._held = ExitStack()
        self._engine: LocalEngine | None = None

    async def set_up(self) -> None:
        self._engine = self._held.enter_context(self._inference.writing(self._node.model))

    async def tear_down(self) -> None:
        self._engine = None
        self._held.close()

    def grade_all(self, samples: Sequence[Sample], beat: Callable[[], None]) -> list[Grade]:
        questions = [self._dialogue.question(sample) for sample in samples]
        # By their text, so that equal ones are one.
        asked = {_text(turns): turns for turns in questions if not isinstance(turns, Failure)}
        judged = self._judged(asked, beat)
        return [turns if isinstance(turns, Failure) else judged[_text(turns)] for turns in questions]

    def _judged(self, asked: Mapping[str, list[Turn]], beat: Callable[[], None]) -> dict[str, Grade]:
        """The grades by the keys of the questions. Where an answer says none, it is asked for again."""
        judged: dict[str, Grade] = {}
        for tries_left in range(self._node.retries, -1, -1):
            prompts: dict[str, list[int]] = {}
            for key, turns in asked.items():
                match self._ids(turns):
                    case Failure() as failure:
                        judged[key] = failure
                    case ids:
                        prompts[key] = ids
            again: dict[str, list[Turn]] = {}
            answers = self._complete(list(prompts.values()), beat)
            for key, answer in zip(prompts, answers, strict=True):
                grade = self._dialogue.read(answer.text)
                if not isinstance(grade, Unreadable):
                    judged[key] = grade
                elif tries_left:
                    again[key] = self._dialogue.again(asked[key], answer.text, grade)
                else:
                    judged[key] = Failure(_unread(answer, grade))
            asked = again
        return judged

    def _ids(self, turns: Sequence[Turn]) -> list[int] | Failure:
        try:
            (ids,) = self._chat.prompts([turns])
        except ChatError as fault:
            return Failure(f"the chat template of the judge {fault}")
        if len(ids) > self._room:
            return Failure(
                f"the dialogue has {len(ids):,} tokens, which leaves no room for {self._node.max_tokens:,} "
                f"of an answer in the judge's context of {self._room + self._node.max_tokens:,}"
            )
        return ids

    def _complete(self, prompts: Sequence[Sequence[int]], beat: Callable[[], None]) -> list[Completion]:
        assert self._engine is not None, "not set up"
        complete = partial(self._engine.complete, n=1, sampling=self._sampling, finished=lambda *_: beat())
        if not prompts:
            return []
        if not self._node.temperature:
            return complete(prompts, seed=0)
        # The engine names random streams by the place of a prompt among others. Asked alone, equal questions
        # get equal answers, whatever else is asked.
        return [answer for ids in prompts for answer in complete([ids], seed=_seed(ids))]


def _refuse(node: nodes.Judge, blueprint: Blueprint) -> None:
    """Refuse what a judge on the device cannot do, before anything is loaded."""
    for name in _FOR_SERVED:
        if getattr(node, name):
            raise RunFailed(
                f"`{name}` is for a judge that an `endpoint` serves, and this one is a model of the recipe: "
                "leave it out"
            )
    if node.max_tokens >= blueprint.context:
        raise RunFailed(
            f"an answer of `max_tokens` = {node.max_tokens:,} leaves no room for a question in the judge's "
            f"context of {blueprint.context:,} tokens: lower it"
        )
    try:
        blueprint.chat.prompt(_PROBE)
    except ChatError as fault:
        raise RunFailed(
            f"{blueprint.place}the chat template {fault}; a judge is asked by a system and a user turn, and "
            "once more where its answer cannot be read"
        ) from fault


def _unread(answer: Completion, why: Unreadable) -> str:
    cut = ", and it ends at `max_tokens`" if answer.stop == "length" else ""
    return f"the judge's answer says no grade: {why.why}{cut}"


def _text(turns: Sequence[Turn]) -> str:
    return json.dumps(turns)


def _seed(ids: Sequence[int]) -> int:
    return int.from_bytes(hashlib.sha256(json.dumps(list(ids)).encode()).digest()[:8])
