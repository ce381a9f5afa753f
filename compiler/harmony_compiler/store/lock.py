"""The lock of a recipe: what it names outside itself, as it was when people looked. `FILE.lock` beside FILE.

{
  "format_version": 2,
  "models": {
    "hf:Qwen/Qwen3-0.6B": {"commit": "c1899de2…"},
    "local:tiny": {"content": "9f86d081…"},
    "registry:sorter": {"content": "60303ae2…", "identity": "5b1c…"}
  },
  "datasets": {
    "hf:openai/gsm8k:main": {"commit": "e53f048…", "columns": {"question": "str"}, "rows": {"train": 7473}},
    "jsonl:data/sums.jsonl": {"content": "ab12…", "size": 32, "columns": {"q": "str"}, "rows": {"train": 2}},
    "registry:numbers": {"content": "77d0…", "columns": {"q": "str"}, "rows": {"train": 10}}
  },
  "graders": {"registry:polite": {"content": "0e4c…"}},
  "files": {"graders.py": {"content": "5fd9…", "size": 412}}
}

A key is what the recipe writes: the constructor and its argument, of a hub's dataset with configuration and
revision. Paths are relative to the recipe.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, get_args

from harmony_grammar.records import Record, field, fields, values

FORMAT_VERSION = 2

LARGEST = 16 * 1024 * 1024
"""A lock beyond this size, in bytes, is some other file."""

Section = Literal["models", "datasets", "graders", "files"]
SECTIONS: tuple[Section, ...] = get_args(Section)


class Locked(Record):
    """What is known of one thing. What does not apply to it is empty."""

    columns: dict[str, str] = field(factory=dict)
    """By name, the types as texts."""
    rows: dict[str, int] = field(factory=dict)
    """By split, how many rows there are."""
    commit: str = ""
    """Of a repository of the hub."""
    content: str = ""
    """A hash of what is in it: see `named.content_of`."""
    size: int | None = None
    """Of a file, in bytes."""
    identity: str = ""
    """Of a saved model: equal identities, equal models."""


class Lock(Record):
    """By section, what stands under which key."""

    datasets: dict[str, Locked] = field(factory=dict)
    models: dict[str, Locked] = field(factory=dict)
    graders: dict[str, Locked] = field(factory=dict)
    files: dict[str, Locked] = field(factory=dict)

    def section(self, name: Section) -> dict[str, Locked]:
        held: dict[str, Locked] = getattr(self, name)
        return held

    def hub(
        self, section: Section, repo: str, config: str | None, revision: str | None
    ) -> tuple[str, Locked] | None:
        """The key and entry of a repository of the hub; `revision` is what the recipe writes, or the commit
        that the lock has for it."""
        entries, key = self.section(section), hub_key(repo, config, revision)
        if key in entries:
            return key, entries[key]
        branch = hub_key(repo, config, None)
        known = (key for key in entries if key == branch or key.startswith(f"{branch}@"))
        found = next((key for key in known if revision and entries[key].commit == revision), None)
        return (found, entries[found]) if found else None


NO_LOCK = Lock()


def lock_path(recipe: Path) -> Path:
    """Where the lock of a recipe stands."""
    return recipe.with_name(f"{recipe.name}.lock")


def hub_key(repo: str, config: str | None, revision: str | None) -> str:
    """What a repository of the hub is called in a lock."""
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
        return Lock(
            **{
                name: {str(key): _entry(entry) for key, entry in read.get(name, {}).items()}
                for name in SECTIONS
            }
        )
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise ValueError("it is not JSON") from fault
    except (AttributeError, TypeError, KeyError) as fault:
        raise ValueError("its entries are not those of a lock") from fault


def _entry(read: dict[str, Any]) -> Locked:
    if not read.keys() <= fields(Locked).keys():
        raise KeyError
    texts = [*read.get("columns", {}).values(), *(read.get(name, "") for name in ("commit", "content"))]
    counts = [*read.get("rows", {}).values(), read.get("size", 0)]
    if not all(type(text) is str for text in (*texts, read.get("identity", ""))):
        raise TypeError
    if not all(type(count) is int for count in counts):
        raise TypeError
    if "commit" in read and not _is_commit(read["commit"]):
        raise ValueError("one of its commits is not 40 hexadecimal digits")
    return Locked(**read)


def _is_commit(text: str) -> bool:
    """Whether it is the name of a commit. Nothing else may become a part of a path or of an address."""
    return len(text) == 40 and not text.strip("0123456789abcdef")


def lock_text(lock: Lock) -> str:
    """A lock as its file has it: the same for the same things, whoever looked them up and when."""
    data: dict[str, Any] = {"format_version": FORMAT_VERSION}
    for name in SECTIONS:
        entries = sorted(lock.section(name).items())
        data |= {name: {key: _told(entry) for key, entry in entries}} if entries else {}
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def _told(entry: Locked) -> dict[str, Any]:
    """Columns stay in the order of the data."""
    held = {name: value for name, value in values(entry).items() if value not in ("", None, {})}
    order = ("commit", "identity", "content", "size", "columns", "rows")
    return {name: held[name] for name in order if name in held}
