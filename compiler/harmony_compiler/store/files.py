"""Content hashes of files and folders."""

from __future__ import annotations

from pathlib import Path

GZIP = b"\x1f\x8b"
"""With what a compressed file begins."""


def content_hash(path: str) -> str:
    """A SHA-256 over a file's bytes, or over the names and bytes of a folder's files, as hexadecimal digits.

    Raises:
        OSError: the path cannot be read.
    """
    place = Path(path)
    if not place.is_dir():
        return _hash_of(place)
    import hashlib  # it loads OpenSSL, and most checks hash no file

    whole = hashlib.sha256()
    for file in sorted(p for p in place.rglob("*") if p.is_file()):
        whole.update(f"{file.relative_to(place).as_posix()}\0{_hash_of(file)}\n".encode())
    return whole.hexdigest()


def _hash_of(file: Path) -> str:
    import hashlib

    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
