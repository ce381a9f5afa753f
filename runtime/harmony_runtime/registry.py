"""The registry of saved models, as the runtime uses it: who holds a key, and saving under one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from harmony_compiler.store.registry import Entry, entry_at, write_manifest
from harmony_runtime.failures import RunFailed
from harmony_runtime.folders import whole
from harmony_runtime.watch import Saved

IfExists = Literal["error", "rename", "overwrite"]


def holder(root: Path, key: str) -> str | None:
    """The identity of the model that a key holds, or None where it holds none."""
    entry = entry_at(root, key)
    return entry.identity if entry else None


def taken(root: Path, key: str, identity: str) -> bool:
    """Whether something else than the model `identity` stands under `key`."""
    return (root / key).exists() and holder(root, key) != identity


def save(root: Path, entry: Entry, if_exists: IfExists, write_model: Callable[[Path], None]) -> Saved:
    """Put a model under a key: `write_model` fills a folder, the manifest is written last.

    A key that already holds this very model is left as it is.
    """
    key, number = entry.key, 2
    while if_exists == "rename" and taken(root, key, entry.identity):
        key, number = f"{entry.key}-{number}", number + 1
    place = (root / key).absolute()
    if taken(root, key, entry.identity):
        refuse_if_taken(root, key, entry.identity, if_exists)
    elif place.exists():
        return Saved(key, place)
    with whole(place, replace=if_exists == "overwrite") as growing:
        write_model(growing)
        write_manifest(growing, Entry(key, entry.identity, entry.recipe, entry.stage, entry.created))
    return Saved(key, place)


def refuse_if_taken(root: Path, key: str, identity: str, if_exists: IfExists, place: str = "") -> None:
    """Refuse a save that would collide."""
    if if_exists == "rename" or not taken(root, key, identity):
        return
    if holder(root, key) is None:
        raise RunFailed(
            f"{place}the registry has a folder {root / key} that holds no saved model, and nothing "
            "overwrites it: save under another key, or move that folder away"
        )
    if if_exists == "error":
        raise RunFailed(
            f"{place}the key `{key}` holds another model already. Save under another key, or set "
            '`if_exists = "rename"` or `"overwrite"`'
        )


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
