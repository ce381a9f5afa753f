"""Small graphs of graders, and graders that misbehave."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from harmony_compiler.graph.formulas import Formula as Tree
from harmony_compiler.graph.graders import Combination, Contains, Formula, Grader
from harmony_compiler.graph.graph import Graph, Origin
from harmony_compiler.graph.node import Node
from harmony_compiler.graph.values import Ref
from harmony_runtime.graders import protocol
from harmony_runtime.graders.making import Bench, Factories
from harmony_runtime.graders.panel import Panel
from harmony_runtime.graders.protocol import Grade, Sample, Score

COMPLETION: Tree = ("read", "completion")


def metadata(key: str) -> Tree:
    return ("read", "metadata", key)


def graph_of(nodes: Mapping[str, Node]) -> Graph:
    """Each node is written in a line of its own of `r.recipe`."""
    origins = {Ref(name): Origin(name, "r.recipe", line) for line, name in enumerate(nodes, 1)}
    return Graph("r", 0, {Ref(name): node for name, node in nodes.items()}, (), origins)


def formula(tree: Tree, **policy: Any) -> Formula:
    return Formula(expression=tree, **policy)


def combination(tree: Tree, *graders: str, **policy: Any) -> Combination:
    return Combination(expression=tree, graders=tuple(Ref(name) for name in graders), **policy)


def grade(node: Grader, *samples: Sample) -> list[Grade]:
    """What one grader answers to each sample."""
    with Panel(Bench(graph_of({"g": node})), [Ref("g")]) as panel:
        return [verdict.grades["g"] for verdict in panel.grade(samples)]


class Own(protocol.Grader):
    """A grader of a person: `answer` is called with the sample; `log` remembers what was called."""

    def __init__(self, name: str, log: list[str], answer: Callable[[Sample], Any] | None = None) -> None:
        self.name = name
        self.log = log
        self.answer = answer or (lambda sample: Score(0.5))
        self.broken: tuple[str, ...] = ()

    async def set_up(self) -> None:
        self.log.append(f"+{self.name}")
        if "set_up" in self.broken:
            raise ConnectionError(f"{self.name} is not there")

    async def grade(self, sample: Sample) -> Grade:
        answered: Grade = self.answer(sample)
        return answered

    async def tear_down(self) -> None:
        self.log.append(f"-{self.name}")
        if "tear_down" in self.broken:
            raise OSError(f"{self.name} does not let go")


def own(*graders: Own) -> tuple[dict[str, Node], Factories]:
    """A `contains` node for each grader, by its name, and the factories that put the graders there."""
    by_text = {grader.name: grader for grader in graders}
    nodes: dict[str, Node] = {name: Contains(text=name, retries=0) for name in by_text}
    return nodes, {Contains: lambda node, _: by_text[node.text]}
