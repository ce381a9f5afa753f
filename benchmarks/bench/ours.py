"""Our side as a worker: `python -m benchmarks.bench.ours RECIPE OUT ANSWERS`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import harmony_dsl
from benchmarks.bench.blocks import Blocks
from harmony_runtime.watch import Metrics, Number, Silent


class Worker(Silent):
    """Watches a run, which waits while its watcher does."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks

    def stage_started(self, name: str, algorithm: str, steps: int, parameters: int) -> None:
        self._blocks.begin()

    def step(self, name: str, step: int, metrics: Metrics, timing: Mapping[str, Number]) -> None:
        counts = {
            what: metrics.get(what) or 0 for what in ("tokens", "trained_tokens", "rows", "completions")
        }
        self._blocks.count(**counts, reward=metrics.get("reward") or 0)
        self._blocks.loss(metrics.get("loss") or 0.0)
        self._blocks.step()


def main(recipe: str, out: str, answers: str) -> None:
    compilation = harmony_dsl.compile(Path(recipe))
    if compilation.graph is None:
        sys.exit("\n".join(finding.words.message for finding in compilation.diagnostics))
    harmony_dsl.run(compilation.graph, out, watcher=Worker(Blocks(int(answers))))


if __name__ == "__main__":
    main(*sys.argv[1:])
