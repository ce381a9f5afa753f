"""Pairs: a better and a worse answer to the same prompt, in tokens."""

# Names of tensors end in their shape: P pairs, B = 2 * P rows, T tokens.
# ruff: noqa: N803, N806

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from harmony_compiler.graph.values import Ref
from harmony_runtime.data.faults import Faults, RowTooLong
from harmony_runtime.data.tokens.cache import IDS, WEIGHTS, Table, Writer, kept
from harmony_runtime.data.tokens.lengths import say_lengths
from harmony_runtime.data.tokens.proofs import Proof, Proofs, proven
from harmony_runtime.data.tokens.trained import (
    Batch,
    Pieces,
    cut,
    offered,
    say_unknown,
    spread,
    tokenised,
    unknown_id,
)
from harmony_runtime.data.turns.threads import RowPair, Threads
from harmony_runtime.failures import place
from harmony_runtime.models.blueprint import Blueprint
from harmony_runtime.models.chat import Chat, Segment
from harmony_runtime.rooms import Desk

SIDES = ("chosen", "rejected")


class Side(NamedTuple):
    """An answer, right behind its prompt: its ids, and what each counts in the loss. The last one ends it."""

    ids: NDArray[Any]
    weights: NDArray[Any]


class Pair(NamedTuple):
    prompt: NDArray[Any]
    chosen: Side
    rejected: Side


@dataclass
class PairCounts:
    """What became of the rows that a dataset offers."""

    kept: int = 0
    too_long_and_dropped: int = 0
    too_long_and_truncated: int = 0
    with_equal_answers: int = 0
    with_nothing_to_train_on: int = 0
    """Those of which an answer has no token that counts."""


