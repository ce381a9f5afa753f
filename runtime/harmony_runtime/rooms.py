"""What all stages and evaluations of a run share."""

from __future__ import annotations

from collections.abc import Hashable, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

from harmony_compiler.graph.graph import Graph
from harmony_runtime.context import Context
from harmony_runtime.interrupts import Interrupts
from harmony_runtime.models.blueprint import Blueprints
from harmony_runtime.runfolder import RunFolder
from harmony_runtime.watch import Number, Watcher


@dataclass(frozen=True)
class Run:
    """The rooms of one run."""

    graph: Graph
    folder: RunFolder
    context: Context
    blueprints: Blueprints
    watcher: Watcher
    interrupts: Interrupts
    conditions: dict[str, Number | str]
    """What must be equal where a stage goes on inside: world size and versions."""
    shared: MutableMapping[Hashable, Any] = field(default_factory=WeakValueDictionary)
    """What was made for one stage or evaluation and serves another, as long as one of them holds it."""
