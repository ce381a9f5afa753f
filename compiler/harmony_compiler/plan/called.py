"""How nodes and values are called wherever people see them: by their names, else by what makes them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import Any

from harmony_compiler.graph.datasets import Files, LiteralRows, Rows
from harmony_compiler.graph.formulas import Formula as Tree
from harmony_compiler.graph.formulas import renumbered
from harmony_compiler.graph.graders import Combination, Formula, Grader, PythonGrader
from harmony_compiler.graph.graph import Graph, value_from_json
from harmony_compiler.graph.models import Endpoint, LoadSettings, LocalModel, Reloaded, ScratchModel
from harmony_compiler.graph.node import Constructor, Node, schema
from harmony_compiler.graph.outputs import Save
from harmony_compiler.graph.settings import Lora
from harmony_compiler.graph.values import Ref
from harmony_compiler.rewards.formula_text import formula_text, quoted

_LONGEST = 40
"""Of a name that is the text which makes a node, as of those that graders without a name have."""


def is_declared(graph: Graph, ref: Ref) -> bool:
    """Whether a name stands for the node, and not the text that makes it."""
    name = graph.origins[ref].name
    return name != graph.nodes[ref].constructor and all(part.isidentifier() for part in name.split("."))


def name_of(graph: Graph, ref: Ref) -> str:
    """A node by its declared name; without one by what makes it, cut where that is long."""
    name = full_name(graph, ref)
    return name if is_declared(graph, ref) else cut(name, _LONGEST)


def full_name(graph: Graph, ref: Ref) -> str:
    """A node by its declared name; without one by all of what makes it."""
    if is_declared(graph, ref) or isinstance(graph.nodes[ref], Grader):
        return graph.origins[ref].name  # a grader without a name has its text for one
    return made(graph, ref) if copied(graph, ref) is None else as_copy(graph, ref)


def titled(graph: Graph, ref: Ref) -> str:
    """A node by its name and by what makes it."""
    name = f"{name_of(graph, ref)} = " if is_declared(graph, ref) else ""
    return name + made(graph, ref)


def cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1].rstrip()}…"


# --- what makes a node ----------------------------------------------------------------------------------


def made(graph: Graph, ref: Ref) -> str:
    """A node by its constructor, and by what tells it from others of its kind."""
    match node := graph.nodes[ref]:
        case Files():
            return f"{node.constructor}({', '.join(_path(graph, path) for path in paths_of(node))})"
        case LiteralRows():
            return f"{node.constructor}([…])"
        case LocalModel():
            return f"{node.constructor}({_path(graph, node.path)}){_loaded(graph, ref)}"
        case ScratchModel():
            size = f"{node.architecture}, {counted(node.layers, 'layer')} of {node.hidden_size}"
            return f"{node.constructor} ({size}){_loaded(graph, ref)}"
        case LoadSettings():
            return f"{_with_argument(graph, node)}{_loaded(graph, ref)}"
        case Endpoint():
            return f"{_with_argument(graph, node)} {{ model = {quoted(node.model)} }}"
        case Grader():
            return computes(graph, ref)
        case Save():
            return f"save as {quoted(node.key)}"
    return _with_argument(graph, node)


def input_text(graph: Graph, name: str) -> str:
    """An input's value; a node that is known by the input's name alone as what makes it."""
    value = graph.inputs[name]
    match value:
        case {"node": ref} if ref in graph.nodes and graph.origins[ref].name == name:
            return made(graph, Ref(ref))
    return shown(value_from_json(value), graph)


def _with_argument(graph: Graph, node: Constructor) -> str:
    """A constructor with the argument that tells it from others of its kind: `hf("gpt2")`."""
    if node.argument is None:
        return node.constructor
    argument = getattr(node, node.argument)
    if isinstance(node, PythonGrader):  # a path in a graph is absolute
        argument = argument.replace("\\", "/").rpartition("/")[2]
    return f"{node.constructor}({shown(argument, graph)})"


def _loaded(graph: Graph, ref: Ref) -> str:
    """How the recipe says that a model is loaded."""
    given = [name for name in graph.origins[ref].given if name in schema(LoadSettings)]
    return f" {_changes(graph, ref, given)}" if given else ""


def _changes(graph: Graph, ref: Ref, names: Iterable[str]) -> str:
    """Fields of a node as a block: `{ tp = 2 }`."""
    return f"{{ {', '.join(f'{name} = {_value(graph, graph.nodes[ref], name)}' for name in names)} }}"


def _value(graph: Graph, node: Node, name: str) -> str:
    value, spec = getattr(node, name), schema(type(node))[name]
    if spec.over_columns and value is not None:
        return formula_text(value)
    if spec.names_files and isinstance(value, str) and PurePath(value).is_absolute():
        return _path(graph, value)
    return f"lora {{ rank = {value.rank} }}" if isinstance(value, Lora) else shown(value, graph)


# --- copies ---------------------------------------------------------------------------------------------


def copied(graph: Graph, ref: Ref) -> Ref | None:
    """What a node is a copy of: the model with a name that it loads otherwise; of the datasets with a name
    that are of the same source, the one that differs least. None where it is no copy."""
    node, nodes = graph.nodes[ref], graph.nodes
    match node:
        case Reloaded():
            return node.source
        case LoadSettings():
            first = same_weights(graph)[ref]
            return first if first != ref and is_declared(graph, first) else None
        case Rows() if not is_declared(graph, ref):
            named = (it for it in nodes if isinstance(nodes[it], Rows) and is_declared(graph, it))
            alike = [other for other in named if source_of(nodes[other]) == source_of(node)]
            return min(alike, key=lambda other: len(_changed(node, nodes[other])), default=None)
    return None


def as_copy(graph: Graph, ref: Ref) -> str:
    """A copy as a recipe writes it: `problems { limit = 8 }`."""
    node, other = graph.nodes[ref], copied(graph, ref)
    assert other is not None
    if isinstance(node, Reloaded):
        names = [name for name in graph.origins[ref].given if name != "source"]
    else:
        names = _changed(node, graph.nodes[other])
    return f"{full_name(graph, other)} {_changes(graph, ref, names)}"


def _changed(node: Node, other: Node) -> list[str]:
    """The fields in which two nodes of a kind differ."""
    return [name for name in schema(type(node)) if getattr(node, name) != getattr(other, name)]


def same_weights(graph: Graph) -> dict[Ref, Ref]:
    """Models that are only loaded otherwise, each with the one that stands for all of them."""
    first: dict[object, Ref] = {}
    found: dict[Ref, Ref] = {}
    bases = [ref for ref, node in graph.nodes.items() if isinstance(node, LoadSettings)]
    for ref in sorted(bases, key=lambda ref: not is_declared(graph, ref)):
        node = graph.nodes[ref]
        own = [getattr(node, name) for name in schema(type(node)) if name not in schema(LoadSettings)]
        found[ref] = first.setdefault((type(node), *own), ref)
    return found


# --- files ----------------------------------------------------------------------------------------------


def source_of(node: Node) -> tuple[object, ...]:
    """What tells where rows come from, before anything is taken of them."""
    if isinstance(node, Files):
        return type(node), *paths_of(node)
    own = [getattr(node, name) for name in schema(type(node)) if name not in schema(Rows)]
    return type(node), repr(own)


def paths_of(node: Files) -> list[str]:
    """The files of a dataset, each by one path however it was written."""
    paths = (node.path,) if isinstance(node.path, str) else node.path
    return [os.path.normpath(path) for path in paths]


def _path(graph: Graph, path: str) -> str:
    """Without the folders that hold all files of the graph: they would hide what tells files apart."""
    return quoted("/".join(PurePath(os.path.normpath(path)).parts[_shared_folders(graph) :]))


def _shared_folders(graph: Graph) -> int:
    """How many folders all paths have in common, from the root down."""
    folders: list[tuple[str, ...]] = []
    for node in graph.nodes.values():
        if isinstance(node, Files | LocalModel):
            paths = paths_of(node) if isinstance(node, Files) else [os.path.normpath(node.path)]
            folders += [PurePath(path).parts[:-1] for path in paths]
    shared = 0
    for parts in zip(*folders, strict=False):
        if len(set(parts)) > 1:
            break
        shared += 1
    return shared


# --- graders --------------------------------------------------------------------------------------------


def computes(graph: Graph, ref: Ref) -> str:
    """A grader's formula, in which what the recipe gives no name is written out; or its constructor."""
    node = graph.nodes[ref]
    if not isinstance(node, Formula | Combination):
        return _with_argument(graph, node)
    leaves: list[Ref] = []
    tree = _written_out(graph, ref, leaves)
    return formula_text(tree, [in_formula(graph, leaf) for leaf in leaves])


