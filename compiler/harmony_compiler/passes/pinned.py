"""Pin what a graph names by the lock of its recipe."""

from __future__ import annotations

from harmony_compiler.graph.graph import Graph, Pins
from harmony_compiler.store.lock import NO_LOCK, Lock
from harmony_grammar.records import replace
from harmony_grammar.source import Source


def pinned(graph: Graph, lock: Lock, recipe: Source) -> Graph:
    """The same graph with what the lock has of the things that its nodes name; without a lock the graph."""
    if lock is NO_LOCK:
        return graph
    from harmony_compiler.graph.named import named

    contents: dict[str, str] = {}
    commits: dict[str, str] = {}
    for node in graph.nodes.values():
        for thing in named(node):
            if (found := thing.found(lock, recipe.folder)) is None:
                continue
            key, entry = found
            if entry.content:
                contents[thing.pin] = entry.content
            if entry.commit:
                commits[f"{thing.section} {key}"] = entry.commit
    pins = Pins(recipe.name, dict(sorted(contents.items())), dict(sorted(commits.items())))
    return replace(graph, pins=pins)
