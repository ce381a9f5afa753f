"""What the tests of reinforcement share: a graph of one GRPO stage with three graders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runtime_support import MODEL, SAVE, STAGE, graph_of, read_lines, sums, tiny

from harmony_compiler.graph.algorithms import Grpo
from harmony_compiler.graph.graders import Combination, Equals, Formula, Grader
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.models import LoadSettings
from harmony_compiler.graph.node import Node
from harmony_compiler.graph.outputs import Save
from harmony_compiler.graph.settings import Sampling
from harmony_compiler.graph.values import Ref

PROMPTS, EXACT, DIGITS, SHORT, REWARD = (
    Ref(name) for name in ("prompts", "exact", "digits", "short", "reward")
)

COMPLETION = ("read", "completion")

GRADERS: dict[Ref, Grader] = {
    EXACT: Equals(expected="{{ metadata.answer }}"),
    DIGITS: Formula(expression=("agreement", COMPLETION, ("read", "metadata", "answer"))),
    # Untrained models write every length, so this one gives every group a signal.
    SHORT: Formula(expression=("/", ("chars", COMPLETION), ("constant", 10))),
    REWARD: Combination(
        expression=("-", ("+", ("grader", 0), ("grader", 1)), ("*", ("constant", 0.5), ("grader", 2))),
        graders=(EXACT, DIGITS, SHORT),
    ),
}


def grpo(**changes: Any) -> Grpo:
    numbers: dict[str, Any] = {
        "model": MODEL,
        "dataset": PROMPTS,
        "grader": REWARD,
        "completions_per_sample": 4,
        "samples_per_batch": 8,
        "samples_per_mini_batch": 8,
        "lr": 1e-2,
        "kl_beta": 0.0,
        "clip_range_high": changes.get("clip_range", 0.1),
        "sampling": Sampling(max_tokens=6),
        "seed": 7,
        "steps": 6,
    }
    return Grpo(**(numbers | changes))


def reinforcing(
    model: LoadSettings | None = None, graders: Mapping[Ref, Grader] | None = None, **stage: Any
) -> Graph:
    """A graph of one GRPO stage, called `tuned`, whose model is saved as `small`."""
    prompts = sums(completion=None, metadata={"answer": "{{ a }}"})
    nodes: dict[Ref, Node] = {MODEL: model or tiny(), PROMPTS: prompts, **(GRADERS | dict(graders or {}))}
    nodes[STAGE] = grpo(**stage)
    nodes[SAVE] = Save(model=STAGE, key="small", if_exists="overwrite")
    return graph_of(nodes, (SAVE,))


def samples_of(out: Path, step: int | None = None) -> list[dict[str, Any]]:
    return [line for line in read_lines(out / "samples.jsonl") if step in (None, line["step"])]
