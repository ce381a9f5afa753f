"""Content hashes of files and folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

GZIP = b"\x1f\x8b"
"""With what a compressed file begins."""


def file_hash(file: Path) -> str:
    """A SHA-256 over a file's bytes, as hexadecimal digits."""
    import hashlib  # it loads OpenSSL, and most checks hash no file

    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def content_hash(path: str, hash_of: Callable[[Path], str] = file_hash) -> str:
    """A SHA-256 over a file's bytes, or over the names and bytes of a folder's files, as hexadecimal digits.

    Raises:
        OSError: the path cannot be read.
    """
    place = Path(path)
    if not place.is_dir():
        return hash_of(place)
    import hashlib

    whole = hashlib.sha256()
    for file in sorted(p for p in place.rglob("*") if p.is_file()):
        whole.update(f"{file.relative_to(place).as_posix()}\0{hash_of(file)}\n".encode())
    return whole.hexdigest()
