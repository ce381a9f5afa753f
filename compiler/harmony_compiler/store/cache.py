"""The cache under `HOME/cache`: what is made of a dataset once and serves many runs.

tokens/KEY/        rows in tokens: Arrow files, and `about.json`, which says what they are
tokens/.locks/     one empty file a key: whoever looks, or makes an entry, holds it
hashes.json        content hashes of large files: see `hashes`
grades.sqlite      what judges, servers and people's Python answered, by what they were asked

A key hashes all that decides what is in the entry. Nothing in the cache is the only copy of anything: to
remove an entry costs the time of making it again. The date of `about.json` is when the entry was last used.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from time import time
from typing import Any
from uuid import uuid4

from harmony_grammar.records import Record

FORMAT_VERSION = 1

ABOUT = "about.json"
HASHES = "hashes.json"
GRADES = "grades.sqlite"
LOCKS = ".locks"

_LEFT_BEHIND = 24 * 3600
"""After so many seconds what is half written belongs to nobody any more."""


_END_OF_TIME = 1e12
"""No date is so many seconds after 1970."""


class Entry(Record):
    """A dataset in the tokens of one model."""

    key: str
    kind: str
    """`threads`, `prompts` or `pairs`; empty where the entry is damaged and only its size is known."""
    dataset: str
    """As the recipe that first made it calls it."""
    recipe: str
    rows: int
    tokens: int
    size: int
    """In bytes."""
    created: float
    used: float
    """Both in seconds since 1970."""


def tokens_folder(cache: Path) -> Path:
    return cache / "tokens"


def entries(cache: Path) -> list[Entry]:
    """Every entry, the last one used first."""
    folder = tokens_folder(cache)
    if not folder.is_dir():
        return []
    places = [place for place in folder.iterdir() if place.is_dir() and not place.name.startswith(".")]
    return sorted(map(_entry, places), key=lambda entry: (-entry.used, entry.key))


def read_about(folder: Path) -> dict[str, Any] | None:
    """What an entry says about itself; None where its files are not those that it speaks of."""
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        sizes = about["sizes"]
        whole = all((folder / name).stat().st_size == size for name, size in sizes.items())
        return about if whole and about["format_version"] == FORMAT_VERSION else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def write_about(folder: Path, about: dict[str, Any]) -> None:
    sizes = {file.name: file.stat().st_size for file in sorted(folder.iterdir())}
    text = json.dumps({"format_version": FORMAT_VERSION, **about, "sizes": sizes}, indent=2)
    (folder / ABOUT).write_text(text + "\n", encoding="utf-8")


def remove(cache: Path, key: str) -> int:
    """Remove an entry, and give how many bytes that freed. Who reads it just now may go on."""
    folder = tokens_folder(cache)
    size = _size(folder / key)
    gone = folder / f".unfinished-{uuid4().hex}"
    (folder / key).rename(gone)  # at once, so that nobody finds half of it
    shutil.rmtree(gone, ignore_errors=True)
    (folder / LOCKS / key).unlink(missing_ok=True)
    return size


def sweep(cache: Path) -> int:
    """Remove what crashes left behind, and give how many bytes that freed."""
    freed = 0
    for left in tokens_folder(cache).glob(".unfinished-*"):
        if time() - _used(left) > _LEFT_BEHIND:
            freed += _size(left)
            shutil.rmtree(left, ignore_errors=True)
    return freed


def _entry(place: Path) -> Entry:
    of_folder: dict[str, Any] = {"key": place.name, "size": _size(place), "used": _used(place / ABOUT)}
    match read_about(place):
        case {
            "kind": str(kind),
            "dataset": str(dataset),
            "recipe": str(recipe),
            "rows": {"kept": int(rows)},
            "tokens": {"all": int(tokens)},
            "created": int() | float() as created,
        } if 0 <= created < _END_OF_TIME:
            told: dict[str, Any] = {"kind": kind, "dataset": dataset, "recipe": recipe}
            return Entry(**told, rows=rows, tokens=tokens, created=created, **of_folder)
    return Entry(kind="", dataset="", recipe="", rows=0, tokens=0, created=0.0, **of_folder)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _used(place: Path) -> float:
    try:
        return place.stat().st_mtime
    except OSError:
        return 0.0
