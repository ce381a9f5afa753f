"""What the tests of validation share: stages of each algorithm with rows of their own to be measured on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from preference_support import pairs, preferring
from reinforcement_support import COMPLETION, GRADERS, SHORT, reinforcing
from runtime_support import STAGE, graph_of, sums, tiny, training
from test_ppo import practised

from harmony_compiler.graph.graders import Formula
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.measures import Validation
from harmony_compiler.graph.models import LoadSettings
from harmony_compiler.graph.node import Node
from harmony_compiler.graph.settings import Constant, Lora
from harmony_compiler.graph.values import Ref
from harmony_grammar.records import replace

HELD = Ref("held")
LENGTH = Ref("length")

QUESTIONS = tuple(f"{n}+{n}" for n in range(20, 23))

HELD_OUT: dict[str, Node] = {
    "sft": sums(items=tuple({"q": q, "a": "4" * n} for n, q in enumerate(QUESTIONS, 1))),
    "dpo": pairs(items=tuple({"q": q, "good": "4" * n, "bad": "no"} for n, q in enumerate(QUESTIONS, 1))),
    "prompts": sums(
        items=tuple({"q": q, "a": "4"} for q in QUESTIONS), completion=None, metadata={"answer": "{{ a }}"}
    ),
}
"""Three rows of each kind, of different lengths."""

ADAPTED = Lora(rank=2, alpha=4.0, dropout=0.5, seed=7)
"""With dropout, so that a stream of chance that something disturbs shows."""


def stage_of(algorithm: str, model: LoadSettings | None = None, **stage: Any) -> Graph:
    """A small graph of one stage, called `tuned`, with rows to be measured on beside."""
    made: dict[str, Callable[..., Graph]] = {
        "sft": partial(training, save={"if_exists": "overwrite"}),
        "dpo": preferring,
        "grpo": reinforcing,
        "ppo": practised,
    }
    steps = "max_num_ppo_steps" if algorithm == "ppo" else "steps"
    number = stage.pop("steps", 4)
    # All steps are taken at one rate, so that those of a shorter stage are the first ones of a longer.
    graph = made[algorithm](model or tiny(), **{"schedule": Constant(), steps: number})
    return held_out(graph, HELD_OUT.get(algorithm, HELD_OUT["prompts"]), **stage)


def held_out(graph: Graph, rows: Node, **stage: Any) -> Graph:
    """A graph with more nodes before its stage, which has other fields."""
    nodes = dict(graph.nodes)
    after = {ref: nodes.pop(ref) for ref in [*nodes][[*nodes].index(STAGE) :]}
    after[STAGE] = replace(after[STAGE], **stage)
    more = {HELD: rows, LENGTH: Formula(expression=("words", COMPLETION)), SHORT: GRADERS[SHORT]}
    return graph_of(nodes | more | after, graph.outputs)


def validated(algorithm: str, model: LoadSettings | None = None, **stage: Any) -> Graph:
    """The same with a validation every second step."""
    asked = stage.pop("validation", {})
    validation = Validation(**({"dataset": HELD, "every": 2} | asked))
    return stage_of(algorithm, model, validation=validation, **stage)
