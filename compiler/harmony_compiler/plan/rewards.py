"""Rewards: what a reward is made of, what each part weighs, and between which numbers it all lies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harmony_compiler.graph.formulas import Formula as Tree
from harmony_compiler.graph.graders import Combination, Grader
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.node import Constructor, schema
from harmony_compiler.graph.values import Ref
from harmony_compiler.plan.called import computes, in_formula, is_declared, name_of
from harmony_compiler.rewards.intervals import Interval
from harmony_compiler.rewards.score_forms import Forms
from harmony_grammar.records import Record


class Leaf(Record):
    """A grader that looks at the completion itself. A bound is None where none is known."""

    grader: Ref
    name: str
    computes: str
    """Its constructor, or its formula."""
    weight: float | None
    """What the reward grows by where this score grows by 1, all else applying and equal; None where that is
    no constant."""
    low: float | None
    high: float | None


class Part(Record):
    """A combination with a name of its own, inside another one."""

    grader: Ref
    name: str
    formula: str
    low: float | None
    high: float | None


class Reward(Record):
    """A grader as the formula that it is. It lies from `low` to `high` wherever there is a score."""

    grader: Ref
    name: str | None
    """None where the recipe writes the formula in its place."""
    formula: str
    low: float | None
    high: float | None
    leaves: tuple[Leaf, ...]
    parts: tuple[Part, ...] = ()


def reward_of(graph: Graph, grader: Ref, published: Mapping[Ref, Interval] | None = None) -> Reward:
    """What a grader is made of. `published` tells the scores of those from the registry, where known."""
    scored = _all_scored(graph)
    intervals = {id(scored[ref]): interval for ref, interval in (published or {}).items()}
    forms = Forms(list(scored.values()), intervals)

    def ends(ref: Ref) -> dict[str, float | None]:
        low, high = forms.interval(forms.of(scored[ref]))
        return {"low": _bound(low), "high": _bound(high)}

    weights = _linear(graph, grader).weights
    return Reward(
        grader=grader,
        name=name_of(graph, grader) if is_declared(graph, grader) else None,
        formula=computes(graph, grader),
        leaves=tuple(
            Leaf(
                grader=ref,
                name=in_formula(graph, ref),
                computes=computes(graph, ref),
                weight=weight,
                **ends(ref),
            )
            for ref, weight in weights.items()
        ),
        parts=tuple(
            Part(grader=ref, name=name_of(graph, ref), formula=computes(graph, ref), **ends(ref))
            for ref in _named_parts(graph, grader)
        ),
        **ends(grader),
    )


class _Scored(Record):
    """A grader of the graph, those inside it in place of their ids."""

    cls: type[Constructor]
    values: Mapping[str, Any]


def _all_scored(graph: Graph) -> dict[Ref, _Scored]:
    found: dict[Ref, _Scored] = {}
    for ref, node in graph.nodes.items():
        if isinstance(node, Grader):
            values = {name: getattr(node, name) for name in schema(type(node))}
            if isinstance(node, Combination):
                values["graders"] = tuple(found[part] for part in node.graders)
            found[ref] = _Scored(type(node), values)
    return found


def _bound(end: float) -> float | None:
    return end if abs(end) < float("inf") else None


def _named_parts(graph: Graph, grader: Ref) -> Iterator[Ref]:
    """Declared combinations inside a grader, each once, those that stand inside others first."""
    inside = {grader}
    for ref in reversed(graph.nodes):  # each node stands after what it reads
        node = graph.nodes[ref]
        if ref in inside and isinstance(node, Combination):
            inside.update(node.graders)
    inside.remove(grader)
    for ref, node in graph.nodes.items():
        if ref in inside and isinstance(node, Combination) and is_declared(graph, ref):
            yield ref


# --- weights --------------------------------------------------------------------------------------------


class _Linear(Record):
    """A formula as a sum: its constant, and the weight of each leaf. None where it is no such sum."""

    constant: float | None
    weights: dict[Ref, float | None]

    def scaled(self, factor: float | None) -> _Linear:
        weights = {ref: _product(weight, factor) for ref, weight in self.weights.items()}
        return _Linear(_product(self.constant, factor), weights)

    def plus(self, other: _Linear) -> _Linear:
        weights = dict(self.weights)
        for ref, weight in other.weights.items():
            weights[ref] = _sum(weights.get(ref, 0.0), weight)
        return _Linear(_sum(self.constant, other.constant), weights)


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def _product(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one * other


def _linear(graph: Graph, ref: Ref) -> _Linear:
    node = graph.nodes[ref]
    if not isinstance(node, Combination):
        return _Linear(0.0, {ref: 1.0})
    return _taken_apart(node.expression, [_linear(graph, part) for part in node.graders])


def _taken_apart(tree: Tree, graders: Sequence[_Linear]) -> _Linear:
    operation, *operands = tree
    match operation:
        case "grader":
            return graders[operands[0]]
        case "constant":
            value = operands[0]
            return _Linear(float(value) if isinstance(value, int | float) else None, {})
    parts = [_taken_apart(operand, graders) for operand in operands]
    first, last = parts[0], parts[-1]
    match operation:
        case "-" if len(parts) == 1:
            return first.scaled(-1.0)
        case "+":
            return first.plus(last)
        case "-":
            return first.plus(last.scaled(-1.0))
        case "*" if not first.weights:
            return last.scaled(first.constant)
        case "*" if not last.weights:
            return first.scaled(last.constant)
        case "/" if not last.weights and last.constant:
            return first.scaled(1 / last.constant)
        case "mean":
            total = first
            for part in parts[1:]:
                total = total.plus(part)
            return total.scaled(1 / len(parts))
    return _Linear(None, {ref: None for part in parts for ref in part.weights})


# --- for people -----------------------------------------------------------------------------------------


def told(reward: Reward) -> Iterator[str]:
    """A reward's formula and range, those of its parts, and a table of its leaves."""
    name = f"{reward.name} = " if reward.name else ""
    yield f"{name}{reward.formula}, {between(reward.low, reward.high)}"
    for part in reward.parts:
        yield f"  {part.name} = {part.formula}, {between(part.low, part.high)}"
    rows = [("weight", "score", "range", "computed by")]
    rows += [
        (
            "not linear" if leaf.weight is None else f"{leaf.weight:g}",
            leaf.name,
            between(leaf.low, leaf.high),
            "" if leaf.computes == leaf.name else leaf.computes,
        )
        for leaf in reward.leaves
    ]
    widths = [max(len(row[place]) for row in rows) for place in range(3)]
    for row in rows:
        cells = [*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]
        yield f"  {'  '.join(cells)}".rstrip()


def between(low: float | None, high: float | None) -> str:
    """A range in words."""
    if low is None and high is None:
        return "any number"
    if low is None:
        return f"at most {high:g}"
    if high is None:
        return f"at least {low:g}"
    return f"always {low:g}" if low == high else f"{low:g} to {high:g}"
