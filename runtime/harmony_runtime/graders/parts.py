"""The parts of a panel: every grader that its roots need, made, named, and bounded. No torch here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harmony_compiler.graph import graders as nodes
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.values import Ref
from harmony_runtime.failures import RunFailed, place
from harmony_runtime.graders.answered import in_words
from harmony_runtime.graders.bounds import Bounds
from harmony_runtime.graders.kept import Kept
from harmony_runtime.graders.kinds import Asked, OnDevice, Rule
from harmony_runtime.graders.making import BUILT_IN, Bench, Factories
from harmony_runtime.graders.protocol import Grade, Grader, Sample
from harmony_runtime.graders.workers.pool import Workers


@dataclass(frozen=True)
class Part:
    """One grader of a panel."""

    ref: Ref
    name: str
    node: nodes.Grader
    grader: Grader | None
    """None for a combination, which sees scores and no sample."""
    bounds: Bounds | None
    """How it is asked, where it is waited for."""

    @property
    def is_hosted(self) -> bool:
        """Whether it is set up and torn down."""
        return self.grader is not None and not isinstance(self.grader, Rule)

    @property
    def waits(self) -> bool:
        """Whether it costs more than computing."""
        return self.is_hosted and not isinstance(self.grader, InWorker)


class Shared(Grader):
    """What the graders of a panel share: it goes when they are gone."""

    def __init__(self, bench: Bench) -> None:
        self.workers = Workers()
        self.kept = Kept(bench.kept, bench.warn) if bench.kept else None

    async def tear_down(self) -> None:
        await self.workers.close()
        if self.kept is not None:
            self.kept.close()


class InWorker(Asked):
    """A rule that may take long, in a process that can be ended."""

    usual_concurrency = 1_000_000
    """How many are computed at the same time the pool decides."""
    keeps_time = True

    def __init__(self, node: nodes.Grader, rule: Rule, workers: Workers) -> None:
        self._node = node
        self._workers = workers
        self._seconds = node.timeout.seconds if node.timeout else rule.usual_timeout

    async def grade(self, sample: Sample) -> Grade:
        return await self._workers.grade(self._node, sample, self._seconds)


def parts_of(
    bench: Bench, roots: Sequence[Ref], names: Mapping[Ref, str], factories: Factories, shared: Shared
) -> list[Part]:
    """The graders that the roots need: leaves first, each combination after what it combines.

    Raises:
        RunFailed: a grader cannot be made.
    """
    graph, made = bench.graph, dict[Ref, Part]()
    one_a_grader: dict[int, Bounds] = {}
    for ref, name in _names(graph, _reachable(graph, roots), names).items():
        node = graph.nodes[ref]
        assert isinstance(node, nodes.Grader)
        grader = _made(bench, ref, node, {**BUILT_IN, **factories})
        if isinstance(grader, Rule) and grader.may_hang:
            grader = InWorker(node, grader, shared.workers)
        bounds = None
        if grader is not None and not isinstance(grader, Rule | OnDevice):
            new = Bounds(grader, node, bench.keys.get(ref, ""), shared.kept)
            bounds = one_a_grader.setdefault(id(grader), new)
        made[ref] = Part(ref, name, node, grader, bounds)
    return list(made.values())


def _reachable(graph: Graph, roots: Iterable[Ref]) -> list[Ref]:
    """Every grader that the roots need: leaves first, then combinations in the order of the graph."""
    found: set[Ref] = set()
    open_ = list(roots)
    while open_:
        ref = open_.pop()
        if ref not in found and isinstance(graph.nodes[ref], nodes.Grader):
            found.add(ref)
            open_.extend(graph.needs(ref))
    in_order = [ref for ref in graph.nodes if ref in found]
    return sorted(in_order, key=lambda ref: isinstance(graph.nodes[ref], nodes.Combination))


def _names(graph: Graph, refs: Sequence[Ref], given: Mapping[Ref, str]) -> dict[Ref, str]:
    """A name for each, no two alike; those that are `given` come first to theirs."""
    names: dict[Ref, str] = {}
    for ref in sorted(refs, key=lambda ref: ref not in given):
        wanted = name = given.get(ref) or graph.stage_name(ref)
        number = 1
        while name in names.values():
            number += 1
            name = f"{wanted} ({number})"
        names[ref] = name
    return {ref: names[ref] for ref in refs}


def _made(bench: Bench, ref: Ref, node: nodes.Grader, factories: Factories) -> Grader | None:
    if isinstance(node, nodes.Combination):
        return None
    where = place(bench.graph, ref)
    factory = factories.get(type(node))
    if factory is None:
        raise RunFailed(f"{where}this version has no grader `{node.constructor}`", exit_code=2)
    try:
        return factory(node, bench)
    except RunFailed as fault:
        raise RunFailed(f"{where}{fault}", exit_code=fault.exit_code) from fault
    except Exception as fault:
        raise RunFailed(f"{where}the grader cannot be made: {in_words(fault)}") from fault
