"""What people see of a node: its title, its fields, where each value came from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.node import schema
from harmony_compiler.graph.types import CONDITION, FORMULA, options_of
from harmony_compiler.graph.values import Ref
from harmony_compiler.plan.called import counted, full_name, is_declared, name_of, shown
from harmony_compiler.rewards.formula_text import formula_text
from harmony_compiler.typed import LAUNCH, LAYOUT, LOCKED
from harmony_grammar.records import Record

__all__ = ["Shown", "counted", "fields", "name_of", "part_text", "shown", "title"]


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
    named = f"{name} = {node.constructor}" if is_declared(graph, ref) else name
    doc = f"\n  # {origin.doc.splitlines()[0]}" if origin.doc else ""
    return f"{named}  ({origin.file}:{origin.line}){doc}"


def fields(graph: Graph, ref: Ref) -> Iterator[Shown]:
    """Every field that has a value, and who decided it."""
    node, origin = graph.nodes[ref], graph.origins[ref]
    for name, spec in schema(type(node)).items():
        value = getattr(node, name)
        if CONDITION in options_of(spec.type) and value is not None:
            text = formula_text(value)
        elif spec.type == FORMULA:
            text = formula_text(value, [full_name(graph, part) for part in graph.needs(ref)])
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
