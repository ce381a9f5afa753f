"""The plan: what a run would do, before it does it.

Text for people and JSON for programs from one graph: every node with every field, the stages in order with
their steps where the rows can be counted, what is saved, and what the launch was assumed to be.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harmony_compiler.graph.algorithms import Algorithm, Sft
from harmony_compiler.graph.datasets import JsonLines, LiteralRows, Rows
from harmony_compiler.graph.graph import Graph, value_from_json
from harmony_compiler.graph.models import Reloaded
from harmony_compiler.graph.node import Constructor, schema
from harmony_compiler.graph.outputs import Save
from harmony_compiler.graph.values import Ref


def plan_json(graph: Graph) -> dict[str, Any]:
    """The graph as JSON, with the rows and steps that could be counted."""
    counted = {ref: rows_of(graph, ref) for ref, node in graph.nodes.items() if isinstance(node, Rows)}
    steps = {ref: steps_of(graph, ref) for ref, node in graph.nodes.items() if isinstance(node, Algorithm)}
    return {**graph.to_json(), "rows": counted, "steps": steps}


def plan_text(graph: Graph) -> str:
    """The plan as people read it."""
    launch = graph.launch
    devices = "one device" if launch.world_size == 1 else f"{launch.world_size} processes"
    lines = [f"recipe {graph.name}, seed {graph.seed}, on {devices}"]
    if graph.inputs:
        lines += ["", "inputs"]
        values = {name: value_from_json(value) for name, value in graph.inputs.items()}
        lines += [f"  {name} = {_shown(value, graph)}" for name, value in values.items()]
    for ref, node in graph.nodes.items():
        lines += ["", _title(graph, ref, node)]
        lines += _fields(graph, ref)
    lines += ["", "outputs"]
    lines += [f"  {_output(graph, ref)}" for ref in graph.outputs]
    return "\n".join(lines) + "\n"


def rows_of(graph: Graph, ref: Ref) -> int | None:
    """How many rows a dataset has, where that can be counted without the runtime."""
    node = graph.nodes[ref]
    match node:
        case LiteralRows(split="train"):
            count = len(node.items)
        case JsonLines(split="train"):
            paths = (node.path,) if isinstance(node.path, str) else node.path
            try:
                count = sum(_lines(Path(path)) for path in paths)
            except OSError:
                return None
        case _:
            return None
    return min(count, node.limit) if node.limit is not None else count


def _lines(path: Path) -> int:
    with path.open("rb") as stream:
        return sum(1 for line in stream if line.strip())


def steps_of(graph: Graph, ref: Ref) -> int | None:
    """The optimiser steps of a stage, where they are given or its rows can be counted."""
    node = graph.nodes[ref]
    assert isinstance(node, Sft)
    if node.steps is not None:
        return node.steps
    rows = rows_of(graph, node.dataset)
    return None if rows is None else node.steps_over(rows)


def _title(graph: Graph, ref: Ref, node: Constructor) -> str:
    origin, name = graph.origins[ref], _name(graph, ref)
    title = name if origin.name == node.constructor else f"{name} = {node.constructor}"
    place = f"{origin.file}:{origin.line}"
    facts = [place]
    if isinstance(node, Rows) and (rows := rows_of(graph, ref)) is not None:
        facts.append(_counted(rows, "row"))
    if isinstance(node, Algorithm) and (steps := steps_of(graph, ref)) is not None:
        facts.append(_counted(steps, "step"))
    doc = f"\n  # {origin.doc.splitlines()[0]}" if origin.doc else ""
    return f"{title}  ({', '.join(facts)}){doc}"


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _name(graph: Graph, ref: Ref) -> str:
    """A node by its declared name; a model that is only loaded otherwise as the recipe writes it."""
    node, origin = graph.nodes[ref], graph.origins[ref]
    if isinstance(node, Reloaded) and origin.name == node.constructor:
        changes = (
            f"{name} = {_shown(getattr(node, name), graph)}" for name in origin.given if name != "source"
        )
        return f"{_name(graph, node.source)} {{ {', '.join(changes)} }}"
    return origin.name


def _fields(graph: Graph, ref: Ref) -> Iterator[str]:
    """Every field that has a value; `(default)` where the recipe left it alone."""
    node, given = graph.nodes[ref], graph.origins[ref].given
    for name in schema(type(node)):
        value = getattr(node, name)
        if value is not None:
            yield f"  {name} = {_shown(value, graph)}{'' if name in given else '  (default)'}"


def _shown(value: Any, graph: Graph) -> str:
    match value:
        case Constructor():
            fields = ", ".join(
                f"{name} = {_shown(getattr(value, name), graph)}" for name in schema(type(value))
            )
            return f"{value.constructor} {{ {fields} }}"
        case str() if value in graph.nodes:
            return _name(graph, Ref(value))
        case {"node": ref}:
            return _name(graph, ref) if ref in graph.nodes else "not used"
        case str():
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
        case bool():
            return "true" if value else "false"
        case tuple() | list():
            return _list(value, graph)
        case dict():
            return "{ " + ", ".join(f"{key} = {_shown(item, graph)}" for key, item in value.items()) + " }"
        case _:
            return str(value)


def _list(items: tuple[Any, ...] | list[Any], graph: Graph) -> str:
    shown = [_shown(item, graph) for item in items[:3]]
    if len(items) > 3:
        shown.append(f"… {len(items):,} in all")
    return f"[{', '.join(shown)}]"


def _output(graph: Graph, ref: Ref) -> str:
    node = graph.nodes[ref]
    if isinstance(node, Save):
        return f'save {_name(graph, node.model)} as "{node.key}" (if_exists = "{node.if_exists}")'
    return f"{_name(graph, ref)}, kept in the run folder only"
