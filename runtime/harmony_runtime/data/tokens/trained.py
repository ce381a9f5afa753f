"""Tokens: the rows of a dataset as a stage trains on them.

They lie in the cache, mapped into memory: nothing is held of a row that no step asks for.
"""

# Names of tensors end in their shape.
# ruff: noqa: N803, N806, N815

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from harmony_compiler.graph.values import Ref
from harmony_runtime.data.faults import Faults, RowTooLong, ThreadRefused
from harmony_runtime.data.tokens.cache import IDS, ROWS, WEIGHTS, Table, Writer, kept
from harmony_runtime.data.tokens.lengths import Counts, say_lengths
from harmony_runtime.data.tokens.proofs import Proof, Proofs, proven
from harmony_runtime.data.turns.threads import OnTooLong, RowThread, Threads
from harmony_runtime.failures import place
from harmony_runtime.graders.protocol import Turn
from harmony_runtime.models.blueprint import Blueprint
from harmony_runtime.models.chat import Chat, ChatError, Segment, TrainOn
from harmony_runtime.rooms import Desk
from harmony_runtime.watch import Watcher


class Batch(NamedTuple):
    """Rows side by side, padded on the right, where a causal model never looks back from."""

    ids_BT: Tensor
    weights_BT: Tensor
    """float32: what each token counts in the loss. Never a row's first, which nothing predicts."""


class TokenRows:
    """Threads in tokens, each with what it counts in the loss."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self.counts: Mapping[str, int] = table.about["rows"]
        self.tokens: Mapping[str, int] = table.about["tokens"]
        self.longest: int = table.about["longest"]
        self.proofs: tuple[Proof, ...] = proven(table.about["proofs"])

    def __len__(self) -> int:
        return len(self._table)

    def lengths(self, rows_B: Tensor) -> Tensor:
        """int64: tokens of each row."""
        return self._numbers("length", rows_B).long()

    def trained(self, rows_B: Tensor) -> Tensor:
        """int64: tokens of each row that count in the loss."""
        return self._numbers("trained", rows_B).long()

    def weights(self, rows_B: Tensor) -> Tensor:
        """float64: what all tokens of each row count together."""
        return self._numbers("weight", rows_B)

    def row(self, number: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """The ids of a row, and the weight of each."""
        ids, weights = spread(self._table, number)
        weights[:1] = 0
        return ids, weights

    def batch(self, rows_B: Tensor) -> Batch:
        lengths_B = self.lengths(rows_B)
        shape = (len(rows_B), int(lengths_B.max()))
        ids, weights = numpy.zeros(shape, numpy.int64), numpy.zeros(shape, numpy.float32)
        for place_, (row, length) in enumerate(zip(rows_B.tolist(), lengths_B.tolist(), strict=True)):
            ids[place_, :length], weights[place_, :length] = self.row(row)
        return Batch(torch.from_numpy(ids), torch.from_numpy(weights))

    def _numbers(self, name: str, rows_B: Tensor) -> Tensor:
        return torch.from_numpy(self._table.numbers[name][rows_B.numpy()])


@dataclass
class TokenCounts:
    """How many tokens the kept rows have."""

    all: int = 0
    trained: int = 0
    unknown: int = 0


def tokens_of(desk: Desk, dataset: Ref, blueprint: Blueprint, train_on: TrainOn) -> TokenRows:
    """The threads of a dataset in a model's tokens.

    Raises:
        RunFailed: rows are faulty, or nothing is left.
    """
    where, chat, context = place(desk.graph, dataset), blueprint.chat, blueprint.context
    recipe = {"train_on": train_on, "context": context}
    make = partial(_make, chat=chat, context=context, train_on=train_on)
    blueprint.check_trainable()
    table = kept(desk, dataset, chat, kind="threads", recipe=recipe, make=make)
    rows = TokenRows(table)
    say_lengths(
        rows.counts,
        where,
        desk.watcher,
        what="rows",
        are=f"are longer than {context} tokens",
        mend='shorten them, take a model with a longer context, or set `on_too_long = "truncate"`',
    )
    of = f"of {rows.counts['kept']} rows"
    if empty := rows.counts["with_an_empty_completion"]:
        desk.watcher.warning(f"{where}{empty} {of} have an empty completion")
    if nothing := rows.counts["with_nothing_to_train_on"]:
        desk.watcher.warning(f"{where}{nothing} {of} have no token to train on")
    say_unknown(rows.tokens["unknown"], rows.tokens["all"], where, desk.watcher)
    blueprint.check_ids(table.about["largest_id"])
    return rows


def _make(
    threads: Threads, faults: Faults, folder: Path, *, chat: Chat, context: int, train_on: TrainOn
) -> dict[str, Any]:
    writer = Writer(
        folder,
        {"ids": IDS, "lengths": IDS, "weights": WEIGHTS},
        {"length": "i", "trained": "i", "weight": "d"},
    )
    counts, tokens, largest, longest = Counts(), TokenCounts(), 0, 0
    unknown = unknown_id(chat.tokenizer)

    proofs = Proofs(chat, train_on)

    def text(thread: RowThread) -> list[list[Segment]]:
        return [chat.segments(thread.turns, train_on)]

    for thread, on_too_long, (found,) in tokenised(offered(threads, faults), chat, text, faults, proofs):
        pieces, length = found, sum(len(ids) for ids, _ in found)
        if length > context:
            match on_too_long:
                case "error":
                    faults.add(RowTooLong(span=thread.origin.span(), tokens=length, context=context))
                    continue
                case "drop":
                    counts.too_long_and_dropped += 1
                    continue
                case "truncate":
                    counts.too_long_and_truncated += 1
                    pieces, length = cut(found, context), context
        ids = [token for piece, _ in pieces for token in piece]
        lengths = [len(piece) for piece, _ in pieces]
        weights = numpy.array([weight for _, weight in pieces], numpy.float32)
        counted = numpy.array(lengths)
        counted[:1] -= 1  # nothing predicts the first token
        trained = int(counted[weights > 0].sum())
        writer.add(
            ids=ids,
            lengths=lengths,
            weights=weights,
            length=length,
            trained=trained,
            weight=float((weights.astype(numpy.float64) * counted).sum()),
        )
        counts.kept += 1
        counts.with_an_empty_completion += any(map(_is_empty, thread.turns))
        counts.with_nothing_to_train_on += not trained
        tokens.unknown += ids.count(unknown)
        tokens.all += length
        tokens.trained += trained
        largest, longest = max(largest, *ids), max(longest, length)
    writer.close()
    rows = {**threads.counts, **asdict(counts)}
    return {
        "rows": rows,
        "tokens": asdict(tokens),
        "largest_id": largest,
        "longest": longest,
        "proofs": proofs.about,
    }


def cut(pieces: Pieces, room: int) -> Pieces:
    """The first `room` tokens."""
    fitting = []
    for ids, weight in pieces:
        if room > 0:
            fitting.append((ids[:room], weight))
        room -= len(ids)
    return fitting


def _is_empty(turn: Turn) -> bool:
    return turn["role"] == "assistant" and not turn.get("tool_calls") and not turn["content"].strip()


def spread(table: Table, row: int, text: str = "") -> tuple[NDArray[Any], NDArray[Any]]:
    """The ids of a text of a row, and the weight of each."""
    weights, lengths = (table.array(row, f"{text}{column}") for column in ("weights", "lengths"))
    return table.array(row, f"{text}ids"), numpy.repeat(weights, lengths)


def say_unknown(unknown: int, tokens: int, dataset: str, watcher: Watcher) -> None:
    if unknown:
        watcher.warning(f"{dataset}{unknown} of {tokens} tokens are unknown to the tokenizer")


def unknown_id(tokenizer: Any) -> int:
    """The id of what the tokenizer cannot spell; -1 where it can spell everything."""
    # Some tokenizers, GPT-2's among them, can, and call their end token "unknown".
    no_unknown = (None, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    return -1 if tokenizer.unk_token_id in no_unknown else int(tokenizer.unk_token_id)


Pieces = list[tuple[list[int], float]]
"""The ids of a text, piece by piece, and what each of a piece's tokens counts in a loss."""

