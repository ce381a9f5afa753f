"""Sense: rewards from which nothing can be learned.

Completions of one prompt are compared with one another, so a reward that is one constant, or that never
reads the completion, teaches nothing. A reward is brought into a linear form, exact in fractions: a constant
and weights of terms that no linear step can take apart. Only what this form proves is said.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from harmony_compiler.findings.graph import BlindReward, ConstantReward, ZeroWeights
from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.formulas import FUNCTIONS
from harmony_compiler.graph.formulas import Formula as Tree
from harmony_compiler.graph.graders import Combination, Formula, Grader
from harmony_compiler.graph.types import GRADER
from harmony_compiler.typed import UNKNOWN_DATA, Made
from harmony_grammar.diagnostics import Diagnostic, Label

if TYPE_CHECKING:
    from fractions import Fraction


def senseless(made: Sequence[Made]) -> Iterator[Diagnostic]:
    """Training stages whose reward cannot tell completions apart."""
    rewarded = [stage for stage in made if issubclass(stage.cls, Algorithm) and _reward(stage) is not None]
    forms = _Forms(made) if rewarded else None
    for stage in rewarded:
        if (reward := _reward(stage)) is not None and forms is not None:
            yield from _judged(stage, reward, forms.of(reward))


def _reward(stage: Made) -> Made | None:
    value = stage.given.get("grader")
    return value.data if value is not None and value.type == GRADER else None


def _judged(stage: Made, reward: Made, form: _Form) -> Iterator[Diagnostic]:
    span = stage.given["grader"].span
    labels = (Label(reward.span, "the reward"),) if reward.span != span else ()
    alive = form.alive
    if all(term.gross == 0 for term in form.terms.values()):
        yield ZeroWeights(span=span, labels=labels)
    elif not alive:
        yield ConstantReward(span=span, value=f"{float(form.constant):g}", labels=labels)
    elif not any(term.reads for term in alive.values()):
        yield BlindReward(span=span, labels=labels)


class _Term(NamedTuple):
    weight: Fraction
    gross: Fraction
    """The sum of the absolute weights: above 0 with a weight of 0, the term cancels out."""
    reads: bool
    """Whether it reads the completion."""


class _Form(NamedTuple):
    """`constant` plus the weighted terms."""

    constant: Fraction
    terms: dict[int, _Term]

    @property
    def alive(self) -> dict[Hashable, _Term]:
        """The terms that do not cancel out."""
        return {key: term for key, term in self.terms.items() if term.weight}

    @property
    def key(self) -> Hashable:
        """Equal for forms that are worth the same."""
        return self.constant, frozenset((key, term.weight) for key, term in self.alive.items())

    def scaled(self, factor: Fraction) -> _Form:
        terms = {
            key: _Term(term.weight * factor, term.gross * abs(factor), term.reads)
            for key, term in self.terms.items()
        }
        return _Form(self.constant * factor, terms)

    def plus(self, other: _Form) -> _Form:
        terms = dict(self.terms)
        for key, term in other.terms.items():
            known = terms.get(key)
            terms[key] = term if known is None else _Term(
                known.weight + term.weight, known.gross + term.gross, term.reads
            )  # fmt: skip
        return _Form(self.constant + other.constant, terms)

    def fixed(self, constant: Fraction) -> _Form:
        """One constant, whatever the terms are."""
        return _Form(constant, {k: term._replace(weight=constant * 0) for k, term in self.terms.items()})


def _exact(number: float) -> Fraction:
    from fractions import Fraction  # only a recipe with a reward pays for it

    # By the decimal that the recipe writes: in floats, 0.1 + 0.2 - 0.3 is not 0.
    return Fraction(repr(number)) if isinstance(number, float) else Fraction(number)


class _Forms:
    """The linear forms of a recipe's graders."""

    def __init__(self, made: Sequence[Made]) -> None:
        self._known: dict[int, _Form] = {}
        self._numbers: dict[Hashable, int] = {}
        for grader in made:  # what a name stands for comes before its use, so that no chain is walked twice
            if issubclass(grader.cls, Grader):
                self.of(grader)

    def of(self, grader: Made) -> _Form:
        if id(grader) not in self._known:
            self._known[id(grader)] = self._made(grader)
        return self._known[id(grader)]

    def _made(self, grader: Made) -> _Form:
        if grader.cls is Formula:
            return self._form(grader.values["expression"], ())
        if grader.cls is Combination:
            graders = [self.of(part) for part in grader.values["graders"]]
            return self._form(grader.values["expression"], graders)
        values = tuple(grader.values.values())
        unknown = any(value is UNKNOWN_DATA for value in values)
        return self._atom(id(grader) if unknown else (grader.cls.constructor, values), reads=True)

    def _atom(self, key: Hashable, reads: bool) -> _Form:
        """A term of its own; equal keys are one term, under a number that costs nothing to compare."""
        number = self._numbers.setdefault(key, len(self._numbers))
        return _Form(_exact(0), {number: _Term(_exact(1), _exact(1), reads)})

    def _opaque(self, operation: str, parts: Sequence[_Form]) -> _Form:
        """What no linear step can take apart."""
        reads = any(term.reads for part in parts for term in part.alive.values())
        return self._atom((operation, *(part.key for part in parts)), reads)

    def _form(self, tree: Tree, graders: Sequence[_Form]) -> _Form:
        operation, *operands = tree
        match operation:
            case "constant" if isinstance(operands[0], int | float):
                return _Form(_exact(operands[0]), {})
            case "grader":
                return graders[operands[0]]
            case "+" | "-" | "*" | "/" | "if" | "==" | "and" | "or":
                parts = [self._form(operand, graders) for operand in operands]
                return _of_operator(operation, parts) or self._opaque(operation, parts)
            case _ if operation in FUNCTIONS and FUNCTIONS[operation].of_scores:
                parts = [self._form(operand, graders) for operand in operands]
                return _of_function(operation, parts) or self._opaque(operation, parts)
        return self._atom(tree, reads=_reads_completion(tree))


