"""Writing recipes that people wrote: a file gets its new text whole, or stays as it was."""

from __future__ import annotations

import os
from codecs import BOM_UTF8
from pathlib import Path

from harmony_dsl.cli.output import Refused


def rewrite(path: Path, before: str, after: str, *, keep_mark: bool = True) -> None:
    """Put a new text into a file, whole or not at all; its mode, and a link to it, stay.

    `before` is what was read from it, without a byte order mark, which the file keeps if it is to.

    Raises:
        Refused: it cannot be written, or somebody else wrote it meanwhile.
    """
    import tempfile

    place = Path(os.path.realpath(path))
    try:
        data = place.read_bytes()
        mark = BOM_UTF8 if data.startswith(BOM_UTF8) else b""
        if data != mark + before.encode():
            raise Refused(f"{path} was changed while it was checked, and is left as it is")
        if not os.access(place, os.W_OK):
            raise PermissionError(0, "it may not be written")
        descriptor, name = tempfile.mkstemp(prefix=f".{place.name}.", dir=place.parent)
        beside = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write((mark if keep_mark else b"") + after.encode())
            beside.chmod(place.stat().st_mode & 0o7777)
            beside.replace(place)
        except BaseException:
            beside.unlink()
            raise
    except OSError as fault:
        raise Refused(f"cannot write {path}: {fault.strerror or fault}") from fault
