"""`harmonyc fmt` over every recipe of the tree and thousands of generated ones, with comments everywhere.

    python benchmarks/formatting.py [--generated 2000] [--gaps 3]

The recipes of the tree are formatted as they are, with a comment in each gap between two tokens, one gap at a
time, and with comments in all of them at once; generated recipes as they are, in all gaps at once, and with
one comment in some gaps. A comment ends its line: gaps where that would change what the recipe says are
counted and left out. Each time the second formatting must change nothing, every comment must be there, in its
order, and syntax tree, graph and findings must be those of the recipe as it was. Exits with 1 where one of
this does not hold.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"

from hypothesis import HealthCheck, Phase, given, settings

from harmony_compiler.compile import Compilation, compile_recipe
from harmony_compiler.declared.given import Setting
from harmony_compiler.graph.graph import ONE_DEVICE, Launch
from harmony_dsl.testing import Recipe, recipes, write_data
from harmony_dsl.testing.comments import Gap, gaps, newlines, with_comments
from harmony_grammar.formatting import ChangedError, difference, format_source
from harmony_grammar.parser import parse_file
from harmony_grammar.records import Record, replace
from harmony_grammar.source import Source
from harmony_grammar.syntax import File

ROOT = Path(__file__).resolve().parents[1]

SHOWN = 2
"""So many failures are printed whole."""


class Told(Record):
    """A recipe, with the options it is compiled with."""

    source: Source
    settings: tuple[Setting, ...] = ()
    launch: Launch = ONE_DEVICE

    def compiled(self, text: str) -> Any:
        """Graph and findings of a text in place of the recipe's own; of the places only the files."""
        source = replace(self.source, text=text)
        registry = source.folder / "home" / "models"
        return _plainly(compile_recipe(source, settings=self.settings, launch=self.launch, registry=registry))


def _plainly(compilation: Compilation) -> Any:
    findings = Counter((finding.code, finding.severity) for finding in compilation.diagnostics)
    if compilation.graph is None:
        return findings
    graph = compilation.graph.to_json()
    graph["origins"] = {
        ref: {key: held for key, held in origin.items() if key not in ("line", "doc")}
        for ref, origin in graph["origins"].items()
    }
    return findings, graph


class Formatting:
    """Formats texts of one recipe after the other, and counts what is wrong."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.failures = 0

    def fail(self, what: str, text: str) -> None:
        self.failures += 1
        if self.failures <= SHOWN:
            print(f"--- {what}\n{text}", file=sys.stderr)

    def recipe(self, told: Told, singles: Iterable[Gap], styles: Iterable[int]) -> None:
        """Format a recipe as it is, with one comment in each of these gaps, and with comments in all gaps."""
        self.counts["recipes"] += 1
        tree = parse_file(told.source).tree
        said = told.compiled(told.source.text)
        self._format(told, told.source.text, tree, said)
        for style, gap in enumerate(singles, self.counts["recipes"]):
            if not self._commented(told, [gap], style, tree, said):
                self.counts["gaps left out"] += 1
        # Between a documentation and what it documents no comment can stand.
        documented = {one.span.start for one in tree.declarations}
        free = [gap for gap in newlines(told.source) if gap.start not in documented]
        for style in styles:
            if not self._commented(told, free, style, tree, said):
                self.fail("comments cannot stand everywhere", told.source.text)

    def _commented(self, told: Told, chosen: Sequence[Gap], style: int, tree: File, said: Any) -> bool:
        """Format a recipe with comments in these gaps; gives whether they could stand there."""
        text = with_comments(told.source, chosen, ("#", "##")[style % 2], trailing=style // 2 % 2 == 1)
        parsed = parse_file(replace(told.source, text=text))
        if parsed.diagnostics or difference(replace(parsed.tree, comments=tree.comments), tree):
            return False
        self.counts["comments"] += len(chosen)
        self._format(told, text, parsed.tree, said)
        return True

    def _format(self, told: Told, text: str, before: File, said: Any) -> None:
        """Format a text; `before` is its tree, `said` what the recipe compiles to."""
        self.counts["texts"] += 1
        source = replace(told.source, text=text)
        try:
            first = format_source(source).text
            assert first is not None
            second = format_source(replace(source, text=first)).text
        except (AssertionError, ChangedError) as fault:
            self.fail(str(fault) or "it could not be read", text)
            return
        after = parse_file(replace(source, text=first)).tree
        if second != first:
            self.fail("the second time something changed", text)
        elif other := difference(before, after):
            self.fail(f"other {other}", text)
        elif told.compiled(first) != said:
            self.fail("another graph", text)


# --- recipes --------------------------------------------------------------------------------------------


def recipes_of_the_tree() -> Iterator[Source]:
    """Files, recipes in pages and in the pages of `explain`; those with syntax errors are left out."""
    for folder in ("examples", "tests", "harmony_dsl"):
        for path in sorted(ROOT.glob(f"{folder}/**/*.recipe")):
            yield Source(path.name, path.read_text(encoding="utf-8"), path)
    folders = ("", "docs", "compiler/harmony_compiler/explain/pages")
    for page in (page for folder in folders for page in sorted((ROOT / folder).glob("*.md"))):
        blocks = re.findall(
            r"^```recipe[^\n]*\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
        )
        for number, block in enumerate(blocks, 1):
            source = Source(f"{page.stem}-{number}.recipe", block, ROOT / "examples" / "shown.recipe")
            if not parse_file(source).diagnostics:
                yield source


def tree(formatting: Formatting) -> None:
    for source in recipes_of_the_tree():
        formatting.recipe(Told(source), gaps(source), range(4))


def generated(formatting: Formatting, count: int, singles: int, folder: Path) -> None:
    random = Random(7)

    @settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(recipes())
    def each(recipe: Recipe) -> None:
        for name, text in recipe.files.items():
            (folder / name).write_text(text, encoding="utf-8")
        source = Source("generated.recipe", recipe.text, folder / "generated.recipe")
        told = Told(source, tuple(Setting(*pair) for pair in recipe.settings), recipe.launch)
        known = gaps(source)
        style = formatting.counts["recipes"]
        formatting.recipe(told, random.sample(known, min(singles, len(known))), (style % 4, (style + 2) % 4))

    if count:
        each()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--generated", type=int, default=2000)
    parser.add_argument("--gaps", type=int, default=3, help="single gaps of each generated recipe")
    asked = parser.parse_args()
    failures = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        write_data(folder)
        for title in ("the tree", "generated"):
            start, formatting = time.perf_counter(), Formatting()
            if title == "the tree":
                tree(formatting)
            else:
                generated(formatting, asked.generated, asked.gaps, folder)
            counts = formatting.counts
            print(
                f"{title}: {counts['recipes']:,} recipes formatted as {counts['texts']:,} texts with "
                f"{counts['comments']:,} comments, {formatting.failures:,} failures; "
                f"{counts['gaps left out']:,} single gaps left out  ({time.perf_counter() - start:.0f} s)",
                flush=True,
            )
            failures += formatting.failures
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
