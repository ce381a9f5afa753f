"""`harmonyc grade`: try a reward on completions, before any training. No torch here.

Standard output holds each row with what every grader says, then a summary; findings go to standard error.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harmony_dsl.cli.output import complain, say
from harmony_dsl.cli.parser import Parser, add_recipe_options, read_recipe_options
from harmony_dsl.cli.recipes import graph_of, show

if TYPE_CHECKING:
    from harmony_compiler.graph.graph import Graph
    from harmony_runtime.failures import RunFailed
    from harmony_runtime.graders.grading import Verdict
    from harmony_runtime.graders.panel import Panel
    from harmony_runtime.graders.protocol import Grade, Sample

SUMMARY = "try a reward on completions, before any training"

_WIDTH = 96
"""Columns of the lines with reasons."""

_LONGEST_NAME = 32


def configure(parser: Parser) -> None:
    parser.usage = "harmonyc grade FILE [GRADER] --on COMPLETIONS.jsonl [options]"
    parser.add_argument("file", metavar="FILE", help="a recipe")
    parser.add_argument(
        "grader",
        metavar="GRADER",
        nargs="?",
        help="a grader that the recipe declares (default: the reward of its training)",
    )
    parser.add_argument(
        "--on",
        metavar="COMPLETIONS.jsonl",
        required=True,
        help='rows `{"prompt": "…", "completion": "…", "metadata": {…}}`, such as a run\'s samples.jsonl',
    )
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: text")
    add_recipe_options(parser)


def execute(parser: Parser, arguments: Sequence[str]) -> int:
    options = parser.read(arguments)
    request = read_recipe_options(parser, options)
    from harmony_compiler.passes.graders import ANY_GRADER

    graph = graph_of(options.file, request, wanted=options.grader or ANY_GRADER)
    if graph is None:
        return 1
    from harmony_runtime.failures import RunFailed
    from harmony_runtime.graders.completions import read_completions

    try:
        rows = read_completions(Path(options.on))
        return _grade(graph, rows, named=options.grader is not None, as_json=options.format == "json")
    except RunFailed as failure:
        return _told(failure)


def _grade(graph: Graph, rows: Sequence[tuple[int, Sample]], *, named: bool, as_json: bool) -> int:
    from harmony_compiler.graph.graders import Combination
    from harmony_compiler.store.home import home
    from harmony_runtime.failures import RunFailed
    from harmony_runtime.graders.panel import Panel
    from harmony_runtime.tryout import bench_of

    bench = bench_of(graph, home(), lambda text: complain(f"warning: {text}"))
    graph = bench.graph
    reward = None
    if len(graph.outputs) == 1 and isinstance(graph.nodes[graph.outputs[0]], Combination):
        reward = graph.stage_name(graph.outputs[0]) if named else "reward"
    names = {graph.outputs[0]: reward} if reward else None
    Panel(bench, graph.outputs, names).check(lambda: [sample.metadata for _, sample in rows])
    with Panel(bench, graph.outputs, names) as panel:
        verdicts = panel.grade([sample for _, sample in rows])
        stop = None
        try:
            panel.admit(verdicts)
        except RunFailed as failure:
            stop = failure
        # What was graded is shown also where a policy would stop a run: this is the place to find out why.
        if as_json:
            say(json.dumps(_as_json(panel, rows, verdicts, stop), indent=2))
        else:
            say("\n".join([*_rows(panel, reward, rows, verdicts), *_table(panel, verdicts)]))
    return 0 if stop is None else _told(stop)


def _told(failure: RunFailed) -> int:
    show(failure.diagnostics, sys.stderr)
    if failure.message:
        complain(f"harmonyc: {failure.message}")
    return failure.exit_code


# --- as text --------------------------------------------------------------------------------------------


def _rows(
    panel: Panel, reward: str | None, rows: Sequence[tuple[int, Sample]], verdicts: Sequence[Verdict]
) -> list[str]:
    """Each row: its reward, where it is made of others, and below it every grader that was asked."""
    from harmony_dsl.cli.progress import score, shorten

    names = [name for name in panel.names if name != reward]
    width = max(len(_short(name)) for name in names)
    lines = []
    for (number, sample), verdict in zip(rows, verdicts, strict=True):
        head = f"row {number}: "
        if reward:
            failed = f" ({_reason(verdict.grades[reward])})" if _failed(verdict.grades[reward]) else ""
            head += f"{_short(reward)} {score(verdict.scores[0])}{failed} for "
        lines.append(head + f'"{shorten(sample.completion, max(20, _WIDTH - len(head) - 2))}"')
        for name in names:
            lines += _line(f"  {_short(name):{width}}  ", verdict.grades[name])
        lines.append("")
    return lines


def _line(head: str, grade: Grade) -> list[str]:
    """A grader's answer; its reason is folded behind it."""
    import textwrap

    from harmony_dsl.cli.progress import NOTHING, score
    from harmony_runtime.graders.protocol import Score

    value = "failed" if _failed(grade) else NOTHING
    if isinstance(grade, Score):
        value = score(grade.value)
    head += f"{value:>6}"
    reason = _reason(grade)
    if not reason:
        return [head]
    # Names stay whole, to be found in the recipe.
    return textwrap.wrap(
        reason,
        _WIDTH,
        initial_indent=f"{head}  ",
        subsequent_indent=" " * (len(head) + 2),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _failed(grade: Grade) -> bool:
    from harmony_runtime.graders.protocol import Failure

    return isinstance(grade, Failure)


def _reason(grade: Grade) -> str:
    from harmony_runtime.graders.protocol import Failure

    return grade.reason if isinstance(grade, Failure) else grade.reasoning


def _table(panel: Panel, verdicts: Sequence[Verdict]) -> list[str]:
    """The sums, grader by grader."""
    from harmony_dsl.cli.progress import score
    from harmony_runtime.graders.grading import measured

    told = measured(verdicts)
    width = max(len(_short(name)) for name in panel.names)
    lines = [f"{'':{width}}    mean  scored  does not apply  failed"]
    for name in panel.names:
        sums = told[name]
        counts = f"{sums.count:>6,}  {sums.not_applicable:>14,}  {sums.failed:>6,}"
        lines.append(f"{_short(name):{width}}  {score(sums.mean):>6}  {counts}")
    return lines


def _short(name: str) -> str:
    from harmony_dsl.cli.progress import shorten

    return shorten(name, _LONGEST_NAME)


# --- as JSON --------------------------------------------------------------------------------------------


def _as_json(
    panel: Panel,
    rows: Sequence[tuple[int, Sample]],
    verdicts: Sequence[Verdict],
    stop: RunFailed | None,
) -> dict[str, object]:
    from dataclasses import asdict

    from harmony_runtime.graders.answered import grade_json
    from harmony_runtime.graders.grading import measured

    return {
        "rows": [
            {
                "row": number,
                "rewards": dict(zip(panel.roots, verdict.scores, strict=True)),
                "grades": {name: grade_json(grade) for name, grade in verdict.grades.items()},
            }
            for (number, _), verdict in zip(rows, verdicts, strict=True)
        ],
        "summary": {name: asdict(sums) for name, sums in measured(verdicts).items()},
        "stopped": None if stop is None else str(stop),
    }
