"""The registry of saved models: one folder a key under `HOME/models`.

A key's folder is what `save_pretrained` writes, plus `harmony.json`, its manifest, which is written last:
a folder without a manifest is no entry.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from harmony_grammar.records import Record, as_data

MANIFEST = "harmony.json"
FORMAT_VERSION = 1

KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""What a key looks like: it is a folder's name on every system."""


class Entry(Record):
    """What the registry knows about a saved model."""

    key: str
    identity: str
    """The identity of the node that made the model: equal identities, equal models."""
    recipe: str
    stage: str
    created: str
    """UTC, ISO 8601."""


def entry_at(root: Path, key: str) -> Entry | None:
    """The entry under `key`, or None where there is none. `root` is the registry's folder.

    A manifest that cannot be read makes an entry that equals no other: its key is taken all the same.
    """
    if not KEY.fullmatch(key) or not (root / key / MANIFEST).is_file():
        return None
    manifest = root / key / MANIFEST
    try:
        data: dict[str, Any] = json.loads(manifest.read_text(encoding="utf-8"))
        return Entry(key=key, **{name: data[name] for name in ("identity", "recipe", "stage", "created")})
    except (OSError, ValueError, KeyError, TypeError):
        return Entry(key=key, identity="", recipe="unknown", stage="unknown", created="an unknown time")


def keys(root: Path) -> list[str]:
    """Every key that holds a model, in order."""
    if not root.is_dir():
        return []
    return sorted(folder.name for folder in root.iterdir() if (folder / MANIFEST).is_file())


def write_manifest(folder: Path, entry: Entry) -> None:
    data = {"format_version": FORMAT_VERSION, **as_data(entry)}
    (folder / MANIFEST).write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
