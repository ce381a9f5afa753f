"""What is proved of rewards before any completion is seen: never more than is true."""

from __future__ import annotations

import math
import os
from typing import Any

import pytest
from compiler_support import REINFORCED, check_text, codes, pointed_at, replaced
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harmony_compiler.graph.graders import Combination, Formula
from harmony_compiler.graph.node import schema
from harmony_compiler.rewards.intervals import ANY, Interval, exactly, of_function, surely_has_value
from harmony_compiler.rewards.score_forms import Forms
from harmony_compiler.typed import Made
from harmony_grammar.source import Source
from harmony_runtime.graders.formulas import NoValueError, combine, score_of
from harmony_runtime.graders.protocol import Sample

EXAMPLES = int(os.environ.get("SENSE_EXAMPLES", "300"))


def rewarded(expression: str, more: str = "") -> str:
    return replaced(REINFORCED, ("grader = right", f"grader = {expression}")) + more


# --- what is said ---------------------------------------------------------------------------------------

CONSTANT = [
    "clamp(right, 1, 2)",
    "max(right, 1)",
    "min(right, -1)",
    "max(0, -words(completion))",
    "if words(completion) >= 0 then 1 else 0",
    "if words(completion) < 0 then right else 0.5 * 4",
    'contains(completion, "")',
    '"" in completion',
    "agreement(completion, completion)",
    "clamp(words(completion) * words(completion), -1, 0)",
    "round(clamp(right, 0, 0.4))",
    "exp(clamp(right, 0, 0))",
    "if words(completion) > 3 then 1 else none",
    "right / right - right / right",
    "mean(words(completion), 0 - words(completion))",
    "max(right, 1) + 1",
    "clamp(right, 0, 1) - right",
    "abs(right) - right",
    "abs(words(completion)) < 0",
    "not words(completion) >= 0",
    "number(completion) - number(completion)",
    "0.1 * right + 0.2 * right - 0.3 * right + 1",
]


@pytest.mark.parametrize("reward", CONSTANT)
def test_a_reward_that_is_one_constant(reward: str) -> None:
    found = check_text(rewarded(reward))
    assert (codes(found), pointed_at(found)) == (["E0607"], [reward])


VARYING = [
    # a term that applies to some completions only makes the sum vary
    "clamp(number(completion), 1, 1) + right",
    'max(right, 1) + max(matches("a"), 1)',
    "mean(max(right, 1), words(completion) - words(completion))",
    "max(right, 1) - (words(completion) - words(completion))",
    # and so does a failure that counts as 0
    '(1 / words(completion) * words(completion)) { on_failure = "zero" }',
    '(if 1 / words(completion) > -1 then 1 else 1) { on_failure = "zero" }',
    "if number(completion) > 3 then 1 else 0",
    "if number(completion) == number(completion) then words(completion) else 0",
    "clamp(number(completion), 1, 1) == 1",
    "max(right, 0.5)",
    "max(0, 3 - words(completion))",
    'contains(completion, "a")',
    "if words(completion) > 0 then 1 else 0",
    'starts_with(completion, "a" + metadata.answer)',
    # texts are joined in order
    'completion + "a" == "a" + completion',
    "round(right)",
    "words(completion) // 2",
    "1e-8 * words(completion)",
    "1e-12 * right + 1e-12 * words(completion)",
]


@pytest.mark.parametrize("reward", VARYING)
def test_a_reward_that_may_vary(reward: str) -> None:
    assert codes(check_text(rewarded(reward, "let used = right\n"))) == ["W0201"]


def test_graders_that_bring_records_are_no_trouble() -> None:
    text = rewarded('json_valid { schema = { type = "object" } } - json_valid { schema = { type = "a" } }')
    assert "E0607" not in codes(check_text(text + "let used = right\n"))