Offered = tuple[RowThread, OnTooLong]


def offered(threads: Threads, faults: Faults, limit: int | None = None) -> Iterator[Offered]:
    """All threads of a dataset, or the first ones, each with what happens to it where it is too long."""
    for number in range(len(threads) if limit is None else min(limit, len(threads))):
        thread = threads.at(number, faults)
        if thread is not None:
            yield thread, threads.on_too_long(number)


def tokenised(
    threads: Iterable[Offered],
    chat: Chat,
    texts: Callable[[Any], Sequence[list[Segment]]],
    faults: Faults,
    proofs: Proofs,
) -> Iterator[tuple[RowThread, OnTooLong, list[Pieces]]]:
    """Each thread with the ids of its texts; one that the template refuses goes to `faults`.

    The tokenizer works on many texts at once.
    """

    def rendered() -> Iterator[tuple[Offered, Sequence[list[Segment]]]]:
        for thread, on_too_long in threads:
            try:
                yield (thread, on_too_long), texts(thread)
            except ChatError as fault:
                faults.add(ThreadRefused(span=thread.origin.span(), reason=str(fault)))

    rest = rendered()
    while some := list(islice(rest, ROWS)):
        pieces = iter(chat.tokens([text for _, texts in some for text in texts]))
        for (thread, on_too_long), own in some:
            found = list(islice(pieces, len(own)))
            proofs.add(thread, own, found)
            yield thread, on_too_long, found