def in_formula(graph: Graph, ref: Ref) -> str:
    """How a grader is called in the formulas of others."""
    return name_of(graph, ref) if is_declared(graph, ref) else computes(graph, ref)


def _written_out(graph: Graph, ref: Ref, leaves: list[Ref]) -> Tree:
    """A grader's formula over `leaves`, which grow by those that have a name or no formula."""
    node = graph.nodes[ref]
    if isinstance(node, Formula):
        return node.expression
    assert isinstance(node, Combination)
    return _substituted(graph, node.expression, node.graders, leaves)


def _substituted(graph: Graph, tree: Tree, graders: Sequence[Ref], leaves: list[Ref]) -> Tree:
    if tree[0] != "grader":
        return tuple(
            _substituted(graph, part, graders, leaves) if isinstance(part, tuple) else part for part in tree
        )
    ref = graders[tree[1]]
    if isinstance(graph.nodes[ref], Formula | Combination) and not is_declared(graph, ref):
        return _written_out(graph, ref, leaves)
    if ref not in leaves:
        leaves.append(ref)
    return renumbered(tree, [leaves.index(ref)] * (tree[1] + 1))


# --- values ---------------------------------------------------------------------------------------------


def shown(value: Any, graph: Graph) -> str:
    """A value as a recipe writes it, long lists cut."""
    match value:
        case Constructor():
            return _settings(value, graph)
        case str() if value in graph.nodes:
            return full_name(graph, Ref(value))
        case {"node": ref}:
            return full_name(graph, Ref(ref)) if ref in graph.nodes else "not used"
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
    named = value.constructor if argument is None else f"{value.constructor}({shown(argument, graph)})"
    return f"{named} {{ {inside} }}" if inside else named


def _list(items: tuple[Any, ...] | list[Any], graph: Graph) -> str:
    told = [shown(item, graph) for item in items[:3]]
    if len(items) > 3:
        told.append(f"… {len(items):,} in all")
    return f"[{', '.join(told)}]"


def counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
