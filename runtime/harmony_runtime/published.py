"""Published graders, as a run starts. No torch here."""

from __future__ import annotations

from pathlib import Path

from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.splicing import NotPublishedError, spliced
from harmony_runtime.failures import RunFailed, place


def with_published(graph: Graph, home: Path) -> Graph:
    """`graph` with what the keys of its `registry` graders hold now; `home` is the folder of the registries.

    Raises:
        RunFailed: a key holds no grader, or one that was damaged.
    """
    try:
        return spliced(graph, home / "graders")
    except NotPublishedError as fault:
        faults = (f"{place(graph, ref)}{reason}" for ref, reason in fault.faults.items())
        raise RunFailed(*faults) from fault
