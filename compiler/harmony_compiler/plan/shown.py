"""What people see of a graph's nodes and values: names, fields, where each value came from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.models import Reloaded
from harmony_compiler.graph.node import Constructor, schema
from harmony_compiler.graph.types import CONDITION, FORMULA, options_of
from harmony_compiler.graph.values import Ref
from harmony_compiler.rewards.formula_text import formula_text, quoted
from harmony_compiler.typed import LAUNCH, LAYOUT, LOCKED
from harmony_grammar.records import Record


class Shown(Record):
    """A field of a node."""

    name: str
    value: str
    origin: str
    """`default`, `recipe`, or what else had a part in it: `launch`, `input lr`, `known layout`."""

    @property
    def line(self) -> str:
        """`lr = 1e-06  (default)`; what stands in the recipe as it is, stands here alone."""
        return f"{self.name} = {self.value}" + ("" if self.origin == "recipe" else f"  ({self.origin})")


def part_text(graph: Graph, ref: Ref) -> tuple[str, list[str]]:
    """A node's title, and each field that the recipe wrote, or that was filled in by what is known of it."""
    told = [f"{field.name} = {field.value}" for field in fields(graph, ref) if field.origin != "default"]
    return title(graph, ref), told


def title(graph: Graph, ref: Ref) -> str:
    """A node's name, kind and place, and the first line of its documentation."""
    node, origin, name = graph.nodes[ref], graph.origins[ref], name_of(graph, ref)
    parts = name.split(".")  # of an imported value: `m.problems`
    declared = all(part.isidentifier() for part in parts) and origin.name != node.constructor
    named = f"{name} = {node.constructor}" if declared else name
    doc = f"\n  # {origin.doc.splitlines()[0]}" if origin.doc else ""
    return f"{named}  ({origin.file}:{origin.line}){doc}"


def name_of(graph: Graph, ref: Ref) -> str:
    """A node by its declared name; a model that is only loaded otherwise as the recipe writes it."""
    node, origin = graph.nodes[ref], graph.origins[ref]
    if isinstance(node, Reloaded) and origin.name == node.constructor:
        changes = (
            f"{name} = {shown(getattr(node, name), graph)}" for name in origin.given if name != "source"
        )
        return f"{name_of(graph, node.source)} {{ {', '.join(changes)} }}"
    return origin.name


def fields(graph: Graph, ref: Ref) -> Iterator[Shown]:
    """Every field that has a value, and who decided it."""
    node, origin = graph.nodes[ref], graph.origins[ref]
    for name, spec in schema(type(node)).items():
        value = getattr(node, name)
        if CONDITION in options_of(spec.type) and value is not None:
            text = formula_text(value)
        elif spec.type == FORMULA:
            text = formula_text(value, [name_of(graph, part) for part in graph.needs(ref)])
        elif name in origin.entries:
            text = f"[{', '.join(origin.entries[name])}]"
        elif value is not None or (name in origin.given and spec.default is not None):
            text = shown(value, graph)
        else:
            continue
        yield Shown(name, text, _decided(origin.given.get(name)))


def _decided(by: Sequence[str] | None) -> str:
    """Who decided a value, in words."""
    if by is None:
        return "default"
    inputs = [name for name in by if name not in (LAUNCH, LAYOUT, LOCKED)]
    words = ["launch"] if LAUNCH in by else []
    words += [f"input{'' if len(inputs) == 1 else 's'} {', '.join(inputs)}"] if inputs else []
    words += [word for word in (LAYOUT, LOCKED) if word in by]
    return ", ".join(words) or "recipe"


def shown(value: Any, graph: Graph) -> str:
    match value:
        case Constructor():
            return _settings(value, graph)
        case str() if value in graph.nodes:
            return name_of(graph, Ref(value))
        case {"node": ref}:
            return name_of(graph, ref) if ref in graph.nodes else "not used"
        case str():
            return quoted(value)
        case bool():
            return "true" if value else "false"
        case None:
            return "none"
        case tuple() | list():
            return _list(value, graph)
        case dict():
            return "{ " + ", ".join(f"{key} = {shown(item, graph)}" for key, item in value.items()) + " }"
        case _:
            return str(value)


def _settings(value: Constructor, graph: Graph) -> str:
    held = {name: getattr(value, name) for name in schema(type(value))}
    argument = held.pop(value.argument) if value.argument else None
    inside = ", ".join(f"{name} = {shown(it, graph)}" for name, it in held.items() if it is not None)
    called = value.constructor if argument is None else f"{value.constructor}({shown(argument, graph)})"
    return f"{called} {{ {inside} }}" if inside else called


def _list(items: tuple[Any, ...] | list[Any], graph: Graph) -> str:
    told = [shown(item, graph) for item in items[:3]]
    if len(items) > 3:
        told.append(f"… {len(items):,} in all")
    return f"[{', '.join(told)}]"


def counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
