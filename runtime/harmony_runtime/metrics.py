"""Files of one JSON object a line, each with the stage and the step that it belongs to.

`metrics.jsonl` and `samples.jsonl` hold only what the recipe determines, so that two runs of one recipe can
be compared byte for byte; `timings.jsonl` holds everything that a clock measured.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


class Lines:
    """Appends to one file; a line is on its way to the disk when `append` returns.

    Of several processes one `writes`; in the others nothing happens.
    """

    def __init__(self, path: Path, *, writes: bool = True) -> None:
        self.path = path
        self._writes = writes

    def append(self, *lines: Mapping[str, Any]) -> None:
        if self._writes and lines:
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(line) + "\n" for line in lines)

    def cut_back(self, stage: str, step: int) -> None:
        """Forget what a stage wrote after `step`, and a last line that a crash cut short."""
        if not self._writes or not self.path.exists():
            return
        shorter = self.path.with_suffix(".shorter")
        with self.path.open(encoding="utf-8") as old, shorter.open("w", encoding="utf-8") as new:
            new.writelines(_kept(old, stage, step))
        shorter.replace(self.path)


def _kept(lines: Iterable[str], stage: str, step: int) -> Iterable[str]:
    for text in lines:
        if text.endswith("\n"):
            line = json.loads(text)
            if line["stage"] != stage or line["step"] <= step:
                yield text
