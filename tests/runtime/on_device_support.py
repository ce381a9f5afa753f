"""Graders that compute with a model of the run, asked as a run asks them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runtime_support import graph_of

from harmony_compiler.graph.graph import ONE_DEVICE, Graph
from harmony_compiler.graph.node import Node
from harmony_compiler.graph.values import Ref
from harmony_grammar import records
from harmony_runtime.graders.kinds import OnDevice
from harmony_runtime.graders.making import Bench
from harmony_runtime.graders.protocol import Sample
from harmony_runtime.models.blueprint import Blueprints
from harmony_runtime.processes.context import Context
from harmony_runtime.rollout.inference import Inference


def bench_of(
    nodes: Mapping[Ref, Node],
    finished: Mapping[Ref, Path] | None = None,
    registry: Path | None = None,
    *,
    shard: bool = False,
) -> Bench:
    """`shard` lets what is trained be spread."""
    graph, context = graph_of(nodes, ()), Context(ONE_DEVICE)
    context.shard = shard
    blueprints = Blueprints(graph, dict(finished or {}), registry or Path("no registry"))
    return Bench(graph, Inference(graph, blueprints, context))


def sample(completion: str, prompt: str = "2+2", **further: Any) -> Sample:
    return Sample(completion, prompt, turns=({"role": "user", "content": prompt},), **further)


@contextmanager
def ready(grader: OnDevice) -> Iterator[OnDevice]:
    """Set up within, torn down behind."""
    try:
        asyncio.run(grader.set_up())
        yield grader
    finally:
        asyncio.run(grader.tear_down())


def ignore() -> None:
    """Nobody watches."""


def with_first(graph: Graph, nodes: Mapping[Ref, Node]) -> Graph:
    """A graph with more nodes, before those that read them."""
    return records.replace(graph, nodes={**nodes, **graph.nodes})
