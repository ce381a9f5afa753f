"""The table of scores, as people read it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from harmony_dsl.cli.scores import Evaluation
from harmony_runtime.watch import Measured


def table(scores: Mapping[str, Mapping[str, Measured]], rows: int = 9, width: int = 80) -> list[str]:
    return Evaluation("report", list(scores), rows, dict(scores)).table(width)


def all_scored(mean: float) -> Measured:
    return Measured(mean, 500, 0, 0)


def test_the_table_says_what_was_not_scored() -> None:
    scores = {
        "base": {"exact": Measured(0.5, 497, 0, 3), "brief": Measured(None, 0, 500, 0)},
        "tuned": {"exact": all_scored(1.0), "brief": Measured(-12.25, 1, 1_498, 1)},
    }
    assert table(scores, rows=1) == [
        "report: mean scores on 1 row",
        "         exact    brief",
        "  base   0.500        –",
        "  tuned  1.000  -12.250",
        "  exact: of base 3 failed",
        "  brief: of base 500 not applicable; of tuned 1,498 not applicable, 1 failed",
    ]


def test_long_names_are_cut_so_that_they_can_be_told_apart() -> None:
    graders = [
        "exact",
        "1 - words(completion) / 200",
        "1 - words(completion) / 400",
        "clamp(agreement(completion, metadata.answer),\n  0, 1)",
    ]
    model = 'hf("Qwen/Qwen3-0.6B", revision = "main")'
    scores = {model: {grader: all_scored(0.5) for grader in graders}}
    assert table(scores) == [
        "report: mean scores on 9 rows",
        "                              exact  1 - wo… / 200  1 - wo… / 400  clamp(… 0, 1)",
        '  hf("Qwen/Qwen…on = "main")  0.500          0.500          0.500          0.500',
    ]
    inner = [f"0.5 * exact + 0.{n} * close + 0.1 * tidy" for n in (1, 2, 3)]
    scores = {"base": {grader: all_scored(0.5) for grader in inner}}
    assert table(scores)[1:] == [
        "        0.5 * exa….1 * tidy #1  0.5 * exa….1 * tidy #2  0.5 * exa….1 * tidy #3",
        "  base                   0.500                   0.500                   0.500",
    ]


@pytest.mark.parametrize("width", [40, 80])
def test_many_graders_go_below_each_other(width: int) -> None:
    graders = [f"grader number {n} of many" for n in range(12)]
    scores = {model: {grader: all_scored(0.5) for grader in graders} for model in ("base", "tuned")}
    lines = table(scores, width=width)
    assert max(map(len, lines)) <= width
    labels = [label for line in lines[1:] if " 0.5" not in line for label in line.split("  ") if label]
    assert len(set(labels)) == len(graders)
    assert "\n".join(lines).count("0.500") == 24
