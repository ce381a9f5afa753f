"""A judge that dies in the middle of a run: the run stops with a checkpoint, and goes on with a new one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the judge's server needs FastAPI")

SERVER = Path(__file__).parents[2] / "benchmarks" / "judge_server.py"

RECIPE = """\
recipe judged { seed = 7 }
input url: str
dataset questions = rows([{ q = "one" }, { q = "two" }, { q = "three" }]) { prompt = "{{ q }}" }
model small = scratch { hidden_size = 16, layers = 1, heads = 2, context = 64 }
grader clear = judge {
  model = endpoint(url, model = "judge")
  criteria = "It is clear."
  answer = "scale"
  retries = 1
  timeout = 5s
}
train tuned = grpo {
  model = small
  dataset = questions
  grader = clear
  completions_per_sample = 4
  samples_per_batch = 24
  samples_per_mini_batch = 12
  sampling { max_tokens = 6 }
  steps = 200
}
save tuned as "judged"
"""


@contextmanager
def judge(port: int = 0) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, str(SERVER), "--port", str(port), "--latency", "0.005"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server, server.stdout.readline().strip()
        finally:
            server.kill()


def lines(path: Path) -> list[dict[str, object]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.slow
def test_a_run_whose_judge_dies_stops_and_goes_on_when_it_is_back(tmp_path: Path) -> None:
    (tmp_path / "judged.recipe").write_text(RECIPE, encoding="utf-8")
    metrics = tmp_path / "out" / "metrics.jsonl"
    environment = os.environ | {"HARMONY_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    started: dict[str, Any] = {"cwd": tmp_path, "env": environment, "text": True}
    started |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}

    def command(url: str, *more: str) -> list[str]:
        run = [sys.executable, "-m", "harmony_dsl", "run", "judged.recipe", "--out", "out"]
        return [*run, "--set", f"url={url}", *more]

    with judge() as (server, url), subprocess.Popen(command(url), **started) as run:
        end = time.monotonic() + 120
        while len(lines(metrics)) < 3 and run.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        server.send_signal(signal.SIGKILL)
        out, err = run.communicate(timeout=120)
    assert run.returncode == 1, out + err
    assert "`clear`: " in err
    assert "grades failed, and `max_failure_rate` is 10%" in err
    assert "a checkpoint is kept after step " in err
    assert "Traceback" not in err
    done = len(lines(metrics))
    assert 3 <= done < 200
    assert any((tmp_path / "out" / "checkpoints").rglob("*.safetensors"))

    with judge(int(url.rsplit(":", 1)[1].removesuffix("/v1"))) as (_, again):
        assert again == url
        told = subprocess.run(command(url, "--resume"), timeout=300, check=False, **started)
    assert told.returncode == 0, told.stderr
    assert f"`tuned` goes on after step {done} of 200" in told.stdout
    assert [line["step"] for line in lines(metrics)] == list(range(1, 201))
    samples = lines(tmp_path / "out" / "samples.jsonl")
    # Until the run stopped, some completions may be without a grade: as many as the recipe lets go.
    failed = [line["step"] for line in samples if "failed" in str(line["grades"])]
    assert len(failed) <= done * 24 // 10
    assert all(step <= done for step in failed)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["stages"]["tuned"]["graders"]["clear"]["grades"] == 200 * 24
