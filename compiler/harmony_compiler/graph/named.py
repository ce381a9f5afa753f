"""What a node names outside the recipe: models, data, graders and files, as a lock pins them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from harmony_compiler.graph.datasets import Files, HubRows, RegistryRows
from harmony_compiler.graph.graders import PythonGrader, RegistryGrader
from harmony_compiler.graph.identity import Content, digest
from harmony_compiler.graph.models import HubModel, LocalModel, RegistryModel
from harmony_compiler.graph.node import Node, schema
from harmony_compiler.store.adapters import base_elsewhere
from harmony_compiler.store.datasets import DATASETS, SavedDataset
from harmony_compiler.store.graders import GRADERS, SavedGrader
from harmony_compiler.store.lock import Lock, Locked, Section, hub_key
from harmony_grammar.records import Record

T = TypeVar("T")

HUB = "hf"
LOCAL = "local"
REGISTRY = "registry"


class Named(Record):
    """One thing that a node names."""

    section: Section
    kind: str
    """The constructor that reads it; empty for a file that no constructor is for."""
    field: str
    """The field of the node that names it."""
    place: str
    """An absolute path, a registry's key, or of the hub what follows `hf:` in a lock."""
    repo: tuple[str, str | None, str | None] | None = None
    """Of the hub: repository, configuration, revision."""

    @property
    def is_local(self) -> bool:
        """Whether it is a file or folder."""
        return self.kind not in (HUB, REGISTRY)

    @property
    def pin(self) -> str:
        """What it is called among the pins of a graph."""
        return f"{self.section} {self.kind}:{self.place}"

    def key(self, folder: Path) -> str:
        """What it is called in the lock of a recipe in `folder`."""
        written = _relative(self.place, folder) if self.is_local else self.place
        return f"{self.kind}:{written}" if self.kind else written

    def found(self, lock: Lock, folder: Path) -> tuple[str, Locked] | None:
        """The key and entry that the lock of a recipe in `folder` has for it."""
        if self.repo is not None:
            return lock.hub(self.section, *self.repo)
        key = self.key(folder)
        entry = lock.section(self.section).get(key)
        return None if entry is None else (key, entry)


def named(node: Node) -> Iterator[Named]:
    """What a node names, field by field."""
    match node:
        case HubModel():
            yield _of_hub("models", node.repo, None, node.revision)
        case HubRows():
            yield _of_hub("datasets", node.repo, node.config, node.revision)
        case RegistryModel():
            yield Named("models", REGISTRY, "key", node.key)
        case RegistryRows():
            yield Named("datasets", REGISTRY, "key", node.key)
        case RegistryGrader():
            yield Named("graders", REGISTRY, "key", node.key)
        case PythonGrader():
            file = Path(node.function.rpartition(":")[0])
            if file.is_absolute():
                yield from (Named("files", "", "function", str(part)) for part in _code(file))
    for spec in schema(type(node)).values():
        held = getattr(node, spec.name)
        for path in held if isinstance(held, tuple) else (held,) if spec.names_files else ():
            if spec.names_files and isinstance(path, str) and Path(path).is_absolute():
                yield _of_path(node, spec.name, path)


def _of_hub(section: Section, repo: str, config: str | None, revision: str | None) -> Named:
    place = hub_key(repo, config, revision).removeprefix(f"{HUB}:")
    return Named(section, HUB, "repo", place, (repo, config, revision))


def _of_path(node: Node, name: str, path: str) -> Named:
    if isinstance(node, Files):
        return Named("datasets", node.constructor, name, path)
    if isinstance(node, LocalModel) and name == "path":
        return Named("models", LOCAL, name, path)
    return Named("files", "", name, path)


def _code(file: Path) -> list[Path]:
    """A Python file and the modules beside it that it imports."""
    from harmony_compiler.store.modules import with_modules  # few recipes need it

    try:
        return list(with_modules(file).values())
    except (OSError, SyntaxError):
        return [file]  # what is wrong with it is said elsewhere


def _relative(path: str, folder: Path) -> str:
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive
        return Path(path).as_posix()


def content_of(thing: Named, content: Content, registry: Path) -> str:
    """A hash of what is in a file, a folder, or under a key; of an adapter with that of its base.

    `content` is a hash of a path, `registry` the folder of saved models.

    Raises:
        OSError, ValueError: it is not there, or cannot be read.
    """
    if thing.section == "models":
        folder = thing.place if thing.kind == LOCAL else str(registry / thing.place)
        base = base_elsewhere(folder)
        return content(folder) if base is None else digest([content(folder), content(base)])
    if thing.kind == REGISTRY and thing.section == "datasets":
        root = registry.parent / "datasets"
        held = _held(DATASETS.at(root, thing.place), root, thing.place)
        return rows_digest(held, (content(str(root / thing.place / name)) for name in held.files))
    if thing.kind == REGISTRY:
        root = registry.parent / "graders"
        return grader_digest(_held(GRADERS.at(root, thing.place), root, thing.place))
    return content(thing.place)


def rows_digest(held: SavedDataset, hashes: Iterator[str] | None = None) -> str:
    """What a registered dataset is, whatever its files are called; without `hashes` by its manifest."""
    return digest([held.format, list(held.files.values() if hashes is None else hashes)])


def grader_digest(held: SavedGrader) -> str:
    """What a published grader is: its nodes and its Python files."""
    return digest([held.graph["nodes"], held.graph["outputs"], held.files])


def _held(held: T | None, root: Path, key: str) -> T:
    if held is None:
        raise FileNotFoundError(errno.ENOENT, "the registry has no such key", str(root / key))
    return held
