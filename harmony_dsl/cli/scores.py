"""What is known about an evaluation while it runs, and its table of scores.

Like `progress`, it words what `display` shows: no terminal and no library here.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harmony_dsl.cli.output import counted
from harmony_dsl.cli.progress import duration, one_line, score, shorten

if TYPE_CHECKING:
    from harmony_runtime.watch import Measured

_NARROWEST = 12
"""A grader's name is not cut below this to make room for more columns: they go below the others instead."""


@dataclass
class Evaluation:
    """One evaluation as its models come in."""

    name: str
    models: Sequence[str]
    rows: int | None
    """None where an earlier run measured it."""
    scores: dict[str, Mapping[str, Measured]] = field(default_factory=dict)
    """By model and grader."""
    seconds: float = 0.0

    @property
    def over(self) -> bool:
        return len(self.scores) == len(self.models)

    @property
    def heading(self) -> str:
        """`3 models on 500 rows`."""
        return counted(len(self.models), "model") + self.on_rows

    @property
    def progress(self) -> str:
        return f"{len(self.scores)} of {counted(len(self.models), 'model')}"

    @property
    def story(self) -> str:
        return f"{self.heading} in {duration(self.seconds)}"

    def table(self, width: int) -> list[str]:
        """Means by model and grader, as lines of at most `width` columns."""
        parts = [] if self.over else [f"stopped at {self.progress}"]
        if self.scores:
            parts.append(f"mean scores{self.on_rows}")
        lines = [f"{self.name}: {', '.join(parts)}"]
        models = [model for model in self.models if model in self.scores]
        graders = list(self.scores[models[0]]) if models else []
        names = _labels(models, max(_NARROWEST, width // 3))
        first = max(map(len, names.values()), default=0)
        cells = {
            grader: {model: score(self.scores[model][grader].mean, decimals=3) for model in models}
            for grader in graders
        }
        for columns in _blocks(cells, width - 2 - first):
            across = {grader: max(len(label), _across(cells[grader])) for grader, label in columns.items()}
            head = "".join(f"  {label:>{across[grader]}}" for grader, label in columns.items())
            lines.append(f"  {'':{first}}{head}")
            lines += [
                f"  {name:{first}}"
                + "".join(f"  {cells[grader][model]:>{across[grader]}}" for grader in columns)
                for model, name in names.items()
            ]
            lines += [
                line
                for grader, label in columns.items()
                for line in self._remarks(grader, label, names, width)
            ]
        return lines

    def _remarks(self, grader: str, label: str, models: Mapping[str, str], width: int) -> list[str]:
        """`exact: of base 12 not applicable, 3 failed`, where there is anything to remark."""
        told = []
        for model, name in models.items():
            measured = self.scores[model][grader]
            counts = {"not applicable": measured.not_applicable, "failed": measured.failed}
            if what := ", ".join(f"{count:,} {fate}" for fate, count in counts.items() if count):
                told.append(f"of {name} {what}")
        if not told:
            return []
        return textwrap.wrap(
            f"{label}: {'; '.join(told)}", width, initial_indent="  ", subsequent_indent="    "
        )

    @property
    def on_rows(self) -> str:
        return "" if self.rows is None else f" on {counted(self.rows, 'row')}"


def _across(cells: Mapping[str, str]) -> int:
    return max(map(len, cells.values()))


def _blocks(cells: Mapping[str, Mapping[str, str]], room: int) -> list[dict[str, str]]:
    """The graders of each block of columns with their labels, so that no block needs more than `room`."""

    def needs(graders: Sequence[str], longest: int) -> int:
        return sum(2 + max(_across(cells[g]), min(len(one_line(g)), longest)) for g in graders)

    blocks: list[list[str]] = []
    for grader in cells:
        if blocks and needs([*blocks[-1], grader], _NARROWEST) <= room:
            blocks[-1].append(grader)
        else:
            blocks.append([grader])
    shown = []
    for graders in blocks:
        longest = max(_NARROWEST, *(len(one_line(grader)) for grader in graders))
        while longest > _NARROWEST and needs(graders, longest) > room:
            longest -= 1
        labels = _labels(list(cells), longest)
        shown.append({grader: labels[grader] for grader in graders})
    return shown


def _labels(names: Sequence[str], width: int) -> dict[str, str]:
    """Each name in at most `width` characters; those that look alike when cut are numbered."""
    cut = {name: shorten(name, width) for name in names}
    alike = list(cut.values())
    for number, name in enumerate(names, 1):
        if alike.count(cut[name]) > 1:
            mark = f" #{number}"
            cut[name] = shorten(name, width - len(mark)) + mark
    return cut
