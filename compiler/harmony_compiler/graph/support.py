"""Support: what a graph asks for that the runtime has no part for yet.

The language is checked and planned whole; `run` refuses what is marked `later` in the catalogue, before
anything is loaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.node import Constructor, Derived, schema
from harmony_compiler.graph.values import Ref


class Unsupported(NamedTuple):
    """A part of a graph that cannot run yet; `field` is "" where it is the whole node."""

    ref: Ref
    field: str
    what: str


def unsupported(graph: Graph) -> Iterator[Unsupported]:
    for ref, node in graph.nodes.items():
        if type(node).later:
            yield Unsupported(ref, "", f"`{node.constructor}`")
            continue
        for name, spec in schema(type(node)).items():
            value = getattr(node, name)
            if isinstance(spec.default, Derived) or value == spec.default:
                continue
            if spec.later:
                yield Unsupported(ref, name, f"the field `{name}` of `{node.constructor}`")
            else:
                yield from (
                    Unsupported(ref, name, f"`{part.constructor}`") for part in _parts(value) if part.later
                )


def _parts(value: Any) -> Iterator[Constructor]:
    """The settings in a field's value."""
    if isinstance(value, Constructor):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else ():
        yield from _parts(part)
