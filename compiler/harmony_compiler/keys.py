"""Keys: what a recipe asks of the registry of saved models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from harmony_compiler.findings.graph import KeyTaken, UnknownKey
from harmony_compiler.graph.identity import identities
from harmony_compiler.graph.models import RegistryModel
from harmony_compiler.graph.outputs import Save
from harmony_compiler.lowering import Lowered
from harmony_compiler.naming.near import nearest
from harmony_compiler.store.files import content_hash
from harmony_compiler.store.registry import Entry, entry_at, keys
from harmony_compiler.typed import Made
from harmony_grammar.diagnostics import Diagnostic


def unknown_keys(made: Sequence[Made], registry: Path) -> Iterator[Diagnostic]:
    """`registry(key)` of a key that nothing was saved under."""
    for item in made:
        key = item.values.get("key")
        if issubclass(item.cls, RegistryModel) and isinstance(key, str) and not entry_at(registry, key):
            near, span = nearest(key, keys(registry)), item.given["key"].span
            yield UnknownKey(span=span, key=key, suggestion=near.name, fixes=near.quoted().fixes(span))


def taken_keys(lowered: Lowered, registry: Path) -> Iterator[Diagnostic]:
    """Saves that would collide with another model in the registry."""
    for ref, node in lowered.graph.nodes.items():
        if not isinstance(node, Save) or node.if_exists != "error":
            continue
        entry = entry_at(registry, node.key)
        if entry is not None and not _same_model(lowered, node, entry, registry):
            span = lowered.made[ref].given["key"].span
            yield KeyTaken(
                span=span, key=node.key, recipe=entry.recipe, stage=entry.stage, created=entry.created
            )


def _same_model(lowered: Lowered, save: Save, entry: Entry, registry: Path) -> bool:
    """Whether the key already holds exactly this model. Hashes data files, so only a taken key asks."""
    from harmony_compiler.graph.splicing import spliced  # few recipes need it

    try:
        graph = spliced(lowered.graph, registry.parent / "graders")
        return entry.holds(identities(graph, content_hash, registry)[save.model], save.merge)
    except (OSError, ValueError):
        return False  # what cannot be read cannot be compared
