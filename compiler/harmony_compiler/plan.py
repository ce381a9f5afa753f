"""The plan: what a run would do, before it does it.

Text for people and JSON for programs from one graph: every node with every field, the stages in order with
their steps where the rows can be counted, what is saved, and what the launch was assumed to be.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harmony_compiler.files import DISK, Files
from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.datasets import Drawn, JsonLines, LiteralRows
from harmony_compiler.graph.evaluations import Compare
from harmony_compiler.graph.graders import Grader
from harmony_compiler.graph.graph import Graph, value_from_json
from harmony_compiler.graph.models import Reloaded
from harmony_compiler.graph.node import Constructor, schema
from harmony_compiler.graph.outputs import Save
from harmony_compiler.graph.types import CONDITION, FORMULA, options_of
from harmony_compiler.graph.values import Ref
from harmony_compiler.rewards.formula_text import formula_text, quoted
from harmony_grammar.records import Record

_DEFAULT = "  (default)"


class Counts(Record):
    """What can be counted without the runtime: rows of datasets, steps of stages; None where it cannot."""

    rows: dict[Ref, int | None]
    steps: dict[Ref, int | None]


def count(graph: Graph, files: Files) -> Counts:
    counts = Counts({}, {})
    for ref, node in graph.nodes.items():
        match node:
            case Drawn():
                counts.rows[ref] = _rows(node, files)
            case Algorithm(steps_given=None):
                rows = counts.rows[node.dataset]  # type: ignore[attr-defined]  # each algorithm has one
                counts.steps[ref] = None if rows is None else node.steps_over(rows)
            case Algorithm():
                counts.steps[ref] = node.steps_given
    return counts


def _rows(node: Drawn, files: Files) -> int | None:
    match node:
        case LiteralRows(split="train"):
            rows = len(node.items)
        case JsonLines(split="train"):
            paths = (node.path,) if isinstance(node.path, str) else node.path
            try:
                rows = sum(files.filled_lines(Path(path)) for path in paths)
            except OSError:
                return None
        case _:
            return None
    return min(rows, node.limit) if node.limit is not None else rows


def plan_json(graph: Graph, files: Files = DISK) -> dict[str, Any]:
    """The graph as JSON, with the rows and steps that could be counted."""
    counts = count(graph, files)
    return {**graph.to_json(), "rows": counts.rows, "steps": counts.steps}


def plan_text(graph: Graph, files: Files = DISK) -> str:
    """The plan as people read it."""
    launch, counts = graph.launch, count(graph, files)
    devices = "one device" if launch.world_size == 1 else f"{launch.world_size} processes"
    if launch.shard:
        devices += ", each with a part of the weights (--shard)"
    lines = [f"recipe {graph.name}, seed {graph.seed}, on {devices}"]
    if graph.inputs:
        lines += ["", "inputs"]
        values = {name: value_from_json(value) for name, value in graph.inputs.items()}
        lines += [f"  {name} = {_shown(value, graph)}" for name, value in values.items()]
    for ref in graph.nodes:
        lines += ["", _title(graph, ref, counts)]
        lines += _fields(graph, ref)
    lines += ["", "outputs"]
    lines += [f"  {_output(graph, ref)}" for ref in graph.outputs]
    return "\n".join(lines) + "\n"


def part_text(graph: Graph, ref: Ref) -> tuple[str, list[str]]:
    """A node's title, and each field that the recipe wrote, or that was filled in by what is known of it."""
    fields = [line.strip() for line in _fields(graph, ref) if not line.endswith(_DEFAULT)]
    return _title(graph, ref, Counts({}, {})), fields


def _title(graph: Graph, ref: Ref, counts: Counts) -> str:
    node, origin, name = graph.nodes[ref], graph.origins[ref], name_of(graph, ref)
    parts = name.split(".")  # of an imported value: `m.problems`
    declared = all(part.isidentifier() for part in parts) and origin.name != node.constructor
    title = f"{name} = {node.constructor}" if declared else name
    facts = [f"{origin.file}:{origin.line}"]
    for counted, thing in ((counts.rows, "row"), (counts.steps, "step")):
        if (number := counted.get(ref)) is not None:
            facts.append(_counted(number, thing))
    doc = f"\n  # {origin.doc.splitlines()[0]}" if origin.doc else ""
    return f"{title}  ({', '.join(facts)}){doc}"


def name_of(graph: Graph, ref: Ref) -> str:
    """A node by its declared name; a model that is only loaded otherwise as the recipe writes it."""
    node, origin = graph.nodes[ref], graph.origins[ref]
    if isinstance(node, Reloaded) and origin.name == node.constructor:
        changes = (
            f"{name} = {_shown(getattr(node, name), graph)}" for name in origin.given if name != "source"
        )
        return f"{name_of(graph, node.source)} {{ {', '.join(changes)} }}"
    return origin.name


def _fields(graph: Graph, ref: Ref) -> Iterator[str]:
    """Every field that has a value; `(default)` where the recipe left it alone."""
    node, origin = graph.nodes[ref], graph.origins[ref]
    for name, spec in schema(type(node)).items():
        value = getattr(node, name)
        if CONDITION in options_of(spec.type) and value is not None:
            yield f"  {name} = {formula_text(value)}"
        elif spec.type == FORMULA:
            graders = [name_of(graph, part) for part in graph.needs(ref)]
            yield f"  {name} = {formula_text(value, graders)}"
        elif name in origin.entries:
            yield f"  {name} = [{', '.join(origin.entries[name])}]"
        elif value is not None or (name in origin.given and spec.default is not None):
            yield f"  {name} = {_shown(value, graph)}{'' if name in origin.given else _DEFAULT}"


def _shown(value: Any, graph: Graph) -> str:
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
            return "{ " + ", ".join(f"{key} = {_shown(item, graph)}" for key, item in value.items()) + " }"
        case _:
            return str(value)


def _settings(value: Constructor, graph: Graph) -> str:
    held = {name: getattr(value, name) for name in schema(type(value))}
    argument = held.pop(value.argument) if value.argument else None
    fields = ", ".join(f"{name} = {_shown(it, graph)}" for name, it in held.items() if it is not None)
    called = value.constructor if argument is None else f"{value.constructor}({_shown(argument, graph)})"
    return f"{called} {{ {fields} }}" if fields else called


def _list(items: tuple[Any, ...] | list[Any], graph: Graph) -> str:
    shown = [_shown(item, graph) for item in items[:3]]
    if len(items) > 3:
        shown.append(f"… {len(items):,} in all")
    return f"[{', '.join(shown)}]"


def _output(graph: Graph, ref: Ref) -> str:
    node = graph.nodes[ref]
    if isinstance(node, Save):
        return f'save {name_of(graph, node.model)} as "{node.key}" (if_exists = "{node.if_exists}")'
    if isinstance(node, Compare):
        models, graders = (
            _counted(len(part), of) for part, of in ((node.models, "model"), (node.graders, "grader"))
        )
        return f"{name_of(graph, ref)}, scores of {models} by {graders} on {name_of(graph, node.dataset)}"
    if isinstance(node, Grader):
        return name_of(graph, ref)
    return f"{name_of(graph, ref)}, kept in the run folder only"


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
