"""What people should know of how long and how many rows are, said before training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harmony_runtime.failures import RunFailed
from harmony_runtime.watch import Watcher

DROPPED = 0.05
"""A share of dropped rows beyond which people should think again."""


@dataclass
class Counts:
    """What became of the rows that a dataset offers."""

    kept: int = 0
    too_long_and_dropped: int = 0
    too_long_and_truncated: int = 0
    with_an_empty_completion: int = 0
    with_nothing_to_train_on: int = 0


def say_lengths(
    rows: Mapping[str, int], where: str, watcher: Watcher, *, what: str, are: str, mend: str
) -> None:
    """Say how many rows were too long; refuse an empty rest.

    "3 of 10 `what` `are`: dropped"; `mend` is what helps where all were.
    """
    dropped, truncated = rows["too_long_and_dropped"], rows.get("too_long_and_truncated", 0)
    offered = rows["kept"] + dropped
    if dropped and not rows["kept"]:
        raise RunFailed(f"{where}all of {offered} {what} {are}: {mend}")
    for count, fate in ((dropped, "dropped"), (truncated, "truncated")):
        if count > DROPPED * offered:
            share = f", which is {count / offered:.0%} of the dataset"
            watcher.warning(f"{where}{count} of {offered} {what} {are}: {fate}{share}")
        elif count:
            watcher.note(f"{where}{count} of {offered} {what} {are}: {fate}")


def say_repeats(per_step: int, rows: int, where: str, watcher: Watcher, *, what: str) -> None:
    """Say that a step takes more rows than there are; `what` are they?"""
    if per_step > rows:
        watcher.warning(f"{where}a step takes {per_step} {what} of a dataset of {rows}: it sees {what} twice")
