"""Prompts: the rows of a dataset as a model answers them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from harmony_compiler.graph.datasets import Rows
from harmony_compiler.graph.values import Ref
from harmony_runtime.data.faults import Faults, PromptTooLong, ThreadRefused
from harmony_runtime.data.threads import each, threads_of
from harmony_runtime.data.tokens import say_unknown, tokenised, unknown_id
from harmony_runtime.failures import RunFailed, place
from harmony_runtime.graders.protocol import Turn
from harmony_runtime.models.blueprint import Blueprint
from harmony_runtime.rooms import Desk


@dataclass(frozen=True)
class Prompt:
    """One row, ready to be answered."""

    ids: tuple[int, ...]
    turns: tuple[Turn, ...]
    metadata: dict[str, Any]


@dataclass
class PromptCounts:
    """What became of a dataset's rows."""

    read: int = 0
    kept: int = 0
    too_long_and_dropped: int = 0


@dataclass(frozen=True)
class Prompts:
    rows: Sequence[Prompt]
    counts: PromptCounts = field(default_factory=PromptCounts)


def prompts_of(
    desk: Desk, dataset: Ref, blueprint: Blueprint, max_tokens: int, *, limit: int | None = None
) -> Prompts:
    """The prompts of a dataset in a model's tokens, each with room for `max_tokens` behind it.

    `limit` takes the first rows only, those that turn out too long among them.

    Raises:
        RunFailed: rows are faulty, or nothing is left.
    """
    node, where = desk.graph.nodes[dataset], place(desk.graph, dataset)
    assert isinstance(node, Rows)
    chat, context = blueprint.chat, blueprint.context
    faults, counts, rows, too_long = Faults(where), PromptCounts(), list[Prompt](), 0
    threads = islice(each(threads_of(desk.graph, dataset), faults), limit)
    for thread, ((ids, _),) in tokenised(threads, chat, chat.prompt, faults):
        counts.read += 1
        if not ids:
            reason = "makes an empty text of this prompt, and a model cannot answer nothing"
            faults.add(ThreadRefused(span=thread.origin.span(), reason=reason))
        elif len(ids) + max_tokens <= context:
            rows.append(Prompt(tuple(ids), thread.turns, dict(thread.metadata)))
        elif node.on_too_long == "error":
            span = thread.origin.span()
            faults.add(PromptTooLong(span=span, tokens=len(ids), max_tokens=max_tokens, context=context))
        else:
            too_long += 1
    faults.raise_any()

    counts.kept = len(rows)
    room = f"leave no room for {max_tokens} tokens of completion in the model's context of {context}"
    if too_long and node.on_too_long == "truncate":
        raise RunFailed(
            f"{where}{too_long} of {counts.read} prompts {room}, and a prompt that is cut asks another "
            'question: lower `max_tokens` of `sampling`, or set `on_too_long = "drop"`'
        )
    if not rows:
        raise RunFailed(
            f"{where}all of {counts.read} prompts {room}: lower `max_tokens` of `sampling`, or take a model "
            "with a longer context"
        )
    if too_long:
        counts.too_long_and_dropped = too_long
        desk.watcher.warning(f"{where}{too_long} of {counts.read} prompts {room}: dropped")
    blueprint.check_ids(max(max(prompt.ids) for prompt in rows))
    unknown = unknown_id(chat.tokenizer)
    all_tokens = sum(len(prompt.ids) for prompt in rows)
    say_unknown(sum(prompt.ids.count(unknown) for prompt in rows), all_tokens, where, desk.watcher)
    return Prompts(rows, counts)
