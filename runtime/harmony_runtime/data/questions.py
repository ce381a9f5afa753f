"""Questions: the rows of a dataset as a served model is asked them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from harmony_compiler.graph.values import Ref
from harmony_runtime.data.faults import Faults
from harmony_runtime.data.tokens.prompts import Prompt
from harmony_runtime.data.turns.threads import each, threads_of
from harmony_runtime.failures import place
from harmony_runtime.rooms import Desk


@dataclass(frozen=True)
class Questions:
    """Prompts without tokens, which only the server knows: none is too long here."""

    prompts: Sequence[Prompt]
    counts: Mapping[str, int]
    """What became of the rows."""

    def __len__(self) -> int:
        return len(self.prompts)

    def __iter__(self) -> Iterator[Prompt]:
        return iter(self.prompts)


def questions_of(desk: Desk, dataset: Ref, limit: int | None = None) -> Questions:
    """The rows of a dataset, or the first ones.

    Raises:
        RunFailed: rows are faulty.
    """
    threads, faults = threads_of(desk.graph, dataset, desk.datasets), Faults(place(desk.graph, dataset))
    prompts = [Prompt((), row.turns, dict(row.metadata)) for row in islice(each(threads, faults), limit)]
    faults.raise_any()
    for note in threads.notes:
        desk.watcher.note(note)
    counts = {**threads.counts, "kept": len(prompts)}
    if beyond := len(threads) - len(prompts):
        counts["beyond_limit"] = counts.get("beyond_limit", 0) + beyond
    return Questions(prompts, counts)
