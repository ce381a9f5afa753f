"""How the models of a run came about, for the registry: where their weights began, and what trained them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.datasets import Drawn, Files, HubRows, LiteralRows, Mix, RegistryRows
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.identity import digest
from harmony_compiler.graph.models import HubModel, LocalModel, RegistryModel, Reloaded, ScratchModel
from harmony_compiler.graph.node import schema
from harmony_compiler.graph.values import Ref
from harmony_compiler.store.lineage import Data, Lineage, Trained, lineage_of
from harmony_compiler.store.registry import Entry
from harmony_grammar import records
from harmony_runtime.models.blueprint import Blueprints
from harmony_runtime.models.origins import Adapted, commit


def parent_of(entry: Entry) -> dict[str, Any]:
    """What a run keeps of a model in the registry, since its key may hold another one when the run ends."""
    return {"identity": entry.identity, "lineage": records.as_data(entry.lineage)}


def data_hash(lineage: Lineage) -> str:
    """One hash of all rows that have a part in the weights."""
    return digest(sorted({rows.identity for rows in lineage.data()}))


@dataclass(frozen=True)
class Lineages:
    """Tells the lineage of each model of a run."""

    graph: Graph
    identities: Mapping[Ref, str]
    blueprints: Blueprints
    contents: Mapping[str, str]
    """By path, hashes of the files and folders that the graph names."""
    parents: Mapping[str, Mapping[str, Any]]
    """By key, `parent_of` the models of the registry when the run first started."""
    steps: Mapping[Ref, int]
    """Of every stage."""

    def of(self, ref: Ref) -> Lineage:
        match self.graph.nodes[ref]:
            case HubModel() as node:
                # What a branch stood for when it was loaded.
                loaded = commit(self.blueprints.of(ref).weights)
                return Lineage("hub", node.repo, loaded or node.revision or "")
            case LocalModel() as node:
                return Lineage("folder", node.path, self.contents[node.path])
            case RegistryModel() as node:
                kept = self.parents[node.key]
                parent = lineage_of(kept["lineage"]) if kept["lineage"] else None
                return Lineage("registry", node.key, kept["identity"], parent)
            case ScratchModel() as node:
                return Lineage("scratch", node.architecture, self.identities[ref])
            case Reloaded() as node:
                return self.of(node.source)
            case Algorithm() as node:
                before = self.of(getattr(node, type(node).trains))
                return records.replace(before, stages=(*before.stages, self._trained(ref, node)))
        raise AssertionError(f"{ref} is no model with weights")

    def _trained(self, ref: Ref, node: Algorithm) -> Trained:
        return Trained(
            name=self.graph.stage_name(ref),
            algorithm=node.constructor,
            identity=self.identities[ref],
            steps=self.steps[ref],
            adapter=isinstance(self.blueprints.of(ref).weights, Adapted),
            data=tuple(dict.fromkeys(self._data(ref))),
        )

    def _data(self, ref: Ref) -> Iterator[Data]:
        """The datasets that a node is made of, and those of which they are mixed."""
        node = self.graph.nodes[ref]
        for name, spec in schema(type(node)).items():
            held = getattr(node, name) if spec.is_edge else ()
            for needed in held if isinstance(held, tuple) else (held,):
                rows = self.graph.nodes.get(needed)
                if isinstance(rows, Drawn):
                    source = _source(rows, self.graph)
                    yield Data(self.graph.stage_name(needed), source, self.identities[needed])
                    yield from self._data(needed)


def _source(node: Drawn, graph: Graph) -> str:
    """Where rows come from, in words."""
    match node:
        case Files(path=path):
            return f"{node.constructor} {path if isinstance(path, str) else ', '.join(path)}"
        case HubRows():
            config = f" ({node.config})" if node.config else ""
            return f"hf {node.repo}{config}{f' at {node.revision}' if node.revision else ''}"
        case RegistryRows():
            return f"registry {node.key}"
        case LiteralRows():
            return f"{len(node.items)} rows of the recipe"
        case Mix():
            return f"mix of {', '.join(map(graph.stage_name, node.datasets))}"
    return node.constructor
