"""Formulas at run time: each rule by example, and all of them against a second, independent reading."""

from __future__ import annotations

import math
import operator
import re
from typing import Any

import pytest
from graders_support import COMPLETION, metadata
from hypothesis import example, given
from hypothesis import strategies as st

from harmony_compiler.graph.formulas import Formula
from harmony_runtime.graders.formulas import NoValueError, combine, evaluate, score_of
from harmony_runtime.graders.protocol import Sample

TURNS = ("read", "turns")
NONE = ("constant", None)
SAMPLE = Sample(
    "Paris is 4 big",
    "capital?",
    turns=({"role": "system", "content": "be brief"}, {"role": "user", "content": "capital?"}),
    metadata={
        "answer": "Paris",
        "none": None,
        "list": [1, None, [2.0]],
        "nan": math.nan,
        "inf": math.inf,
        "big": 10**30,
    },
)


def c(value: Any) -> Formula:
    return ("constant", value)


VALUES: list[tuple[Formula, Any]] = [
    (COMPLETION, "Paris is 4 big"),
    (("read", "prompt"), "capital?"),
    (metadata("answer"), "Paris"),
    (("member", ("index", TURNS, c(0)), "content"), "be brief"),
    (("member", ("index", TURNS, c(2)), "content"), None),
    (("index", TURNS, c(-1)), None),
    (("index", c("abc"), c(1)), "b"),
    (("index", c("abc"), c(3)), ""),
    (("index", c("abc"), c(-1)), ""),
    (("index", c("abc"), NONE), None),
    (("list", c(1), COMPLETION), [1, "Paris is 4 big"]),
    (("+", c("a"), c("b")), "ab"),
    (("//", c(7.5), c(2)), 3),
    (("//", c(-7), c(2)), -4),
    (("/", c(7), c(2)), 3.5),
    (("-", c(3)), -3),
    (("-", c(True)), -1),
    (("*", ("==", c(1), c(1.0)), c(0.5)), 0.5),
    (("+", NONE, c(1)), None),
    (("<", c("a"), c("b")), True),
    (("<=", c(2), c(2.0)), True),
    (("<", NONE, c(1)), None),
    (("not", NONE), None),
    (("not", c(False)), True),
    (("==", c(True), c(1)), False),
    (("==", NONE, NONE), True),
    (("!=", NONE, c(1)), True),
    (("==", metadata("list"), ("list", c(1.0), NONE, ("list", c(2)))), True),
    (("==", metadata("list"), ("list", c(True), NONE, ("list", c(2)))), False),
    (("in", c("Par"), COMPLETION), True),
    (("not in", NONE, COMPLETION), True),
    (("in", NONE, metadata("list")), True),
    (("in", c(True), metadata("list")), False),
    (("in", c(1), NONE), False),
    (("if", NONE, c(1), c(2)), 2),
    (("if", c(True), NONE, c(2)), None),
    (("if", c(True), c(1), ("/", c(1), c(0))), 1),
    (("and", c(False), ("/", c(1), c(0))), False),
    (("or", c(True), ("/", c(1), c(0))), True),
    (("and", c(True), NONE), None),
    (("or", NONE, c(True)), None),
    (("or", c(False), c(False)), False),
    (("words", COMPLETION), 4),
    (("number", c(" 1,234.5 ")), 1234.5),
    (("number", c("four")), None),
    (("+", ("number", c("four")), c(1)), None),
    (("len", metadata("list")), 3),
    (("len", c("four")), 4),
    (("matches", COMPLETION, c("[0-9]")), True),
    (("contains", COMPLETION, c("[0-9]")), False),
    (("agreement", c("abcd"), c("abxx")), 0.5),
    (("min", c(3), c(1.5), c(2)), 1.5),
    (("mean", c(1), c(2)), 1.5),
    (("max", c(1), NONE), None),
    (("min", c(True), c(2)), 1),
    (("clamp", c(1.5), c(0), c(1)), 1),
    (("round", c(2.5)), 2),
]


@pytest.mark.parametrize(("tree", "value"), VALUES, ids=[str(tree) for tree, _ in VALUES])
def test_values(tree: Formula, value: Any) -> None:
    found = evaluate(tree, SAMPLE)
    assert (found, type(found)) == (value, type(value))


