"""Spawning: which models stand in memory while a stage trains or an evaluation measures, and what for.

Nobody writes in a recipe for what a model is loaded: use decides. A model that is trained has a copy of its
own, and so has the critic; a stage whose loss measures no distance from its start has no reference; models
that only answer or score are loaded once for all who ask them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal

from harmony_compiler.graph.algorithms import Algorithm, Dpo, Grpo, Ppo
from harmony_compiler.graph.evaluations import Compare
from harmony_compiler.graph.graders import Grader, Judge, RewardModel
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.models import Endpoint, LoadSettings
from harmony_compiler.graph.node import Node, schema, tag_of
from harmony_compiler.graph.values import Ref
from harmony_grammar.records import Record, replace

Use = Literal["training", "critic", "reference", "answering", "judging", "scoring"]
"""What a model is loaded for. The first two are trained; the others only infer."""


class Spawn(Record):
    """A model in memory."""

    model: Ref
    use: Use
    by: tuple[Ref, ...] = ()
    """The graders that share it, where it is there for graders."""

    @property
    def trains(self) -> bool:
        return self.use in ("training", "critic")


def has_reference(node: Node) -> bool:
    """Whether a stage compares the trained weights with those at its start."""
    return isinstance(node, Dpo) or (isinstance(node, Grpo | Ppo) and node.kl_beta > 0)


def spawns(graph: Graph, ref: Ref) -> tuple[Spawn, ...]:
    """The models that a stage or an evaluation loads; of an evaluation those that it measures, one after the
    other."""
    node = graph.nodes[ref]
    found: list[Spawn] = []
    if isinstance(node, Algorithm):
        trained = getattr(node, node.trains)
        found.append(Spawn(trained, "training"))
        if isinstance(node, Ppo):
            found.append(Spawn(node.value_model, "critic"))
        if has_reference(node):
            found.append(Spawn(trained, "reference"))
    elif isinstance(node, Compare):
        answering = (model for model in node.models if not isinstance(graph.nodes[model], Endpoint))
        found += (Spawn(model, "answering") for model in dict.fromkeys(answering))
    return (*found, *asked_by(graph, graph.needs(ref)))


def asked_by(graph: Graph, graders: Iterable[Ref]) -> tuple[Spawn, ...]:
    """The models of the recipe that graders ask, those inside combinations included: each once for all that
    share it."""
    shared: dict[Any, Spawn] = {}
    for grader in _with_parts(graph, graders):
        if (asked := asks(graph, grader)) is not None:
            model, use = asked
            first = shared.setdefault((weights_of(graph, model), use), Spawn(model, use))
            shared[weights_of(graph, model), use] = replace(first, by=(*first.by, grader))
    return tuple(shared.values())


def asks(graph: Graph, grader: Ref) -> tuple[Ref, Use] | None:
    """The model of the recipe that a grader itself has an answer or a score from."""
    match graph.nodes[grader]:
        case Judge(model=model) if not isinstance(graph.nodes[model], Endpoint):
            return model, "judging"
        case RewardModel(model=model):
            return model, "scoring"
    return None


def graders_of(graph: Graph, ref: Ref) -> Iterator[Ref]:
    """Every grader that a stage or an evaluation asks, those inside combinations included, each once."""
    return _with_parts(graph, graph.needs(ref))


def _with_parts(graph: Graph, refs: Iterable[Ref]) -> Iterator[Ref]:
    """The graders among some nodes, and those inside them, each once."""
    seen: set[Ref] = set()
    waiting = [ref for ref in refs if isinstance(graph.nodes[ref], Grader)]
    while waiting:
        grader = waiting.pop(0)
        if grader not in seen:
            seen.add(grader)
            yield grader
            waiting += (part for part in graph.needs(grader) if isinstance(graph.nodes[part], Grader))


_SPEAKING = frozenset(
    ("max_batch_tokens", "chat_template", "template_args", "generation_prompt", "gradient_checkpointing")
)
"""How a model is spoken to, and trained: of one that only infers, two that differ in nothing else have the
same weights."""


def weights_of(graph: Graph, ref: Ref) -> Any:
    """What stands for the weights of a model that only infers: equal where one copy serves both."""
    node = graph.nodes[ref]
    if not isinstance(node, LoadSettings):
        return ref
    named = ((name, getattr(node, name)) for name in schema(type(node)) if name not in _SPEAKING)
    return tag_of(type(node)), *named
