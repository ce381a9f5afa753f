"""Making graders from their nodes. No torch here.

What only some recipes need stands in modules that are imported when a node asks for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmony_compiler.graph import graders as nodes
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.models import Endpoint
from harmony_compiler.graph.values import Ref
from harmony_runtime.graders.protocol import Grader
from harmony_runtime.graders.rules.text import Contains, Equals, Formula, Matches, OneOf

if TYPE_CHECKING:
    from harmony_runtime.rollout.inference import Inference


def _nobody(text: str) -> None:
    pass


@dataclass(frozen=True)
class Bench:
    """What graders are made with."""

    graph: Graph
    inference: Inference | None = None
    """The models that only answer or score; None where nothing may be loaded."""
    keys: Mapping[Ref, str] = field(default_factory=dict)
    """By grader, what its grades are kept under: see `Meanings.asked`."""
    kept: Path | None = None
    """The file of grades that are kept between runs; None where none are."""
    warn: Callable[[str], None] = _nobody
    """Hears, from any thread, what people should know."""


Factories = Mapping[type[nodes.Grader], Callable[[Any, Bench], Grader]]
"""By the class of a grader's node, what makes the grader from the node."""


def _named(module: str, name: str) -> Any:
    """What `name` of a module of this package is."""
    return getattr(import_module(f"harmony_runtime.graders.{module}"), name)


def _in(module: str, name: str) -> Callable[[Any, Bench], Grader]:
    """What `name` of a module of this package makes."""

    def make(node: Any, bench: Bench) -> Grader:
        made: Grader = _named(module, name)(node, bench)
        return made

    return make


def _judge(node: nodes.Judge, bench: Bench) -> Grader:
    """A judge is asked over the network, or answers here."""
    served = isinstance(bench.graph.nodes[node.model], Endpoint)
    return _in(*(("judging.served", "ServedJudge") if served else ("judging.local", "LocalJudge")))(
        node, bench
    )


BUILT_IN: Factories = {
    nodes.Equals: lambda node, _: Equals(node),
    nodes.Contains: lambda node, _: Contains(node),
    nodes.Matches: lambda node, _: Matches(node),
    nodes.Formula: lambda node, _: Formula(node),
    nodes.OneOf: lambda node, _: OneOf(node),
    nodes.Length: lambda node, _: _named("rules.lengths", "Length")(node),
    nodes.JsonValid: lambda node, _: _named("rules.json_text", "JsonValid")(node),
    nodes.MathEquals: lambda node, _: _named("rules.mathematics", "MathEquals")(node),
    nodes.Instructions: _in("rules.instructions", "instructions"),
    nodes.CodePasses: _in("sandbox.code", "code_passes"),
    nodes.Judge: _judge,
    nodes.RewardModel: _in("reward_model", "RewardModel"),
    nodes.Remote: _in("remote", "Remote"),
    nodes.PythonGrader: _in("workers.python", "PythonGrader"),
}
