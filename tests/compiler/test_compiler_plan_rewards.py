"""What a plan says of a reward: its formula, what each leaf weighs, and between which numbers it lies."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from compiler_support import REINFORCED, graph_of, replaced
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_compiler_sense import COMBINED, mentions_a_grader, renumbered

from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.graders import Combination, Contains, Judge, RewardModel
from harmony_compiler.graph.graph import Graph, Origin
from harmony_compiler.graph.node import Node
from harmony_compiler.graph.values import Ref
from harmony_compiler.plan.rewards import Reward, reward_of, told
from harmony_compiler.rewards.intervals import Interval
from harmony_grammar.records import as_data
from harmony_runtime.graders.formulas import NoValueError, combine

MORE = """\
grader brief = clamp(1 - words(completion) / 200, 0, 1)
grader clear = judge { model = tiny, criteria = "clear", answer = "scale", raw = true }
grader liked = reward_model(tiny)
grader style = 0.5 * brief + 0.25 * clear
grader long = words(completion)
"""


def rewarded(expression: str, more: str = "") -> Graph:
    return graph_of(replaced(REINFORCED, ("grader = right", f"grader = {expression}")) + MORE + more)


def reward_in(graph: Graph) -> Reward:
    (stage,) = [node for node in graph.nodes.values() if isinstance(node, Algorithm)]
    return reward_of(graph, stage.grader)  # type: ignore[attr-defined]  # it reinforces


WEIGHTS: list[tuple[str, dict[str, float | None]]] = [
    ("right", {"right": 1}),
    ("0.8 * right + 0.2 * brief", {"right": 0.8, "brief": 0.2}),
    ("1 - (right - brief / 4) * 2", {"right": -2, "brief": 0.5}),
    ("right + style", {"right": 1, "brief": 0.5, "clear": 0.25}),
    ("right + 3 * brief - 2 * style", {"right": 1, "brief": 2, "clear": -0.5}),
    ("mean(right, brief)", {"right": 0.5, "brief": 0.5}),
    ("right * brief + clear", {"right": None, "brief": None, "clear": 1}),
    ("right + 0.1 * max(right, brief)", {"right": None, "brief": None}),
    ("clear / right", {"clear": None, "right": None}),
    (
        "right + (if words(completion) > 5 then brief else 0)",
        {"right": 1, "words(completion) > 5": None, "brief": None},
    ),
]


@pytest.mark.parametrize(("expression", "weights"), WEIGHTS, ids=[text for text, _ in WEIGHTS])
def test_what_each_leaf_weighs(expression: str, weights: dict[str, float | None]) -> None:
    found = {leaf.name: leaf.weight for leaf in reward_in(rewarded(expression)).leaves}
    assert list(found) == list(weights)
    assert found == pytest.approx(weights)


RANGES: list[tuple[str, float | None, float | None]] = [
    ("0.8 * right + 0.1 * brief", 0, 0.9),
    ("right - brief", -1, 1),
    ("clear", 1, 5),
    ("right + style", 0, 2.75),
    ("right + liked", None, None),
    ("right + 0.1 * clamp(liked, -1, 1)", -0.1, 1.1),
    ("1 - words(completion) / 10", None, 1),
    ("right + long", 0, None),
]


@pytest.mark.parametrize(("expression", "low", "high"), RANGES, ids=[text for text, *_ in RANGES])
def test_between_which_numbers_a_reward_lies(expression: str, low: float | None, high: float | None) -> None:
    found = reward_in(rewarded(expression))
    assert (found.low, found.high) == pytest.approx((low, high))


def test_what_has_no_name_is_written_out() -> None:
    formula = '2 * right * (0.5 * contains("a") - (words(completion) - chars(prompt)) * right)'
    found = reward_in(rewarded(formula))
    assert (found.name, found.formula) == (None, formula)
    names = [leaf.name for leaf in found.leaves]
    assert names == ["right", 'contains("a")', "words(completion) - chars(prompt)"]


def test_a_published_grader_lies_where_the_registry_says() -> None:
    graph = rewarded("right + liked")
    (liked,) = [ref for ref, node in graph.nodes.items() if isinstance(node, RewardModel)]
    (whole,) = [ref for ref, node in graph.nodes.items() if isinstance(node, Combination)]
    found = reward_of(graph, whole, {liked: Interval(-2, 3)})
    assert (found.low, found.high) == (-2, 4)


TABLE = """\
total = right + style * 2 - long, at most 4.5
  style = 0.5 * brief + 0.25 * clear, 0 to 1.75
  weight  score  range       computed by
  1       right  0 to 1      equals("{{ metadata.answer }}")
  1       brief  0 to 1      clamp(1 - words(completion) / 200, 0, 1)
  0.5     clear  1 to 5      judge
  -1      long   at least 0  words(completion)
