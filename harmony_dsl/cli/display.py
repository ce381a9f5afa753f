"""What people see of a run: one calm live display on a terminal, plain lines everywhere else.

Both end with the same closing lines: each stage with its time and its losses or rewards, a table of scores
for each evaluation, what was saved where, and, last, the folder that holds it all.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from harmony_dsl.cli.output import say
from harmony_dsl.cli.progress import Stage, answering, duration, fold, one_line, spent
from harmony_dsl.cli.scores import Evaluation

if TYPE_CHECKING:
    from rich.console import RenderableType

    from harmony_compiler.graph.graph import Graph
    from harmony_runtime.watch import Measured, Summary

_MIN_GAP, _MAX_GAP, _SHARE = 2.0, 60.0, 0.1
"""Plain lines come at every tenth of a stage, but not within 2 seconds, and at least once a minute."""

_ROWS_GAP = 10.0
"""Seconds between two plain lines about the rows of a large dataset."""

_WIDTH = 80
"""Tables and the live display are no wider than this: a bar across a wide screen is no easier to read."""


@contextmanager
def display(stream: TextIO) -> Iterator[Display]:
    """The display that suits `stream`. However the block ends, the closing lines are printed."""
    shown = LiveDisplay(stream) if _can_live(stream) else Display(stream)
    try:
        yield shown
    finally:
        shown.close()


def _can_live(stream: TextIO) -> bool:
    """A live display needs a terminal that moves its cursor, and characters to draw with."""
    utf8 = (stream.encoding or "").lower().replace("-", "") == "utf8"
    return stream.isatty() and utf8 and os.environ.get("TERM") != "dumb"


class Display:
    """Plain lines; the base of the live one. It is the runtime's `Watcher`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._said: set[tuple[str, str]] = set()
        self._stages: list[Stage] = []
        self._evaluations: list[Evaluation] = []
        self._saved: list[tuple[str, Path]] = []
        self._summary: Summary | None = None
        self._printed_step, self._printed_at = 0, 0.0
        self._reading = ""
        self._answering = ""

    # What the runtime tells.

    def run_started(self, graph: Graph, out: Path) -> None:
        self._line(f"run {graph.name}, seed {graph.seed}, in {out}")

    def note(self, text: str) -> None:
        self._once(text, "note: ")

    def warning(self, text: str) -> None:
        self._once(text, "warning: ")

    def tokenised(self, dataset: str, rows: int, of: int) -> None:
        self._reading = f"{dataset}: {rows:,} of {of:,} rows in tokens" if rows < of else ""
        self._rows_move(rows)

    def stage_started(self, name: str, algorithm: str, steps: int, parameters: int) -> None:
        stage = Stage(name, algorithm, steps, parameters)
        self._stages.append(stage)
        self._printed_step, self._printed_at = 0, 0.0
        self._stage_begins(stage)

    def answering(self, drawn: int, graded: int, of: int) -> None:
        self._answering = answering(drawn, graded, of)

    def step(self, name: str, step: int, metrics: Mapping[str, object], timing: Mapping[str, object]) -> None:
        self._answering = ""
        stage = self._stages[-1]
        stage.add(step, metrics, timing)
        self._stage_moves(stage)

    def stage_finished(self, name: str, seconds: float) -> None:
        self._stages[-1].seconds = seconds

    def saved(self, key: str, path: Path) -> None:
        self._saved.append((key, path))

    def evaluation_started(self, name: str, models: Sequence[str], rows: int) -> None:
        evaluation = Evaluation(name, models, rows)
        self._evaluations.append(evaluation)
        self._evaluation_begins(evaluation)

    def evaluated(self, name: str, model: str, graders: Mapping[str, Measured], seconds: float) -> None:
        evaluation = self._evaluations[-1]
        evaluation.scores[model] = graders
        evaluation.seconds += seconds
        self._answering = ""
        self._evaluation_moves(evaluation, model, seconds)

    def finished(self, summary: Summary) -> None:
        self._summary = summary

    # How it is shown.

    def close(self) -> None:
        """Print the closing lines, as far as the run came."""
        summary, evaluations = self._summary, {each.name: each for each in self._evaluations}
        stories = {stage.name: stage.story for stage in self._stages}
        if summary is not None:
            stories |= {s.name: f"{s.algorithm}, done in an earlier run" for s in summary.stages if s.reused}
            for name, scores in summary.evaluations.items():
                evaluations.setdefault(name, Evaluation(name, list(scores), None, dict(scores)))
        width = max(map(len, stories), default=0)
        lines = [f"{name:{width}}  {story}" for name, story in stories.items()]
        if summary is not None:
            lines += [f"{s.name:{width}}  {dropped}" for s in summary.stages if (dropped := _dropped(s.rows))]
            lines += [f"{s.name:{width}}  {line}" for s in summary.stages for line in spent(s.spent)]
        lines += [line for each in evaluations.values() for line in each.table(self._width)]
        lines += [f"saved as {key}: {path}" for key, path in self._saved]
        if summary is not None:
            lines.append(f"everything is in {summary.out}")
        for line in lines:
            say(line, self._stream)

    @property
    def _width(self) -> int:
        return _WIDTH

    def _once(self, text: str, severity: str) -> None:
        if (severity, text) not in self._said:
            self._said.add((severity, text))
            self._line(text, severity)

    def _line(self, text: str, severity: str = "") -> None:
        say(severity + text, self._stream)

    def _rows_move(self, rows: int) -> None:
        now = time.monotonic()
        if rows and self._reading and now - self._printed_at >= _ROWS_GAP:
            self._line(self._reading)
        elif rows:
            return
        self._printed_at = now

    def _stage_begins(self, stage: Stage) -> None:
        self._line(f"{stage.name}: {stage.heading}")

    def _stage_moves(self, stage: Stage) -> None:
        now = time.monotonic()
        done, waited = stage.step - self._printed_step, now - self._printed_at
        due = waited >= _MAX_GAP or (done >= _SHARE * stage.steps and waited >= _MIN_GAP)
        if self._printed_step == 0 or stage.step == stage.steps or due:
            self._printed_step, self._printed_at = stage.step, now
            readings = [stage.progress, *stage.result, *stage.parts, *stage.pace]
            self._line(f"{stage.name}: {', '.join(readings)}")

    def _evaluation_begins(self, evaluation: Evaluation) -> None:
        self._line(f"{evaluation.name}: {evaluation.heading}")

    def _evaluation_moves(self, evaluation: Evaluation, model: str, seconds: float) -> None:
        self._line(f"{evaluation.name}: {evaluation.progress}, {one_line(model)} in {duration(seconds)}")


