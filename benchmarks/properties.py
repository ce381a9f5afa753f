"""Thousands of generated recipes: what checks is right, what is wrong is found, and what checks runs.

    python benchmarks/properties.py [--good 2000] [--broken 2000] [--runs 200]

Well-typed recipes must have no error. Of recipes with one seeded fault each must be found with its code on
its line, and at least 98 % must have no other error; a table tells by kind. Small recipes that check must run
to the end, for a step. Exits with 1 where one of this does not hold.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from harmony_dsl.testing import KINDS, Broken, Recipe, broken, recipes, write_data
from harmony_dsl.testing.running import compiled, run_once, small_recipes, write_models

EXACT = 0.98
"""The share of broken recipes that must have exactly one error."""

SHOWN = 3
"""So many failures are printed whole."""

T = TypeVar("T")


def each(strategy: st.SearchStrategy[T], count: int, do: Callable[[T], None]) -> None:
    """Call `do` with `count` examples, always the same ones."""

    @settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def called(example: T) -> None:
        do(example)

    called()


class Count(NamedTuple):
    seen: int = 0
    found: int = 0
    alone: int = 0

    def plus(self, found: bool, alone: bool) -> Count:
        return Count(self.seen + 1, self.found + found, self.alone + alone)

    def __str__(self) -> str:
        share = 100 * self.alone / self.seen if self.seen else 0.0
        return f"{self.seen:6} {self.found:6} {self.alone:12} {share:6.1f} %"


class Properties:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.registry = folder / "home" / "models"
        self.failures = 0

    def fail(self, *what: object) -> None:
        self.failures += 1
        if self.failures <= SHOWN:
            print(*what, sep="\n", file=sys.stderr)

    def errors(self, recipe: Recipe) -> list[tuple[str, int]]:
        found = compiled(recipe, self.folder, self.registry).diagnostics
        return [(f.code, f.span.first.line) for f in found if f.severity == "error"]

    def good(self, count: int) -> int:
        """How many of `count` well-typed recipes have errors."""
        wrong: list[Recipe] = []

        def check(recipe: Recipe) -> None:
            if found := self.errors(recipe):
                wrong.append(recipe)
                self.fail(found, recipe)

        each(recipes(), count, check)
        return len(wrong)

    def broken(self, count: int) -> Count:
        """Prints the table by kind; gives the sum."""
        counts = dict.fromkeys(KINDS, Count())

        def check(recipe: Broken) -> None:
            found = self.errors(recipe.recipe)
            told = (recipe.code, recipe.line) in found
            counts[recipe.kind] = counts[recipe.kind].plus(told, told and len(found) == 1)
            if not told:
                self.fail(found, recipe)

        print(f"{'seeded fault':40} {'seen':>6} {'found':>6} {'and no other':>12} {'share':>8}")
        for kind in KINDS:
            each(broken([kind]), -(-count // len(KINDS)), check)
            print(f"{kind:40} {counts[kind]}")
        whole = Count(*(sum(column) for column in zip(*counts.values(), strict=True)))
        print(f"{'all':40} {whole}")
        return whole

    def runs(self, count: int) -> int:
        """How many of `count` small recipes did not check, or not run."""
        wrong: list[Recipe] = []

        def run(recipe: Recipe) -> None:
            compilation = compiled(recipe, self.folder, self.registry)
            try:
                if compilation.graph is None:
                    raise AssertionError([finding.words.message for finding in compilation.diagnostics])
                run_once(compilation.graph, self.folder, self.registry)
            except Exception as fault:  # whatever it is, it is counted and shown
                wrong.append(recipe)
                self.fail(f"{type(fault).__name__}: {fault}", recipe)

        each(small_recipes(), count, run)
        return len(wrong)


@contextmanager
def timed() -> Iterator[None]:
    """Ends the line that was begun with the seconds that it took."""
    start = time.perf_counter()
    yield
    print(f"  ({time.perf_counter() - start:.0f} s)")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--good", type=int, default=2000)
    parser.add_argument("--broken", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=200)
    asked = parser.parse_args()
    ok = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        properties = Properties(folder)
        write_models(folder) if asked.runs else write_data(folder)
        if asked.good:
            with timed():
                wrong = properties.good(asked.good)
                print(f"well-typed: {wrong} of {asked.good} have errors", end="")
            ok = ok and not wrong
        if asked.broken:
            with timed():
                whole = properties.broken(asked.broken)
                print(
                    f"broken: found {whole.found} of {whole.seen}, {whole.alone} with no other error", end=""
                )
            ok = ok and whole.found == whole.seen and whole.alone >= EXACT * whole.seen
        if asked.runs:
            with timed():
                wrong = properties.runs(asked.runs)
                print(f"checks, so runs: {wrong} of {asked.runs} did not", end="")
            ok = ok and not wrong
    return int(not ok)


if __name__ == "__main__":
    sys.exit(main())
