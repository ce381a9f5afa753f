"""The lock of a recipe: what was looked up once about data that is not at hand. `FILE.lock` beside FILE.

{
  "format_version": 1,
  "datasets": {
    "hf:openai/gsm8k:main@e53f048": {"columns": {"question": "str"}, "rows": {"train": 7473}}
  }
}
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harmony_grammar.records import Record, as_data, field

FORMAT_VERSION = 1

LARGEST = 16 * 1024 * 1024
"""A lock beyond this size, in bytes, is some other file."""


class LockedDataset(Record):
    """What is known about a dataset."""

    columns: dict[str, str]
    """By name, the types as texts."""
    rows: dict[str, int] = field(factory=dict)
    """By split, how many rows there are."""


class Lock(Record):
    datasets: dict[str, LockedDataset] = field(factory=dict)
    """By `hub_key`."""


NO_LOCK = Lock()


def lock_path(recipe: Path) -> Path:
    """Where the lock of a recipe stands."""
    return recipe.with_name(f"{recipe.name}.lock")


def hub_key(repo: str, config: str | None, revision: str | None) -> str:
    """What a dataset of the hub is called in a lock."""
    return f"hf:{repo}{f':{config}' if config else ''}{f'@{revision}' if revision else ''}"


def read_lock(data: bytes) -> Lock:
    """A lock from the bytes of its file.

    Raises:
        ValueError: it is none, or of another version; the message says why.
    """
    try:
        read: Any = json.loads(data)
        if not isinstance(read, dict) or read.get("format_version") != FORMAT_VERSION:
            raise ValueError(f"it is no lock of format version {FORMAT_VERSION}")
        return Lock({key: _dataset(entry) for key, entry in read.get("datasets", {}).items()})
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise ValueError("it is not JSON") from fault
    except (AttributeError, TypeError, KeyError) as fault:
        raise ValueError("its entries are not those of a lock") from fault


def _dataset(entry: dict[str, Any]) -> LockedDataset:
    columns, rows = entry["columns"], entry.get("rows", {})
    if not all(isinstance(text, str) for text in columns.values()):
        raise TypeError
    if not all(isinstance(count, int) for count in rows.values()):
        raise TypeError
    return LockedDataset(dict(columns), dict(rows))


def lock_text(lock: Lock) -> str:
    """A lock as its file has it."""
    data = {"format_version": FORMAT_VERSION, **as_data(lock)}
    return json.dumps(data, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
