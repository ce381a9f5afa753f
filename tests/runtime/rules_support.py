"""A rule asked by itself, in this process."""

from __future__ import annotations

from typing import Any

from graders_support import graph_of

from harmony_compiler.graph.graders import Grader as Node
from harmony_runtime.graders.kinds import Rule
from harmony_runtime.graders.making import BUILT_IN, Bench
from harmony_runtime.graders.protocol import Grade, Sample


def rule(node: Node) -> Rule:
    made = BUILT_IN[type(node)](node, Bench(graph_of({"g": node})))
    assert isinstance(made, Rule)
    return made


def answer(node: Node, completion: str, tokens: int | None = None, **metadata: Any) -> Grade:
    return rule(node).apply(Sample(completion, metadata=metadata, tokens=tokens))
