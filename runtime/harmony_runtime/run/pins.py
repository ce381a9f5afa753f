"""Pins: what a run holds against the lock of its recipe, before anything trains. No torch here."""

from __future__ import annotations

from pathlib import Path

from harmony_compiler.graph.graders import RegistryGrader
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.identity import Content
from harmony_compiler.graph.named import Named, content_of, named
from harmony_compiler.store.files import content_hash
from harmony_runtime.failures import RunFailed, place


def refuse_changed(graph: Graph, content: Content, registry: Path) -> None:
    """Refuse files, folders and keys that no longer hold what the lock has of them. `content` is a hash of a
    path, `registry` the folder of saved models.

    Raises:
        RunFailed: with one paragraph that names each of them.
    """
    if graph.pins is None:
        return
    changed: dict[str, str] = {}
    for ref, node in graph.nodes.items():
        for thing in named(node):
            pinned = graph.pins.contents.get(thing.pin)
            if pinned is not None and thing.pin not in changed and _differs(thing, pinned, content, registry):
                changed[thing.pin] = f"{place(graph, ref)}{_called(thing)}"
    if changed:
        recipe = graph.pins.recipe
        raise RunFailed(
            f"{'; '.join(changed.values())}: the lock of {recipe} pins another content. Put back what was "
            f"there, or accept what is there now with `harmonyc lock {recipe}`"
        )


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
