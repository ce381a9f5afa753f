"""Inputs that nobody would write: is there one that makes Harmony fail, hang or die?

    python -m benchmarks.fuzz [--minutes 10] [--jobs 2] [--seed N] [--only recipe,graph] [--keep]

Every target of `targets` gets inputs made of the project's own recipes and files, of generated recipes, of
`tests/fuzz/corpus` and of what earlier searches kept. An input that makes Harmony say something new is one to
go on from. A traceback, more than five seconds of the processor for an input, or the death of the process is
a failure: its input, made small, is left under `.fuzz/failures`, and the exit code is 1. `--keep` puts small
inputs that together say all that was heard into the corpus, which the tests replay.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.fuzz.corpus import CORPUS, inputs_of, save, telling
from benchmarks.fuzz.folder import HOME, furnish
from benchmarks.fuzz.hunt import what_fails
from benchmarks.fuzz.targets import TARGETS, first_inputs
from benchmarks.properties import each
from harmony_compiler.compile import compile_recipe
from harmony_dsl.testing import Recipe, recipes
from harmony_grammar.source import Source

PLACE = Path(__file__).parents[2] / ".fuzz"

GENERATED = 40
"""So many well-typed recipes are generated, to begin with."""

STUCK = 40.0
"""Seconds after which a process that reads one input is ended from outside: its own clock did not ring."""


class Job:
    """A search that is begun anew where it dies."""

    def __init__(self, number: int, names: list[str], seed: int, end: float) -> None:
        self.number, self.names, self.seed, self.end = number, names, seed, end
        self.counts: dict[str, list[float]] = {name: [0, 0, 0, 0.0] for name in names}
        self.errors = PLACE / f"errors-{number}"
        self._start()

    def _start(self) -> None:
        self.seed += 1000
        for name, suffix in (("counts", ".json"), ("current", "")):
            self._file(name, suffix).unlink(missing_ok=True)
        left = max(self.end - time.monotonic(), 0)
        arguments = (str(PLACE), self.number, self.seed, left, ",".join(self.names))
        command = [sys.executable, "-m", "benchmarks.fuzz.hunt", *map(str, arguments)]
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(command, stderr=errors, stdout=subprocess.DEVNULL)

    def _file(self, what: str, suffix: str = "") -> Path:
        return PLACE / f"{what}-{self.number}{suffix}"

    def look(self) -> bool:
        """Whether it goes on; a process that is stuck is ended, and one that died leaves a failure."""
        current = self._file("current")
        if (code := self.process.poll()) is None:
            if current.exists() and time.time() - current.stat().st_mtime > STUCK:
                self.process.kill()
            return True
        self._add_counts()
        if code == 0:
            return False
        name, _, data = current.read_bytes().partition(b"\n") if current.exists() else (b"start", b"", b"")
        told = self.errors.read_text(encoding="utf-8", errors="replace")
        path = save(PLACE / "failures" / name.decode(), data)
        path.with_suffix(".txt").write_text(f"the process ended with {code}\n\n{told}", encoding="utf-8")
        if not current.exists() or time.monotonic() > self.end:
            return False
        self._start()
        return True

    def _add_counts(self) -> None:
        counts = self._file("counts", ".json")
        if counts.exists():
            for name, (tried, signs, failed, spent) in json.loads(counts.read_text(encoding="utf-8")).items():
                before = self.counts[name]
                self.counts[name] = [
                    before[0] + tried,
                    max(before[1], signs),
                    before[2] + failed,
                    before[3] + spent,
                ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes at a time")
    parser.add_argument("--seed", type=int, default=random.randrange(1000), help="default: another each time")
    parser.add_argument("--only", default=",".join(TARGETS), help="targets, with commas")
    parser.add_argument(
        "--keep", action="store_true", help="put telling inputs into the corpus; search nothing"
    )
    asked = parser.parse_args()
    names = asked.only.split(",")
    with TemporaryDirectory(prefix="harmony-fuzz-") as folder:
        before = Path.cwd()
        furnish(Path(folder))
        os.chdir(folder)
        os.environ["HARMONY_HOME"] = str(Path(folder) / HOME)
        try:
            if asked.keep:
                _keep(names)
                return 0
            _generate()
        finally:
            os.chdir(before)
    shutil.rmtree(PLACE / "failures", ignore_errors=True)
    print(f"seed {asked.seed}, {asked.jobs} processes, {asked.minutes:g} minutes", flush=True)
    end = time.monotonic() + 60 * asked.minutes
    jobs = [Job(number, names, asked.seed * 10 + number, end) for number in range(asked.jobs)]
    while [job for job in jobs if job.look()]:
        time.sleep(0.5)
    return _report(jobs, names)


def _generate() -> None:
    """Well-typed recipes, and their graphs."""

    def keep(recipe: Recipe) -> None:
        save(PLACE / "seeds" / "recipe", recipe.text.encode())
        source = Source("a.recipe", recipe.text, Path("a.recipe").absolute())
        graph = compile_recipe(source, launch=recipe.launch).graph
        if graph is not None:
            save(PLACE / "seeds" / "graph", json.dumps(graph.to_json()).encode())

    shutil.rmtree(PLACE / "seeds", ignore_errors=True)
    each(recipes(), GENERATED, keep)


def _keep(names: list[str]) -> None:
    for name in names:
        target = TARGETS[name]

        def signs(data: bytes) -> frozenset[str]:
            said = what_fails(target, data)  # noqa: B023 - called in this turn of the loop
            return frozenset() if isinstance(said, tuple) else said

        known = [*inputs_of(CORPUS / name), *inputs_of(PLACE / "pool" / name)]
        old = set(first_inputs(target))
        kept = [data for data in telling(known, signs) if data not in old]
        for data in kept:
            save(CORPUS / name, data)
        print(f"{name:16} {len(kept):4} inputs, {sum(map(len, kept)):6} bytes")


def _report(jobs: list[Job], names: list[str]) -> int:
    print(f"{'target':16} {'inputs':>9} {'kinds of answers':>17} {'failures':>9} {'seconds':>8}")
    whole = [0.0, 0.0, 0.0]
    for name in names:
        failed = len(list((PLACE / "failures" / name).glob("*.txt")))
        tried, spent = (sum(job.counts[name][part] for job in jobs) for part in (0, 3))
        signs = max(job.counts[name][1] for job in jobs)
        print(f"{name:16} {tried:9,.0f} {signs:17,.0f} {failed:9} {spent:8.0f}")
        whole = [whole[0] + tried, whole[1] + failed, whole[2] + spent]
    failures = sorted((PLACE / "failures").glob("*/*.txt"))
    print(f"{'all':16} {whole[0]:9,.0f} {'':17} {len(failures):9} {whole[2]:8.0f}")
    for path in failures:
        print(f"{path.with_suffix('')}: {path.read_text(encoding='utf-8').partition(chr(10))[0]}")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
