"""Files and folders that are there whole or not at all, and that tell when they were damaged since.

A folder is *sealed* by a file `SHA256SUMS`, which is written last of all, and which `sha256sum -c` reads.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from harmony_compiler.store.files import file_hash

UNFINISHED = ".unfinished-"
_REPLACED = f"{UNFINISHED}for-"

SUMS = "SHA256SUMS"
_SUM = re.compile(r"([0-9a-f]{64})  (.+)")
_LARGEST_SUMS = 16 * 1024 * 1024
"""In bytes: beyond it, it is some other file."""


@contextmanager
def whole(folder: Path, *, replace: bool = False) -> Iterator[Path]:
    """Write a folder under a temporary name beside `folder`, which takes its place when all is on the disk.

    With `replace` an existing folder gives way; else it is an `OSError`.
    """
    with growing(folder.parent) as fresh:
        yield fresh
        to_disk(fresh)
        settle(fresh, folder, replace=replace)


@contextmanager
def growing(parent: Path) -> Iterator[Path]:
    """A folder under a temporary name in `parent`; what has not settled when the block ends is removed."""
    parent.mkdir(parents=True, exist_ok=True)
    fresh = parent / f"{UNFINISHED}{uuid4().hex}"
    fresh.mkdir()
    try:
        yield fresh
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def settle(fresh: Path, folder: Path, *, replace: bool = False) -> None:
    """Move a folder that is on the disk to its place."""
    old = folder.parent / f"{_REPLACED}{folder.name}"
    shutil.rmtree(old, ignore_errors=True)
    if replace and folder.exists():
        folder.rename(old)
    try:
        fresh.rename(folder)
    except OSError:
        if not folder.exists() and old.exists():
            old.rename(folder)
        raise
    sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def sweep(parent: Path, older_than: float = 0.0) -> None:
    """Remove what a crash left behind in a folder, where nothing in it changed for so many seconds.

    A folder that was giving way when the crash came is put back. Nobody else may settle there meanwhile.
    """
    for leftover in parent.glob(f"{UNFINISHED}*"):
        name = leftover.name.removeprefix(_REPLACED)
        if name != leftover.name and not (parent / name).exists():
            leftover.rename(parent / name)
        elif name != leftover.name or _age(leftover) >= older_than:
            shutil.rmtree(leftover, ignore_errors=True)


def _age(folder: Path) -> float:
    """Seconds since the last change inside; 0 where it changes under our eyes."""
    try:
        return time.time() - max(place.stat().st_mtime for place in (folder, *folder.rglob("*")))
    except OSError:
        return 0.0


def write_text(path: Path, text: str) -> None:
    """Replace a file in one move, so that whoever looks, also after a loss of power, sees all of it."""
    fresh = path.with_suffix(".fresh")
    try:
        fresh.write_text(text, encoding="utf-8")
        sync(fresh)
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    sync(path.parent)


# --- seals ----------------------------------------------------------------------------------------------


def seal(folder: Path) -> None:
    """Write down the hash of every file in a folder: what `faults_of` goes by."""
    files = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}
    sums = {name: file_hash(files[name]) for name in sorted(files) if name != SUMS}
    _write_sums(folder, sums)


def seal_anew(folder: Path, name: str) -> None:
    """Write down the hash of one file that was rewritten since the folder was sealed."""
    _write_sums(folder, {**_read_sums(folder), name: file_hash(folder / name)})


def faults_of(folder: Path, hash_of: Callable[[Path], str] = file_hash) -> str:
    """What is wrong with a sealed folder, in words: the first file that is not as it was; empty where all
    are.

    Files that came later are nobody's business.
    """
    try:
        sums = _read_sums(folder)
    except FileNotFoundError:
        return f"it was never sealed, for `{SUMS}` is missing"
    except OSError as fault:
        return f"`{SUMS}` cannot be read: {fault.strerror}"
    except ValueError as fault:
        return f"`{SUMS}` {fault}"
    for name, hashed in sums.items():
        file = folder / name
        try:
            if not file.is_file():  # a device would never end
                return f"`{name}` is missing"
            if hash_of(file) != hashed:
                return f"`{name}` has changed since it was written"
        except OSError as fault:
            return f"`{name}` cannot be read: {fault.strerror}"
    return ""


def _read_sums(folder: Path) -> dict[str, str]:
    """The hash of each file, by name.

    Raises:
        OSError, ValueError: there are none to read; the message of the latter completes "the file …".
    """
    with (folder / SUMS).open("rb") as stream:
        data = stream.read(_LARGEST_SUMS)
    if not data:
        raise ValueError("is empty")
    lines = [_SUM.fullmatch(line) for line in data.decode(errors="replace").removesuffix("\n").split("\n")]
    if not all(lines):
        raise ValueError("is damaged")
    return {line[2]: line[1] for line in lines if line}


def _write_sums(folder: Path, sums: dict[str, str]) -> None:
    text = "".join(f"{hashed}  {name}\n" for name, hashed in sums.items())
    (folder / SUMS).write_text(text, encoding="utf-8")


# --- on the disk ----------------------------------------------------------------------------------------


def to_disk(folder: Path) -> None:
    """Wait until everything in a folder would survive a loss of power."""
    for place in [*folder.rglob("*"), folder]:
        sync(place)


def sync(place: Path) -> None:
    """Wait until a file, or the names in a folder, would survive a loss of power."""
    if os.name == "nt" and place.is_dir():  # Windows opens no folders
        return
    handle = os.open(place, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