FAULTS: list[tuple[Formula, str]] = [
    (metadata("anser"), "the metadata has no key `anser`"),
    (("/", c(1), c(0)), "division by zero"),
    (("//", c(1), c(0)), "division by zero"),
    (("*", c(1e308), c(10)), "a number is too large"),
    (("*", c(2**62), c(2)), "a number is too large"),
    (("//", c(1e300), c(1)), "a number is too large"),
    (("+", metadata("big"), c(1)), "a number is too large"),
    (("abs", metadata("nan")), "a number is nan"),
    (("<", metadata("inf"), c(1)), "a number is too large"),
    (metadata("nan"), "a number is nan"),
    (("exp", c(1000)), "a number is too large"),
    (("log", c(0)), "`log(0)` has no value"),
    (("sqrt", c(-1)), "`sqrt(-1)` has no value"),
    (("clamp", c(0.5), c(1), c(0)), "`clamp(0.5, 1, 0)` has no value"),
    (("matches", c("x"), c("(")), '`matches("x", "(")` has no value'),
    (("words", c(1)), "`words` takes a text, not a number"),
    (("len", c(1)), "`len` takes a text or a list, not a number"),
    (("sqrt", c("4")), "`sqrt` takes a number, not a text"),
    (("+", c(1), c("1")), "`+` takes a number, not a text"),
    (("<", c(1), c("1")), "`<` compares two numbers or two texts, not a number and a text"),
    (("<", c(True), c(1)), "`<` compares two numbers or two texts, not true or false and a number"),
    (("not", c(1)), "a condition is true or false, not a number"),
    (("and", c("x"), c(True)), "a condition is true or false, not a text"),
    (("in", c(1), c("1")), "a number cannot be looked for in a text"),
    (("in", c(1), c(1)), "a number cannot be looked for in a number"),
    (("index", c("abc"), c(0.5)), "an index is a whole number, not 0.5"),
    (("index", c(1), c(0)), "a number has no `[…]`"),
    (("member", c("x"), "content"), "a text has no `.content`"),
    (("member", ("index", TURNS, c(0)), "name"), "there is no key `name`"),
    (COMPLETION, "the formula gives a text, and a score is a number"),
    (TURNS, "the formula gives a list, and a score is a number"),
]


@pytest.mark.parametrize(("tree", "reason"), FAULTS, ids=[str(tree) for tree, _ in FAULTS])
def test_what_has_no_value_says_why(tree: Formula, reason: str) -> None:
    with pytest.raises(NoValueError) as caught:
        score_of(tree, SAMPLE)
    assert str(caught.value) == reason


@pytest.mark.parametrize(("tree", "score"), [(c(True), 1.0), (c(False), 0.0), (c(3), 3.0), (NONE, None)])
def test_scores_of_formulas(tree: Formula, score: float | None) -> None:
    found = score_of(tree, SAMPLE)
    assert (found, type(found)) == (score, type(score))


def g(number: int) -> Formula:
    return ("grader", number)


COMBINED: list[tuple[Formula, list[float | None], float | None]] = [
    (("+", ("*", c(0.8), g(0)), ("*", c(0.2), g(1))), [1.0, 0.5], 0.9),
    (("+", ("*", c(0.8), g(0)), ("*", c(0.2), g(1))), [1.0, None], 0.8),
    (("+", g(0), g(1)), [None, None], None),
    (("-", c(1), g(0)), [0.25], 0.75),
    (("-", c(1), g(0)), [None], None),
    (("+", ("*", c(0.5), g(0)), c(0.5)), [None], None),
    (("+", ("+", g(0), c(0.5)), g(1)), [None, 1.0], 1.5),
    (("-", g(0), ("+", g(1), c(0.5))), [1.0, None], 0.5),
    (("+", g(0), ("-", ("+", g(1), c(0.5)))), [1.0, None], 0.5),
    (("-", g(0), g(1)), [None, 0.25], -0.25),
    (("-", g(0)), [None], None),
    (("*", g(0), g(1)), [0.0, None], None),
    (("/", g(0), g(1)), [1.0, 4.0], 0.25),
    (("mean", g(0), g(1), g(2)), [1.0, None, 0.5], 0.75),
    (("mean", g(0), g(1), c(0)), [1.0, None], 0.5),
    (("mean", g(0), c(1)), [None], None),
    (("mean", ("*", c(2), g(0)), g(1)), [1.0, None], 2.0),
    (("min", g(0), g(1)), [None, 0.5], 0.5),
    (("max", g(0), c(0)), [None], None),
    (("max", g(0), c(0)), [-1.0], 0.0),
    (("*", g(0), ("mean", c(1), c(2))), [2.0], 3.0),
    (("*", g(0), ("+", c(1), c(2))), [2.0], 6.0),
    (("clamp", ("+", g(0), g(1)), c(0), c(1)), [0.75, 0.5], 1.0),
    (("clamp", g(0), c(0), c(1)), [None], None),
    (("sqrt", g(0)), [0.25], 0.5),
    (("if", g(0), g(1), c(0)), [1.0, 0.5], 0.5),
    (("if", g(0), g(1), c(0)), [1.0, None], None),
    (("if", g(0), g(1), c(0.25)), [0.0, 0.5], 0.25),
    (("if", g(0), g(1), c(0.25)), [None, 0.5], 0.25),
    (("+", ("if", g(0), c(1), c(0)), g(1)), [1.0, None], 1.0),
    (("if", g(0), g(1), NONE), [0.0, 0.5], None),
]


