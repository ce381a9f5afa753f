"""Splicing: published graders, in place of the nodes that name them by key.

A run does so when it starts, and grades with what the keys hold then, whatever becomes of them later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from harmony_compiler.graph.formulas import renumbered
from harmony_compiler.graph.graders import Combination, Grader, PythonGrader, RegistryGrader
from harmony_compiler.graph.graph import Graph, Origin
from harmony_compiler.graph.identity import ref_of
from harmony_compiler.graph.node import Constructor, Node, schema
from harmony_compiler.graph.values import Ref
from harmony_compiler.store.graders import FILES, GRADERS, damaged_file
from harmony_grammar.records import replace

C = TypeVar("C", bound=Constructor)


class NotPublishedError(ValueError):
    """Keys hold no grader that can be used: by the node that names the key, why."""

    def __init__(self, faults: Mapping[Ref, str]) -> None:
        super().__init__("; ".join(faults.values()))
        self.faults = faults


def spliced(graph: Graph, graders: Path) -> Graph:
    """`graph` with the published graders that it names; `graders` is the folder of the registry.

    A node that is published and in the graph as well is one node. What the graph says about timeouts, retries
    and failures of a published grader goes before what it was published with.

    Raises:
        NotPublishedError: a key holds no grader, or one that was damaged.
    """
    named = {ref: node for ref, node in graph.nodes.items() if isinstance(node, RegistryGrader)}
    if not named:
        return graph
    published: dict[str, Graph] = {}
    faults: dict[Ref, str] = {}
    for ref, key in ((ref, user.key) for ref, user in named.items()):
        try:
            if key not in published:
                published[key] = _published(graders, key)
        except (OSError, ValueError) as fault:
            reason = getattr(fault, "strerror", None) or str(fault)
            faults[ref] = (
                f"the registry {graders} has no grader `{key}` that can be used: {reason}. Publish it with "
                f"`harmonyc graders add {key} FILE`, adding `--replace` where the key is taken"
            )
    if faults:
        raise NotPublishedError(faults)
    splice = _Splice(graph)
    for ref, node in graph.nodes.items():
        if ref in named:
            splice.publish(ref, named[ref], published[named[ref].key])
        else:
            splice.keep(ref, node)
    outputs = tuple(dict.fromkeys(splice.moved.get(ref, ref) for ref in graph.outputs))
    return replace(graph, nodes=splice.nodes, outputs=outputs, origins=splice.origins)


def rebuilt(graph: Graph, change: Callable[[Ref, Node], Node]) -> Graph:
    """The graph with changed nodes, each under the id of what it has become."""
    to: dict[Ref, Ref] = {}
    nodes: dict[Ref, Node] = {}
    for ref, node in graph.nodes.items():
        changed = change(ref, redirected(node, to))
        to[ref] = ref_of(changed)
        nodes[to[ref]] = changed
    return replace(
        graph,
        nodes=nodes,
        outputs=tuple(to[ref] for ref in graph.outputs),
        origins={to[ref]: origin for ref, origin in graph.origins.items()},
    )


def redirected(made: C, to: Mapping[Ref, Ref]) -> C:
    """The same node, or settings, with other nodes in place of some that it names."""
    changes: dict[str, Any] = {}
    for name, spec in schema(type(made)).items():
        held = getattr(made, name)
        if isinstance(held, Constructor):
            changes[name] = redirected(held, to)
        elif spec.is_edge and held is not None:
            many = isinstance(held, tuple)
            changes[name] = tuple(to.get(ref, ref) for ref in held) if many else to.get(held, held)
    if isinstance(made, Combination):  # which names each grader once
        graders = tuple(dict.fromkeys(changes["graders"]))
        places = [graders.index(grader) for grader in changes["graders"]]
        changes |= {"graders": graders, "expression": renumbered(made.expression, places)}
    return replace(made, **changes)


class _Splice:
    """A graph in the making: each node of `before`, or what stands in its place."""

    def __init__(self, before: Graph) -> None:
        self.before = before
        self.nodes: dict[Ref, Node] = {}
        self.origins: dict[Ref, Origin] = {}
        self.moved: dict[Ref, Ref] = {}
        """By the nodes that name keys, the graders in their place."""

    def keep(self, ref: Ref, node: Node) -> None:
        self.nodes[ref] = redirected(node, self.moved)
        if ref in self.before.origins:
            self.origins[ref] = self.before.origins[ref]

    def publish(self, use: Ref, named: RegistryGrader, published: Graph) -> None:
        """Add what a published grader is made of."""
        asked = {name: getattr(named, name) for name in schema(Grader)}
        decided = {name: value for name, value in asked.items() if value is not None}
        (old,) = published.outputs
        parts = rebuilt(published, lambda ref, node: replace(node, **decided) if ref == old else node)
        (root,) = parts.outputs
        for ref, node in parts.nodes.items():
            self.nodes.setdefault(ref, node)
            if use in self.before.origins and ref not in self.before.nodes:
                key = "" if ref == root else named.key
                origin = _origin(parts.origins[ref], self.before.origins[use], key)
                self.origins.setdefault(ref, origin)
        self.moved[use] = root


def _origin(origin: Origin, use: Origin, key: str) -> Origin:
    """Where people find a part of a published grader: where it is used. The grader itself bears the name that
    the recipe gives it; what has a name inside it stands under its `key`, as that of an import would."""
    if key:
        named = all(part.isidentifier() for part in origin.name.split("."))
        name = f"{key}.{origin.name}" if named else origin.name
        return replace(origin, name=name, file=use.file, line=use.line)
    given = origin.given | {name: by for name, by in use.given.items() if name in schema(Grader)}
    return replace(use, doc=use.doc or origin.doc, given=given)


def _published(graders: Path, key: str) -> Graph:
    """The graph of a published grader, which names its Python files where they stand.

    Raises:
        OSError, ValueError: there is none, or it was damaged.
    """
    held = GRADERS.at(graders, key)
    if held is None:
        known = ", ".join(GRADERS.keys(graders))
        raise ValueError(f"nothing was published under that key, and its keys are {known or 'none'}")
    if (file := damaged_file(graders, held)) is not None:
        raise ValueError(f"its file {file} is gone, or not as it was published")
    graph = Graph.from_json(held.graph)
    (root,) = graph.outputs
    if not isinstance(graph.nodes[root], Grader) or graph.nodes.keys() != graph.origins.keys():
        raise ValueError("it is no manifest of a grader")

    def in_place(_: Ref, node: Node) -> Node:
        if isinstance(node, PythonGrader):
            return replace(node, function=str(graders / FILES / node.function))
        return node

    return rebuilt(graph, in_place)
