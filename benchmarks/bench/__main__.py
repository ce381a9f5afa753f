"""This project and TRL on the same work, side by side, and what the machine could do at best.

    make bench
    python -m benchmarks.bench --only sft,dpo --sizes 0.2M --pairs 3

BENCH_THREADS, by default 2, is how many threads either side has. Prints a table, and writes
docs/performance.md where everything was measured. Exits with 1 where a promise
was not kept or a side could not run.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.bench import report
from benchmarks.bench.cases import ALGORITHMS, SIZES, START_SIZE, Case, Setting, case
from benchmarks.bench.floor import measured_rates
from benchmarks.bench.material import lessons, word_tokenizer, write_rows
from benchmarks.bench.pairs import SideError, environment, measure, start
from benchmarks.bench.recipes import warm
from benchmarks.bench.table import Row, Start, row


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join((*ALGORITHMS, "start")), help="a part of: %(default)s")
    parser.add_argument("--sizes", default=",".join(SIZES), help="a part of: %(default)s")
    parser.add_argument("--pairs", type=int, default=5, help="blocks of each side")
    parser.add_argument("--block", type=int, help="steps of a block, where the usual number is too slow")
    parser.add_argument(
        "--peer", action="append", default=[], metavar="NAME=VALUE", help="another setting for TRL, to try it"
    )
    parser.add_argument("--home", type=Path, help="keep the models here, and begin with those that are there")
    return parser.parse_args()


def main() -> int:
    given = options()
    only, sizes = given.only.split(","), given.sizes.split(",")
    cases = [
        tried(case(algorithm, size), given) for size in sizes for algorithm in ALGORITHMS if algorithm in only
    ]
    first_steps = [case(algorithm, START_SIZE) for algorithm in ALGORITHMS if "start" in only]
    began = time.perf_counter()
    with TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        bench = Bench(folder, given.home.absolute() if given.home else folder / "home", given.pairs)
        for size in dict.fromkeys(each.size.name for each in (*first_steps, *cases)):
            warm_up(size, bench.home, folder)
        rates = measured_rates(environment(bench.home))
        rows = [found for each in cases if (found := bench.row(each, rates))]
        starts = [first for each in first_steps if (first := bench.start(each))]
    seconds = time.perf_counter() - began
    faults = [*bench.faults, *report.faults(rows, starts)]
    print("", *report.tables(rows, starts), *faults, sep="\n")
    whole = (set(only), set(sizes)) == ({*ALGORITHMS, "start"}, set(SIZES)) and not given.peer
    if whole and not bench.faults and given.pairs >= 5:
        page = report.write(rows, starts, rates, given.pairs, seconds)
        print(f"{seconds / 60:.0f} minutes; written to {page}")
    return int(bool(faults))


@dataclass
class Bench:
    """Measures one thing after another, and goes on where one could not run."""

    folder: Path
    home: Path
    pairs: int
    faults: list[str] = field(default_factory=list)

    def row(self, each: Case, rates: Mapping[str, float]) -> Row | None:
        try:
            found = row(measure(each, self.home, self.folder / each.name, self.pairs), rates)
        except SideError as fault:
            self._fault(f"{each.name} could not be measured: {fault}")
            return None
        print(report.line(found), flush=True)
        return found

    def start(self, each: Case) -> Start | None:
        try:
            peer, own = start(each, self.home, self.folder / f"start-{each.name}", self.pairs)
        except SideError as fault:
            self._fault(f"the start of {each.name} could not be measured: {fault}")
            return None
        found = Start(each.algorithm, peer, own)
        print(report.start_line(found), flush=True)
        return found

    def _fault(self, text: str) -> None:
        print(text, file=sys.stderr)
        self.faults.append(text)


def tried(each: Case, given: argparse.Namespace) -> Case:
    """The case with the settings of the command line."""
    more = {name: typed(value) for name, _, value in (text.partition("=") for text in given.peer)}
    return replace(each, peer={**each.peer, **more}, block=given.block or each.block)


def typed(text: str) -> Setting:
    """A setting of the command line as Python has it."""
    words: dict[str, Setting] = {"true": True, "false": False}
    return words.get(text.lower(), int(text) if text.isdigit() else text)


def warm_up(size_name: str, home: Path, folder: Path) -> None:
    """Put a size's model into the registry."""
    size = SIZES[size_name]
    if (home / "models" / size.key).exists():
        return
    place = folder / f"warm-{size.name}"
    place.mkdir()
    write_rows(place / "lessons.jsonl", lessons(size))
    if size.words:
        word_tokenizer(place / "tokenizer", size.words)
    (place / "warm.recipe").write_text(warm(size), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "harmony_dsl",
        "run",
        str(place / "warm.recipe"),
        "--out",
        str(place / "run"),
    ]
    done = subprocess.run(command, env=environment(home), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"the model of {size.name} could not be made: {done.stderr}")


if __name__ == "__main__":
    sys.exit(main())