def _of_operator(symbol: str, parts: Sequence[_Form]) -> _Form | None:
    first, last = parts[0], parts[-1]
    match symbol:
        case "-" if len(parts) == 1:
            return first.scaled(_exact(-1))
        case "+":
            return first.plus(last)
        case "-":
            return first.plus(last.scaled(_exact(-1)))
        case "*" if not first.alive:
            return last.scaled(first.constant).plus(first.fixed(_exact(0)))
        case "*" if not last.alive:
            return first.scaled(last.constant).plus(last.fixed(_exact(0)))
        case "/" if not last.alive and last.constant:
            return first.scaled(1 / last.constant).plus(last.fixed(_exact(0)))
        case "if" if parts[1].key == last.key:
            return last.plus(first.fixed(_exact(0)))
        case "==" if first.key == last.key:
            return first.fixed(_exact(1))
        case "and" | "or" if any(not part.alive and part.constant == (symbol == "or") for part in parts):
            return first.plus(last).fixed(_exact(symbol == "or"))
    return None


def _of_function(name: str, parts: Sequence[_Form]) -> _Form | None:
    first = parts[0]
    alive = any(part.alive for part in parts)
    if name in ("mean", "min", "max"):  # an argument that does not apply is left out
        return first if not alive and len({part.key for part in parts}) == 1 else None
    if name == "clamp" and parts[1].key == parts[2].key and not parts[1].alive:
        return first.fixed(parts[1].constant)
    if alive:
        return None
    try:
        return first.fixed(_exact(FUNCTIONS[name].compute(*(float(part.constant) for part in parts))))
    except (ValueError, OverflowError):
        return None  # it has no value, which is a failure of the grade


def _reads_completion(tree: Tree) -> bool:
    return tree[:2] == ("read", "completion") or any(
        _reads_completion(part) for part in tree if isinstance(part, tuple)
    )
