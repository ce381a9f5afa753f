"""Publishing: what a grader is made of, so that it can be used where its recipe is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.graders import PythonGrader
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.node import Constructor, Node, schema
from harmony_compiler.graph.splicing import rebuilt
from harmony_compiler.graph.values import Ref
from harmony_grammar.records import replace


def trained_in(graph: Graph) -> Ref | None:
    """A model in the graph that its recipe trains, or None."""
    return next((ref for ref, node in graph.nodes.items() if isinstance(node, Algorithm)), None)


def paths_in(graph: Graph) -> Iterator[str]:
    """The files and folders of this machine that the nodes name, Python files aside."""
    for node in graph.nodes.values():
        yield from _paths(node)


def _paths(made: Constructor) -> Iterator[str]:
    for name, spec in schema(type(made)).items():
        held: Any = getattr(made, name)
        if isinstance(held, Constructor):
            yield from _paths(held)
        elif spec.names_files and not isinstance(made, PythonGrader):
            for path in held if isinstance(held, tuple) else (held,):
                if isinstance(path, str) and Path(path).is_absolute():
                    yield path


def with_python_files(graph: Graph, kept: Callable[[Path], str]) -> Graph:
    """The same graph with other Python files in place of those that it names: `kept` gives their paths."""

    def moved(_: Ref, node: Node) -> Node:
        if not isinstance(node, PythonGrader):
            return node
        file, function = node.function.rsplit(":", 1)
        return replace(node, function=f"{kept(Path(file))}:{function}")

    return rebuilt(graph, moved)
