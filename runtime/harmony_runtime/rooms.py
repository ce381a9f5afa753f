"""What all stages and evaluations of a run share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.values import Ref
from harmony_runtime.disk.runfolder import RunFolder
from harmony_runtime.drift import Drift
from harmony_runtime.graders.making import Bench
from harmony_runtime.models.blueprint import Blueprints
from harmony_runtime.processes.context import Context
from harmony_runtime.processes.interrupts import Interrupts
from harmony_runtime.watch import Watcher


@dataclass(frozen=True)
class Desk:
    """What is needed to look at data as a model will see it: no device, no weights, no folder."""

    graph: Graph
    identities: Mapping[Ref, str]
    """Of every node: what it computes, by the content of what it reads."""
    blueprints: Blueprints
    cache: Path
    """The folder of what is made once and serves many runs."""
    watcher: Watcher

    @property
    def datasets(self) -> Path:
        """The folder of registered datasets."""
        return self.cache.parent / "datasets"


@dataclass(frozen=True)
class Run(Desk):
    """The rooms of one run."""

    folder: RunFolder
    context: Context
    interrupts: Interrupts
    drift: Drift
    bench: Bench
    """What graders are made with."""
