"""Score forms: what is known of a grader's score before any completion is seen.

A score is brought into a linear form: a constant and weights of *atoms*, which no linear step can take
apart and of which only an interval is known. A form holds where its grader answers with a score at all: its
*domain* names the atoms that must apply for that. A sum leaves out what does not apply, so there a term
counts only where its own domain holds, and that makes it a term of its own.

Only what the forms prove may be said: a form that seems to vary may still be one constant.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeAlias

from harmony_compiler.graph.formulas import FUNCTIONS, ORDER, terms_of
from harmony_compiler.graph.formulas import Formula as Tree
from harmony_compiler.graph.graders import Combination, Formula, Grader
from harmony_compiler.rewards.intervals import (
    INFINITY,
    TRUTH,
    Interval,
    exactly,
    of_function,
    surely_has_value,
)
from harmony_compiler.rewards.score_leaves import (
    Scored,
    always_has_value,
    hashable,
    interval_of,
    is_number,
    reads_completion,
    scores_of,
)
from harmony_compiler.typed import UNKNOWN_DATA
from harmony_grammar.records import Record, replace

Domain: TypeAlias = frozenset[int]
"""The numbers of atoms that must all apply."""

EVERYWHERE: Domain = frozenset()

ONE = 0
"""The number of the atom that is always 1: its weight is a constant."""

TOLERANCE = 1e-9
"""A weight that is smaller than this share of what it was summed from is 0: 0.1 + 0.2 - 0.3 is."""


class Term(Record):
    weight: float
    gross: float
    """The sum of the absolute weights: above 0 with a weight of 0, the term cancels out."""

    @property
    def alive(self) -> bool:
        return abs(self.weight) > TOLERANCE * self.gross


class Form(Record):
    """A score as the sum of its terms, each an atom where a domain holds."""

    terms: dict[tuple[Domain, int], Term]
    domain: Domain = EVERYWHERE
    graded: bool = True
    """Whether a grader stands in it: constants alone are no score."""

    @property
    def constant(self) -> float:
        term = self.terms.get((EVERYWHERE, ONE))
        return term.weight if term is not None and term.alive else 0.0

    @property
    def varying(self) -> dict[tuple[Domain, int], Term]:
        """The terms beside the constant, those that cancel out included."""
        return {key: term for key, term in self.terms.items() if key != (EVERYWHERE, ONE)}

    @property
    def alive(self) -> list[tuple[Domain, int]]:
        """What makes the score vary."""
        return [key for key, term in self.varying.items() if term.alive]

    @property
    def key(self) -> Hashable:
        """Equal for forms that are worth the same."""
        weights = ((key, float(f"{term.weight:.12g}")) for key, term in self.terms.items() if term.alive)
        return self.domain, frozenset(weights)

    def scaled(self, factor: float) -> Form:
        terms = {k: Term(term.weight * factor, term.gross * abs(factor)) for k, term in self.terms.items()}
        return replace(self, terms=terms)

    def plus(self, other: Form) -> Form:
        """The sum where both apply."""
        terms = dict(self.terms)
        for key, term in other.terms.items():
            known = terms.get(key, Term(0.0, 0.0))
            terms[key] = Term(known.weight + term.weight, known.gross + term.gross)
        return Form(terms, self.domain | other.domain, self.graded or other.graded)

    def dead(self) -> Form:
        """The same terms, none of which counts."""
        terms = {key: replace(term, weight=0.0) for key, term in self.varying.items()}
        return replace(self, terms=terms)

    def spread(self) -> Form:
        """The same where it applies, and 0 elsewhere."""
        terms = {(domain | self.domain, atom): term for (domain, atom), term in self.terms.items()}
        return Form(terms, EVERYWHERE, self.graded)


def constant(number: float, graded: bool = False) -> Form:
    return Form({(EVERYWHERE, ONE): Term(float(number), abs(float(number)))}, EVERYWHERE, graded)


class _Atom(Record):
    interval: Interval
    reads: bool
    """Whether it reads the completion."""


class Forms:
    """The forms of a recipe's graders. `scores` are those of published ones, by the grader's id."""

    def __init__(self, made: Sequence[Scored], scores: Mapping[int, Interval]) -> None:
        self._scores = scores
        self._known: dict[int, Form] = {}
        self._numbers: dict[Hashable, int] = {}
        self._atoms: list[_Atom] = [_Atom(exactly(1), reads=False)]
        for grader in made:  # what a name stands for comes before its use, so that no chain is walked twice
            if issubclass(grader.cls, Grader):
                self.of(grader)

    def of(self, grader: Scored) -> Form:
        if id(grader) not in self._known:
            self._known[id(grader)] = self._under_policy(grader, self._made(grader))
        return self._known[id(grader)]

    def interval(self, form: Form) -> Interval:
        """Between which numbers the score lies, where there is one."""
        found = exactly(form.constant)
        for domain, atom in form.alive:
            own = self._atoms[atom].interval
            own = own.joined(exactly(0)) if domain else own
            found = found.plus(own.times(exactly(form.terms[domain, atom].weight)))
        return found

    def reads(self, form: Form) -> bool:
        """Whether the score, where there is one, depends on the completion."""
        return any(self._atoms[number].reads for domain, atom in form.alive for number in (*domain, atom))

    # --- graders ----------------------------------------------------------------------------------------

    def _made(self, grader: Scored) -> Form:
        if grader.cls is Formula:
            return replace(self._formula(grader.values["expression"]), graded=True)
        if grader.cls is Combination:
            return self._combination(grader)
        values = tuple(grader.values.values())
        known = UNKNOWN_DATA not in values and hashable(values)
        interval = self._scores.get(id(grader)) or scores_of(grader)
        return self._atom((grader.cls, values) if known else id(grader), interval, reads=True)

    def _under_policy(self, grader: Scored, form: Form) -> Form:
        """A failure counts as 0 where the recipe says so; else it is as if the grader did not apply."""
        if not form.domain or grader.values["on_failure"] in ("skip", "stop", None):
            return form
        return replace(form.spread(), domain=self._sometimes("zero", [form]))

    # --- atoms ------------------------------------------------------------------------------------------

    def _number(self, key: Hashable, interval: Interval, reads: bool) -> int:
        """The atom's number, which costs nothing to compare; equal keys are one atom."""
        if key not in self._numbers:
            self._numbers[key] = len(self._atoms)
            self._atoms.append(_Atom(interval, reads))
        return self._numbers[key]

    def _atom(self, key: Hashable, interval: Interval, *, reads: bool, whole: bool = False) -> Form:
        """What is a term of its own; a `whole` one applies to every completion."""
        number = self._number(key, interval, reads)
        domain = EVERYWHERE if whole else frozenset({number})
        term = Form({(EVERYWHERE, number): Term(1.0, 1.0)}, domain)
        return self._fixed(interval.low, [term], domain) if interval.single else term

    def _opaque(self, operation: str, parts: Sequence[Form], interval: Interval, domain: Domain) -> Form:
        """What no linear step can take apart; a constant where the interval leaves nothing else."""
        if interval.single:
            return self._fixed(interval.low, parts, domain)
        key = (operation, *(part.key for part in parts))
        number = self._number(key, interval, self._depends(parts))
        return Form({(EVERYWHERE, number): Term(1.0, 1.0)}, domain, any(part.graded for part in parts))

    def _fixed(self, number: float, parts: Iterable[Form], domain: Domain) -> Form:
        """One constant, whatever its parts are."""
        form = constant(number)
        for part in parts:
            form = form.plus(part.dead())
        return replace(form, domain=domain)

    def _sometimes(self, why: str, parts: Sequence[Form]) -> Domain:
        """Where something made of `parts` applies, if that cannot be said in terms of their domains."""
        key = (why, *(part.key for part in parts), "applies")
        return frozenset({self._number(key, TRUTH, self._depends(parts))})

    def _depends(self, parts: Sequence[Form]) -> bool:
        """Whether the completion decides what parts are worth, or whether they apply."""
        reads = (self._atoms[number].reads for part in parts for number in part.domain)
        return any(self.reads(part) for part in parts) or any(reads)

    # --- formulas: what has no value takes the whole with it --------------------------------------------

    def _formula(self, tree: Tree) -> Form:
        operation, *operands = tree
        if operation == "constant" and isinstance(operands[0], int | float):
            return constant(operands[0])
        arithmetic = operation in ("-", "*", "/", "//") or (operation == "+" and is_number(tree))
        function = operation in FUNCTIONS and FUNCTIONS[operation].of_scores
        condition = operation in ("==", "!=", "and", "or", "not") or operation in ORDER
        if not (arithmetic or function or condition or operation == "if"):
            return self._atom(
                tree, interval_of(tree), reads=reads_completion(tree), whole=always_has_value(tree)
            )
        parts = [self._formula(operand) for operand in operands]
        if operation == "if":
            return self._chosen(operands, parts, in_formula=True)
        return self._condition(operation, parts) if condition else self._computed(operation, parts)

    def _computed(self, operation: str, parts: Sequence[Form], failing: list[Form] | None = None) -> Form:
        """An operator or function of numbers. What may fail goes to `failing`, or narrows the domain."""
        domain = EVERYWHERE.union(*(part.domain for part in parts))
        intervals = [self.interval(part) for part in parts]
        if operation in _PARTIAL and not surely_has_value(operation, intervals):
            if failing is None:
                domain |= self._sometimes(operation, parts)
            else:
                failing.extend(parts)
        form = self._linear(operation, parts, intervals)
        if form is None:
            form = self._opaque(operation, parts, _bounds(operation, intervals), domain)
        return replace(form, domain=domain, graded=any(part.graded for part in parts))

    @staticmethod
    def _linear(operation: str, parts: Sequence[Form], intervals: Sequence[Interval]) -> Form | None:
        first, last = parts[0], parts[-1]
        match operation:
            case "-" if len(parts) == 1:
                return first.scaled(-1.0)
            case "+" | "-":
                return first.plus(last.scaled(1.0 if operation == "+" else -1.0))
            case "*" if not first.alive:
                return last.scaled(first.constant).plus(first.dead())
            case "*" if not last.alive:
                return first.scaled(last.constant).plus(last.dead())
            case "/" if not last.alive and last.constant:
                return first.scaled(1 / last.constant).plus(last.dead())
            case "mean":
                total = first
                for part in parts[1:]:
                    total = total.plus(part)
                return total.scaled(1 / len(parts))
            case "min" | "max" if len({part.key for part in parts}) == 1:
                return first
            case "abs" if intervals[0].low >= 0:
                return first
            case "clamp" if intervals[1].high <= intervals[0].low and intervals[0].high <= intervals[2].low:
                return first.plus(parts[1].dead()).plus(last.dead())
        return None

    def _chosen(self, trees: Sequence[Tree], parts: Sequence[Form], *, in_formula: bool) -> Form:
        """`if`: a condition that does not apply does not hold, but in a formula one may also fail."""
        condition, then, otherwise = parts
        sure = not condition.domain or not in_formula
        decided = None if condition.alive else bool(condition.constant)
        same = decided is False or (decided is True and not condition.domain) or then.key == otherwise.key
        if same:
            chosen = then if decided else otherwise
            domain = chosen.domain if sure else self._sometimes("if", parts)
            return replace(chosen.plus(condition.dead()), domain=domain, graded=True)
        for tree, other in ((trees[1], otherwise), (trees[2], then)):
            if tree == ("constant", None):  # there it never applies
                domain = self._sometimes("if", parts)
                return replace(other.plus(condition.dead()), domain=domain, graded=True)
        alike = then.domain == otherwise.domain and sure
        domain = then.domain if alike else self._sometimes("if", parts)
        interval = self.interval(then).joined(self.interval(otherwise))
        return replace(self._opaque("if", parts, interval, domain), graded=True)

    # --- conditions -------------------------------------------------------------------------------------

    def _condition(self, operation: str, parts: Sequence[Form]) -> Form:
        """1 or 0: what is true or false of numbers, texts or other conditions."""
        if operation == "not":
            return constant(1.0).plus(parts[0].scaled(-1.0))
        domain = EVERYWHERE.union(*(part.domain for part in parts))
        if domain and operation not in ORDER:  # what is none equals nothing; a known operand may decide alone
            domain = self._sometimes(operation, parts)
        holds = _junction(operation, parts)
        if operation not in ("and", "or"):
            holds = self._compared(operation, *parts)
        if holds is not None:
            return self._fixed(float(holds), parts, domain)
        return self._opaque(operation, parts, TRUTH, domain)

    def _compared(self, operation: str, left: Form, right: Form) -> bool | None:
        """Whether a comparison holds for every completion, or for none; None where neither is known."""
        if left.key == right.key:
            return operation in ("==", "<=", ">=")
        difference = left.plus(right.scaled(-1.0))
        low, high = self.interval(difference)
        hair = 0.0 if self._is_whole(difference) else TOLERANCE * self._size(difference)
        above, below = low > hair, high < -hair
        if operation in ("==", "!="):
            apart = (above or below) and not difference.domain
            return (operation == "!=") if apart else None
        if operation in (">", "<="):
            low, high, above, below = -high, -low, below, above
            operation = {">": "<", "<=": ">="}[operation]
        not_below = above or (low >= 0 and hair == 0)
        if operation == "<":
            return True if below else False if not_below else None
        return True if not_below else False if below else None

    def _is_whole(self, form: Form) -> bool:
        """Whether only whole numbers are computed, for which floats are exact."""
        ends = [end for _, atom in form.alive for end in self._atoms[atom].interval]
        numbers = [*(term.weight for term in form.terms.values()), *ends]
        return all(number in (-INFINITY, INFINITY) or number == int(number) for number in numbers)

    def _size(self, form: Form) -> float:
        """How large the numbers are from which a form is computed."""
        size = 0.0
        for (_, atom), term in form.terms.items():
            ends = [abs(end) for end in self._atoms[atom].interval if abs(end) < INFINITY]
            size += term.gross * max(1.0, *ends, 0.0)
        return size

    # --- combinations: what does not apply is left out of sums, means, `min` and `max` -------------------

    def _combination(self, grader: Scored) -> Form:
        """An operation that fails takes the whole with it; what merely does not apply is left out."""
        failing: list[Form] = []
        graders = [self.of(part) for part in grader.values["graders"]]
        form = self._combined(grader.values["expression"], graders, failing)
        return replace(form, domain=self._sometimes("fails", [form, *failing])) if failing else form

    def _combined(self, tree: Tree, graders: Sequence[Form], failing: list[Form]) -> Form:
        operation, *operands = tree
        match operation:
            case "grader":
                return graders[operands[0]]
            case "constant":
                return replace(self._formula(tree), graded=False)
            case "+" | "-":
                return self._sum(
                    [(sign, self._combined(term, graders, failing)) for sign, term in terms_of(tree)]
                )
        parts = [self._combined(operand, graders, failing) for operand in operands]
        if operation == "if":
            return self._chosen(operands, parts, in_formula=False)
        if operation in ("mean", "min", "max") and len(_graded_domains(parts)) > 1:
            around = self.interval(parts[0])
            for part in parts[1:]:
                around = around.joined(self.interval(part))
            return self._opaque(operation, parts, around, self._where_any_applies(parts))
        return self._computed(operation, parts, failing)

    def _sum(self, terms: Sequence[tuple[float, Form]]) -> Form:
        parts = [part.scaled(sign) for sign, part in terms]
        domains = _graded_domains(parts)
        whole = next(iter(domains), EVERYWHERE) if len(domains) < 2 else self._where_any_applies(parts)
        total = constant(0.0)
        for part in parts:
            total = total.plus(part.spread() if len(domains) > 1 and part.graded else part)
        return replace(total, domain=whole)

    def _where_any_applies(self, parts: Sequence[Form]) -> Domain:
        return EVERYWHERE if EVERYWHERE in _graded_domains(parts) else self._sometimes("any", parts)


_PARTIAL = ("/", "//", "clamp", "sqrt", "exp", "log")
"""Operations that have no value for some numbers."""


def _bounds(operation: str, intervals: Sequence[Interval]) -> Interval:
    match operation:
        case "*":
            return intervals[0].times(intervals[1])
        case "/":
            return intervals[0].over(intervals[1])
        case "//":
            return of_function("//", [intervals[0].over(intervals[1])])
    return of_function(operation, intervals)


def _junction(operation: str, parts: Sequence[Form]) -> bool | None:
    """What `and` or `or` is worth where one operand decides, or all are known; else None."""
    known = {bool(part.constant) for part in parts if not part.alive}
    if (operation == "or") in known:
        return operation == "or"
    return None if any(part.alive for part in parts) else operation == "and"


def _graded_domains(parts: Iterable[Form]) -> set[Domain]:
    return {part.domain for part in parts if part.graded}