class LiveDisplay(Display):
    """One block that is redrawn in place; notes and warnings scroll by above it."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live

        super().__init__(stream)
        self._begun = time.monotonic()
        self._console = Console(file=stream, highlight=False)
        # Four times a second keeps the clock honest and costs the training nothing that can be measured.
        self._live = Live(
            get_renderable=self._draw, console=self._console, refresh_per_second=4, transient=True
        )
        self._live.start()

    def close(self) -> None:
        self._live.stop()
        super().close()

    def _line(self, text: str, severity: str = "") -> None:
        from rich.text import Text

        style = "yellow" if severity.startswith("warning") else "cyan"
        self._console.print(Text.assemble((severity, style), text))

    @property
    def _width(self) -> int:
        return min(_WIDTH, self._console.width)

    def _rows_move(self, rows: int) -> None:
        """The block shows it."""

    def _stage_begins(self, stage: Stage) -> None:
        """The block shows it."""

    def _stage_moves(self, stage: Stage) -> None:
        """The block shows it."""

    def _evaluation_begins(self, evaluation: Evaluation) -> None:
        self._evaluating_since = time.monotonic()

    def _evaluation_moves(self, evaluation: Evaluation, model: str, seconds: float) -> None:
        """The block shows it."""

    def _draw(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        over = [(stage.name, stage.story) for stage in self._stages if stage.seconds is not None]
        over += [(evaluation.name, evaluation.story) for evaluation in self._evaluations if evaluation.over]
        lines: list[RenderableType] = [
            Text.assemble(("✓ ", "green"), (name, "bold"), "  ", story) for name, story in over
        ]
        if self._stages and self._stages[-1].seconds is None:
            lines += self._draw_stage(self._stages[-1])
        elif self._evaluations and not self._evaluations[-1].over:
            evaluation, seconds = self._evaluations[-1], time.monotonic() - self._evaluating_since
            on = f"{evaluation.progress}{evaluation.on_rows} … {duration(seconds)}"
            lines.append(Text.assemble((evaluation.name, "bold"), "  ", on))
            lines += [Text(self._answering, style="dim")] if self._answering else []
        else:
            what = "finishing" if over else self._reading or "loading"
            lines.append(Text(f"{what} … {duration(time.monotonic() - self._begun)}", style="dim"))
        return Group(*lines)

    def _draw_stage(self, stage: Stage) -> list[RenderableType]:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        bar = Table.grid(padding=(0, 2))
        count = f"{stage.step:,} of {stage.steps:,}"
        bar.add_row(
            ProgressBar(total=stage.steps, completed=stage.step, width=max(10, self._width - 4 - len(count))),
            count,
        )
        return [
            Text.assemble((stage.name, "bold"), "  ", stage.heading),
            bar,
            *map(Text, fold([*stage.result, *stage.pace], self._width)),
            *map(Text, fold(stage.parts, self._width)),
            *([Text(self._answering, style="dim")] if self._answering else []),
        ]


def _dropped(rows: Mapping[str, int]) -> str:
    """What happened to rows that did not reach the training as they were; empty where nothing did."""
    fates = {name: count for name, count in rows.items() if count and name not in ("read", "kept")}
    told = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in fates.items())
    return f"of {rows.get('read', 0):,} rows, {told}" if told else ""
