"""What the examples of the four algorithms reach with three seeds, and how long each takes.

    python benchmarks/algorithms.py [sft dpo grpo ppo]

Fails where an algorithm does not do what it is there for: `sft` brings exact match on the 500 held-out
problems to between 0.2 and 0.75; `grpo` to 0.80 with each seed and 0.87 on average; `ppo` raises it by 0.15
over its start; `dpo` prefers the better answer of at least 0.75 of the held-out pairs; each in less than four
minutes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

EXAMPLES = Path(__file__).parents[1] / "examples"
PREFERENCE = Path(__file__).with_name("preference.py")
SEEDS = (11, 12, 13)
LONGEST = 240.0
"""Seconds."""
PPO_AIM = 0.8


class Reached(NamedTuple):
    """By one seed."""

    before: float
    """Exact match of the model that the algorithm starts from."""
    after: float
    seconds: float
    preferred: float | None = None
    """`dpo` only: the share of held-out pairs whose better answer it has come to prefer."""


def faults_of_sft(reached: Sequence[Reached]) -> list[str]:
    learned = all(one.before < 0.05 and 0.2 <= one.after <= 0.75 for one in reached)
    return [] if learned else ["sft: exact match does not come from nothing to between 0.2 and 0.75"]


def faults_of_dpo(reached: Sequence[Reached]) -> list[str]:
    worst = min(one.preferred or 0.0 for one in reached)
    return [] if worst >= 0.75 else [f"dpo: only {worst:.3f} of the held-out pairs are preferred, not 0.75"]


def faults_of_grpo(reached: Sequence[Reached]) -> list[str]:
    worst, mean = min(one.after for one in reached), fmean(one.after for one in reached)
    if worst >= 0.80 and mean >= 0.87:
        return []
    return [f"grpo: exact match is {worst:.3f} at worst and {mean:.3f} on average, not 0.80 and 0.87"]


def faults_of_ppo(reached: Sequence[Reached]) -> list[str]:
    mean = fmean(one.after for one in reached)
    print(f"ppo reaches {mean:.3f} on average; the aim is {PPO_AIM}")
    least = min(one.after - one.before for one in reached)
    return [] if least >= 0.15 else [f"ppo: exact match rises by {least:.3f} over its start, not 0.15"]


FAULTS: dict[str, Callable[[Sequence[Reached]], list[str]]] = {
    "sft": faults_of_sft,
    "dpo": faults_of_dpo,
    "grpo": faults_of_grpo,
    "ppo": faults_of_ppo,
}
"""By the name of a recipe among the examples, in the order in which they run."""

SCORED = {
    "sft": ("report", "exact", "newborn", "taught"),
    "dpo": ("likeliest", "first.exact", "start", "tuned"),
    "grpo": ("report", "exact", "taught", "sorter"),
    "ppo": ("report", "exact", "taught", "sorter"),
}
"""The evaluation of each by likeliest answers, its grader, and the models before and after."""


def run(name: str, seed: int, home: Path) -> Reached:
    """One example with a seed of its own. What it leaves in `home` is there for those that come after it."""
    out, environment = home / name, os.environ | {"HARMONY_HOME": str(home)}
    sets = [f"seed={seed}", *(_own_pairs(home / "sft", environment) if name == "dpo" else ())]
    options = [word for one in sets for word in ("--set", one)]
    started = time.perf_counter()
    told(["-m", "harmony_dsl", "run", EXAMPLES / f"{name}.recipe", *options, "--out", out], environment)
    seconds = time.perf_counter() - started
    evaluation, grader, *models = SCORED[name]
    scores = json.loads((out / "results.json").read_text())["evaluations"][evaluation]
    before, after = (scores[model][grader]["mean"] for model in models)
    preferred = preference(home / "sft", environment) if name == "dpo" else None
    return Reached(before, after, seconds, preferred)


def _own_pairs(first: Path, environment: dict[str, str]) -> tuple[str, str]:
    """Pairs of the answers of this seed's model, in place of those that are kept beside the examples."""
    told([EXAMPLES / "data" / "make_pairs.py", first, first], environment)
    return 'start=registry("digits-sft")', f"pairs={first / 'sort_pairs.jsonl'}"


def preference(first: Path, environment: dict[str, str]) -> float:
    """Of the held-out pairs of this seed's model."""
    pairs = first / "sort_pairs_heldout.jsonl"
    said = told([PREFERENCE, "digits-sft", "digits-dpo", pairs], environment)
    return float(said.partition("preferred in ")[2].split()[0])


def told(command: Sequence[str | Path], environment: dict[str, str]) -> str:
    """What a command says; where it fails, so does all of this."""
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode:
        sys.exit(done.stderr or done.stdout)
    return done.stdout


def line(name: str, seed: int, one: Reached) -> str:
    preferred = "" if one.preferred is None else f"{one.preferred:.3f}"
    return f"{name:6}{seed:5}  {one.before:8.3f}  {one.after:8.3f}  {preferred:>9}  {one.seconds:7.0f}"


def main() -> int:
    names = sys.argv[1:] or list(FAULTS)
    names += ["sft"] if "dpo" in names else []  # its pairs are of that model's answers
    if unknown := set(names) - FAULTS.keys():
        sys.exit(f"there is no example of {', '.join(sorted(unknown))}; there are {', '.join(FAULTS)}")
    reached: dict[str, list[Reached]] = {name: [] for name in FAULTS if name in names}
    faults = []
    print("       seed    before     after  preferred  seconds")
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as folder:
            for name, of_name in reached.items():
                one = run(name, seed, Path(folder))
                of_name.append(one)
                print(line(name, seed, one), flush=True)
                if one.seconds >= LONGEST:
                    faults.append(
                        f"{name}: seed {seed} took {one.seconds:.0f} s, not less than {LONGEST:.0f}"
                    )
    for name, of_name in reached.items():
        faults += FAULTS[name](of_name)
    for fault in faults:
        print(fault)
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
