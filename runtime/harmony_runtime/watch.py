"""What a run tells while it runs, and what it says at its end. No torch here.

The command line and tests implement `Watcher`. A watcher is called by one process only, between steps and,
for `answering`, within one; a `KeyboardInterrupt` that it raises stops the run as Ctrl-C does. `warning`
alone may come any time, and from another thread: of a run that stalls, or of a grader.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from harmony_compiler.graph.graph import Graph

Number = int | float

Metrics = Mapping[str, Number | None]
"""What a step measured, by name; None for a mean over nothing."""


@dataclass(frozen=True)
class StageSummary:
    """What one training stage did."""

    name: str
    algorithm: str
    identity: str
    steps: int
    rows: Mapping[str, int]
    """Counts by name: rows read, kept, dropped as too long, …; empty for a reused stage."""
    metrics: Metrics
    """The last step's metrics; empty for a reused stage."""
    seconds: float
    reused: bool
    """Whether the folder already held this stage's model."""
    spent: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By grader that waits for an answer: see `Panel.spent`."""


@dataclass(frozen=True)
class Saved:
    """A model in the registry. `key` differs from the recipe's where `if_exists = "rename"` renamed it."""

    key: str
    path: Path


@dataclass(frozen=True)
class Measured:
    """What one grader said about one model."""

    mean: float | None
    """Over the samples that it scored; None where it scored none."""
    count: int
    """Samples that it scored."""
    not_applicable: int
    failed: int


Evaluations = Mapping[str, Mapping[str, Mapping[str, Measured]]]
"""By evaluation, model and grader, each as the recipe names it."""


@dataclass(frozen=True)
class Summary:
    """What a finished run leaves behind."""

    out: Path
    stages: tuple[StageSummary, ...]
    saved: Mapping[str, Saved]
    """By the key that the recipe names."""
    evaluations: Evaluations
    seconds: float


class Watcher(Protocol):
    def run_started(self, graph: Graph, out: Path) -> None: ...

    def note(self, text: str) -> None: ...

    def warning(self, text: str) -> None: ...

    def tokenised(self, dataset: str, rows: int, of: int) -> None:
        """So many rows of a large dataset are in tokens."""

    def stage_started(self, name: str, algorithm: str, steps: int, parameters: int) -> None:
        """`parameters` is the number of trained ones."""

    def answering(self, drawn: int, graded: int, of: int) -> None:
        """A few times a second while completions are drawn and graded: how many of this process's share are.
        It is called within a step, and by the thread that trains."""

    def step(self, name: str, step: int, metrics: Metrics, timing: Mapping[str, Number]) -> None:
        """After each optimiser step; `step` counts from 1."""

    def stage_finished(self, name: str, seconds: float) -> None: ...

    def saved(self, key: str, path: Path) -> None: ...

    def evaluation_started(self, name: str, models: Sequence[str], rows: int) -> None:
        """`rows` of the dataset, each answered by every model."""

    def evaluated(self, name: str, model: str, graders: Mapping[str, Measured], seconds: float) -> None:
        """One model of an evaluation is measured."""

    def finished(self, summary: Summary) -> None: ...


class Silent:
    """A watcher that says nothing."""

    def run_started(self, graph: Graph, out: Path) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def warning(self, text: str) -> None:
        pass

    def tokenised(self, dataset: str, rows: int, of: int) -> None:
        pass

    def stage_started(self, name: str, algorithm: str, steps: int, parameters: int) -> None:
        pass

    def answering(self, drawn: int, graded: int, of: int) -> None:
        pass

    def step(self, name: str, step: int, metrics: Metrics, timing: Mapping[str, Number]) -> None:
        pass

    def stage_finished(self, name: str, seconds: float) -> None:
        pass

    def saved(self, key: str, path: Path) -> None:
        pass

    def evaluation_started(self, name: str, models: Sequence[str], rows: int) -> None:
        pass

    def evaluated(self, name: str, model: str, graders: Mapping[str, Measured], seconds: float) -> None:
        pass

    def finished(self, summary: Summary) -> None:
        pass
