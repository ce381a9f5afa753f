"""Files of one JSON object a line, one line a step.

`metrics.jsonl` holds only what the recipe determines, so that two runs of one recipe can be compared byte
for byte; `timings.jsonl` holds everything that a clock measured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Lines:
    """Appends to one file; a line is on its way to the disk when `append` returns."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, line: Mapping[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def cut_back(self, stage: str, step: int) -> None:
        """Forget what a stage wrote after `step`, and a last line that a crash cut short."""
        if not self.path.exists():
            return
        kept = [
            text
            for text in self.path.read_text(encoding="utf-8").splitlines(keepends=True)
            if text.endswith("\n") and not _is_later(text, stage, step)
        ]
        shorter = self.path.with_suffix(".shorter")
        shorter.write_text("".join(kept), encoding="utf-8")
        shorter.replace(self.path)


def _is_later(text: str, stage: str, step: int) -> bool:
    line = json.loads(text)
    return bool(line["stage"] == stage and line["step"] > step)
