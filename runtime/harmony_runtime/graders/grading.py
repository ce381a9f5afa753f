"""One round of grading: samples come one by one, and verdicts are given when all are there. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from math import fsum, sqrt
from time import perf_counter
from types import TracebackType

from harmony_compiler.graph import graders as nodes
from harmony_compiler.graph.values import Ref
from harmony_runtime.graders.answered import failure_of, grade_of
from harmony_runtime.graders.bounds import Answered, Cost
from harmony_runtime.graders.formulas import NoValueError, combine
from harmony_runtime.graders.hosting import Hosting, Outcome
from harmony_runtime.graders.kinds import OnDevice, Rule
from harmony_runtime.graders.parts import Part
from harmony_runtime.graders.protocol import DoesNotApply, Failure, Grade, Sample, Score
from harmony_runtime.watch import Measured


@dataclass(frozen=True)
class Verdict:
    """What the graders make of one sample."""

    scores: tuple[float | None, ...]
    """One a root, after the policies; None where nothing applied."""
    grades: Mapping[str, Grade]
    """What each grader itself answered, by name: leaves first, each combination after what it combines."""
    costs: Mapping[str, Cost] = field(default_factory=dict, compare=False)
    """What each leaf took that was asked."""


class Grading:
    """A round of samples. What waits is asked as soon as a sample is put, the rest once all are there."""

    def __init__(
        self,
        parts: Sequence[Part],
        roots: Sequence[Ref],
        hosting: Hosting,
        left: Mapping[str, int],
        tick: Callable[[int], None],
    ) -> None:
        """`left` says of graders with a budget how many samples they still grade: those with the lowest
        numbers."""
        self._parts = parts
        self._roots = roots
        self._hosting = hosting
        self._left = left
        self._tell = tick
        self._samples: dict[int, Sample] = {}
        self._asked: dict[str, dict[int, Future[Outcome]]] = {part.name: {} for part in parts if part.bounds}
        self._done: dict[str, set[Future[Outcome]]] = {name: set() for name in self._asked}
        """Of those, the ones that are answered: the event loop's thread puts them here."""

    def __enter__(self) -> Grading:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if fault is not None:
            self._hosting.abandon()

    def put(self, number: int, sample: Sample) -> None:
        """`number` counts the samples of the round over all processes; each comes once, in any order."""
        self._samples[number] = sample
        for part in self._parts:
            if part.bounds is not None and self._may_ask(part, number):
                future = self._asked[part.name][number] = self._hosting.start(part.bounds.ask(sample))
                future.add_done_callback(self._done[part.name].add)

    @property
    def graded(self) -> int:
        """How many samples the slowest of the graders that wait is done with."""
        waited = (len(futures) - len(self._done[name]) for name, futures in self._asked.items())
        return len(self._samples) - max(waited, default=0)

    def verdicts(self) -> list[Verdict]:
        """The verdict on each sample, in the order of their numbers."""
        numbers = sorted(self._samples)
        answers: dict[str, dict[int, Answered]] = {}
        # What shares the devices computes while the others are waited for.
        for part in self._parts:
            if isinstance(part.grader, OnDevice):
                asked = [number for number in numbers if self._may_ask(part, number)]
                answers[part.name] = self._on_device(part.grader, asked)
        for name, futures in self._asked.items():
            outcomes = self._hosting.wait([*futures.values()], self._tick)
            answers[name] = {
                number: _answered(outcome) for number, outcome in zip(futures, outcomes, strict=True)
            }
        return [self._verdict(number, answers) for number in numbers]

    def _may_ask(self, part: Part, number: int) -> bool:
        return number < self._left.get(part.name, number + 1)

    def _tick(self) -> None:
        self._tell(self.graded)

    def _on_device(self, grader: OnDevice, numbers: Sequence[int]) -> dict[int, Answered]:
        started = perf_counter()
        samples = [self._samples[number] for number in numbers]
        try:
            grades: Iterable[Grade] = grader.grade_all(samples, self._tick) if samples else []
        except Exception as fault:
            grades = [failure_of(fault)] * len(samples)
        seconds = (perf_counter() - started) / max(1, len(samples))
        return {
            number: Answered(grade_of(grade), Cost(seconds))
            for number, grade in zip(numbers, grades, strict=True)
        }

    def _verdict(self, number: int, answers: Mapping[str, Mapping[int, Answered]]) -> Verdict:
        grades: dict[str, Grade] = {}
        costs: dict[str, Cost] = {}
        scores: dict[Ref, float | None] = {}
        for part in self._parts:
            match part.grader:
                case None:
                    grade = _combined(part.node, scores)
                case Rule() as rule:
                    started = perf_counter()
                    grade = _computed(rule, self._samples[number])
                    costs[part.name] = Cost(perf_counter() - started)
                case _ if number in answers[part.name]:
                    answered = answers[part.name][number]
                    grade, costs[part.name] = answered.grade, answered.cost
                case _:
                    grade = DoesNotApply("the budget of this grader is spent")
            grades[part.name] = grade
            scores[part.ref] = _score(grade, part.node)
        return Verdict(tuple(scores[root] for root in self._roots), grades, costs)


def allowance(node: nodes.Grader) -> tuple[int | None, int | None]:
    """How many samples, and how many tokens, a grader may cost in a stage."""
    return (node.budget, node.token_budget) if isinstance(node, nodes.Judge) else (None, None)


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


def spreads(verdicts: Iterable[Verdict]) -> dict[str, float | None]:
    """By name, the standard deviation of the scores that each grader gave; None where it gave none."""
    scores: dict[str, list[float]] = {}
    for verdict in verdicts:
        for name, grade in verdict.grades.items():
            given = scores.setdefault(name, [])
            if isinstance(grade, Score):
                given.append(grade.value)
    return {name: _spread(given) for name, given in scores.items()}


def _spread(scores: Sequence[float]) -> float | None:
    if not scores:
        return None
    mean = fsum(scores) / len(scores)
    farthest = max(abs(score - mean) for score in scores)
    if not farthest:
        return 0.0
    # As shares of the farthest: its square may be beyond 64 bits.
    return farthest * sqrt(fsum(((score - mean) / farthest) ** 2 for score in scores) / len(scores))


def _answered(outcome: Outcome) -> Answered:
    if outcome.fault is not None:  # ours: whatever a grader does wrong is within an answer
        raise outcome.fault
    answered: Answered = outcome.value
    return answered


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
