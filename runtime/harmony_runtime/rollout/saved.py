"""Models of the registry, ready to answer."""

from __future__ import annotations

from pathlib import Path

from harmony_compiler.graph.graph import ONE_DEVICE, Graph
from harmony_compiler.graph.models import RegistryModel
from harmony_compiler.graph.values import Ref
from harmony_compiler.store.cache import HASHES
from harmony_compiler.store.hashes import Hashes
from harmony_compiler.store.registry import entry_at
from harmony_runtime.models import weights
from harmony_runtime.models.blueprint import Blueprint, Blueprints
from harmony_runtime.processes.context import Context
from harmony_runtime.processes.mesh import Mesh
from harmony_runtime.quiet import silence_libraries
from harmony_runtime.registry import refuse_damaged
from harmony_runtime.rollout.local import LocalEngine


def open_saved(registry: Path, key: str) -> tuple[Blueprint, LocalEngine]:
    """The model that `key` holds, and an engine on this machine's device.

    Raises:
        RunFailed: a part of the model is missing or damaged, or the memory is too small.
    """
    silence_libraries()
    if (entry := entry_at(registry, key)) is not None:
        refuse_damaged(registry, entry, Hashes(registry.parent / "cache" / HASHES).of)
    ref = Ref(key)
    graph = Graph(key, 0, {ref: RegistryModel(key=key)}, (ref,))
    blueprint = Blueprints(graph, {}, registry).of(ref)
    mesh = Mesh(Context(ONE_DEVICE))
    return blueprint, LocalEngine(mesh.place(weights.load(blueprint)), blueprint, mesh)
