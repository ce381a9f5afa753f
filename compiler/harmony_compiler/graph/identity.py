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
from harmony_compiler.graph.graph import Graph, value_to_json
from harmony_compiler.graph.models import LocalModel, RegistryModel
from harmony_compiler.graph.node import Constructor, FieldSpec, Node, schema, tag_of
from harmony_compiler.graph.values import Ref
from harmony_compiler.store.adapters import base_elsewhere
from harmony_compiler.store.datasets import dataset_at

Content = Callable[[str], str]
"""From the path of a file or folder to a hash of what is in it."""


def identities(graph: Graph, content: Content, registry: Path) -> dict[Ref, str]:
    """The identity of every node of `graph`, 32 hexadecimal digits each.

    `registry` is the folder of saved models: a model from there is what its key holds now, and a dataset
    what the folder of datasets beside it holds.

    Raises:
        OSError, ValueError: a registered dataset is not there, or its manifest cannot be read.
    """
    known: dict[Ref, str] = {}
    for ref, node in graph.nodes.items():
        known[ref] = _identity(node, known, content, registry)
    return known


def training_digest(graph: Graph, content: Content, registry: Path) -> str:
    """One name for all that a run leaves behind: equal for recipes that differ only in names, order, layout,
    comments and places."""
    return digest_of(graph, identities(graph, content, registry))


def digest_of(graph: Graph, known: Mapping[Ref, str]) -> str:
    """`training_digest`, where the identities are known."""
    return digest(sorted(known[ref] for ref in graph.outputs))


def _identity(node: Node, known: dict[Ref, str], content: Content, registry: Path) -> str:
    fields = _fields(node, known, content)["fields"]
    folder = None
    if isinstance(node, RegistryModel):
        folder = str(registry / node.key)
        fields["key"] = {"content": content(folder)}
    if isinstance(node, LocalModel):
        folder = node.path
    if folder is not None and (base := base_elsewhere(folder)) is not None:
        fields["base"] = {"content": content(base)}
    if isinstance(node, RegistryRows):
        fields["key"] = _held(node.key, content, registry.parent / "datasets")
    return digest([tag_of(type(node)), node.semantics, fields])


def _held(key: str, content: Content, datasets: Path) -> dict[str, Any]:
    """What a key of the registry of datasets stands for."""
    held = dataset_at(datasets, key)
    if held is None:
        raise FileNotFoundError(errno.ENOENT, "no dataset is registered there", str(datasets / key))
    return {"format": held.format, "content": [content(str(datasets / key / name)) for name in held.files]}


def _fields(made: Constructor, known: dict[Ref, str], content: Content) -> dict[str, Any]:
    """A constructor by its name and semantic fields, those of its settings likewise."""
    fields = {
        spec.name: _meaning(spec, getattr(made, spec.name), known, content)
        for spec in schema(type(made)).values()
        if spec.role == "semantic"
    }
    return {"constructor": tag_of(type(made)), "fields": fields}


def _meaning(spec: FieldSpec, value: Any, known: dict[Ref, str], content: Content) -> Any:
    if isinstance(value, Constructor):
        return _fields(value, known, content)
    if spec.is_edge and value is not None:
        return [{"node": known[ref]} for ref in value] if isinstance(value, tuple) else {"node": known[value]}
    if spec.names_files and isinstance(value, tuple):
        return [{"content": content(path)} for path in value]
    if spec.names_files and isinstance(value, str) and Path(value).is_absolute():
        return {"content": content(value)}
    return value_to_json(value)


def digest(data: Any) -> str:
    """32 hexadecimal digits that stand for JSON data."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    hashed: str = _sha256()(text.encode()).hexdigest()
    return hashed[:32]


@cache
def _sha256() -> Any:
    """As `hashlib.sha256`, but without loading OpenSSL, which takes longer than reading a recipe.

    Python keeps a SHA-256 of its own, whose module has another name in each version; `random` does likewise.
    """
    for module in ("_sha2", "_sha256", "hashlib"):
        with suppress(ImportError):
            return import_module(module).sha256
    raise ImportError("this Python has no SHA-256")
