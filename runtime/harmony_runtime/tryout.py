"""Graders without a run: what is needed to try a reward on completions that are there.

Torch is imported only where a grader asks a model that has to be loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.identity import meanings
from harmony_compiler.graph.models import LoadSettings
from harmony_compiler.store.cache import GRADES, HASHES
from harmony_compiler.store.hashes import Hashes
from harmony_runtime.failures import RunFailed, machine_faults
from harmony_runtime.graders.making import Bench
from harmony_runtime.published import with_published
from harmony_runtime.secrets import refuse_unset


def bench_of(graph: Graph, home: Path, warn: Callable[[str], None]) -> Bench:
    """What the graders of a graph are made with; `home` is the folder of registries and caches.

    Raises:
        RunFailed: something that they name is not there.
    """
    graph = with_published(graph, home)
    refuse_unset(graph)
    registry, cache = home / "models", home / "cache"
    with machine_faults("reading what the graders name"):
        try:
            known = meanings(graph, Hashes(cache / HASHES).content, registry)
        except ValueError as fault:
            raise RunFailed(str(fault)) from fault
    if not any(isinstance(node, LoadSettings) for node in graph.nodes.values()):
        return Bench(graph, None, known.asked, cache / GRADES, warn)
    from harmony_runtime.models.blueprint import Blueprints
    from harmony_runtime.processes.context import Context
    from harmony_runtime.quiet import silence_libraries
    from harmony_runtime.rollout.inference import Inference

    silence_libraries()
    inference = Inference(graph, Blueprints(graph, {}, registry), Context(graph.launch))
    return Bench(graph, inference, known.asked, cache / GRADES, warn)
