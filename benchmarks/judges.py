"""A judge that is slow, fails and hangs: what a training that is rewarded by it loses.

    python benchmarks/judges.py [--steps 20] [--pace 0.1]

GRPO of 20 steps with 64 completions each. Generation is paced: each token of a batch waits for `--pace`
seconds, so 40 tokens take 4 s. The judge answers after 200 ms, 5 % of its answers are errors, and 1 % of the
questions hang. Measured are the seconds a step, against a judge that answers at once. Exits with 1 where a
step takes longer than it may, or a failure is anything but a row of the log.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"

import harmony_dsl
from harmony_runtime.rollout import local
from harmony_runtime.watch import Silent

SERVER = Path(__file__).with_name("judge_server.py")

FAULTY = ("--latency", "0.2", "--errors", "5", "--hangs", "1", "--seed", "1")

RATIO = 1.25
"""A step with the faulty judge, tries of half a second, against one with a judge that answers at once."""

SLACK = 3.0
"""Seconds of a retry: a pause of at most half a second, an answer, and what a busy machine adds."""

TOKENS, COMPLETIONS = 40, 64

RECIPE = """\
recipe judged {{ seed = 7 }}
input url: str
input patience: duration = 500ms
input tries: int = 3

# Answers of every length, so that completions end one after another.
dataset lessons = jsonl("lessons.jsonl") {{ prompt = "{{{{ q }}}}", completion = "{{{{ a }}}}" }}
model small = scratch {{ hidden_size = 32, layers = 1, heads = 2, context = 96 }}
train warm = sft {{ model = small, dataset = lessons, lr = 1e-2, samples_per_batch = 32, steps = 60 }}

grader clear = judge {{
  model = endpoint(url, model = "judge")
  criteria = "It is clear."
  answer = "scale"
  timeout = patience
  concurrency = 32
  retries = tries - 1
  max_failure_rate = 20%
}}

train tuned = grpo {{
  model = warm
  dataset = lessons {{ completion = none }}
  grader = clear
  completions_per_sample = 8
  samples_per_batch = {completions}
  samples_per_mini_batch = {completions}
  sampling {{ max_tokens = {tokens} }}
  log_samples = {completions}
  steps = {steps}
}}
save tuned as "judged" {{ if_exists = "overwrite" }}
"""


class Found(NamedTuple):
    seconds: list[float]
    """Of each step."""
    graded: int
    failed: list[str]
    """Why grades failed that are rows of the log."""
    counted: int
    """Failures by the metrics."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--pace", type=float, default=0.1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write(work, options.steps)
        instant = trained(work, "instant", options.pace, (), "500ms")
        quick = trained(work, "500ms", options.pace, FAULTY, "500ms")
        patient = trained(work, "30s", options.pace, FAULTY, "30s")
        hasty = trained(work, "hasty", options.pace, FAULTY, "500ms", tries=1)
    ratio = fmean(quick.seconds) / fmean(instant.seconds)
    longest, allowed = max(patient.seconds), max(instant.seconds) + 30 + SLACK
    print(f"{'judge':8} {'s a step':>9} {'longest':>9} {'grades':>8} {'failed':>7}")
    for name, found in (("instant", instant), ("500ms", quick), ("30s", patient), ("one try", hasty)):
        mean, most = fmean(found.seconds), max(found.seconds)
        print(f"{name:8} {mean:9.2f} {most:9.2f} {found.graded:8,} {len(found.failed):7}")
        for reason in sorted(set(found.failed)):
            print(f"           {found.failed.count(reason)} x {reason}")
    print(f"a step with tries of 500ms takes {ratio:.2f} of one with an instant judge (at most {RATIO})")
    print(f"the longest step with tries of 30s takes {longest:.1f} s (at most {allowed:.1f})")
    rows = all(len(found.failed) == found.counted for found in (instant, quick, patient, hasty))
    rows = rows and bool(hasty.failed) and not instant.failed
    print("every failure is a row of the log" if rows else "a failure is missing in the log")
    return 0 if ratio <= RATIO and longest <= allowed and rows else 1


def write(work: Path, steps: int, completions: int = COMPLETIONS, tokens: int = TOKENS) -> None:
    """The recipe and its rows."""
    draw = random.Random(7)
    rows = [
        {"q": f"{n:03}", "a": "".join(draw.choice("abc ") for _ in range(draw.randint(1, tokens)))}
        for n in range(200)
    ]
    (work / "lessons.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    text = RECIPE.format(steps=steps, completions=completions, tokens=tokens)
    (work / "judged.recipe").write_text(text, encoding="utf-8")


def trained(
    work: Path, name: str, pace: float, faults: tuple[str, ...], patience: str, *, tries: int = 3
) -> Found:
    """One run, with caches and a registry of its own."""
    os.environ["HARMONY_HOME"] = str(work / f"home-{name}")
    with serving(*faults) as url:
        inputs: dict[str, object] = {"url": url, "patience": patience, "tries": tries}
        compiled = harmony_dsl.compile(work / "judged.recipe", inputs=inputs)
        assert compiled.graph is not None, [found.words.message for found in compiled.diagnostics]
        with paced(pace):
            harmony_dsl.run(compiled.graph, work / name, watcher=Silent())
    return found_in(work / name)


def found_in(out: Path) -> Found:
    grades = [line["grades"]["clear"] for line in lines(out / "samples.jsonl")]
    metrics = [line for line in lines(out / "metrics.jsonl") if line["stage"] == "tuned"]
    return Found(
        [line["seconds"] for line in lines(out / "timings.jsonl") if line["stage"] == "tuned"],
        len(grades),
        [grade["failed"] for grade in grades if "failed" in grade],
        sum(line["failed"] for line in metrics),
    )


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@contextmanager
def serving(*options: str) -> Iterator[str]:
    """A judge in a process of its own; gives its address."""
    with subprocess.Popen([sys.executable, SERVER, *options], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.kill()


@contextmanager
def paced(seconds: float) -> Iterator[None]:
    """Each token of a batch takes as long as one of a large model would."""
    draw = local.draw

    def slowly(*given: Any) -> Any:
        time.sleep(seconds)
        return draw(*given)

    local.draw = slowly
    try:
        yield
    finally:
        local.draw = draw


if __name__ == "__main__":
    sys.exit(main())
