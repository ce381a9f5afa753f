"""The grading room: the graders of a reward or of an evaluation, asked about many samples. No torch here.

Samples go in, a verdict each comes out. Whatever a grader does wrong is a `Failure` in the verdict, never an
exception; what follows from it is the policy of the grader's node (`on_failure`, `max_failure_rate`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from types import TracebackType
from typing import TypeGuard

from harmony_compiler.graph import graders as nodes
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.values import Ref
from harmony_runtime.failures import RunFailed, place
from harmony_runtime.graders.answered import failure_of, in_words
from harmony_runtime.graders.builtin import BUILT_IN, Factories, Rule
from harmony_runtime.graders.formulas import NoValueError, combine
from harmony_runtime.graders.hosting import Hosting
from harmony_runtime.graders.protocol import DoesNotApply, Failure, Grade, Grader, Sample, Score
from harmony_runtime.watch import Measured

ASKED_FROM = 20
"""The grade from which on `max_failure_rate` is asked: one failure of three says little."""


@dataclass(frozen=True)
class Verdict:
    """What the graders make of one sample."""

    scores: tuple[float | None, ...]
    """One a root, after the policies; None where nothing applied."""
    grades: Mapping[str, Grade]
    """What each grader itself answered, by name: leaves first, each combination after what it combines."""


@dataclass(frozen=True)
class _Part:
    """One grader of the panel."""

    ref: Ref
    name: str
    node: nodes.Grader
    grader: Grader | None
    """None for a combination, which sees scores and no sample."""


class Panel:
    """The graders of one or more roots, each set up once, however many combinations share it.

    In a run of several processes each has a panel of its own and grades its share of the samples with
    `grade`. `admit` then takes the verdicts of all of them, so that every process counts, and stops, alike.
    """

    def __init__(
        self,
        graph: Graph,
        roots: Sequence[Ref],
        names: Mapping[Ref, str] | None = None,
        *,
        factories: Factories | None = None,
    ) -> None:
        """Make the graders. `names` goes before the recipe's names, `factories` before those of the language.

        Raises:
            RunFailed: a grader cannot be made.
        """
        self._graph = graph
        self._roots = tuple(roots)
        made: Factories = {**BUILT_IN, **(factories or {})}
        named = _names(graph, _reachable(graph, roots), names or {})
        self._parts = [_made(graph, ref, name, made) for ref, name in named.items()]
        waiting = [(part.grader, place(graph, part.ref)) for part in self._parts if _waits(part.grader)]
        self._hosting = Hosting(list({id(grader): (grader, where) for grader, where in waiting}.values()))
        self._graded: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()

    def __enter__(self) -> Panel:
        self._hosting.set_up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hosting.tear_down(fault)

    @property
    def roots(self) -> tuple[str, ...]:
        """The roots by name, as `Verdict.scores` has them."""
        names = {part.ref: part.name for part in self._parts}
        return tuple(names[ref] for ref in self._roots)

    @property
    def names(self) -> tuple[str, ...]:
        """Every grader: leaves first, each combination after what it combines."""
        return tuple(part.name for part in self._parts)

    @property
    def parts(self) -> tuple[str, ...]:
        """What the roots are made of: every grader but the roots that combine others."""
        return tuple(p.name for p in self._parts if p.grader is not None or p.ref not in self._roots)

    def grade(self, samples: Sequence[Sample], graded: Callable[[], None] = lambda: None) -> list[Verdict]:
        """The verdict on each sample, in order. Nothing is counted: that is what `admit` does. `graded` is
        called after each grade that had to be waited for."""
        waiting = [part.grader for part in self._parts if _waits(part.grader)]
        questions = [(grader, sample) for sample in samples for grader in waiting]
        answers = iter(self._hosting.ask(questions, graded))
        return [self._verdict(sample, answers) for sample in samples]

    def admit(self, verdicts: Sequence[Verdict]) -> None:
        """Count the failures among verdicts and do what the policies say.

        Raises:
            RunFailed: a grade failed whose grader says `on_failure = "stop"`, or too many did.
        """
        stops = [self._counted(part, [v.grades[part.name] for v in verdicts]) for part in self._parts]
        if any(stops):
            raise RunFailed(*filter(None, stops))

    def state(self) -> dict[str, dict[str, int]]:
        """How many grades there were and how many failed, by grader."""
        return {"graded": dict(self._graded), "failed": dict(self._failed)}

    def restore(self, state: Mapping[str, Mapping[str, int]]) -> None:
        self._graded, self._failed = Counter(state["graded"]), Counter(state["failed"])

    def _verdict(self, sample: Sample, answers: Iterator[Grade]) -> Verdict:
        grades: dict[str, Grade] = {}
        scores: dict[Ref, float | None] = {}
        for part in self._parts:
            match part.grader:
                case None:
                    grade = _combined(part.node, scores)
                case Rule() as rule:
                    grade = _computed(rule, sample)
                case _:
                    grade = next(answers)
            grades[part.name] = grade
            scores[part.ref] = _score(grade, part.node)
        return Verdict(tuple(scores[root] for root in self._roots), grades)

    def _counted(self, part: _Part, grades: Sequence[Grade]) -> str:
        """Why the run has to stop, or an empty text."""
        reasons = [grade.reason for grade in grades if isinstance(grade, Failure)]
        self._graded[part.name] += len(grades)
        self._failed[part.name] += len(reasons)
        where = place(self._graph, part.ref)
        if reasons and part.node.on_failure == "stop":
            return (
                f'{where}a grade failed, and the grader says `on_failure = "stop"`: {reasons[0]}. '
                'Mend the cause, or let `on_failure = "skip"` leave such completions without this grade'
            )
        graded, failed, limit = self._graded[part.name], self._failed[part.name], part.node.max_failure_rate
        if graded < ASKED_FROM or failed * 100 <= limit.value * graded:
            return ""
        last = f": {reasons[-1]}" if reasons else ""
        return (
            f"{where}{failed:,} of {graded:,} grades failed, and `max_failure_rate` is {limit}{last}. "
            "Mend the cause, or raise `max_failure_rate`"
        )


def measured(verdicts: Iterable[Verdict]) -> dict[str, Measured]:
    """What each grader itself answered, summed up by name."""
    by_name: dict[str, list[Grade]] = {}
    for verdict in verdicts:
        for name, grade in verdict.grades.items():
            by_name.setdefault(name, []).append(grade)
    return {name: _summed(grades) for name, grades in by_name.items()}


def _summed(grades: Sequence[Grade]) -> Measured:
    scores = [grade.value for grade in grades if isinstance(grade, Score)]
    return Measured(
        mean=fsum(scores) / len(scores) if scores else None,
        count=len(scores),
        not_applicable=sum(isinstance(grade, DoesNotApply) for grade in grades),
        failed=sum(isinstance(grade, Failure) for grade in grades),
    )


# --- making ---------------------------------------------------------------------------------------------


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


def _made(graph: Graph, ref: Ref, name: str, factories: Factories) -> _Part:
    node = graph.nodes[ref]
    assert isinstance(node, nodes.Grader)
    if isinstance(node, nodes.Combination):
        return _Part(ref, name, node, None)
    where = place(graph, ref)
    factory = factories.get(type(node))
    if factory is None:
        raise RunFailed(f"{where}this version has no grader `{node.constructor}`", exit_code=2)
    try:
        return _Part(ref, name, node, factory(node))
    except RunFailed as fault:
        raise RunFailed(f"{where}{fault}") from fault
    except Exception as fault:
        raise RunFailed(f"{where}the grader cannot be made: {in_words(fault)}") from fault


def _waits(grader: Grader | None) -> TypeGuard[Grader]:
    return grader is not None and not isinstance(grader, Rule)


# --- grading --------------------------------------------------------------------------------------------


def _computed(rule: Rule, sample: Sample) -> Grade:
    try:
        return rule.apply(sample)
    except Exception as fault:
        return failure_of(fault)


def _combined(node: nodes.Grader, scores: Mapping[Ref, float | None]) -> Grade:
    assert isinstance(node, nodes.Combination)
    try:
        score = combine(node.expression, [scores[ref] for ref in node.graders])
    except NoValueError as fault:
        return Failure(str(fault))
    return DoesNotApply("what it combines does not apply") if score is None else Score(score)


def _score(grade: Grade, node: nodes.Grader) -> float | None:
    """What a combination, or the run, sees of a grade: the policy of its grader decides about a failure."""
    match grade:
        case Score(value=value):
            return value
        case Failure() if node.on_failure == "zero":
            return 0.0
    return None
