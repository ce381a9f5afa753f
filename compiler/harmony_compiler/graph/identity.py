"""Identities: names for results.

Two nodes with the same identity compute the same thing, so a finished result is kept under it and reused.
An identity hashes a node's semantic fields, the identities of its inputs, the *content* of the files it
names, and its class's `semantics` number. Placement and watching fields, names, comments and paths are
not in it.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from harmony_compiler.graph.datasets import RegistryRows
from harmony_compiler.graph.graders import POLICIES, Grader, PythonGrader
from harmony_compiler.graph.graph import Graph, value_to_json
from harmony_compiler.graph.models import LocalModel, RegistryModel
from harmony_compiler.graph.node import Constructor, FieldSpec, Node, schema, tag_of
from harmony_compiler.graph.values import Ref
from harmony_compiler.store.adapters import base_elsewhere
from harmony_grammar.records import Record

Content = Callable[[str], str]
"""From the path of a file or folder to a hash of what is in it."""


class Meanings(Record):
    """What the nodes of a graph compute. Files and the registry were read when it was made."""

    identities: dict[Ref, str]
    """Of every node, 32 hexadecimal digits each."""
    trees: dict[Ref, Any]
    """What an identity hashes of one node: constructor, `semantics` and fields, which name other nodes."""
    asked: dict[Ref, str]
    """Of every grader, what it asks about a completion: its identity without policies and budgets, which
    decide what becomes of an answer and not the answer."""

    def of(self, ref: Ref) -> dict[str, Any]:
        """All that the identity of a node stands for, as JSON by readable paths: `{"": {"constructor":
        "sft", …}, "lr": 0.01, "dataset.path": {"content": …}}`.

        Two nodes have equal meanings where they have equal identities, and else not. What stands in several
        places is told at the first.
        """
        told: dict[str, str] = {}
        found: dict[str, Any] = {}
        left: list[tuple[str, Any]] = [("", _Edge(ref))]
        while left:
            path, value = left.pop()
            below: list[tuple[str, Any]] = []
            match value:
                case _Edge(to=to):
                    first = told.setdefault(self.identities[to], path)
                    if first == path:
                        below = [(path, self.trees[to])]
                    else:
                        found[path] = {"same as": first}
                case {"constructor": _, "fields": dict(fields)}:
                    found[path] = {part: fact for part, fact in value.items() if part != "fields"}
                    below = [(f"{path}.{name}" if path else name, held) for name, held in fields.items()]
                case [_Edge() | {"content": _}, *_]:
                    found[path] = {"entries": len(value)}
                    below = [(f"{path}.{number}", held) for number, held in enumerate(value, 1)]
                case _:
                    found[path] = value
            left += reversed(below)
        return found


class _Edge(Record):
    """Another node, in a tree."""

    to: Ref


def meanings(graph: Graph, content: Content, registry: Path) -> Meanings:
    """What every node of `graph` computes.

    `registry` is the folder of saved models: a model from there is what its key holds now, and a dataset
    what the folder of datasets beside it holds.

    Raises:
        OSError, ValueError: a registered dataset is not there, or its manifest cannot be read;
            or what a Python grader imports is no Python.
    """
    known: dict[Ref, str] = {}
    trees: dict[Ref, Any] = {}
    asked: dict[Ref, str] = {}

    def by_identity(edge: _Edge) -> dict[str, str]:
        return {"node": known[edge.to]}

    for ref, node in graph.nodes.items():
        trees[ref] = tree = _tree(node, content, registry)
        known[ref] = digest([tree["constructor"], tree["semantics"], tree["fields"]], by_identity)
        if isinstance(node, Grader):
            fields = {name: held for name, held in tree["fields"].items() if name not in POLICIES}
            asked[ref] = digest([tree["constructor"], tree["semantics"], fields], by_identity)
    return Meanings(known, trees, asked)


def identities(graph: Graph, content: Content, registry: Path) -> dict[Ref, str]:
    """The identity of every node of `graph`: see `meanings`."""
    return meanings(graph, content, registry).identities


def training_digest(graph: Graph, content: Content, registry: Path) -> str:
    """One name for all that a run leaves behind: equal for recipes that differ only in names, order, layout,
    comments and places."""
    return digest_of(graph, identities(graph, content, registry))


def digest_of(graph: Graph, known: Mapping[Ref, str]) -> str:
    """`training_digest`, where the identities are known."""
    return digest(sorted(known[ref] for ref in graph.outputs))


def _tree(node: Node, content: Content, registry: Path) -> dict[str, Any]:
    tree = _fields(node, content)
    fields = tree["fields"]
    folder = None
    if isinstance(node, RegistryModel):
        folder = str(registry / node.key)
        fields["key"] = {"content": content(folder)}
    if isinstance(node, LocalModel):
        folder = node.path
    if folder is not None and (base := base_elsewhere(folder)) is not None:
        fields["base"] = {"content": content(base)}
    if isinstance(node, PythonGrader):
        file, _, name = node.function.rpartition(":")
        if Path(file).is_absolute():
            fields["function"] = {**_code(Path(file), content), "name": name}
    if isinstance(node, RegistryRows):
        fields["key"] = _held(node.key, content, registry.parent / "datasets")
    return {**tree, "semantics": node.semantics}


def _code(file: Path, content: Content) -> dict[str, Any]:
    """What a Python file runs: itself, whatever it is called, and the modules beside it that it imports."""
    from harmony_compiler.store.modules import with_modules  # few recipes need it

    try:
        _, *modules = with_modules(file).items()
    except SyntaxError as fault:
        raise ValueError(f"{fault.filename}:{fault.lineno} is no valid Python: {fault.msg}") from fault
    return {"content": content(str(file)), "imports": {name: content(str(path)) for name, path in modules}}


def _held(key: str, content: Content, datasets: Path) -> dict[str, Any]:
    """What a key of the registry of datasets stands for."""
    from harmony_compiler.store.datasets import DATASETS  # few recipes need it

    held = DATASETS.at(datasets, key)
    if held is None:
        raise FileNotFoundError(errno.ENOENT, "no dataset is registered there", str(datasets / key))
    return {"format": held.format, "content": [content(str(datasets / key / name)) for name in held.files]}


def _fields(made: Constructor, content: Content) -> dict[str, Any]:
    """A constructor by its name and semantic fields, those of its settings likewise."""
    fields = {
        spec.name: _value(spec, getattr(made, spec.name), content)
        for spec in schema(type(made)).values()
        if spec.is_semantic(made)
    }
    return {"constructor": tag_of(type(made)), "fields": fields}


def _value(spec: FieldSpec, value: Any, content: Content) -> Any:
    if isinstance(value, Constructor):
        return _fields(value, content)
    if spec.is_edge and value is not None:
        return [_Edge(ref) for ref in value] if isinstance(value, tuple) else _Edge(value)
    if spec.names_files and isinstance(value, tuple):
        return [{"content": content(path)} for path in value]
    if spec.names_files and isinstance(value, str) and Path(value).is_absolute():
        return {"content": content(value)}
    return value_to_json(value)


def digest(data: Any, default: Callable[[Any], Any] | None = None) -> str:
    """32 hexadecimal digits that stand for JSON data; `default` gives it for what is none."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=default)
    hashed: str = sha256()(text.encode()).hexdigest()
    return hashed[:32]


def ref_of(node: Node) -> Ref:
    """The id of a node in a compiled graph: a digest of what it is, so that equal nodes are one."""
    return Ref(f"{node.constructor}-{digest(value_to_json(node))[:12]}")


@cache
def sha256() -> Any:
    """As `hashlib.sha256`, but without loading OpenSSL, which takes longer than reading a recipe.

    Python keeps a SHA-256 of its own, whose module has another name in each version; `random` does likewise.
    """
    for module in ("_sha2", "_sha256", "hashlib"):
        with suppress(ImportError):
            return import_module(module).sha256
    raise ImportError("this Python has no SHA-256")