class PairRows:
    """Pairs in tokens; each is read when it is asked for."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self.counts: Mapping[str, int] = table.about["rows"]
        self.tokens: Mapping[str, int] = table.about["tokens"]
        self.longest: int = table.about["longest"]
        self.proofs: tuple[Proof, ...] = proven(table.about["proofs"])
        self.lengths: NDArray[Any] = table.numbers["length"]
        """Of each row, the tokens of the prompt with the longer answer."""
        self.sizes: NDArray[Any] = table.numbers["tokens"]
        """Of each row, the tokens of the prompt with either answer."""
        self.trained: NDArray[Any] = table.numbers["trained"]
        """Of each row, those of them that count in the loss."""

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, number: int) -> Pair:
        if not 0 <= number < len(self):
            raise IndexError(number)
        sides = (Side(*spread(self._table, number, f"{side}_")) for side in SIDES)
        return Pair(self._table.array(number, "prompt"), *sides)

    def batch(self, rows_P: Tensor) -> Batch:
        """The prompt with the better answer of each pair, then the prompt with the worse one of each."""
        rows, read = rows_P.tolist(), self._table.array
        prompts = [read(row, "prompt") for row in rows]
        nothing = numpy.zeros(1, numpy.float32)
        ids, pieces, weights = list[NDArray[Any]](), list[Any](), list[NDArray[Any]]()
        lengths = list[int]()
        for side in SIDES:
            for row, prompt in zip(rows, prompts, strict=True):
                answer = read(row, f"{side}_ids")
                ids += (prompt, answer)
                pieces += ((len(prompt),), read(row, f"{side}_lengths"))
                weights += (nothing, read(row, f"{side}_weights"))
                lengths.append(len(prompt) + len(answer))
        lengths_B = numpy.asarray(lengths)
        inside_BT = numpy.arange(max(lengths)) < lengths_B[:, None]
        ids_BT, weights_BT = (numpy.zeros(inside_BT.shape, dtype) for dtype in (numpy.int64, numpy.float32))
        ids_BT[inside_BT] = numpy.concatenate(ids)
        weights_BT[inside_BT] = numpy.repeat(numpy.concatenate(weights), numpy.concatenate(pieces))
        weights_BT[:, 0] = 0
        return Batch(torch.from_numpy(ids_BT), torch.from_numpy(weights_BT))


def pairs_of(desk: Desk, dataset: Ref, blueprint: Blueprint) -> PairRows:
    """The pairs of a dataset in a model's tokens. One is too long where either answer is.

    Raises:
        RunFailed: rows are faulty, or nothing is left.
    """
    where, chat, context = place(desk.graph, dataset), blueprint.chat, blueprint.context
    make = partial(_make, chat=chat, context=context)
    blueprint.check_trainable()
    table = kept(desk, dataset, chat, kind="pairs", recipe={"context": context}, make=make)
    pairs = PairRows(table)
    are = f"are longer than {context} tokens"
    mend = "shorten them, or take a model with a longer context"
    say_lengths(pairs.counts, where, desk.watcher, what="pairs", are=are, mend=mend)
    if equal := pairs.counts["with_equal_answers"]:
        desk.watcher.warning(f"{where}{equal} of {len(pairs)} pairs have the same answer twice")
    if nothing := pairs.counts["with_nothing_to_train_on"]:
        desk.watcher.warning(
            f"{where}{nothing} of {len(pairs)} pairs have an answer without a token to train on"
        )
    say_unknown(pairs.tokens["unknown"], pairs.tokens["all"], where, desk.watcher)
    blueprint.check_ids(table.about["largest_id"])
    return pairs


def _make(threads: Threads, faults: Faults, folder: Path, *, chat: Chat, context: int) -> dict[str, Any]:
    columns = {"prompt": IDS}
    for side in SIDES:
        columns |= {f"{side}_ids": IDS, f"{side}_lengths": IDS, f"{side}_weights": WEIGHTS}
    writer = Writer(folder, columns, {"length": "i", "tokens": "i", "trained": "i"})
    counts, tokens, unknown, largest = PairCounts(), 0, 0, 0
    unknown_ = unknown_id(chat.tokenizer)

    proofs = Proofs(chat, "all")

    def texts(thread: RowPair) -> list[list[Segment]]:
        prompt, *answers = chat.pair(thread.turns, thread.chosen, thread.rejected)
        return [prompt + answer for answer in answers]

    for thread, on_too_long, sides in tokenised(offered(threads, faults), chat, texts, faults, proofs):
        prompt = sides[0][0][0]
        answers = [pieces[1:] for pieces in sides]
        length = max(map(_length, sides))
        if length > context:
            match on_too_long:
                case "error":
                    faults.add(RowTooLong(span=thread.origin.span(), tokens=length, context=context))
                    continue
                # Where the prompt alone fills the context, no answer is left to prefer.
                case "truncate" if len(prompt) < context:
                    counts.too_long_and_truncated += 1
                    answers = [cut(pieces, context - len(prompt)) for pieces in answers]
                    length = context
                case _:
                    counts.too_long_and_dropped += 1
                    continue
        trained = [sum(len(ids) for ids, weight in pieces if weight) for pieces in answers]
        size = 2 * len(prompt) + sum(map(_length, answers))
        row: dict[str, Any] = {"prompt": prompt, "length": length, "tokens": size, "trained": sum(trained)}
        for side, pieces in zip(SIDES, answers, strict=True):
            row[f"{side}_ids"] = [token for ids, _ in pieces for token in ids]
            row[f"{side}_lengths"] = [len(ids) for ids, _ in pieces]
            row[f"{side}_weights"] = [weight for _, weight in pieces]
        writer.add(**row)
        counts.kept += 1
        counts.with_equal_answers += answers[0] == answers[1]
        counts.with_nothing_to_train_on += not all(trained)
        for ids in (prompt, *(row[f"{side}_ids"] for side in SIDES)):
            tokens += len(ids)
            unknown += ids.count(unknown_)
            largest = max((largest, *ids))  # an answer of weight 0 has no ids
    writer.close()
    return {
        "rows": {**threads.counts, **asdict(counts)},
        "tokens": {"all": tokens, "trained": sum(writer.numbers["trained"]), "unknown": unknown},
        "largest_id": largest,
        "longest": max(writer.numbers["length"], default=0),
        "proofs": proofs.about,
    }


def _length(pieces: Pieces) -> int:
    return sum(len(ids) for ids, _ in pieces)
