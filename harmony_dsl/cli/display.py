"""What people see of a run: one calm live display on a terminal, plain lines everywhere else.

Both end with the same closing lines: each stage with its time and losses, what was saved where, and, last,
the folder that holds it all.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from harmony_dsl.cli.output import say
from harmony_dsl.cli.progress import Stage, duration

if TYPE_CHECKING:
    from rich.console import RenderableType

    from harmony_compiler.graph.graph import Graph
    from harmony_runtime.watch import Summary

_MIN_GAP, _MAX_GAP, _SHARE = 2.0, 60.0, 0.1
"""Plain lines come at every tenth of a stage, but not within 2 seconds, and at least once a minute."""

_WIDTH = 80
"""The live display is no wider than this: a bar across a wide screen is no easier to read."""


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
        self._stages: list[Stage] = []
        self._saved: list[tuple[str, Path]] = []
        self._summary: Summary | None = None
        self._printed_step, self._printed_at = 0, 0.0

    # What the runtime tells.

    def run_started(self, graph: Graph, out: Path) -> None:
        self._line(f"run {graph.name}, seed {graph.seed}, in {out}")

    def note(self, text: str) -> None:
        self._line(text, "note: ")

    def warning(self, text: str) -> None:
        self._line(text, "warning: ")

    def stage_started(self, name: str, algorithm: str, steps: int, parameters: int) -> None:
        stage = Stage(name, algorithm, steps, parameters)
        self._stages.append(stage)
        self._printed_step, self._printed_at = 0, 0.0
        self._stage_begins(stage)

    def step(self, name: str, step: int, metrics: Mapping[str, object], timing: Mapping[str, object]) -> None:
        stage = self._stages[-1]
        speed = timing.get("tokens_per_second")
        stage.add(step, metrics, float(speed) if isinstance(speed, int | float) else None)
        self._stage_moves(stage)

    def stage_finished(self, name: str, seconds: float) -> None:
        self._stages[-1].seconds = seconds

    def saved(self, key: str, path: Path) -> None:
        self._saved.append((key, path))

    def finished(self, summary: Summary) -> None:
        self._summary = summary

    # How it is shown.

    def close(self) -> None:
        """Print the closing lines, as far as the run came."""
        summary = self._summary
        stories = {stage.name: stage.story for stage in self._stages}
        if summary is not None:
            stories |= {s.name: f"{s.algorithm}, done in an earlier run" for s in summary.stages if s.reused}
        width = max(map(len, stories), default=0)
        lines = [f"{name:{width}}  {story}" for name, story in stories.items()]
        if summary is not None:
            lines += [f"{s.name:{width}}  {dropped}" for s in summary.stages if (dropped := _dropped(s.rows))]
        lines += [f"saved as {key}: {path}" for key, path in self._saved]
        if summary is not None:
            lines.append(f"everything is in {summary.out}")
        for line in lines:
            say(line, self._stream)

    def _line(self, text: str, severity: str = "") -> None:
        say(severity + text, self._stream)

    def _stage_begins(self, stage: Stage) -> None:
        self._line(f"{stage.name}: {stage.heading}")

    def _stage_moves(self, stage: Stage) -> None:
        now = time.monotonic()
        done, waited = stage.step - self._printed_step, now - self._printed_at
        due = waited >= _MAX_GAP or (done >= _SHARE * stage.steps and waited >= _MIN_GAP)
        if self._printed_step == 0 or stage.step == stage.steps or due:
            self._printed_step, self._printed_at = stage.step, now
            self._line(f"{stage.name}: {', '.join([stage.progress, *stage.readings])}")


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

    def _stage_begins(self, stage: Stage) -> None:
        """The block shows it."""

    def _stage_moves(self, stage: Stage) -> None:
        """The block shows it."""

    def _draw(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        over = [stage for stage in self._stages if stage.seconds is not None]
        lines: list[RenderableType] = [
            Text.assemble(("✓ ", "green"), (stage.name, "bold"), "  ", stage.story) for stage in over
        ]
        if len(over) == len(self._stages):
            what = "finishing" if over else "loading"
            lines.append(Text(f"{what} … {duration(time.monotonic() - self._begun)}", style="dim"))
            return Group(*lines)
        stage = self._stages[-1]
        bar = Table.grid(padding=(0, 2))
        width = min(_WIDTH, self._console.width)
        count = f"{stage.step:,} of {stage.steps:,}"
        bar.add_row(
            ProgressBar(total=stage.steps, completed=stage.step, width=max(10, width - 4 - len(count))),
            count,
        )
        lines += [
            Text.assemble((stage.name, "bold"), "  ", stage.heading),
            bar,
            Text(" · ".join(stage.readings)),
        ]
        return Group(*lines)


def _dropped(rows: Mapping[str, int]) -> str:
    """What happened to rows that did not reach the training as they were; empty where nothing did."""
    fates = {name: count for name, count in rows.items() if count and name not in ("read", "kept")}
    told = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in fates.items())
    return f"of {rows.get('read', 0):,} rows, {told}" if told else ""
