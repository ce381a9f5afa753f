"""Files of one JSON object a line, each with the stage and the step that it belongs to.

`metrics.jsonl` and `samples.jsonl` hold only what the recipe determines, so that two runs of one recipe can
be compared byte for byte; `timings.jsonl` holds everything that a clock measured.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from harmony_runtime.disk.folders import sync


class Lines:
    """Appends to one file; a line is on its way to the disk when `append` returns.

    Of several processes one `writes`; in the others nothing happens.
    """

    def __init__(self, path: Path, *, writes: bool = True) -> None:
        self.path = path
        self._writes = writes

    def append(self, *lines: Mapping[str, Any]) -> None:
        """
        Raises:
            ValueError: a number is not finite, which JSON does not know.
        """
        if self._writes and lines:
            text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
            try:
                with self.path.open("ab") as file:
                    file.write(text.encode())
            except OSError as fault:
                fault.filename = str(self.path)  # a full disk does not say where
                raise

    def length(self) -> int:
        """In bytes; 0 where there is no file."""
        return self.path.stat().st_size if self.path.exists() else 0

    def sync(self) -> None:
        """Wait until what was appended would survive a loss of power."""
        if self._writes and self.path.exists():
            sync(self.path)
            sync(self.path.parent)

    def cut_back(self, stage: str, step: int, *, beyond: int = 0) -> None:
        """Forget what a stage wrote after `step`, and lines that a crash tore.

        `beyond` is how long the file was when that step was over, in bytes, where that is known: so much of
        it stays as it is, also lines of what was done of the next step by then.
        """
        if not self._writes or not self.path.exists():
            return
        shorter = self.path.with_suffix(".shorter")
        try:
            with self.path.open("rb") as old, shorter.open("wb") as new:
                new.writelines(_kept(old, stage, step, beyond))
            sync(shorter)
            shorter.replace(self.path)
        finally:
            shorter.unlink(missing_ok=True)


def _kept(old: BinaryIO, stage: str, step: int, beyond: int) -> Iterator[bytes]:
    end = 0
    for text in old:
        end += len(text)
        if end <= beyond or _is_earlier(text, stage, step):
            yield text


def _is_earlier(text: bytes, stage: str, step: int) -> bool:
    """Whether a line is whole, and was written before the end of a step or by another stage."""
    try:
        line = json.loads(text)
        return text.endswith(b"\n") and (line["stage"] != stage or line["step"] <= step)
    except (ValueError, LookupError, TypeError, RecursionError):
        return False
