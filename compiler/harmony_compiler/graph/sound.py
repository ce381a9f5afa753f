"""Soundness: whether a graph that was read from JSON holds in its fields what a compiled graph would.

Fields, their types and bounds are asked, and that a reference leads to a node of the right family; not the
rules between fields, which the compiler asks of a recipe.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from harmony_compiler.graph.formulas import ARITHMETIC, FUNCTIONS, ORDER
from harmony_compiler.graph.node import Constructor, Node, is_node, schema
from harmony_compiler.graph.types import (
    BOOL,
    CONDITION,
    DURATION,
    FLOAT,
    FORMULA,
    INT,
    JSON,
    NONE,
    PERCENT,
    SECRET,
    ListOf,
    LiteralText,
    RecordOf,
    SettingsType,
    Type,
    options_of,
)
from harmony_compiler.graph.values import SECONDS, Duration, Percent, Ref, Secret

if TYPE_CHECKING:
    from harmony_compiler.graph.graph import Graph

_BINARY = {*ARITHMETIC, *ORDER, "==", "!=", "in", "not in", "and", "or"}


def faults_of(graph: Graph) -> Iterator[str]:
    """What no compiled graph has, in words; nothing where the graph is sound."""
    launch = graph.launch
    if not isinstance(graph.name, str) or not _is_whole(graph.seed):
        yield "its name is a text and its seed a whole number"
    if not (_is_whole(launch.world_size) and _is_whole(launch.nodes) and isinstance(launch.shard, bool)):
        yield "its launch is of whole numbers"
    elif launch.nodes < 1 or launch.world_size < 1 or launch.world_size % launch.nodes:
        yield "its processes divide over its machines"
    inputs: Any = graph.inputs
    if not isinstance(inputs, dict):
        yield "its inputs stand under their names"
    for ref, node in graph.nodes.items():
        if ref not in graph.origins:
            yield f"nobody says where `{ref}` was written"
        yield from (f"`{ref}`: {fault}" for fault in _of_fields(node, graph))
    for ref, origin in graph.origins.items():
        texts = (origin.name, origin.file, origin.doc)
        lists = (*origin.given.values(), *origin.entries.values())
        if not all(isinstance(text, str) for text in (*texts, *(part for held in lists for part in held))):
            yield f"the origin of `{ref}` is of texts"
        elif not _is_whole(origin.line):
            yield f"`{ref}` stands on a line"


def _of_fields(made: Constructor, graph: Graph) -> Iterator[str]:
    for name, spec in schema(type(made)).items():
        value = getattr(made, name)
        if not any(_fits(value, option, made, graph) for option in options_of(spec.type)):
            yield f"`{name}` takes `{spec.type}`"
            continue
        number = value.value if isinstance(value, Percent) else value
        if isinstance(number, int | float) and not isinstance(number, bool):
            bound = spec.bounds.broken_by(number)
            if bound is not None:
                yield f"`{name}` {bound}"


def _fits(value: Any, option: Type, made: Constructor, graph: Graph) -> bool:
    """Whether a value is one of a type, which is no union. `made` is what has it in a field."""
    if is_node(option):
        held = graph.nodes.get(Ref(value)) if isinstance(value, str) else None
        return isinstance(held, Node) and isinstance(type(held).result({}), type(option))
    match option:
        case LiteralText(text=text):
            return bool(value == text)
        case ListOf(item=item):
            return isinstance(value, tuple) and all(_one_of(part, item, made, graph) for part in value)
        case RecordOf(item=item):
            return isinstance(value, dict) and all(
                _one_of(part, item, made, graph) for part in value.values()
            )
        case SettingsType(name=name):
            is_it = isinstance(value, Constructor) and value.constructor == name
            return is_it and next(_of_fields(value, graph), None) is None
    if option == FORMULA:
        return _is_formula(value, len(getattr(made, "graders", ())))
    if option == CONDITION:
        return _is_formula(value, 0)
    return _is_plain(value, option)


def _one_of(value: Any, type_: Type, made: Constructor, graph: Graph) -> bool:
    return any(_fits(value, option, made, graph) for option in options_of(type_))


def _is_plain(value: Any, option: Type) -> bool:
    if option == NONE:
        return value is None
    if option == BOOL:
        return isinstance(value, bool)
    if option == INT:
        return _is_whole(value)
    if option == FLOAT:
        return _is_number(value)
    if option == PERCENT:
        return isinstance(value, Percent) and _is_number(value.value)
    if option == DURATION:
        return isinstance(value, Duration) and _is_number(value.value) and value.unit in SECONDS
    if option == SECRET:
        return isinstance(value, Secret) and isinstance(value.name, str)
    if option == JSON:
        return _is_json(value)
    return isinstance(value, str)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or _is_whole(value)


def _is_json(value: Any) -> bool:
    match value:
        case tuple():
            return all(map(_is_json, value))
        case dict():
            return all(map(_is_json, value.values()))
    return value is None or isinstance(value, bool | int | float | str)


def _is_formula(tree: Any, graders: int) -> bool:
    """Whether a tree is one of `formulas`, over so many graders."""
    match tree:
        case ("constant", None | bool() | int() | float() | str()):
            return True
        case ("read", "completion" | "prompt" | "turns"):
            return True
        case ("read", "metadata" | "column", str()):
            return True
        case ("grader", int(number)):
            return 0 <= number < graders
        case ("member", value, str()):
            return _is_formula(value, graders)
        case ("list" | "index" | "if" | "-" | "not", *parts):
            counts = {"index": {2}, "if": {3}, "-": {1, 2}, "not": {1}}.get(tree[0])
            known = counts is None or len(parts) in counts
        case (str(name), *parts) if name in _BINARY:
            known = len(parts) == 2
        case (str(name), *parts) if name in FUNCTIONS:
            least = len(FUNCTIONS[name].parameters)
            known = len(parts) == least or (FUNCTIONS[name].many and len(parts) > least)
        case _:
            return False
    return known and all(_is_formula(part, graders) for part in parts)