@pytest.mark.parametrize(("tree", "scores", "score"), COMBINED, ids=[f"{t} {s}" for t, s, _ in COMBINED])
def test_combinations(tree: Formula, scores: list[float | None], score: float | None) -> None:
    assert combine(tree, scores) == (score if score is None else pytest.approx(score, abs=1e-12))


def test_a_combination_without_a_value_says_why() -> None:
    for tree, scores, reason in (
        (("/", g(0), g(1)), [1.0, 0.0], "division by zero"),
        (("*", g(0), g(1)), [1e308, 1e308], "a number is too large"),
        (("log", g(0)), [0.0], r"`log\(0\)` has no value"),
    ):
        with pytest.raises(NoValueError, match=f"^{reason}$"):
            combine(tree, scores)


# --- against a second reading of the rules --------------------------------------------------------------

NOTHING = object()
"""The reference's word for "no value"."""

ORDER = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def finite(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return (
        value if -(2**63) < value < 2**63 or (isinstance(value, float) and math.isfinite(value)) else NOTHING
    )


def numeric(value: Any) -> bool:
    return isinstance(value, int | float)


def reference(tree: Formula, sample: Sample) -> Any:
    """Written by the rules, with Python's operators; NOTHING where there is no value."""
    head, *rest = tree
    if head == "constant":
        return rest[0]
    if head == "read":
        return sample.completion if rest == ["completion"] else sample.metadata.get(rest[1], NOTHING)
    first = reference(rest[0], sample)
    if first is NOTHING:
        return NOTHING
    if head == "if":
        return (
            NOTHING
            if first not in (True, False, None) or (numeric(first) and type(first) is not bool)
            else (reference(rest[1 if first else 2], sample))
        )
    if head in ("and", "or"):
        if first is not None and type(first) is not bool:
            return NOTHING
        if first is None or first is (head == "or"):
            return first
        second = reference(rest[1], sample)
        return second if second is None or type(second) is bool else NOTHING
    values = [first, *(reference(part, sample) for part in rest[1:])]
    if any(value is NOTHING for value in values):
        return NOTHING
    if head in ("==", "!="):
        same = values[0] == values[1] and (type(values[0]) is bool) == (type(values[1]) is bool)
        return same == (head == "==")
    if any(value is None for value in values):
        return None
    if head == "not":
        return not first if type(first) is bool else NOTHING
    if head in ORDER:
        texts = all(isinstance(value, str) for value in values)
        numbers = all(numeric(value) and type(value) is not bool for value in values)
        return ORDER[head](*values) if texts or numbers else NOTHING
    if head in ("words", "number"):
        if not isinstance(first, str):
            return NOTHING
        if head == "words":
            return len(re.findall(r"\S+", first))
        return float(first) if re.fullmatch(r"-?\d+(\.\d+)?", first) else None
    if head == "+" and all(isinstance(value, str) for value in values):
        return values[0] + values[1]
    if not all(numeric(value) for value in values):
        return NOTHING
    values = [value + 0 for value in values]
    try:
        match head, values:
            case "-", [a]:
                return finite(-a)
            case "+", [a, b]:
                return finite(a + b)
            case "-", [a, b]:
                return finite(a - b)
            case "*", [a, b]:
                return finite(a * b)
            case "/", [a, b]:
                return finite(a / b)
            case "//", [a, b]:
                return finite(int(a // b))
            case "min", _:
                return min(values)
            case "max", _:
                return max(values)
            case "mean", _:
                return finite(sum(values) / len(values))
            case "log", [a]:
                return math.log(a)
            case "exp", [a]:
                return math.exp(a)
    except (ArithmeticError, ValueError):
        return NOTHING
    raise AssertionError(head)


CONSTANTS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.integers(-(2**63) + 1, 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", "4", "-2.5", "a b", "Paris"]),
).map(c)
READS = st.sampled_from([COMPLETION, metadata("a"), metadata("none"), metadata("missing")])
BINARY = ("+", "-", "*", "/", "//", "==", "!=", "<", "<=", ">", ">=", "and", "or", "min", "max", "mean")


def larger(trees: st.SearchStrategy[Formula]) -> st.SearchStrategy[Formula]:
    return st.one_of(
        st.tuples(st.sampled_from(BINARY), trees, trees),
        st.tuples(st.sampled_from(("-", "not", "words", "number", "log", "exp")), trees),
        st.tuples(st.just("if"), trees, trees, trees),
    )


TREES = st.recursive(st.one_of(CONSTANTS, READS), larger, max_leaves=12)


@given(tree=TREES, completion=st.sampled_from(["", "7", "x y z", "Paris"]))
def test_formulas_follow_the_rules(tree: Formula, completion: str) -> None:
    sample = Sample(completion, metadata={"a": "Paris", "none": None})
    expected = reference(tree, sample)
    try:
        found = evaluate(tree, sample)
    except NoValueError as reason:
        assert str(reason)
        found = NOTHING
    assert found == expected
    assert type(found) is type(expected)


SCORES = st.lists(st.none() | st.integers(-8, 8).map(float), min_size=3, max_size=3)
TERMS = st.one_of(st.integers(0, 2).map(g), st.integers(-4, 4).map(c))


def larger_sum(trees: st.SearchStrategy[Formula]) -> st.SearchStrategy[Formula]:
    return st.one_of(
        st.tuples(st.sampled_from(("+", "-", "*", "/", "mean", "min", "max")), trees, trees),
        st.tuples(st.sampled_from(("mean", "min", "max")), trees, trees, trees),
        st.tuples(st.sampled_from(("-", "abs")), trees),
    )


def has_grader(tree: Any) -> bool:
    return isinstance(tree, tuple) and (tree[0] == "grader" or any(has_grader(part) for part in tree[1:]))


def leaves_of_sum(tree: Formula, sign: int) -> list[tuple[int, Formula]]:
    if tree[0] == "+":
        return leaves_of_sum(tree[1], sign) + leaves_of_sum(tree[2], sign)
    if tree[0] == "-":
        return [
            leaf
            for part, flip in zip(tree[1:], (1, -1) if len(tree) == 3 else (-1,), strict=True)
            for leaf in leaves_of_sum(part, sign * flip)
        ]
    return [(sign, tree)]


def reference_score(tree: Formula, scores: list[float | None]) -> Any:
    """A combination by the words of the contract."""
    head, *rest = tree
    if head == "constant":
        return rest[0]
    if head == "grader":
        return scores[rest[0]]
    if head in ("+", "-", "mean", "min", "max"):
        parts = leaves_of_sum(tree, 1) if head in "+-" else [(1, part) for part in rest]
        values = [(sign, part, reference_score(part, scores)) for sign, part in parts]
        if any(value is NOTHING for *_, value in values):
            return NOTHING
        applying = [part for _, part, value in values if value is not None]
        if not applying or (has_grader(tree) and not any(has_grader(part) for part in applying)):
            return None
        kept = [sign * value for sign, _, value in values if value is not None]
        by_name = {
            "mean": lambda: math.fsum(kept) / len(kept),
            "min": lambda: min(kept),
            "max": lambda: max(kept),
        }
        return by_name.get(head, lambda: math.fsum(kept))()
    values = [reference_score(part, scores) for part in rest]
    if NOTHING in values or None in values:
        return NOTHING if NOTHING in values else None
    if head == "/" and values[1] == 0:
        return NOTHING
    return {"*": lambda a, b: a * b, "/": lambda a, b: a / b, "abs": abs}[head](*values)


@given(tree=st.recursive(TERMS, larger_sum, max_leaves=10), scores=SCORES)
@example(("+", ("+", g(0), c(1)), g(1)), [None, 2.0, None])
def test_combinations_follow_the_rules(tree: Formula, scores: list[float | None]) -> None:
    expected = reference_score(tree, scores)
    try:
        found: Any = combine(tree, scores)
    except NoValueError:
        found = NOTHING
    if isinstance(expected, int | float):
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)
    else:
        assert found is expected


@given(
    a=st.none() | st.floats(-1, 1),
    b=st.none() | st.floats(-1, 1),
    k=st.floats(-1, 1),
)
def test_brackets_of_a_sum_do_not_matter(a: float | None, b: float | None, k: float) -> None:
    one = combine(("+", ("+", g(0), c(k)), g(1)), [a, b])
    other = combine(("+", g(0), ("+", c(k), g(1))), [a, b])
    assert one == (None if other is None else pytest.approx(other, abs=1e-12))