@pytest.mark.parametrize(
    ("scale", "constant"),
    [("", True), (', answer = "scale"', True), (', answer = "scale", raw = true, scale = [2, 5]', False)],
)
def test_a_judge_scores_from_0_to_1_unless_it_is_raw(scale: str, constant: bool) -> None:
    judge = f'judge(model = tiny, criteria = "good"{scale})'
    found = codes(check_text(rewarded(f"max({judge}, 1)", "let used = right\n")))
    assert ("E0607" in found) == constant


# --- what is true ---------------------------------------------------------------------------------------

TEXTS = st.recursive(
    st.sampled_from([("read", "completion"), ("read", "prompt"), ("read", "metadata", "answer")])
    | st.sampled_from(["", "a", "1"]).map(lambda text: ("constant", text)),
    lambda texts: st.one_of(
        st.tuples(st.sampled_from(["lower", "strip"]), texts),
        st.tuples(st.just("+"), texts, texts),
        st.tuples(st.just("index"), texts, st.integers(0, 2).map(lambda n: ("constant", n))),
    ),
    max_leaves=3,
)
NUMBERS = st.sampled_from([-1, 0, 1, 2, 0.5, 0.1, 0.2, 0.3]).map(lambda number: ("constant", number))


def operations(numbers: st.SearchStrategy[Any], conditions: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.tuples(st.sampled_from("+-*/"), numbers, numbers),
        st.tuples(st.just("-"), numbers),
        st.tuples(st.sampled_from(["abs", "sqrt", "exp", "log", "round"]), numbers),
        st.tuples(st.sampled_from(["min", "max", "mean"]), numbers, numbers),
        st.tuples(st.just("clamp"), numbers, numbers, numbers),
        st.tuples(st.just("if"), conditions, numbers | st.just(("constant", None)), numbers),
    )


def formulas() -> st.SearchStrategy[Any]:
    leaves = st.one_of(
        NUMBERS,
        st.tuples(st.sampled_from(["words", "chars", "lines", "number", "len"]), TEXTS),
        st.tuples(st.just("agreement"), TEXTS, TEXTS),
    )

    def above(numbers: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        compared = numbers.map(lambda number: ("*", number, ("constant", 1)))  # a condition has no order
        tests = st.one_of(
            st.tuples(st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), compared, compared),
            st.tuples(st.sampled_from(["contains", "starts_with", "in", "==", "<"]), TEXTS, TEXTS),
        )
        conditions = st.one_of(
            tests, st.tuples(st.just("not"), tests), st.tuples(st.sampled_from(["and", "or"]), tests, tests)
        )
        return operations(numbers, conditions) | st.tuples(st.just("//"), numbers, numbers) | conditions

    return st.recursive(leaves, above, max_leaves=6)


POLICIES = st.sampled_from(["skip", "zero"])
GRADERS = st.lists(st.tuples(formulas(), POLICIES), min_size=1, max_size=3)
COMBINED = st.recursive(
    st.integers(0, 2).map(lambda number: ("grader", number)) | NUMBERS,
    lambda numbers: operations(numbers, st.integers(0, 2).map(lambda number: ("grader", number))),
    max_leaves=6,
)

COMPLETIONS = ["", "a", "1", "-2", " 1 a", "0", "a b c", "1e3", "A", "aa\nb", "0.5", "2 "]
NOWHERE = Source("", "").span(0, 0)


def made(cls: Any, policy: str, **values: Any) -> Made:
    defaults = {name: spec.default for name, spec in schema(cls).items()}
    return Made(cls, {}, {**defaults, **values, "on_failure": policy}, NOWHERE, NOWHERE)


def scored(grader: Made, sample: Sample) -> float | None:
    """What the runtime makes of a grader: a failure acts by the grader's policy."""
    try:
        if grader.cls is Formula:
            return score_of(grader.values["expression"], sample)
        parts = [scored(part, sample) for part in grader.values["graders"]]
        return combine(grader.values["expression"], parts)
    except NoValueError:
        return 0.0 if grader.values["on_failure"] == "zero" else None


