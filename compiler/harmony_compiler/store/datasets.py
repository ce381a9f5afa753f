"""The registry of datasets: one folder a key under `HOME/datasets`, with copies of the files and a manifest.

{
  "format_version": 1,
  "format": "jsonl",                            the constructor that reads the files
  "files": {"part-1.jsonl": "9f86d081…"},       in their order, each with its SHA-256
  "rows": 7473,
  "created": "2026-01-31T12:00:00+00:00"
}
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harmony_compiler.store.files import content_hash
from harmony_compiler.store.registry import MANIFEST
from harmony_compiler.store.shelves import Shelf
from harmony_grammar.records import Record, as_data

FORMAT_VERSION = 1
FORMATS = ("jsonl", "json", "csv", "parquet")
"""The formats of files, by the constructors that read them."""


class SavedDataset(Record):
    """What the registry knows about a dataset."""

    format: str
    files: dict[str, str]
    """By name, in their order: the SHA-256 of each."""
    rows: int
    created: str
    """UTC, ISO 8601."""

    def same_rows(self, other: SavedDataset) -> bool:
        return self.format == other.format and list(self.files.values()) == list(other.files.values())


def read_dataset(data: bytes) -> SavedDataset:
    """A manifest from the bytes of its file.

    Raises:
        ValueError: it is none, or of another version; the message says why.
    """
    try:
        read: Any = json.loads(data)
        if read["format_version"] != FORMAT_VERSION:
            raise ValueError("another version of Harmony wrote it")
        files = {str(name): str(hash_) for name, hash_ in read["files"].items()}
        found = SavedDataset(str(read["format"]), files, int(read["rows"]), str(read["created"]))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise ValueError("it is not JSON") from fault
    except (AttributeError, TypeError, KeyError) as fault:
        raise ValueError("it is no manifest of a dataset") from fault
    if found.format not in FORMATS or not files or any(Path(name).name != name for name in files):
        raise ValueError("it is no manifest of a dataset")
    return found


DATASETS = Shelf("dataset", read_dataset, SavedDataset.same_rows)


def add(
    root: Path,
    key: str,
    files: Sequence[Path],
    format_: str,
    *,
    rows: int,
    created: str,
    replace: bool = False,
) -> SavedDataset:
    """Copy files into the registry; who looks at the key meanwhile sees all of it or nothing.

    Raises:
        KeyTakenError: the key holds another dataset.
        OSError: the disk would not have it.
    """
    from shutil import copyfile  # a check only reads

    def write(folder: Path) -> SavedDataset:
        names = list(_names(files))
        for file, name in zip(files, names, strict=True):
            copyfile(file, folder / name)
        hashes = {name: content_hash(str(folder / name)) for name in names}
        made = SavedDataset(format_, hashes, rows, created)
        data = {"format_version": FORMAT_VERSION, **as_data(made)}
        text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
        (folder / MANIFEST).write_text(text, encoding="utf-8")
        return made

    return DATASETS.put(root, key, write, replace=replace)


def _names(files: Sequence[Path]) -> Iterator[str]:
    """A name for each file; of two that are called alike, the second gets a number."""
    taken = {MANIFEST}
    for number, file in enumerate(files, 1):
        name = file.name if file.name not in taken else f"{number}-{file.name}"
        taken.add(name)
        yield name
