"""Drop what no output needs."""

from __future__ import annotations

from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.values import Ref
from harmony_grammar.records import replace


def prune(graph: Graph) -> Graph:
    """The same graph without the nodes that no output reads, directly or through others."""
    needed: set[Ref] = set(graph.outputs)
    for ref in reversed(graph.nodes):  # each node stands after what it reads
        if ref in needed:
            needed.update(graph.needs(ref))
    return replace(
        graph,
        nodes={ref: node for ref, node in graph.nodes.items() if ref in needed},
        origins={ref: origin for ref, origin in graph.origins.items() if ref in needed},
    )
