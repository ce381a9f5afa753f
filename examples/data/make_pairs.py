"""Make pairs of a better and a worse answer, of the answers that a model gave.

    harmonyc run examples/sft.recipe --out runs/sft
    python examples/data/make_pairs.py runs/sft

Of the answers to one problem the best makes a pair with the worst, by the sum of their grades; where all have
the same there is no pair. The evaluation `answers` gives `sort_pairs.jsonl`, `heldout_answers` gives
`sort_pairs_heldout.jsonl`: beside this file, or in the folder that a second argument names.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

FILES = {"answers": "sort_pairs.jsonl", "heldout_answers": "sort_pairs_heldout.jsonl"}
"""By the name of an evaluation, where its pairs go."""


def pairs(samples: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Of each prompt that has one: `{"prompt": "sort 831429", "chosen": "123489", "rejected": "12348"}`."""
    answers = defaultdict[str, list[dict[str, Any]]](list)
    for sample in samples:
        answers[sample["prompt"]].append(sample)
    made = []
    for prompt, of_prompt in answers.items():
        best, worst = max(of_prompt, key=reward), min(of_prompt, key=reward)
        if reward(best) > reward(worst):
            made.append({"prompt": prompt, "chosen": best["completion"], "rejected": worst["completion"]})
    return made


def reward(sample: dict[str, Any]) -> float:
    """A grade that failed or does not apply has no score, and adds nothing."""
    return sum(grade.get("score", 0.0) for grade in sample["grades"].values())


def write(run: Path, folder: Path) -> None:
    """The pairs of a run's answers, into a folder."""
    samples = [json.loads(line) for line in (run / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
    for evaluation, name in FILES.items():
        made = pairs([sample for sample in samples if sample["stage"] == evaluation])
        lines = "".join(json.dumps(row) + "\n" for row in made)
        (folder / name).write_text(lines, encoding="utf-8", newline="\n")
        print(f"{len(made)} pairs in {folder / name}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python examples/data/make_pairs.py RUN [FOLDER]")
    write(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) == 3 else Path(__file__).parent)
