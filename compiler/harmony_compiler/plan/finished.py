"""Finished stages: what a run's folder holds that need not be trained again.

A stage is known by its identity, which hashes the content of its data: so all of it is read here, what is
large only once for as long as it does not change.
"""

from __future__ import annotations

from pathlib import Path

from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.identity import identities
from harmony_compiler.graph.values import Ref
from harmony_compiler.store.cache import HASHES
from harmony_compiler.store.hashes import Hashes


def finished_in(graph: Graph, folder: Path, registry: Path) -> frozenset[Ref]:
    """The stages of `graph` that the run in `folder` has finished; none where something cannot be read.

    `registry` is the folder of saved models, beside which the cache stands.
    """
    home = registry.parent
    hashes = Hashes(home / "cache" / HASHES)
    try:
        known = identities(graph, hashes.content, registry)
    except (OSError, ValueError):
        return frozenset()
    stages = (ref for ref, node in graph.nodes.items() if isinstance(node, Algorithm))
    return frozenset(ref for ref in stages if ref in known and (folder / "stages" / known[ref]).is_dir())
