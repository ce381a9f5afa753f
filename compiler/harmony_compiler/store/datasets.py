"""The registry of datasets: one folder a key under `HOME/datasets`, with copies of the files and a manifest.

{
  "format_version": 1,
  "format": "jsonl",                            the constructor that reads the files
  "files": {"part-1.jsonl": "9f86d081…"},       in their order, each with its SHA-256
  "rows": 7473,
  "created": "2026-01-31T12:00:00+00:00"
}

A folder without a manifest is no entry. Names that begin with a dot are no keys: what is being written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harmony_compiler.store.files import content_hash
from harmony_compiler.store.registry import KEY, LARGEST, MANIFEST
from harmony_compiler.store.settling import settle
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


def manifest_of(root: Path, key: str) -> Path | None:
    """Where the manifest of a key stands; None where it holds no dataset. `root` is the registry's folder."""
    manifest = root / key / MANIFEST
    return manifest if KEY.fullmatch(key) and manifest.is_file() else None


def dataset_at(root: Path, key: str) -> SavedDataset | None:
    """What a key holds, or None.

    Raises:
        ValueError: its manifest is none.
        OSError: it cannot be read.
    """
    manifest = manifest_of(root, key)
    if manifest is None:
        return None
    with manifest.open("rb") as stream:
        return read_dataset(stream.read(LARGEST))


def dataset_keys(root: Path) -> list[str]:
    """Every key that holds a dataset, in order."""
    if not root.is_dir():
        return []
    return sorted(folder.name for folder in root.iterdir() if manifest_of(root, folder.name))


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
    from shutil import copyfile, rmtree  # a check only reads
    from uuid import uuid4

    root.mkdir(parents=True, exist_ok=True)
    fresh = root / f".unfinished-{uuid4().hex}"
    fresh.mkdir()
    try:
        names = list(_names(files))
        for file, name in zip(files, names, strict=True):
            copyfile(file, fresh / name)
        hashes = {name: content_hash(str(fresh / name)) for name in names}
        made = SavedDataset(format_, hashes, rows, created)
        data = {"format_version": FORMAT_VERSION, **as_data(made)}
        text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
        (fresh / MANIFEST).write_text(text, encoding="utf-8")
        return settle(root, key, fresh, made, held=dataset_at, same=SavedDataset.same_rows, replace=replace)
    finally:
        rmtree(fresh, ignore_errors=True)


def _names(files: Sequence[Path]) -> Iterator[str]:
    """A name for each file; of two that are called alike, the second gets a number."""
    taken = {MANIFEST}
    for number, file in enumerate(files, 1):
        name = file.name if file.name not in taken else f"{number}-{file.name}"
        taken.add(name)
        yield name
