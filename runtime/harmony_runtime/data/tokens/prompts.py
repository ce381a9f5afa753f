"""Prompts: the rows of a dataset as a model answers them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from harmony_compiler.graph.values import Ref
from harmony_runtime.data.faults import Faults, PromptTooLong, ThreadRefused
from harmony_runtime.data.tokens.cache import IDS, TEXT, Table, Writer, kept
from harmony_runtime.data.tokens.lengths import say_lengths
from harmony_runtime.data.tokens.proofs import Proof, Proofs, proven
from harmony_runtime.data.tokens.trained import offered, say_unknown, tokenised, unknown_id
from harmony_runtime.data.turns.threads import RowThread, Threads
from harmony_runtime.failures import RunFailed, place
from harmony_runtime.graders.protocol import Turn
from harmony_runtime.models.blueprint import Blueprint
from harmony_runtime.models.chat import Chat, Segment
from harmony_runtime.rooms import Desk


@dataclass(frozen=True)
class Prompt:
    """One row, ready to be answered."""

    ids: tuple[int, ...]
    turns: tuple[Turn, ...]
    metadata: dict[str, Any]


class Prompts:
    """Prompts in tokens; each is read when it is asked for."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self.counts: Mapping[str, int] = table.about["rows"]
        self.proofs: tuple[Proof, ...] = proven(table.about["proofs"])
        self.longest: int = table.about["longest"]
        """Tokens of the longest one."""
        self.lengths: NDArray[Any] = table.numbers["length"]

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, number: int) -> Prompt:
        if not 0 <= number < len(self):
            raise IndexError(number)
        turns, metadata = (json.loads(self._table.text(number, column)) for column in ("turns", "metadata"))
        return Prompt(tuple(self._table.array(number, "ids").tolist()), tuple(turns), metadata)

    def __iter__(self) -> Iterator[Prompt]:
        return map(self.__getitem__, range(len(self)))


def prompts_of(
    desk: Desk,
    dataset: Ref,
    blueprint: Blueprint,
    max_tokens: int,
    *,
    limit: int | None = None,
    shorter: str = "lower `max_tokens` of `sampling`",
) -> Prompts:
    """The prompts of a dataset in a model's tokens, each with room for `max_tokens` behind it.

    `limit` takes the first rows only, those that turn out too long among them; `shorter` is what helps where
    they are too long.

    Raises:
        RunFailed: rows are faulty, or nothing is left.
    """
    where, chat, context = place(desk.graph, dataset), blueprint.chat, blueprint.context
    recipe = {"max_tokens": max_tokens, "context": context, "limit": limit}
    make = partial(_make, chat=chat, context=context, max_tokens=max_tokens, limit=limit)
    table = kept(desk, dataset, chat, kind="prompts", recipe=recipe, make=make)
    prompts, tokens = Prompts(table), table.about["tokens"]
    room = f"leave no room for {max_tokens} tokens of completion in the model's context of {context}"
    if too_long := table.about["too_long_to_truncate"]:
        of = too_long + len(prompts) + prompts.counts["too_long_and_dropped"]
        raise RunFailed(
            f"{where}{too_long} of {of} prompts {room}, and a prompt that is cut asks another question: "
            f'{shorter}, or set `on_too_long = "drop"`'
        )
    mend = f"{shorter}, or take a model with a longer context"
    say_lengths(prompts.counts, where, desk.watcher, what="prompts", are=room, mend=mend)
    say_unknown(tokens["unknown"], tokens["all"], where, desk.watcher)
    blueprint.check_ids(table.about["largest_id"])
    return prompts


def _make(
    threads: Threads,
    faults: Faults,
    folder: Path,
    *,
    chat: Chat,
    context: int,
    max_tokens: int,
    limit: int | None,
) -> dict[str, Any]:
    writer = Writer(folder, {"ids": IDS, "turns": TEXT, "metadata": TEXT}, {"length": "i"})
    dropped = uncut = tokens = unknown = largest = longest = 0
    unknown_ = unknown_id(chat.tokenizer)

    def text(thread: RowThread) -> list[list[Segment]]:
        return [chat.prompt(thread.turns)]

    rows, proofs = offered(threads, faults, limit), Proofs(chat, None)
    for thread, on_too_long, (((ids, _),),) in tokenised(rows, chat, text, faults, proofs):
        if not ids:
            reason = "makes an empty text of this prompt, and a model cannot answer nothing"
            faults.add(ThreadRefused(span=thread.origin.span(), reason=reason))
        elif len(ids) + max_tokens <= context:
            writer.add(
                ids=ids,
                turns=json.dumps(thread.turns),
                metadata=json.dumps(thread.metadata),
                length=len(ids),
            )
            tokens += len(ids)
            unknown += ids.count(unknown_)
            largest, longest = max(largest, *ids), max(longest, len(ids))
        elif on_too_long == "error":
            span = thread.origin.span()
            faults.add(PromptTooLong(span=span, tokens=len(ids), max_tokens=max_tokens, context=context))
        elif on_too_long == "drop":
            dropped += 1
        else:
            uncut += 1
    writer.close()
    counts = {**threads.counts, "kept": len(writer.numbers["length"]), "too_long_and_dropped": dropped}
    if limit is not None and limit < len(threads):
        counts["beyond_limit"] = counts.get("beyond_limit", 0) + len(threads) - limit
    return {
        "rows": counts,
        "tokens": {"all": tokens, "unknown": unknown},
        "too_long_to_truncate": uncut,
        "largest_id": largest,
        "longest": longest,
        "proofs": proofs.about,
    }
