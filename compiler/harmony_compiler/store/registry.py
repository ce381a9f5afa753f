"""The registry of saved models: one folder a key under `HOME/models`.

A key's folder is what `save_pretrained` writes, plus `harmony.json`, its manifest, which is written last:
a folder without a manifest is no entry. Names that begin with a dot are no keys: what is being written.

{
  "format_version": 2,
  "identity": "…",             of the node that made the model
  "weights": "full",           or "adapter", beside a base; or "merged", an adapter merged into its base
  "base": "",                  of an adapter: where its base is
  "recipe": "gsm8k", "file": "gsm8k.recipe", "stage": "tuned",
  "created": "2026-01-31T12:00:00+00:00", "harmony": "0.1",
  "graph": "…",                the training digest of the graph that ran
  "data": "…",                 a hash of all rows that have a part in the weights
  "lineage": {…}               see `lineage`
}

Version 1 has `identity recipe stage created` and the key.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from harmony_compiler.store.lineage import Lineage, lineage_of
from harmony_grammar.records import Record, as_data

MANIFEST = "harmony.json"
FORMAT_VERSION = 2

LARGEST = 16 * 1024 * 1024
"""A manifest beyond this size, in bytes, is some other file."""

_LONGEST_KEY = 128


def is_key(text: str) -> bool:
    """Whether it is what a key looks like, which is a folder's name on every system: of ASCII letters and
    digits, and behind the first also `.`, `_` and `-`."""
    rest = text.replace(".", "").replace("_", "").replace("-", "")
    return text.isascii() and text[:1].isalnum() and len(text) <= _LONGEST_KEY and rest.isalnum()


Weights = Literal["full", "adapter", "merged"]


class Entry(Record):
    """What the registry knows about a saved model."""

    key: str
    identity: str
    """The identity of the node that made the model: equal identities, equal models."""
    recipe: str
    stage: str
    created: str
    """UTC, ISO 8601."""
    weights: Weights = "full"
    base: str = ""
    """Of an adapter: the repository or folder of the weights that it stands beside."""
    file: str = ""
    """The name of the recipe's file."""
    harmony: str = ""
    """The version that saved it."""
    graph: str = ""
    """The training digest of the graph that ran."""
    data: str = ""
    """A hash of all rows that have a part in the weights."""
    lineage: Lineage | None = None
    """How the weights came about; None where an earlier version saved them."""

    def holds(self, identity: str, merge: bool) -> bool:
        """Whether a save of this model, merged or as it is, would write what is here already."""
        return self.identity == identity and self.weights != ("adapter" if merge else "merged")


_VERSION_1: tuple[str, ...] = ("identity", "recipe", "stage", "created")
_VERSION_2 = (*_VERSION_1, "weights", "base", "file", "harmony", "graph", "data")


def entry_at(root: Path, key: str) -> Entry | None:
    """The entry under `key`, or None where there is none. `root` is the registry's folder.

    A manifest that cannot be read makes an entry that equals no other: its key is taken all the same.
    """
    manifest = root / key / MANIFEST
    if not is_key(key) or not manifest.is_file():
        return None
    try:
        return _entry(key, _read(manifest))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        return Entry(key=key, identity="", recipe="unknown", stage="unknown", created="an unknown time")


def _entry(key: str, data: dict[str, Any]) -> Entry:
    match data["format_version"]:
        case 1:
            names, lineage = _VERSION_1, None
        case 2:
            names, lineage = _VERSION_2, data["lineage"]
        case _:
            raise ValueError("a later version wrote it")
    held: dict[str, Any] = {name: str(data[name]) for name in names}
    return Entry(key, **held, lineage=None if lineage is None else lineage_of(lineage))


def keys(root: Path) -> list[str]:
    """Every key that holds a model, in order."""
    if not root.is_dir():
        return []
    return sorted(
        folder.name for folder in root.iterdir() if is_key(folder.name) and (folder / MANIFEST).is_file()
    )


def write_manifest(folder: Path, entry: Entry) -> None:
    """The manifest, without the key: that is the name that the folder gets."""
    data = {"format_version": FORMAT_VERSION, **as_data(entry)}
    del data["key"]
    (folder / MANIFEST).write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def dependents(root: Path, key: str) -> list[str]:
    """The other keys whose adapters have their base in the folder of `key`."""
    place = Path(os.path.realpath(root / key))
    return [other for other in keys(root) if other != key and any(_within(root / other, place))]


def _within(folder: Path, place: Path) -> Iterator[bool]:
    """For each adapter in a folder, whether its base is in a place."""
    for config in folder.rglob("adapter_config.json"):
        try:
            base = str(_read(config).get("base_model_name_or_path", ""))
        except (OSError, ValueError, AttributeError, RecursionError):
            continue  # whoever loads it will say so
        yield Path(os.path.realpath(config.parent / base)).is_relative_to(place)


def size_of(folder: Path) -> int:
    """The bytes of all files in a folder."""
    return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink())


def remove(root: Path, key: str) -> None:
    """Take a model out of the registry: at once for whoever looks, then file by file.

    Raises:
        OSError: the disk would not have it.
    """
    from shutil import rmtree
    from uuid import uuid4

    gone = root / f".unfinished-{uuid4().hex}"  # a stop on the way leaves what a later save sweeps
    (root / key).rename(gone)
    rmtree(gone)


def _read(file: Path) -> Any:
    if file.stat().st_size > LARGEST:
        raise ValueError("it is too large")
    return json.loads(file.read_text(encoding="utf-8"))
