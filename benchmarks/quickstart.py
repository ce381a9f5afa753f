"""What the quickstart reaches with three other seeds, how long it takes, and how much memory.

Fails where the exact-match score on the 500 held-out problems is not between 0.2 and 0.75 after `sft`, or
below 0.80 after `grpo` (0.87 on average), or where a run takes 5 minutes or 1.5 GB.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import fmean

RECIPE = Path(__file__).parents[1] / "examples" / "quickstart.recipe"
SEEDS = (11, 12, 13)
MODELS = ("newborn", "taught", "sorter")


def main() -> int:
    after_sft, after_grpo, faults = [], [], []
    print(f"{'seed':>4}" + "".join(f"  {column:>8}" for column in (*MODELS, "seconds")))
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "run"
            started = time.perf_counter()
            told = subprocess.run(
                [sys.executable, "-m", "harmony_dsl", "run", RECIPE, "--set", f"seed={seed}", "--out", out],
                capture_output=True,
                text=True,
                check=False,
                env=os.environ | {"HARMONY_HOME": folder},
            )
            if told.returncode:
                sys.exit(told.stderr)
            seconds = time.perf_counter() - started
            report = json.loads((out / "results.json").read_text())["evaluations"]["report"]
        scores = {model: graders["exact"]["mean"] for model, graders in report.items()}
        after_sft.append(scores["taught"])
        after_grpo.append(scores["sorter"])
        print(f"{seed:4}" + "".join(f"  {scores[m]:8.3f}" for m in MODELS) + f"  {seconds:8.0f}")
        if seconds >= 300:
            faults.append(f"seed {seed} took {seconds:.0f} s")
    # Linux counts in kilobytes, macOS in bytes.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (1e9 if sys.platform == "darwin" else 1e6)
    means = f"{fmean(after_sft):.3f} after sft, {fmean(after_grpo):.3f} after grpo"
    print(f"on average {means}; peak memory {peak:.2f} GB")
    if not all(0.2 <= score <= 0.75 for score in after_sft):
        faults.append("the score after sft is not between 0.2 and 0.75")
    if not (min(after_grpo) >= 0.80 and fmean(after_grpo) >= 0.87):
        faults.append("the score after grpo is below 0.80, or below 0.87 on average")
    if peak >= 1.5:
        faults.append("the peak memory is not below 1.5 GB")
    for fault in faults:
        print(fault)
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
