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

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harmony_compiler.store.files import content_hash
from harmony_compiler.store.registry import MANIFEST
from harmony_compiler.store.shelves import Shelf
from harmony_grammar.records import Record, as_data

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


def _made(read: Any) -> SavedDataset | None:
    files = {str(name): str(hash_) for name, hash_ in read["files"].items()}
    found = SavedDataset(str(read["format"]), files, int(read["rows"]), str(read["created"]))
    inside = all(Path(name).name == name for name in files)
    return found if found.format in FORMATS and files and inside else None


DATASETS = Shelf("dataset", made=_made, told=as_data, same=SavedDataset.same_rows)


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
        return SavedDataset(format_, hashes, rows, created)

    return DATASETS.put(root, key, write, replace=replace)


def _names(files: Sequence[Path]) -> Iterator[str]:
    """A name for each file; of two that are called alike, the second gets a number."""
    taken = {MANIFEST}
    for number, file in enumerate(files, 1):
        name = file.name if file.name not in taken else f"{number}-{file.name}"
        taken.add(name)
        yield name
