"""The grading room: the graders of a reward or of an evaluation, asked about many samples. No torch here.

Samples go in, a verdict each comes out. Whatever a grader does wrong is a `Failure` in the verdict, never an
exception; what follows from it is the policy of the grader's node (`on_failure`, `max_failure_rate`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any

from harmony_compiler.graph.values import Ref
from harmony_runtime.failures import RunFailed, Together, place
from harmony_runtime.graders.grading import Grading, Verdict, allowance
from harmony_runtime.graders.hosting import Hosting
from harmony_runtime.graders.kinds import Asked
from harmony_runtime.graders.making import Bench, Factories
from harmony_runtime.graders.parts import Part, Shared, parts_of
from harmony_runtime.graders.protocol import Failure, Sample

ASKED_FROM = 20
"""The grade from which on `max_failure_rate` is asked: one failure of three says little."""


class PolicyStop(RunFailed):
    """A grader's policy ends the run."""


class Panel:
    """The graders of one or more roots, each set up once, however many combinations share it.

    In a run of several processes each has a panel of its own and grades its share of the samples with
    `grade`. `admit` then takes the verdicts of all of them, so that every process counts, and stops, alike.
    """

    def __init__(
        self,
        bench: Bench,
        roots: Sequence[Ref],
        names: Mapping[Ref, str] | None = None,
        *,
        factories: Factories | None = None,
    ) -> None:
        """Make the graders. `names` goes before the recipe's names, `factories` before those of the language.

        Raises:
            RunFailed: a grader cannot be made.
        """
        self._graph = bench.graph
        self._roots = tuple(roots)
        shared = Shared(bench)
        self._parts = parts_of(bench, roots, names or {}, factories or {}, shared)
        hosted = {id(part.grader): (part.grader, self._place(part)) for part in self._parts if part.is_hosted}
        if any(part.bounds for part in self._parts):
            hosted = {id(shared): (shared, ""), **hosted}
        self._hosting = Hosting([(grader, where) for grader, where in hosted.values() if grader is not None])
        self._graded: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._spent: dict[str, Counter[str]] = {}

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

    def check(self, rows: Callable[[], Sequence[Mapping[str, Any]]]) -> None:
        """Ask every grader, before any weight is loaded, whether all is there that it needs. `rows` gives the
        metadata of what will be graded. The panel need not be entered.

        Raises:
            RunFailed: something is missing.
        """
        asked = [(part.grader, self._place(part)) for part in self._parts if isinstance(part.grader, Asked)]
        held = rows() if asked else []
        hosting, faults = Hosting([]), Together()
        try:
            for grader, where in asked:
                with faults:
                    hosting.call(grader.check, where, held)
        finally:
            hosting.tear_down()
        faults.raise_any()

    def grading(self, tick: Callable[[int], None] = lambda graded: None) -> Grading:
        """One round of samples: to be entered, and fed as samples come. `tick` is called while it waits, with
        the number of samples that are graded."""
        return Grading(self._parts, self._roots, self._hosting, self._left(), tick)

    def grade(
        self, samples: Sequence[Sample], tick: Callable[[int], None] = lambda graded: None
    ) -> list[Verdict]:
        """The verdict on each sample, in order. Nothing is counted: that is what `admit` does."""
        with self.grading(tick) as grading:
            for number, sample in enumerate(samples):
                grading.put(number, sample)
            return grading.verdicts()

    def admit(self, verdicts: Sequence[Verdict]) -> None:
        """Count grades, failures and costs among the verdicts of a round, those of all processes, and do what
        the policies say.

        Raises:
            PolicyStop: a grade failed whose grader says `on_failure = "stop"`, or too many did.
        """
        stops = [self._counted(part, verdicts) for part in self._parts]
        if any(stops):
            raise PolicyStop(*filter(None, stops))

    @property
    def spent(self) -> dict[str, dict[str, int]]:
        """By name, what was asked of the graders that wait: `grades`, how many of them were `known`, `tries`,
        and the `tokens` of those that were not known."""
        return {name: dict(spent) for name, spent in self._spent.items()}

    def state(self) -> dict[str, dict[str, Any]]:
        """How many grades there were and how many failed, by grader, and what they took."""
        return {"graded": dict(self._graded), "failed": dict(self._failed), "spent": self.spent}

    def restore(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        self._graded, self._failed = Counter(state["graded"]), Counter(state["failed"])
        self._spent = {name: Counter(spent) for name, spent in state["spent"].items()}

    def _left(self) -> dict[str, int]:
        """By name, how many more samples a grader with a budget grades."""
        left = {}
        for part in self._parts:
            allowed, tokens = allowance(part.node)
            spent = self._spent.get(part.name, Counter())
            if tokens is not None and spent["budgeted_tokens"] >= tokens:
                left[part.name] = 0
            elif allowed is not None:
                left[part.name] = max(0, allowed - spent["grades"])
        return left

    def _counted(self, part: Part, verdicts: Sequence[Verdict]) -> str:
        """Why the run has to stop, or an empty text."""
        grades = [verdict.grades[part.name] for verdict in verdicts]
        reasons = [grade.reason for grade in grades if isinstance(grade, Failure)]
        self._graded[part.name] += len(grades)
        self._failed[part.name] += len(reasons)
        if part.waits:
            self._spend(part.name, verdicts)
        where = self._place(part)
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

    def _spend(self, name: str, verdicts: Iterable[Verdict]) -> None:
        costs = [verdict.costs[name] for verdict in verdicts if name in verdict.costs]
        spent = self._spent.setdefault(name, Counter())
        spent["grades"] += len(costs)
        spent["known"] += sum(cost.tries == 0 for cost in costs)
        spent["tries"] += sum(cost.tries for cost in costs)
        spent["tokens"] += sum(cost.tokens for cost in costs if cost.tries)
        # Those of known grades count for a budget, so that a repeated run comes to the same end.
        spent["budgeted_tokens"] += sum(cost.tokens for cost in costs)

    def _place(self, part: Part) -> str:
        return place(self._graph, part.ref)
