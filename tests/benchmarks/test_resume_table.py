"""The table of kills, in small: `make resume-table` tries every boundary."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.resume.__main__ import differences

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_run_that_was_killed_ends_in_the_same_bits() -> None:
    command = [sys.executable, "-m", "benchmarks.resume", "--only", "dpo,ppo", "--each", "17", "--kills", "4"]
    environ = os.environ | {"OMP_NUM_THREADS": "1"}
    found = subprocess.run(command, check=False, cwd=ROOT, env=environ, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr
    lines = found.stdout.splitlines()
    assert lines[-1] == "every line holds"
    counts = [re.search(r"(\d+) of +(\d+) in the same bits", line) for line in lines[:-1]]
    # Three ways with one, two and three processes, and the command; then the kills at random moments.
    assert len(counts) == 2 * (3 * 3 + 1) + 1
    assert all(count and 0 < int(count[1]) == int(count[2]) for count in counts)


def test_what_is_not_the_same_is_told(tmp_path: Path) -> None:
    for name in ("one", "other"):
        stage = tmp_path / name / "stages" / "1f"
        stage.mkdir(parents=True)
        for file in (tmp_path / name / "metrics.jsonl", stage / "model.safetensors"):
            file.write_bytes(b"same")
    one, other = tmp_path / "one", tmp_path / "other"
    assert differences(one, other) == ""
    (other / "stages" / "1f" / "model.safetensors").write_bytes(b"else")
    assert differences(one, other) == "1f/model.safetensors differ"
    (other / "metrics.jsonl").write_bytes(b"same\n")
    assert differences(one, other) == "metrics.jsonl, 1f/model.safetensors differ"
    (one / "samples.jsonl").touch()
    assert differences(one, other).startswith("metrics.jsonl, samples.jsonl")
