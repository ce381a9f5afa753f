"""What a dataset costs before training: the first time, and every time after.

Tokenises 1,000 rows like GSM8K's twice, in one process; then starts a training of one step over 1,000 and
over 1,000,000 rows, first without and then with the rows in the cache, each in a process of its own.

Fails where the second tokenising takes a tenth of the first or more, or where a start over a million rows
with a warm cache takes 15 % or 0.5 seconds more than one over a thousand, or 5 % more memory. Starts are
measured in seconds of a processor: what else runs on the machine counts less so.

python benchmarks/data.py [FILE.jsonl] [TOKENIZER]: with rows of columns `question` and `answer`, and with the
folder of a tokenizer, beside the ones made here.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

SMALL, LARGE = 1_000, 1_000_000
RUNS = 5
"""Warm starts of each size; the fastest counts, and the smallest."""

RECIPE = """\
recipe bench {{ seed = 1 }}
dataset sums = jsonl("{rows}") {{
  prompt = "{{{{ question }}}}"
  completion = "{{{{ answer }}}}"
}}
model tiny = scratch {{
  hidden_size = 8
  layers = 1
  heads = 2
  context = {context}
  tokenizer = "{tokenizer}"
}}
train tuned = sft {{ model = tiny, dataset = sums, samples_per_batch = 4, steps = 1 }}
"""

STARTED = """\
import resource, sys, time
from harmony_dsl.cli.main import main
code = main(sys.argv[1:])
print(time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""

NAMES = ("Natalia", "Weng", "Betty", "Julie", "James", "Mark", "Albert", "Ken", "Alexis", "Tina")
THINGS = ("clips", "apples", "pages", "flowers", "pounds of beads", "crayons", "stamps", "tickets")


def problems(count: int) -> Iterator[dict[str, str]]:
    """Word problems with worked answers, as long as GSM8K's: 230 and 290 characters on average."""
    dice = random.Random(1)
    for _ in range(count):
        name, friend = dice.sample(NAMES, 2)
        thing, a, b, c = dice.choice(THINGS), *(dice.randint(2, 60) for _ in range(3))
        yield {
            "question": f"{name} sold {a} {thing} to each of {b} friends in April, and then {friend} gave "
            f"{name} {c} more of the {thing}, left over from a birthday party in March. In May nobody bought "
            f"any. How many {thing} did {name} sell or get altogether in April and May?",
            "answer": f"{name} sold {a}*{b}=<<{a}*{b}={a * b}>>{a * b} {thing} in April.\n"
            f"With those of {friend} there were {a * b}+{c}=<<{a * b}+{c}={a * b + c}>>{a * b + c}.\n"
            "In May there were none, so the sum stays the same as it was at the end of April, which is what "
            f"was asked for: {a * b + c} {thing} in all.\n#### {a * b + c}",
        }


def sums(count: int) -> Iterator[dict[str, str]]:
    for number in range(count):
        yield {"question": f"{number}+{number}", "answer": str(2 * number)}


def main() -> int:
    given = sys.argv[1:]
    faults = []
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        os.environ |= {"HARMONY_HOME": str(here / "home"), "HF_HUB_OFFLINE": "1"}
        written = write(here / "gsm8k.jsonl", problems(SMALL))
        sources = {"1,000 rows made here": written} | ({given[0]: Path(given[0])} if given else {})
        tokenised_twice(here, write(here / "first.jsonl", sums(SMALL)), "chars")  # loads libraries
        print(f"{'tokenised':40}  {'first':>8}  {'again':>8}  {'share':>6}")
        for name, path in sources.items():
            for tokenizer in ("chars", *given[1:2]):
                first, again = tokenised_twice(here, path, tokenizer)
                told = f"{Path(name).name}, {Path(tokenizer).name}"
                print(f"{told:40}  {first * 1e3:5.0f} ms  {again * 1e3:5.1f} ms  {again / first:6.1%}")
                if again >= 0.1 * first:
                    faults.append(f"{told}: the second time takes {again / first:.0%} of the first")

        print(f"\n{'a start over':40}  {'cold':>8}  {'warm':>8}  {'memory':>8}")
        warm: dict[int, tuple[float, float]] = {}
        for count in (SMALL, LARGE):
            recipe = here / f"{count}.recipe"
            rows = write(here / f"{count}.jsonl", sums(count))
            recipe.write_text(RECIPE.format(rows=rows, context=64, tokenizer="chars"))
            cold, _ = started(recipe, here / f"cold-{count}")
            runs = [started(recipe, here / f"warm-{count}-{n}") for n in range(RUNS)]
            warm[count] = seconds, memory = min(s for s, _ in runs), min(m for _, m in runs)
            print(f"{f'{count:,} rows':40}  {cold:6.1f} s  {seconds:6.2f} s  {memory:5.0f} MB")
        (fast, low), (slow, high) = warm[SMALL], warm[LARGE]
        if slow - fast > max(0.15 * fast, 0.5):
            faults.append(f"a million rows start {slow - fast:.2f} s later than a thousand")
        if high > 1.05 * low:
            faults.append(f"a million rows need {high - low:.0f} MB more than a thousand")
    for fault in faults:
        print(fault)
    return bool(faults)


def write(path: Path, rows: Iterator[dict[str, str]]) -> Path:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return path


def tokenised_twice(here: Path, rows: Path, tokenizer: str) -> tuple[float, float]:
    """Seconds from the graph to its rows in tokens, without and with the cache; libraries are loaded."""
    import harmony_dsl
    from harmony_compiler.graph.graph import Graph
    from harmony_compiler.graph.identity import identities
    from harmony_compiler.graph.values import Ref
    from harmony_compiler.store.cache import HASHES
    from harmony_compiler.store.hashes import Hashes
    from harmony_runtime.data.tokens.trained import tokens_of
    from harmony_runtime.models.blueprint import Blueprints
    from harmony_runtime.rooms import Desk
    from harmony_runtime.watch import Silent

    found = harmony_dsl.compile(RECIPE.format(rows=rows, context=4096, tokenizer=tokenizer))
    assert found.graph is not None, found.diagnostics
    graph: Graph = found.graph
    cache, registry = here / "home" / "cache", here / "home" / "models"
    blueprints = Blueprints(graph, dict.fromkeys(graph.nodes, here / "none"), registry)
    (stage,) = graph.outputs
    model, dataset = (Ref(getattr(graph.nodes[stage], field)) for field in ("model", "dataset"))
    blueprint = blueprints.of(model)

    def look() -> float:
        began = time.perf_counter()
        known = identities(graph, Hashes(cache / HASHES).content, registry)
        desk = Desk(graph, known, blueprints, cache, Silent())
        assert len(tokens_of(desk, dataset, blueprint, "last")) == SMALL
        return time.perf_counter() - began

    return look(), look()


def started(recipe: Path, out: Path) -> tuple[float, float]:
    """Seconds of a processor and megabytes of a run, until it is done."""
    command = [sys.executable, "-c", STARTED, "run", str(recipe), "--out", str(out)]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    if told.returncode:
        sys.exit(told.stderr)
    seconds, memory = told.stderr.split()[-2:]
    # Linux counts in kilobytes, macOS in bytes.
    return float(seconds), float(memory) / (1e6 if sys.platform == "darwin" else 1e3)


if __name__ == "__main__":
    sys.exit(main())
