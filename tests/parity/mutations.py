"""Faults put into our losses on purpose: each must make the table fail, or the table proves nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import harmony_runtime.losses
from parity import functions, peers
from parity.table import Row


@dataclass(frozen=True)
class Mutation:
    kind: str
    what: str
    right: str
    """Stands in losses.py exactly once."""
    wrong: str


MUTATIONS = (
    Mutation(
        "sign",
        "the distance from the reference is taken the other way round",
        "difference_BT = reference_BT - new_BT",
        "difference_BT = new_BT - reference_BT",
    ),
    Mutation(
        "mask",
        "whitening takes its mean over padding too",
        "counted_N = values_BT[counted_BT]",
        "counted_N = values_BT.flatten()",
    ),
    Mutation(
        "reduction",
        "a mean over sequences is one over those of its micro-batch",
        "torch.where(sums_B1 > 0, sums_B1, 1.0) / trained_rows",
        "torch.where(sums_B1 > 0, sums_B1, 1.0) / len(counts_BT)",
    ),
    Mutation(
        "clip side",
        "the range above 1 is used below it, and the other way round",
        "within=(1 - clip_range, 1 + clip_range_high)",
        "within=(1 - clip_range_high, 1 + clip_range)",
    ),
    Mutation(
        "off by one",
        "the advantage of a token goes on from its own value, not its successor's",
        "rewards_BT[:, t] + gamma * next_value_B - values_BT[:, t]",
        "rewards_BT[:, t] + gamma * values_BT[:, t] - values_BT[:, t]",
    ),
    # Beyond the five that were asked for: what the others do not touch.
    Mutation(
        "sign",
        "label smoothing is taken from the right side, as for noisy labels",
        "- label_smoothing * wrong_P",
        "+ label_smoothing * wrong_P",
    ),
    Mutation(
        "reduction",
        "the mean over tokens is one over those of its micro-batch",
        "return weights_BT / all_counts",
        "return weights_BT / weights_BT.sum()",
    ),
    Mutation(
        "clip side",
        "the critic's better error counts, not its worse one",
        "torch.maximum(errors_BT, held_errors_BT)",
        "torch.minimum(errors_BT, held_errors_BT)",
    ),
)


def mutated(mutation: Mutation) -> ModuleType:
    """Our module with one piece of its text replaced."""
    assert harmony_runtime.losses.__file__ is not None
    source = Path(harmony_runtime.losses.__file__).read_text(encoding="utf-8")
    if (times := source.count(mutation.right)) != 1:
        raise ValueError(f"{mutation.right!r} stands in losses.py {times} times: choose the mutation anew")
    module = ModuleType("mutated_losses")
    exec(compile(source.replace(mutation.right, mutation.wrong), "mutated losses.py", "exec"), vars(module))
    return module


def checked(losses: ModuleType) -> Iterator[Row]:
    """The rows that depend on `losses` alone: all but those of whole stages, which take longer."""
    yield from functions.rows(losses)
    yield from peers.rows(losses)


def broken(mutation: Mutation) -> Sequence[Row]:
    """The rows that it takes out of tolerance."""
    return [row for row in checked(mutated(mutation)) if not row.ok]
