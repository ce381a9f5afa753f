"""Content hashes that are worked out once: a start of a run need not read gigabytes that it has read before.

A file counts as the same while its place, number, size and times are. One that changed in the last second is
hashed again the next time: it may change once more without a trace.
"""

from __future__ import annotations

import json
from contextlib import suppress
from os import stat_result
from pathlib import Path
from time import time_ns
from typing import Any
from uuid import uuid4

from harmony_compiler.store.files import content_hash, file_hash

WORTH_IT = 1 << 20
"""Below this size, in bytes, a file is hashed faster than it is looked up for certain."""

SETTLED = 1_000_000_000
"""In nanoseconds: what changed since may change again within the same tick of the file system's clock."""

MOST = 4096
"""Files that are remembered; the oldest are forgotten first."""


class Hashes:
    """Hashes of files, remembered in one small file, which any number of processes may use at once."""

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        self._known = self._read()

    def content(self, path: str) -> str:
        """As `content_hash`.

        Raises:
            OSError: the path cannot be read.
        """
        return content_hash(path, self.of)

    def of(self, file: Path) -> str:
        """As `file_hash`.

        Raises:
            OSError: the file cannot be read.
        """
        place, found = str(file.absolute()), file.stat()
        if found.st_size < WORTH_IT:
            return file_hash(file)
        stamp = _stamp(found)
        if (known := self._known.get(place)) and known[:-1] == stamp:
            return str(known[-1])
        hashed = file_hash(file)
        if stamp == _stamp(file.stat()) and time_ns() - max(found.st_mtime_ns, found.st_ctime_ns) > SETTLED:
            self._remember(place, [*stamp, hashed])
        return hashed

    def _remember(self, place: str, line: list[Any]) -> None:
        # What another process has written meanwhile is kept, but for what both write in the same moment.
        self._known = {**self._read(), **self._known}
        self._known.pop(place, None)
        self._known[place] = line
        kept = dict(list(self._known.items())[-MOST:])
        fresh = self._memory.with_name(f"{self._memory.name}.{uuid4().hex}")
        with suppress(OSError):  # it only saves time
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_text(json.dumps(kept, indent=0), encoding="utf-8")
            fresh.replace(self._memory)

    def _read(self) -> dict[str, list[Any]]:
        try:
            data = json.loads(self._memory.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return {p: line for p, line in data.items() if isinstance(line, list)} if type(data) is dict else {}


def _stamp(found: stat_result) -> list[int]:
    return [found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size]
