"""Writing files that people keep, recipes and locks: one gets its new text whole, or stays as it was."""

from __future__ import annotations

import os
from codecs import BOM_UTF8
from contextlib import suppress
from pathlib import Path

from harmony_dsl.cli.output import Refused


def rewrite(path: Path, before: str, after: str, *, keep_mark: bool = True) -> None:
    """Put a new text into a file: see `write`.

    `before` is what was read from it, without a byte order mark, which the file keeps if it is to.

    Raises:
        Refused: it cannot be written, or somebody else wrote it meanwhile.
    """
    mark = BOM_UTF8 if (_held(path) or b"").startswith(BOM_UTF8) else b""
    write(path, mark + before.encode(), (mark if keep_mark else b"") + after.encode())


def write(path: Path, before: bytes | None, after: bytes) -> None:
    """Put new bytes into a file, whole or not at all; its mode and owner, and a symbolic link to it, stay.

    `before` is what was read from it, None where no file was there.

    Raises:
        Refused: it cannot be written, or somebody else wrote or removed it meanwhile.
    """
    place = Path(os.path.realpath(path))
    if _held(place) != before:
        raise Refused(f"{path} was changed meanwhile, and is left as it is")
    beside = place.with_name(f".{place.name}.{os.urandom(16).hex()}")
    try:
        if before is not None and not os.access(place, os.W_OK):
            raise PermissionError(0, "it may not be written")
        try:
            with beside.open("xb") as stream:
                if before is not None:
                    held = place.stat()
                    with suppress(OSError, AttributeError):  # only an administrator may give files away
                        os.chown(beside, held.st_uid, held.st_gid)
                    beside.chmod(held.st_mode & 0o7777)
                stream.write(after)
            beside.replace(place)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as fault:
        raise _cannot(path, fault) from fault


def _held(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as fault:
        raise _cannot(path, fault) from fault


def _cannot(path: Path, fault: OSError) -> Refused:
    return Refused(f"cannot write {path}: {fault.strerror or fault}")
