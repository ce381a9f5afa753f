"""Make the rows of the quickstart: six digits, and the same digits sorted.

    python examples/data/make_sort.py

writes `sort_train.jsonl` and `sort_heldout.jsonl` beside this file. The seed is fixed, so everybody gets the
same rows; no row of one file is in the other.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

TRAIN_ROWS = 8_000
HELDOUT_ROWS = 500
DIGITS = 6
SEED = 2024


def rows() -> list[dict[str, str]]:
    """All rows, no two alike: `{"question": "sort 831429", "answer": "123489"}`."""
    numbers = random.Random(SEED).sample(range(10**DIGITS), TRAIN_ROWS + HELDOUT_ROWS)
    drawn = (f"{number:0{DIGITS}}" for number in numbers)
    return [{"question": f"sort {digits}", "answer": "".join(sorted(digits))} for digits in drawn]


def write(folder: Path) -> None:
    made = rows()
    for name, part in (("sort_train", made[:TRAIN_ROWS]), ("sort_heldout", made[TRAIN_ROWS:])):
        lines = "".join(json.dumps(row) + "\n" for row in part)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    write(Path(__file__).parent)
