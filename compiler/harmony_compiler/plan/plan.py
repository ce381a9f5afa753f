"""The plan: what a run would do, before it does it.

Everything in it comes from the recipe, from what the compiler reads of data and configurations, and from
what earlier runs have left: no weights, no network, no device.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from harmony_compiler.compile import Compilation, Looked
from harmony_compiler.files import DISK, Files
from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.datasets import Drawn
from harmony_compiler.graph.evaluations import Compare
from harmony_compiler.graph.graders import RegistryGrader
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.node import schema
from harmony_compiler.graph.spawning import Spawn, spawns
from harmony_compiler.graph.values import Ref, Secret
from harmony_compiler.plan.counting import Known, Rows, Work, rows_of, validates_by_answers, work_of
from harmony_compiler.plan.digests import digest_of_plan
from harmony_compiler.plan.lengths import Lengths, lengths_of
from harmony_compiler.plan.losses import loss_of
from harmony_compiler.plan.memory import Memory, memory_of
from harmony_compiler.plan.rewards import Reward, reward_of
from harmony_grammar.records import Record, as_data

Device: TypeAlias = Literal["cpu", "gpu"]


class Where(Record):
    """What a plan may look at beside the recipe, and what it assumes of the machine."""

    registry: Path | None = None
    """The folder of saved models."""
    finished: Path | None = None
    """A run's folder, whose finished stages would be reused."""
    device: Device = "gpu"
    set_inputs: tuple[str, ...] = ()
    """The names of the inputs that the caller sets."""


class Part(Record):
    """What is known of a stage or an evaluation."""

    work: Work
    lengths: Lengths | None
    """Of the rows that it learns from, or answers."""
    spawns: tuple[Spawn, ...]
    memory: Memory | str
    """What it holds in a device; or in words why nobody can say."""
    reward: Reward | None
    loss: tuple[str, ...]
    finished: bool = False
    """Whether it need not be trained again."""


class Plan(Record):
    graph: Graph
    where: Where
    rows: dict[Ref, Rows]
    parts: dict[Ref, Part]
    """Of stages and evaluations."""
    dropped: tuple[str, ...]
    unset: tuple[str, ...]
    """Secrets that the recipe names, and that no environment variable holds here: a run needs them."""
    digest: str
    """Equal for plans that are equal in all but the places of files and the layout of the recipe."""

    def to_json(self) -> dict[str, Any]:
        """The graph as JSON, with all that the plan says of it."""
        return {
            **self.graph.to_json(),
            "digest": self.digest,
            "assumed": {"device": self.where.device},
            "dropped": list(self.dropped),
            "unset": list(self.unset),
            "rows": {ref: as_data(rows) for ref, rows in self.rows.items()},
            "parts": {ref: as_data(part) for ref, part in self.parts.items()},
        }


def plan_of(compilation: Compilation, where: Where, files: Files = DISK) -> Plan:
    """The plan of a recipe that was compiled to a graph."""
    assert compilation.graph is not None and compilation.looked is not None
    looked = compilation.looked
    graph = _whole(compilation.graph, where)
    rows = {
        ref: rows_of(looked.made[ref], looked.heads, files)
        for ref, node in graph.nodes.items()
        if isinstance(node, Drawn)
    }
    planner = _Planner(graph, looked, rows, where, files, _finished(graph, where))
    parts = {
        ref: planner.part(ref) for ref, node in graph.nodes.items() if isinstance(node, Algorithm | Compare)
    }
    digest = digest_of_plan(graph, files, where.registry)
    unset = tuple(name for name in _secrets(graph) if name not in os.environ)
    return Plan(graph, where, rows, parts, looked.dropped, unset, digest)


def _secrets(graph: Graph) -> Iterator[str]:
    """The names of the secrets in a graph, each once."""
    seen: set[str] = set()
    for node in graph.nodes.values():
        for name in schema(type(node)):
            held = getattr(node, name)
            for value in held.values() if isinstance(held, dict) else (held,):
                if isinstance(value, Secret) and value.name not in seen:
                    seen.add(value.name)
                    yield value.name


def _whole(graph: Graph, where: Where) -> Graph:
    """The graph with the published graders that it names, as a run has it; without, where one is damaged."""
    if where.registry is None or not any(isinstance(node, RegistryGrader) for node in graph.nodes.values()):
        return graph
    from harmony_compiler.graph.splicing import NotPublishedError, spliced  # few recipes need it

    try:
        return spliced(graph, where.registry.parent / "graders")
    except NotPublishedError:
        return graph


class _Planner(Record):
    """What all parts of one plan are made from."""

    graph: Graph
    looked: Looked
    rows: dict[Ref, Rows]
    where: Where
    files: Files
    finished: frozenset[Ref]

    def part(self, ref: Ref) -> Part:
        graph, node = self.graph, cast(Any, self.graph.nodes[ref])
        lengths = self._lengths(ref, node.dataset)
        by_answers = isinstance(node, Algorithm) and validates_by_answers(node)
        held_out = self._lengths(ref, node.validation.dataset) if by_answers else None
        reward = getattr(node, "grader", None)
        return Part(
            work=work_of(graph, ref, Known(self.rows, lengths, held_out)),
            lengths=lengths,
            spawns=spawns(graph, ref),
            memory=memory_of(
                graph,
                ref,
                self.files,
                registry=self.where.registry,
                longest=lengths.longest if lengths is not None and lengths.whole else None,
                device=self.where.device,
                rows={ref: rows.taken for ref, rows in self.rows.items()},
            ),
            reward=reward_of(graph, reward) if reward is not None else None,
            loss=loss_of(node) if isinstance(node, Algorithm) else (),
            finished=ref in self.finished,
        )

    def _lengths(self, stage: Ref, dataset: Ref) -> Lengths | None:
        made = self.looked.made
        return lengths_of(made[stage], made[dataset], self.looked.heads, self.files)


def _finished(graph: Graph, where: Where) -> frozenset[Ref]:
    """The stages whose models a run's folder holds."""
    if where.finished is None or where.registry is None:
        return frozenset()
    from harmony_compiler.plan.finished import finished_in  # it reads all the data

    return finished_in(graph, where.finished, where.registry)