"""


def test_the_table_reads_as_it_was_reviewed() -> None:
    graph = rewarded("total", "grader total = right + style * 2 - long\n")
    assert "\n".join(told(reward_in(graph))) + "\n" == TABLE


def test_a_reward_is_json_whatever_its_bounds() -> None:
    data = json.loads(json.dumps(as_data(reward_in(rewarded("right - long"))), allow_nan=False))
    assert (data["low"], data["high"]) == (None, 1)
    assert [leaf["weight"] for leaf in data["leaves"]] == [1, -1]


# --- what is computed -----------------------------------------------------------------------------------

SCORED: dict[Ref, Node] = {
    Ref("truth"): Contains(text="a"),
    Ref("scale"): Judge(model=Ref("m"), criteria="c", answer="scale", scale=(-2, 7), raw=True),
    Ref("free"): RewardModel(model=Ref("m")),
}
RANGE = {Ref("truth"): (0.0, 1.0), Ref("scale"): (-2.0, 7.0), Ref("free"): (-1e3, 1e3)}
INNER, WHOLE = Ref("inner"), Ref("whole")


def graph_with(inner: Any, whole: Any) -> Graph:
    """A combination of the scores and of another combination of them."""
    nodes = {
        **SCORED,
        INNER: Combination(expression=inner, graders=tuple(SCORED)),
        WHOLE: Combination(expression=whole, graders=(*SCORED, INNER)),
    }
    origins = {ref: Origin(ref, "case.recipe", 1) for ref in nodes}
    return Graph("case", 0, nodes, (WHOLE,), origins)


def computed(graph: Graph, scores: dict[Ref, float]) -> float:
    inner, whole = graph.nodes[INNER], graph.nodes[WHOLE]
    assert isinstance(inner, Combination)
    assert isinstance(whole, Combination)
    parts = [*scores.values()]
    score = combine(whole.expression, [*parts, combine(inner.expression, list(parts))])
    if score is None or not math.isfinite(score):
        raise NoValueError
    return score


SHARES = st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0]), min_size=3, max_size=3)
THRICE = ("*", ("constant", 3), ("grader", 0))
LINEAR = ("-", ("/", ("+", ("grader", 3), ("grader", 0)), ("constant", 4)), THRICE)
PRODUCT = ("+", ("*", ("grader", 0), ("grader", 1)), ("mean", ("grader", 1), ("grader", 2)))


@settings(deadline=None, derandomize=True, database=None, max_examples=150)
@given(COMBINED, COMBINED, SHARES)
@example(PRODUCT, LINEAR, [0.25, 0.9, 0.5])
@example(LINEAR, PRODUCT, [0.25, 0.9, 0.5])
@example(PRODUCT, ("*", ("abs", ("constant", -1)), ("grader", 0)), [0.25, 0.9, 0.5])
def test_what_is_computed_lies_in_the_range_and_grows_by_the_weights(
    inner: Any, whole: Any, shares: list[float]
) -> None:
    graph = graph_with(renumbered(inner, 3), renumbered(whole, 4))
    if not (mentions_a_grader(inner) and mentions_a_grader(whole)):
        return
    reward = reward_of(graph, WHOLE)
    ends = zip(shares, RANGE.items(), strict=True)
    scores = {ref: low + share * (high - low) for share, (ref, (low, high)) in ends}
    try:
        score = computed(graph, scores)
        size = max(1.0, abs(score))
        assert reward.low is None or reward.low - 1e-9 * size <= score
        assert reward.high is None or score <= reward.high + 1e-9 * size
        for leaf in reward.leaves:
            if leaf.weight is not None:
                moved = computed(graph, {**scores, leaf.grader: scores[leaf.grader] + 0.5})
                assert moved - score == pytest.approx(0.5 * leaf.weight, rel=1e-6, abs=1e-6 * size)
    except NoValueError:
        return
