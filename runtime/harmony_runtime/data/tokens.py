"""Tokens: the rows of a dataset as a stage trains on them.

Flat tensors with offsets, five bytes a token, whatever the number of rows.
"""

# Names of tensors end in their shape.
# ruff: noqa: N802, N803, N806, N815

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from typing import Any, Literal, NamedTuple

import numpy
import torch
from torch import Tensor

from harmony_runtime.data.faults import Faults, RowTooLong, ThreadRefused
from harmony_runtime.data.threads import RowThread
from harmony_runtime.failures import RunFailed
from harmony_runtime.graders.protocol import Turn
from harmony_runtime.models.chat import Chat, ChatError, Segment, TrainOn
from harmony_runtime.watch import Watcher


class Batch(NamedTuple):
    """Rows side by side, padded on the right. Padding is what `attention_BT` says, never an id."""

    ids_BT: Tensor
    attention_BT: Tensor
    trained_BT: Tensor


@dataclass(frozen=True)
class TokenRows:
    ids_N: Tensor
    """int32, all rows one after another."""
    trained_N: Tensor
    """bool: whether the loss counts this token. Never a row's first, which nothing predicts."""
    offsets_R: Tensor
    """int64: where each row begins, and behind the last one the end."""

    def __len__(self) -> int:
        return len(self.offsets_R) - 1

    @cached_property
    def lengths_R(self) -> Tensor:
        return self.offsets_R.diff()

    @cached_property
    def trained_R(self) -> Tensor:
        """Trained tokens of each row."""
        before = torch.cat([torch.zeros(1, dtype=torch.int64), self.trained_N.cumsum(0)])
        return before[self.offsets_R].diff()

    def batch(self, rows_B: Tensor) -> Batch:
        lengths_B = self.lengths_R[rows_B]
        shape = (len(rows_B), int(lengths_B.max()))
        ids = torch.zeros(shape, dtype=torch.int64)
        trained = torch.zeros(shape, dtype=torch.bool)
        for place, (row, length) in enumerate(zip(rows_B.tolist(), lengths_B.tolist(), strict=True)):
            start = int(self.offsets_R[row])
            ids[place, :length] = self.ids_N[start : start + length]
            trained[place, :length] = self.trained_N[start : start + length]
        attention = torch.arange(shape[1]) < lengths_B[:, None]
        return Batch(ids, attention.long(), trained)


@dataclass
class Counts:
    """What became of a dataset's rows."""

    read: int = 0
    kept: int = 0
    too_long_and_dropped: int = 0
    too_long_and_truncated: int = 0
    with_an_empty_completion: int = 0
    with_nothing_to_train_on: int = 0


@dataclass
class TokenCounts:
    """How many tokens the kept rows have."""

    all: int = 0
    trained: int = 0
    unknown: int = 0


def tokenise(
    threads: Iterable[RowThread],
    chat: Chat,
    context: int,
    faults: Faults,
    *,
    train_on: TrainOn,
    on_too_long: Literal["drop", "truncate", "error"],
) -> tuple[TokenRows, Counts, TokenCounts]:
    """All rows of a dataset in tokens; a row that cannot be trained on goes to `faults`."""
    ids, trained, offsets = array("i"), array("b"), array("q", [0])
    counts, tokens = Counts(), TokenCounts()
    unknown = unknown_id(chat.tokenizer)
    segments = partial(chat.segments, train_on=train_on)
    for thread, pieces in tokenised(threads, chat, segments, faults):
        row = [token for piece, _ in pieces for token in piece]
        mask = [weight > 0 for piece, weight in pieces for _ in piece]
        mask[:1] = [False]
        counts.read += 1
        if len(row) > context:
            match on_too_long:
                case "error":
                    faults.add(RowTooLong(span=thread.origin.span(), tokens=len(row), context=context))
                    continue
                case "drop":
                    counts.too_long_and_dropped += 1
                    continue
                case "truncate":
                    counts.too_long_and_truncated += 1
                    row, mask = row[:context], mask[:context]
        counts.kept += 1
        counts.with_an_empty_completion += any(
            turn["role"] == "assistant" and not turn["content"].strip() for turn in thread.turns
        )
        counts.with_nothing_to_train_on += not any(mask)
        tokens.unknown += row.count(unknown)
        tokens.all += len(row)
        tokens.trained += sum(mask)
        ids.extend(row)
        trained.extend(mask)
        offsets.append(len(ids))
    rows = TokenRows(
        torch.from_numpy(numpy.asarray(ids)),
        torch.from_numpy(numpy.asarray(trained)).bool(),
        torch.from_numpy(numpy.asarray(offsets)),
    )
    return rows, counts, tokens


def say_counts(counts: Counts, tokens: TokenCounts, dataset: str, context: int, watcher: Watcher) -> None:
    """Say what became of rows, where it is not what people expect; refuse an empty rest."""
    of = f"of {counts.read} rows"
    if counts.kept == 0:
        raise RunFailed(f"{dataset}each {of} is longer than the model's context of {context} tokens")
    if counts.too_long_and_dropped:
        watcher.warning(
            f"{dataset}{counts.too_long_and_dropped} {of} are longer than {context} tokens: dropped"
        )
    if counts.too_long_and_truncated:
        watcher.warning(
            f"{dataset}{counts.too_long_and_truncated} {of} are longer than {context} tokens: truncated"
        )
    if counts.with_an_empty_completion:
        watcher.warning(f"{dataset}{counts.with_an_empty_completion} {of} have an empty completion")
    if counts.with_nothing_to_train_on:
        watcher.warning(f"{dataset}{counts.with_nothing_to_train_on} {of} have no token to train on")
    say_unknown(tokens.unknown, tokens.all, dataset, watcher)


def say_unknown(unknown: int, tokens: int, dataset: str, watcher: Watcher) -> None:
    if unknown:
        watcher.warning(f"{dataset}{unknown} of {tokens} tokens are unknown to the tokenizer")


def unknown_id(tokenizer: Any) -> int:
    """The id of what the tokenizer cannot spell; -1 where it can spell everything."""
    # Some tokenizers, GPT-2's among them, can, and call their end token "unknown".
    no_unknown = (None, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    return -1 if tokenizer.unk_token_id in no_unknown else int(tokenizer.unk_token_id)


def tokenised(
    threads: Iterable[RowThread],
    chat: Chat,
    segments: Callable[[Sequence[Turn]], list[Segment]],
    faults: Faults,
) -> Iterator[tuple[RowThread, list[tuple[list[int], float]]]]:
    """Each thread with its segments' ids; one that the template refuses goes to `faults`.

    The tokenizer works on many texts at once.
    """

    def rendered() -> Iterator[tuple[RowThread, list[Segment]]]:
        for thread in threads:
            try:
                yield thread, segments(thread.turns)
            except ChatError as fault:
                faults.add(ThreadRefused(span=thread.origin.span(), reason=str(fault)))

    rest = rendered()
    while some := list(islice(rest, 256)):
        pieces = chat.tokens([segments for _, segments in some])
        yield from zip((thread for thread, _ in some), pieces, strict=True)
