"""Content hashes of files and folders."""

from __future__ import annotations

import hashlib
from pathlib import Path


def content_hash(path: str) -> str:
    """A SHA-256 over a file's bytes, or over the names and bytes of a folder's files, as hexadecimal digits.

    Raises:
        OSError: the path cannot be read.
    """
    place = Path(path)
    if not place.is_dir():
        return _hash_of(place)
    whole = hashlib.sha256()
    for file in sorted(p for p in place.rglob("*") if p.is_file()):
        whole.update(f"{file.relative_to(place).as_posix()}\0{_hash_of(file)}\n".encode())
    return whole.hexdigest()


def _hash_of(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
