"""Rows as a stage sees them: the turns, the tokens of their text, and what becomes of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import accumulate, chain
from typing import Any

from harmony_compiler.graph.algorithms import Dpo, Grpo, Ppo, Sft
from harmony_compiler.graph.evaluations import Compare
from harmony_compiler.graph.node import Node
from harmony_grammar.diagnostics import Diagnostic
from harmony_runtime.data.faults import Faults, ThreadRefused
from harmony_runtime.data.tokens.proofs import SAMPLE, Proof, Proofs
from harmony_runtime.data.tokens.trained import unknown_id
from harmony_runtime.data.turns.threads import OnTooLong, RowPair, RowThread, Threads
from harmony_runtime.failures import RunFailed
from harmony_runtime.graders.protocol import Turn
from harmony_runtime.models.blueprint import Blueprint
from harmony_runtime.models.chat import ChatError, Segment
from harmony_runtime.models.spelling import Speller, Token


@dataclass(frozen=True)
class Part:
    """A text of a row in tokens."""

    name: str
    """`thread`, `prompt`, `chosen` or `rejected`."""
    tokens: tuple[Token, ...]

    @property
    def length(self) -> int:
        return sum(token.id is not None for token in self.tokens)


@dataclass(frozen=True)
class ShownRow:
    """One row, as far as it can be shown."""

    number: int
    """Its place among the dataset's rows, from 1."""
    place: str = ""
    turns: tuple[Turn, ...] = ()
    answers: Mapping[str, tuple[Turn, ...]] = field(default_factory=dict)
    """Of a pair: the turns of `chosen` and `rejected`."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    parts: tuple[Part, ...] = ()
    """Of a row that is refused, at most the prompt that its completion is asked by."""
    fate: str = ""
    """Why it does not reach the stage as it is, where it does not."""
    faults: tuple[Diagnostic | str, ...] = ()


class Eyes:
    """How a stage sees a row: which text of it in which tokens, and what happens where it is too long."""

    def __init__(self, stage: Node | None, blueprint: Blueprint) -> None:
        self._stage = stage
        self._chat = blueprint.chat
        self._context = blueprint.context
        self._room = room_of(stage)
        self._speller = Speller(self._chat, unknown_id(blueprint.tokenizer))

    def parts(self, thread: RowThread) -> tuple[Part, ...]:
        """
        Raises:
            ChatError: the template refuses the thread.
        """
        texts = [self._speller.pieces(segments) for segments in self._texts(thread)]
        if isinstance(thread, RowPair):
            (prompt, *chosen), (_, *rejected) = texts
            named = {"prompt": [prompt], "chosen": chosen, "rejected": rejected}
            return tuple(_part(name, pieces) for name, pieces in named.items())
        if not isinstance(self._stage, Sft):
            return (_part("prompt", texts[0]),)
        tokens = _part("thread", texts[0]).tokens
        # Nothing predicts the first token.
        unpredicted = (token._replace(weight=0.0) for token in tokens[:1])
        return (Part("thread", (*unpredicted, *tokens[1:])),)

    def asked(self, thread: RowThread) -> tuple[Part, ...]:
        """What a completion is asked by, of a thread that cannot be trained on; nothing where that fails."""
        answers = [number for number, turn in enumerate(thread.turns) if turn["role"] == "assistant"]
        try:
            prompt = self._chat.prompt(thread.turns[: answers[-1] if answers else None])
        except ChatError:
            return ()
        return (_part("prompt", self._speller.pieces(prompt)),)

    def proofs(self, threads: Threads) -> tuple[Proof, ...]:
        """What holds of the first rows, where not all could be put into tokens."""
        train_on = self._stage.train_on if isinstance(self._stage, Sft) else None
        proofs = Proofs(self._chat, "all" if isinstance(self._stage, Dpo) else train_on)
        for number in range(min(SAMPLE, len(threads))):
            thread = threads.at(number, Faults(""))
            with suppress(ChatError):
                if thread is not None:
                    texts = self._texts(thread)
                    proofs.add(thread, texts, self._chat.tokens(texts))
        return proofs.results

    def _texts(self, thread: RowThread) -> list[list[Segment]]:
        """What the stage reads of a row, in pieces; of a pair, the prompt with each answer."""
        if isinstance(thread, RowPair):
            prompt, *answers = self._chat.pair(thread.turns, thread.chosen, thread.rejected)
            return [[*prompt, *answer] for answer in answers]
        if isinstance(self._stage, Sft):
            return [self._chat.segments(thread.turns, self._stage.train_on)]
        return [self._chat.prompt(thread.turns)]

    def fate(self, parts: Sequence[Part], on_too_long: OnTooLong) -> str:
        """What happens to a row where it is too long, in words."""
        lengths = {part.name: part.length for part in parts}
        prompt = lengths.pop("prompt", 0)
        longest = prompt + max(lengths.values(), default=0)
        if longest + self._room <= self._context:
            return ""
        fate = {"drop": "dropped", "truncate": "truncated", "error": "refused"}[on_too_long]
        if on_too_long == "truncate" and not lengths:
            fate = "refused"  # a prompt that is cut asks another question
        elif on_too_long == "truncate" and prompt >= self._context:
            fate = "dropped"  # no answer is left to prefer
        behind = f" with {self._room:,} of a completion behind them" if self._room else ""
        return f"{fate}: {longest:,} tokens{behind}, and the model's context is {self._context:,}"

    def truncated(self, parts: Sequence[Part]) -> tuple[Part, ...]:
        """The parts of a row, of which what is beyond the context is cut."""
        shared = sum(part.length for part in parts if part.name == "prompt")
        return tuple(
            part if part.name == "prompt" else Part(part.name, _cut(part.tokens, self._context - shared))
            for part in parts
        )


def _cut(tokens: Sequence[Token], room: int) -> tuple[Token, ...]:
    before = accumulate((token.id is not None for token in tokens), initial=0)
    return tuple(
        token if n < room else token._replace(weight=0.0, kind="cut")
        for n, token in zip(before, tokens, strict=False)
    )


def _part(name: str, pieces: Iterable[Iterable[Token]]) -> Part:
    return Part(name, tuple(chain.from_iterable(pieces)))


def shown_row(threads: Threads, number: int, eyes: Eyes | None) -> ShownRow:
    """A row, with what is wrong with it beside what can be shown of it."""
    faults = Faults("")
    thread = threads.at(number, faults)
    found = _found(faults)
    if thread is None:
        return ShownRow(number + 1, faults=found)
    row = ShownRow(
        number + 1,
        place=f"{thread.origin.name}:{thread.origin.line}",
        turns=thread.turns,
        answers={"chosen": thread.chosen, "rejected": thread.rejected} if isinstance(thread, RowPair) else {},
        metadata=thread.metadata,
        faults=found,
    )
    if eyes is None:
        return row
    try:
        parts = eyes.parts(thread)
    except ChatError as fault:
        refused = ThreadRefused(span=thread.origin.span(), reason=str(fault))
        return replace(row, parts=eyes.asked(thread), faults=(*found, refused))
    fate = eyes.fate(parts, threads.on_too_long(number))
    if fate.startswith("truncated"):
        parts = eyes.truncated(parts)
    return replace(row, parts=parts, fate=fate)


def _found(faults: Faults) -> tuple[Diagnostic | str, ...]:
    try:
        faults.raise_any()
    except RunFailed as failure:
        return failure.faults
    return ()


def room_of(stage: Node | None) -> int:
    """Tokens that a stage leaves for a completion behind each prompt."""
    return stage.sampling.max_tokens if isinstance(stage, Grpo | Ppo | Compare) else 0