def renumbered(tree: Any, count: int) -> Any:
    if tree[0] == "grader":
        return ("grader", tree[1] % count)
    return tuple(renumbered(part, count) if isinstance(part, tuple) else part for part in tree)


def mentions_a_grader(tree: Any) -> bool:
    return tree[0] == "grader" or any(mentions_a_grader(part) for part in tree if isinstance(part, tuple))


def close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-7, abs_tol=1e-7)


@settings(deadline=None, derandomize=True, database=None, max_examples=EXAMPLES)
@given(GRADERS, COMBINED, POLICIES)
@example([(("number", ("read", "completion")), "skip")], ("+", ("grader", 0), ("constant", 1)), "skip")
def test_a_score_is_what_its_form_says(leaves: Any, tree: Any, policy: str) -> None:
    graders = tuple(made(Formula, leaf_policy, expression=leaf) for leaf, leaf_policy in leaves)
    whole = [*graders]
    tree = renumbered(tree, len(graders))
    if mentions_a_grader(tree):
        whole.append(made(Combination, policy, expression=tree, graders=graders))
    forms = Forms(whole, {})
    for grader in whole:
        form = forms.of(grader)
        around = forms.interval(form)
        samples = [Sample(text, "a 1", metadata={"answer": "1"}) for text in COMPLETIONS]
        scores = [scored(grader, sample) for sample in samples]
        known = [score for score in scores if score is not None]
        assert form.domain or len(known) == len(scores)
        hair = 1e-9 * max(1.0, *map(abs, known), 0.0)
        assert all(around.low - hair <= score <= around.high + hair for score in known)
        if not form.alive:
            assert all(close(score, form.constant) for score in known)
        if not forms.reads(form):
            assert all(close(score, known[0]) for score in known)


# --- intervals ------------------------------------------------------------------------------------------

ENDS = st.sampled_from([-math.inf, -3.5, -1.0, 0.0, 0.25, 1.0, 2.0, 40.0, math.inf])
INTERVALS = st.tuples(ENDS, ENDS).map(sorted).map(tuple).filter(lambda ends: abs(sum(ends)) != 2 * math.inf)


@settings(deadline=None, derandomize=True, database=None, max_examples=300)
@given(INTERVALS, INTERVALS, st.sampled_from([0.0, 0.3, 1.0]), st.sampled_from([0.0, 0.7, 1.0]))
def test_intervals_hold_what_is_computed(a: Any, b: Any, here: float, there: float) -> None:
    def inside(ends: tuple[float, float], share: float) -> float:
        low, high = max(ends[0], -1e6), min(ends[1], 1e6)
        return low + share * (high - low) if low <= high else (low if ends[0] > 0 else high)

    first, second = Interval(*a), Interval(*b)
    x, y = inside(a, here), inside(b, there)
    if math.isinf(first.low + first.high) and first.single:
        return
    checks = {"+": (first.plus(second), x + y), "*": (first.times(second), x * y)}
    if y:
        checks["/"] = (first.over(second), x / y)
    checks["min"] = (of_function("min", [first, second]), min(x, y))
    checks["mean"] = (of_function("mean", [first, second]), (x + y) / 2)
    checks["abs"] = (of_function("abs", [first]), abs(x))
    checks["round"] = (of_function("round", [first]), float(round(x)))
    checks["sqrt"] = (of_function("sqrt", [first]), math.sqrt(max(x, 0)))
    for name, (found, value) in checks.items():
        assert found.low - 1e-9 * abs(value) <= value <= found.high + 1e-9 * abs(value), name


def test_what_may_have_no_value_is_known() -> None:
    zero_to_one, one = Interval(0, 1), exactly(1)
    assert surely_has_value("/", [ANY, one])
    assert not surely_has_value("/", [one, zero_to_one])
    assert surely_has_value("sqrt", [zero_to_one])
    assert not surely_has_value("log", [zero_to_one])
    assert not surely_has_value("clamp", [ANY, zero_to_one, zero_to_one])
