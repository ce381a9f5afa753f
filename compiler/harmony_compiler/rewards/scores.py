"""Scores: the algebra of graders.

A grader stands for its score, so operators and functions of scores make a grader again. A per-completion
number or condition is a grader too, a `Formula`; where it meets another grader it becomes a leaf of its own,
so that it is logged.
"""

from __future__ import annotations

from collections.abc import Sequence

from harmony_compiler.graph.formulas import renumbered
from harmony_compiler.graph.graders import Combination, Formula
from harmony_compiler.graph.node import Constructor, schema
from harmony_compiler.graph.types import BOOL, FLOAT, FORMULA, GRADER, INT, NONE, ListOf
from harmony_compiler.rewards.arithmetic import WrongOperandsError, refuse_zero
from harmony_compiler.rewards.formulas import asked, formula_of, is_number, joined
from harmony_compiler.typed import NOBODY, Graded, Made, Value, plain
from harmony_grammar.records import replace
from harmony_grammar.source import Span

MEND = (
    "a grader stands for its score, and takes `+ - * /` and the functions of numbers; "
    "for other questions write a formula over `completion`"
)


def as_grader(value: Value) -> Value | None:
    """A per-completion number or condition as a grader; None for any other value."""
    value = asked(value, FLOAT)
    if not isinstance(value.data, Graded) or value.type not in (BOOL, INT, FLOAT):
        return None
    return _made(Formula, {"expression": Value(FORMULA, value.data, value.span)}, value.span)


def combined(symbol: str, operands: Sequence[Value], span: Span) -> Value:
    """An operator or function of scores, of which at least one operand is a grader."""
    if symbol != "if" and any(operand.type == NONE for operand in operands):
        raise WrongOperandsError(MEND)
    refuse_zero(symbol, operands[-1])
    graders: list[Value] = []
    tree = Value(FORMULA, joined((symbol,), [_term(operand, graders) for operand in operands]), span)
    parts = Value(ListOf(GRADER), tuple(graders), span)
    value = _made(Combination, {"expression": tree, "graders": parts}, span)
    return Value(GRADER, value.data, span, by=NOBODY.union(*(operand.by for operand in operands)))


def chosen(condition: Value, then: Value, otherwise: Value, span: Span) -> Value:
    """`if condition then … else …` with a grader in a branch; the condition is a leaf, 1 or 0.

    A branch that is `none` does not apply.
    """
    return combined("if", (condition, then, otherwise), span)


def _term(operand: Value, graders: list[Value]) -> Graded:
    """An operand as a formula over `graders`, which grows by those that it brings."""
    made = operand.data
    if isinstance(made, Made) and operand.type == GRADER:
        written = made.given.keys() - {"expression", "graders"}
        if made.cls is Combination and not operand.named and not written:
            inner: Graded = made.given["expression"].data
            numbers = [_number(part, graders) for part in made.given["graders"].data]
            return replace(inner, tree=renumbered(inner.tree, numbers))
        return Graded(("grader", _number(operand, graders)))
    leaf = as_grader(operand)
    if leaf is not None:
        return Graded(("grader", _number(leaf, graders)))
    if operand.type != NONE and not is_number(operand):
        raise WrongOperandsError(MEND)
    return formula_of(operand)


def _number(grader: Value, graders: list[Value]) -> int:
    for place, known in enumerate(graders):
        if known.data is grader.data:
            return place
    graders.append(grader)
    return len(graders) - 1


def _made(cls: type[Constructor], given: dict[str, Value], span: Span) -> Value:
    values = {name: spec.default for name, spec in schema(cls).items()}
    values |= {name: plain(value) for name, value in given.items()}
    return Value(GRADER, Made(cls, given, values, span, span), span)
