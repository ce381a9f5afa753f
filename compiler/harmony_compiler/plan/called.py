"""How nodes are called where a graph is drawn: by their names, else by what makes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

from harmony_compiler.graph.datasets import Files, LiteralRows, Rows
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.models import Endpoint, LoadSettings, LocalModel, Reloaded, ScratchModel
from harmony_compiler.graph.node import Node, schema
from harmony_compiler.graph.settings import Lora
from harmony_compiler.graph.values import Ref
from harmony_compiler.plan.rewards import called, is_declared
from harmony_compiler.plan.shown import counted, name_of, shown
from harmony_compiler.rewards.formula_text import formula_text, quoted


class Texts:
    """How nodes are called."""

    def __init__(self, graph: Graph, facts: Mapping[Ref, str]) -> None:
        self.graph = graph
        self.facts = facts
        self.shared = _shared_folders(graph)

    def behind(self, ref: Ref) -> str:
        return f", {self.facts[ref]}" if self.facts.get(ref) else ""

    def beside(self, ref: Ref) -> str:
        return f" ({self.facts[ref]})" if self.facts.get(ref) else ""

    def name(self, ref: Ref) -> str:
        """A node by its name; without one by what makes it."""
        if is_declared(self.graph, ref):
            return name_of(self.graph, ref)
        copied = self._copied(ref)
        return self.made(ref) if copied is None else self.copy(ref, copied)

    def copy(self, ref: Ref, other: Ref) -> str:
        """A node as a copy of another one: `problems { limit = 8 }`."""
        node = self.graph.nodes[ref]
        if isinstance(node, Reloaded):
            names = [name for name in self.graph.origins[ref].given if name != "source"]
        else:
            names = _changed(node, self.graph.nodes[other])
        changes = (f"{name} = {self._value(node, name)}" for name in names)
        return f"{self.name(other)} {{ {', '.join(changes)} }}"

    def _copied(self, ref: Ref) -> Ref | None:
        """What a node without a name is a copy of: the model that it loads otherwise; of the datasets with a
        name that are of the same source, the one that differs least."""
        node, nodes = self.graph.nodes[ref], self.graph.nodes
        if isinstance(node, Reloaded):
            return node.source
        if not isinstance(node, Rows):
            return None
        named = (
            other for other in nodes if isinstance(nodes[other], Rows) and is_declared(self.graph, other)
        )
        alike = [other for other in named if source_of(nodes[other]) == source_of(node)]
        return min(alike, key=lambda other: len(_changed(node, nodes[other])), default=None)

    def _value(self, node: Node, name: str) -> str:
        value = getattr(node, name)
        if schema(type(node))[name].over_columns and value is not None:
            return formula_text(value)
        return _lora(value) if isinstance(value, Lora) else shown(value, self.graph)

    def titled(self, ref: Ref) -> str:
        """A node by its name and by what makes it."""
        name = f"{name_of(self.graph, ref)} = " if is_declared(self.graph, ref) else ""
        return name + self.made(ref)

    def made(self, ref: Ref) -> str:
        match node := self.graph.nodes[ref]:
            case Files():
                paths = [node.path] if isinstance(node.path, str) else list(node.path)
                return f"{node.constructor}({', '.join(self._path(path) for path in paths)})"
            case LiteralRows():
                return f"{node.constructor}([…])"
            case LocalModel():
                return f"{node.constructor}({self._path(node.path)}){_adapter(node)}"
            case ScratchModel():
                size = f"{node.architecture}, {counted(node.layers, 'layer')} of {node.hidden_size}"
                return f"{node.constructor} ({size}){_adapter(node)}"
            case LoadSettings():
                return f"{called(self.graph, node)}{_adapter(node)}"
            case Endpoint():
                return f"{called(self.graph, node)} {{ model = {quoted(node.model)} }}"
        return called(self.graph, node)

    def _path(self, path: str) -> str:
        """Without the folders that hold all files of the graph: they would hide what tells files apart."""
        return quoted("/".join(PurePath(path).parts[self.shared :]))


def _shared_folders(graph: Graph) -> int:
    """How many folders all paths have in common, from the root down."""
    folders: list[tuple[str, ...]] = []
    for node in graph.nodes.values():
        if isinstance(node, Files | LocalModel):
            paths = (node.path,) if isinstance(node.path, str) else node.path
            folders += [PurePath(path).parts[:-1] for path in paths]
    shared = 0
    for parts in zip(*folders, strict=False):
        if len(set(parts)) > 1:
            break
        shared += 1
    return shared


def source_of(node: Node) -> tuple[object, ...]:
    """What tells where rows come from, before anything is taken of them."""
    own = [getattr(node, name) for name in schema(type(node)) if name not in schema(Rows)]
    return type(node), repr(own)


def _changed(node: Node, other: Node) -> list[str]:
    """The fields in which two nodes of a kind differ."""
    return [name for name in schema(type(node)) if getattr(node, name) != getattr(other, name)]


def _adapter(node: LoadSettings) -> str:
    return f" {{ adapter = {_lora(node.adapter)} }}" if isinstance(node.adapter, Lora) else ""


def _lora(adapter: Lora) -> str:
    return f"lora {{ rank = {adapter.rank} }}"
