"""Pins: what a run holds against the lock of its recipe, before anything trains. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harmony_compiler.graph.graders import RegistryGrader
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.identity import Content
from harmony_compiler.graph.named import Named, content_of, named
from harmony_compiler.store.files import content_hash
from harmony_runtime.failures import RunFailed, place


def refuse_changed(
    graph: Graph, content: Content, registry: Path, held: Mapping[str, str] | None = None
) -> None:
    """Refuse files, folders and keys that no longer hold what the lock has of them. `content` is a hash of a
    path, `registry` the folder of saved models.

    `held` has by path what keys of that registry held when the run first started, which counts for them: the
    run's own `save` may have taken such a key since.

    Raises:
        RunFailed: with one paragraph that names each of them; another one names keys that this run once
            started from, and which neither the registry nor the lock has so any more.
    """
    if graph.pins is None:
        return
    first = held or {}

    def started(path: str) -> str:
        return first[path] if path in first else content(path)

    changed: dict[str, str] = {}
    older: dict[str, str] = {}
    for ref, node in graph.nodes.items():
        for thing in named(node):
            pinned = graph.pins.contents.get(thing.pin)
            if pinned is None or not _differs(thing, pinned, started, registry):
                continue
            at_first = content_of(thing, started, registry)
            told = older if _differs(thing, at_first, content, registry) else changed
            told.setdefault(thing.pin, f"{place(graph, ref)}{_called(thing)}")
    recipe = graph.pins.recipe
    faults = []
    if changed:
        faults.append(
            f"{'; '.join(changed.values())}: the lock of {recipe} pins another content. Put back what was "
            f"there, or accept what is there now with `harmonyc lock {recipe}`"
        )
    if older:
        faults.append(
            f"{'; '.join(older.values())}: the lock of {recipe} pins another content than this run started "
            "from. Start a new run, or put back the lock that it started with"
        )
    if faults:
        raise RunFailed(*faults)


def refuse_changed_graders(graph: Graph, registry: Path) -> None:
    """The same of published graders alone, before they take their places in the graph."""
    if graph.pins is not None and any(isinstance(node, RegistryGrader) for node in graph.nodes.values()):
        graders = {ref: node for ref, node in graph.nodes.items() if isinstance(node, RegistryGrader)}
        alone = Graph(graph.name, graph.seed, dict(graders), (), graph.origins, pins=graph.pins)
        refuse_changed(alone, content_hash, registry)


def _differs(thing: Named, pinned: str, content: Content, registry: Path) -> bool:
    try:
        return content_of(thing, content, registry) != pinned
    except (OSError, ValueError):
        return False  # what is not there or damaged is refused in words of its own


def _called(thing: Named) -> str:
    kinds = {"models": "the model", "datasets": "the dataset", "graders": "the grader"}
    return thing.place if thing.is_local else f"{kinds[thing.section]} `{thing.place}` of the registry"
