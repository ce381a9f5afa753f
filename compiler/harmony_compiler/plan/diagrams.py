"""Diagrams: the whole graph for Graphviz and Mermaid. Nodes have shapes by their kind, edges name fields."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.datasets import Drawn, Mix
from harmony_compiler.graph.evaluations import Compare
from harmony_compiler.graph.graders import Grader
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.models import Endpoint, LoadSettings
from harmony_compiler.graph.node import Constructor, Node, schema
from harmony_compiler.graph.outputs import Save
from harmony_compiler.graph.values import Ref
from harmony_compiler.plan.called import cut, full_name, is_declared, made, name_of

_LONGEST = 60
"""Of a line in a node."""

_KINDS: tuple[tuple[type[Node], str], ...] = (
    (Endpoint, "endpoint"),
    (LoadSettings, "model"),
    (Drawn, "dataset"),
    (Grader, "grader"),
    (Algorithm, "stage"),
    (Compare, "evaluation"),
    (Save, "save"),
)

_DOT_SHAPES = {
    "endpoint": "component",
    "model": "box3d",
    "dataset": "cylinder",
    "grader": "hexagon",
    "stage": "box",
    "evaluation": "tab",
    "save": "note",
}

_MERMAID_SHAPES = {
    "endpoint": ("[[", "]]"),
    "model": ("([", "])"),
    "dataset": ("[(", ")]"),
    "grader": ("{{", "}}"),
    "stage": ("[", "]"),
    "evaluation": ("[/", "/]"),
    "save": (">", "]"),
}


def dot(graph: Graph) -> str:
    """The graph in the language of Graphviz: `dot -Tsvg`."""
    places = _places(graph)
    lines = ["digraph {", f"  graph [rankdir=LR, labelloc=t, label={_in_dot([graph.name])}];"]
    for ref, place in places.items():
        shape = _DOT_SHAPES[_kind(graph.nodes[ref])]
        lines.append(f"  {place} [shape={shape}, label={_in_dot(_label(graph, ref))}];")
    for start, end, field in _edges(graph):
        lines.append(f"  {places[start]} -> {places[end]} [label={_in_dot([field])}];")
    return "\n".join([*lines, "}"]) + "\n"


def mermaid(graph: Graph) -> str:
    """The graph as a Mermaid flow chart, which many pages draw that show Markdown."""
    places = _places(graph)
    lines = ["flowchart LR"]
    for ref, place in places.items():
        left, right = _MERMAID_SHAPES[_kind(graph.nodes[ref])]
        lines.append(f"  {place}{left}{_in_mermaid(_label(graph, ref))}{right}")
    for start, end, field in _edges(graph):
        lines.append(f"  {places[start]} -->|{_in_mermaid([field])}| {places[end]}")
    return "\n".join(lines) + "\n"


def _places(graph: Graph) -> dict[Ref, str]:
    """Each node's name in a diagram: no text of a recipe, which could be a word of its language."""
    return {ref: f"n{place}" for place, ref in enumerate(graph.nodes)}


def _kind(node: Node) -> str:
    return next(kind for cls, kind in _KINDS if isinstance(node, cls))


# --- nodes ----------------------------------------------------------------------------------------------


def _label(graph: Graph, ref: Ref) -> list[str]:
    """The lines in a node: its name, and what it is."""
    if is_declared(graph, ref):
        lines = [name_of(graph, ref), made(graph, ref)]
    else:
        grades = isinstance(graph.nodes[ref], Grader)
        lines = [made(graph, ref) if grades else full_name(graph, ref)]
    return [cut(line, _LONGEST) for line in lines]


def _in_dot(lines: list[str]) -> str:
    """A label for Graphviz, which reads escapes of its own, and HTML's names of characters."""
    escapes = {"\\": "\\\\", '"': '\\"', "&": "&amp;"}
    return '"' + "\\n".join("".join(escapes.get(c, c) for c in _printed(line)) for line in lines) + '"'


_PLAIN_IN_MERMAID = frozenset(" .,()[]{}|=+-/…")


def _in_mermaid(lines: list[str]) -> str:
    """A label for Mermaid, which reads Markdown, HTML, formulas, icons and directives in it, unless a
    character stands as its number."""
    plain = (
        "".join(c if c.isalnum() or c in _PLAIN_IN_MERMAID else f"#{ord(c)};" for c in _printed(line))
        for line in lines
    )
    return '"' + "<br/>".join(plain) + '"'


def _printed(line: str) -> str:
    return "".join(c if c.isprintable() else " " for c in line)


# --- edges ----------------------------------------------------------------------------------------------


def _edges(graph: Graph) -> Iterator[tuple[Ref, Ref, str]]:
    """From each node to those that read it, and by which of their fields."""
    for ref, node in graph.nodes.items():
        fields: dict[Ref, list[str]] = {}
        for needed, name in _read(node):
            fields.setdefault(needed, []).append(name)
        for needed, names in fields.items():
            yield needed, ref, ", ".join(dict.fromkeys(names))


def _read(node: Constructor, prefix: str = "") -> Iterator[tuple[Ref, str]]:
    """What a node reads, each with the name of the field, or of the part of a settings field."""
    for name, spec in schema(type(node)).items():
        held = getattr(node, name)
        if isinstance(held, Constructor):
            yield from _read(held, f"{prefix}{name}.")
        elif isinstance(node, Mix) and node.weights and name == "datasets":
            yield from ((ref, str(weight)) for ref, weight in zip(held, node.weights, strict=True))
        elif spec.is_edge and held is not None:
            refs = held if isinstance(held, tuple) else (held,)
            yield from ((ref, prefix + name) for ref in refs)
