"""The grading room: set-up and tear-down, what graders do wrong, policies, names and sums."""

from __future__ import annotations

import asyncio
import math
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from decimal import Decimal
from typing import Any

import pytest
from graders_support import (
    COMPLETION,
    Own,
    combination,
    formula,
    graph_of,
    own,
)

from harmony_compiler.graph.algorithms import Grpo
from harmony_compiler.graph.graders import Contains, Equals, Matches
from harmony_compiler.graph.graders import Grader as Node
from harmony_compiler.graph.values import Percent, Ref
from harmony_runtime.failures import RunFailed
from harmony_runtime.graders.grading import Verdict, measured
from harmony_runtime.graders.making import Bench
from harmony_runtime.graders.panel import Panel
from harmony_runtime.graders.protocol import Failure, Grade, Sample, Score
from harmony_runtime.processes.interrupts import Interrupts
from harmony_runtime.watch import Measured

ROOTS = [Ref("root")]
ALL = ("+", ("+", ("grader", 0), ("grader", 1)), ("grader", 2))


def three(log: list[str]) -> tuple[Own, Own, Own]:
    return Own("a", log), Own("b", log), Own("c", log)


def nested(*graders: Own) -> Panel:
    """Two roots over three leaves: each leaf is needed more than once, and below another combination."""
    nodes, factories = own(*graders)
    nodes["inner"] = combination(("*", ("grader", 0), ("grader", 1)), "a", "b")
    nodes["root"] = combination(ALL, "inner", "b", "c")
    nodes["other"] = combination(("mean", ("grader", 0), ("grader", 1)), "inner", "c")
    return Panel(Bench(graph_of(nodes)), [Ref("root"), Ref("other")], factories=factories)


# --- set-up and tear-down -------------------------------------------------------------------------------


def test_each_leaf_is_set_up_and_torn_down_exactly_once() -> None:
    log: list[str] = []
    with nested(*three(log)) as panel:
        assert log == ["+a", "+b", "+c"]
        (verdict,) = panel.grade([Sample("x")])
    assert log == ["+a", "+b", "+c", "-c", "-b", "-a"]
    assert verdict.scores == (0.25 + 0.5 + 0.5, (0.25 + 0.5) / 2)
    assert list(verdict.grades) == ["a", "b", "c", "inner", "root", "other"]


def test_one_object_for_two_nodes_is_set_up_once() -> None:
    log: list[str] = []
    one = Own("one", log)
    nodes = {"a": Contains(text="a"), "b": Contains(text="b")}
    with Panel(
        Bench(graph_of(nodes)), [Ref("a"), Ref("b")], factories={Contains: lambda node, _: one}
    ) as panel:
        assert panel.grade([Sample("x")])[0].scores == (0.5, 0.5)
    assert log == ["+one", "-one"]


def test_a_failed_set_up_tears_down_what_was_set_up_and_itself() -> None:
    log: list[str] = []
    graders = three(log)
    graders[2].broken = ("set_up",)
    with pytest.raises(RunFailed) as caught, nested(*graders):
        raise AssertionError("the block must not be entered")
    assert log == ["+a", "+b", "+c", "-c", "-b", "-a"]
    assert str(caught.value) == (
        "r.recipe:3: `c`: `set_up` of the grader failed: ConnectionError: c is not there"
    )
    assert caught.value.exit_code == 1


def test_no_failure_hides_another() -> None:
    log: list[str] = []
    graders = three(log)
    graders[2].broken = ("set_up", "tear_down")
    graders[0].broken = ("tear_down",)
    with pytest.raises(RunFailed) as caught, nested(*graders):
        pass
    assert log == ["+a", "+b", "+c", "-c", "-b", "-a"]
    told = [str(fault) for fault in caught.value.faults]
    assert ["c is not there" in told[0], "c does not let go" in told[1], "a does not let go" in told[2]] == [
        True
    ] * 3


def test_tear_down_goes_on_after_a_failure_of_the_run_and_of_a_tear_down() -> None:
    log: list[str] = []
    graders = three(log)
    graders[1].broken = ("tear_down",)
    with pytest.raises(RunFailed) as caught, nested(*graders):
        raise RunFailed("the disk is full", exit_code=2)
    assert log[3:] == ["-c", "-b", "-a"]
    assert [str(fault) for fault in caught.value.faults] == [
        "the disk is full",
        "r.recipe:2: `b`: `tear_down` of the grader failed: OSError: b does not let go",
    ]
    assert caught.value.exit_code == 2


def test_a_bug_stays_a_bug_and_carries_the_failures_of_the_tear_down() -> None:
    graders = three([])
    graders[0].broken = ("tear_down",)
    with pytest.raises(ZeroDivisionError) as caught, nested(*graders):
        raise ZeroDivisionError
    (note,) = caught.value.__notes__
    assert "a does not let go" in note


@pytest.mark.parametrize("moment", ["set_up", "grade", "tear_down"])
def test_ctrl_c_at_any_moment_tears_everything_down(moment: str) -> None:
    class Interrupted(Own):
        async def set_up(self) -> None:
            await super().set_up()
            if moment == "set_up":
                raise KeyboardInterrupt

        async def tear_down(self) -> None:
            await super().tear_down()
            if moment == "tear_down":
                raise KeyboardInterrupt

    log: list[str] = []
    ended: list[str] = []

    def interrupt(sample: Sample) -> Grade:
        if moment == "grade":
            raise KeyboardInterrupt
        return Score(1.0)

    class Slow(Own):
        async def grade(self, sample: Sample) -> Grade:
            try:
                await asyncio.sleep(60 if moment == "grade" else 0)
            finally:
                ended.append(self.name)
            return Score(1.0)

    graders = (Slow("a", log), Interrupted("b", log, interrupt), Own("c", log))
    with pytest.raises(KeyboardInterrupt), nested(*graders) as panel:
        panel.grade([Sample("x"), Sample("y")])
    set_up = ["+a", "+b"] if moment == "set_up" else ["+a", "+b", "+c"]
    assert log == set_up + [name.replace("+", "-") for name in reversed(set_up)]
    assert ended == ([] if moment == "set_up" else ["a", "a"])


@pytest.mark.parametrize("catcher", [Interrupts, nullcontext], ids=["the run's handler", "Python's own"])
def test_a_signal_while_graders_wait_ends_their_waiting(catcher: Callable[[], Any]) -> None:
    log: list[str] = []

    class Waiting(Own):
        async def grade(self, sample: Sample) -> Grade:
            asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)
            try:
                await asyncio.sleep(60)
            finally:
                log.append("ended")
            return Score(1.0)

    with pytest.raises(KeyboardInterrupt), catcher(), nested(Waiting("a", log), *three(log)[1:]) as panel:
        panel.grade([Sample("x")])
    assert log == ["+a", "+b", "+c", "ended", "-c", "-b", "-a"]


def test_combinations_need_no_event_loop() -> None:
    """So that rules grade in a notebook too, which runs a loop of its own."""

    async def within() -> list[Verdict]:
        nodes = {"a": Matches(regex="x"), "root": combination(("grader", 0), "a")}
        with Panel(Bench(graph_of(nodes)), ROOTS) as panel:
            return panel.grade([Sample("x")])

    assert asyncio.run(within())[0].scores == (1.0,)


# --- what graders do wrong ------------------------------------------------------------------------------


def raising(fault: BaseException) -> Callable[[Sample], Any]:
    def answer(sample: Sample) -> Any:
        raise fault

    return answer


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise TypeError


WRONG = [
    (lambda sample: "good", "returned text instead of a grade"),
    (lambda sample: None, "returned nothing instead of a grade"),
    (lambda sample: 0.7, "returned the number 0.7 instead of a grade such as `Score(0.7)`"),
    (lambda sample: [Score(1.0)], "returned a `list` instead of a grade"),
    (lambda sample: Score(math.nan), "scored nan"),
    (lambda sample: Score(math.inf), "scored infinity"),
    (lambda sample: Score(-math.inf), "scored minus infinity"),
    (lambda sample: Score("1"), "scored a `str` instead of a float"),  # type: ignore[arg-type]
    (lambda sample: Score(Decimal(1)), "scored a `Decimal` instead of a float"),  # type: ignore[arg-type]
    (lambda sample: Score(10**400), "scored an integer that is too large"),
    (raising(ValueError("two\nlines")), "ValueError: two lines"),
    (raising(KeyError("answer")), "KeyError: 'answer'"),
    (raising(SystemExit(3)), "SystemExit: 3"),
    (raising(asyncio.CancelledError()), "asyncio.exceptions.CancelledError"),
    (raising(UnprintableError()), "test_graders_panel.UnprintableError: <exception str() failed>"),
    (raising(ValueError("x" * 1000)), f"ValueError: {'x' * 288}…"),
    (lambda sample: Failure("the judge is asleep"), "the judge is asleep"),
]


@pytest.mark.parametrize(("answer", "reason"), WRONG, ids=[reason[:40] for _, reason in WRONG])
def test_whatever_a_grader_does_wrong_is_a_failure_with_a_reason(
    answer: Callable[[Sample], Any], reason: str
) -> None:
    nodes, factories = own(Own("a", [], answer), Own("b", []))
    nodes["root"] = combination(("+", ("grader", 0), ("grader", 1)), "a", "b")
    with Panel(Bench(graph_of(nodes)), [*ROOTS, Ref("a")], factories=factories) as panel:
        (verdict,) = panel.grade([Sample("x")])
    assert verdict.grades["a"] == Failure(reason)
    assert verdict.grades["b"] == Score(0.5)
    assert verdict.scores == (0.5, None)


@pytest.mark.parametrize(("score", "value"), [(Score(1), 1.0), (Score(True), 1.0), (Score(-2.5), -2.5)])
def test_whole_numbers_and_truth_are_scores(score: Score, value: float) -> None:
    nodes, factories = own(Own("a", [], lambda sample: score))
    with Panel(Bench(graph_of(nodes)), [Ref("a")], factories=factories) as panel:
        (found,) = panel.grade([Sample("x")])[0].scores
    assert (found, type(found)) == (value, float)


def test_a_grade_that_is_not_asynchronous_is_taken_as_it_is() -> None:
    class Plain(Own):
        def grade(self, sample: Sample) -> Grade:  # type: ignore[override]
            return Score(0.25)

    nodes, factories = own(Plain("a", []))
    with Panel(Bench(graph_of(nodes)), [Ref("a")], factories=factories) as panel:
        assert panel.grade([Sample("x")])[0].scores == (0.25,)


def test_a_grader_that_cannot_be_made() -> None:
    def broken(node: Node, _: Bench) -> Own:
        raise ValueError("no key")

    with pytest.raises(RunFailed, match=r"^r.recipe:1: `a`: the grader cannot be made: ValueError: no key$"):
        Panel(Bench(graph_of({"a": Contains(text="x")})), [Ref("a")], factories={Contains: broken})
    with pytest.raises(RunFailed, match=r"^r.recipe:1: `a`: `regex` cannot be read: "):
        Panel(Bench(graph_of({"a": Matches(regex="(")})), [Ref("a")])
    with pytest.raises(RunFailed, match=r"^r.recipe:1: `a`: the template of `expected` cannot be read: "):
        Panel(Bench(graph_of({"a": Equals(expected="{{")})), [Ref("a")])


# --- many at once ---------------------------------------------------------------------------------------


def test_samples_and_leaves_are_graded_at_the_same_time_and_stay_in_order() -> None:
    """Every grade waits until all have begun: one after the other, they would wait for ever."""
    begun: list[str] = []

    class Meeting(Own):
        async def grade(self, sample: Sample) -> Grade:
            begun.append(sample.completion)
            while len(begun) < 6:
                await asyncio.sleep(0)
            return Score(float(sample.completion), self.name)

    nodes, factories = own(Meeting("a", []), Meeting("b", []))
    with Panel(Bench(graph_of(nodes)), [Ref("b"), Ref("a")], factories=factories) as panel:
        verdicts = panel.grade([Sample("3"), Sample("1"), Sample("2")])
    assert [verdict.scores for verdict in verdicts] == [(3.0, 3.0), (1.0, 1.0), (2.0, 2.0)]
    assert verdicts[0].grades == {"a": Score(3.0, "a"), "b": Score(3.0, "b")}


def test_nothing_to_grade() -> None:
    with nested(*three([])) as panel:
        assert panel.grade([]) == []
        panel.admit([])


def test_verdicts_travel_between_processes() -> None:
    with nested(*three([])) as panel:
        verdicts = panel.grade([Sample("x")])
    assert pickle.loads(pickle.dumps(verdicts)) == verdicts


# --- policies -------------------------------------------------------------------------------------------

FAILS = ("/", ("constant", 1), ("constant", 0))
SOME = ("/", ("constant", 1), ("words", COMPLETION))
"""Fails where the completion has no words."""


@pytest.mark.parametrize(("on_failure", "score"), [("skip", 1.0), ("zero", 0.5), ("stop", 1.0)])
def test_a_policy_decides_what_a_failure_counts(on_failure: str, score: float) -> None:
    nodes = {
        "bad": formula(FAILS, on_failure=on_failure),
        "good": Matches(regex="x"),
        "root": combination(("mean", ("grader", 0), ("grader", 1)), "bad", "good"),
    }
    with Panel(Bench(graph_of(nodes)), ROOTS) as panel:
        (verdict,) = panel.grade([Sample("x")])
    assert verdict.scores == (score,)
    assert verdict.grades["bad"] == Failure("division by zero")


def test_stop_ends_the_run_and_names_the_grader() -> None:
    nodes = {"good": Matches(regex="x"), "bad": formula(SOME, on_failure="stop")}
    with Panel(Bench(graph_of(nodes)), [Ref("good"), Ref("bad")]) as panel:
        panel.admit(panel.grade([Sample("x")] * 50))
        with pytest.raises(RunFailed) as caught:
            panel.admit(panel.grade([Sample("x"), Sample("")]))
    assert str(caught.value) == (
        'r.recipe:2: `bad`: a grade failed, and the grader says `on_failure = "stop"`: division by zero. '
        'Mend the cause, or let `on_failure = "skip"` leave such completions without this grade'
    )
    assert caught.value.exit_code == 1


def admitted(panel: Panel, *completions: str) -> bool:
    try:
        panel.admit(panel.grade([Sample(completion) for completion in completions]))
    except RunFailed:
        return False
    return True


def test_the_failure_rate_is_asked_from_the_20th_grade_on() -> None:
    graph = graph_of({"g": formula(SOME)})
    with Panel(Bench(graph), [Ref("g")]) as panel:
        assert admitted(panel, *[""] * 19)
        assert not admitted(panel, "x")
    with Panel(Bench(graph), [Ref("g")]) as panel:
        assert admitted(panel, "", "", *["x"] * 18)  # exactly 10 %
        assert not admitted(panel, "")
    with Panel(Bench(graph), [Ref("g")]) as panel, pytest.raises(RunFailed) as caught:
        panel.admit(panel.grade([Sample("")] * 3 + [Sample("x")] * 17))
    assert str(caught.value) == (
        "r.recipe:1: `g`: 3 of 20 grades failed, and `max_failure_rate` is 10%: division by zero. "
        "Mend the cause, or raise `max_failure_rate`"
    )


@pytest.mark.parametrize(
    ("rate", "failed", "admits"),
    [(0, 0, True), (0, 1, False), (29, 29, True), (29, 30, False), (100, 100, True), (2.5, 2, True)],
)
def test_the_failure_rate_is_exact(rate: float, failed: int, admits: bool) -> None:
    graph = graph_of({"g": formula(SOME, max_failure_rate=Percent(rate))})
    with Panel(Bench(graph), [Ref("g")]) as panel:
        assert admitted(panel, *[""] * failed, *["x"] * (100 - failed)) == admits


def test_all_graders_that_stop_the_run_are_told() -> None:
    nodes = {"a": formula(FAILS), "b": formula(FAILS, on_failure="stop")}
    with Panel(Bench(graph_of(nodes)), [Ref("a"), Ref("b")]) as panel, pytest.raises(RunFailed) as caught:
        panel.admit(panel.grade([Sample("x")] * 20))
    assert [str(fault)[:16] for fault in caught.value.faults] == ["r.recipe:1: `a`:", "r.recipe:2: `b`:"]


def test_a_restored_panel_goes_on_counting() -> None:
    graph = graph_of({"g": formula(SOME)})
    with Panel(Bench(graph), [Ref("g")]) as panel:
        assert admitted(panel, *[""] * 3, *["x"] * 7)
        state = panel.state()
    with Panel(Bench(graph), [Ref("g")]) as fresh:
        fresh.restore(state)
        assert fresh.state() == state == {"graded": {"g": 10}, "failed": {"g": 3}, "spent": {}}
        assert not admitted(fresh, *["x"] * 10)
    with Panel(Bench(graph), [Ref("g")]) as untold:
        assert admitted(untold, *["x"] * 10)


# --- names and sums -------------------------------------------------------------------------------------


def test_names_are_unique_and_can_be_given() -> None:
    nodes = {name: Contains(text=name) for name in "abcd"}
    graph = graph_of(nodes)
    for ref, name in zip("abc", ("x", "x", "y"), strict=True):
        graph.origins[Ref(ref)] = graph.origins[Ref(ref)].__class__(name, "r.recipe", 1)
    panel = Panel(Bench(graph), [Ref(name) for name in "abcd"], {Ref("d"): "x", Ref("c"): "y"})
    assert panel.names == ("x (2)", "x (3)", "y", "x")


def test_parts_are_all_but_the_combinations_that_are_roots() -> None:
    panel = nested(*three([]))
    assert panel.names == ("a", "b", "c", "inner", "root", "other")
    assert panel.parts == ("a", "b", "c", "inner")
    leaf = Panel(Bench(graph_of({"a": Contains(text="x")})), [Ref("a")])
    assert leaf.parts == ("a",)


def test_only_graders_of_the_roots_are_asked() -> None:
    nodes = {
        "a": Matches(regex="x"),
        "unused": formula(FAILS),
        "stage": Grpo(
            model=Ref("a"), dataset=Ref("a"), grader=Ref("a"), steps=1, clip_range_high=0.1, seed=0
        ),
        "root": combination(("grader", 0), "a"),
    }
    assert Panel(Bench(graph_of(nodes)), ROOTS).names == ("a", "root")


def test_measured_sums_up_by_grader() -> None:
    nodes = {
        "some": formula(SOME),
        "none": formula(("number", COMPLETION)),
        "root": combination(("+", ("grader", 0), ("grader", 1)), "some", "none"),
    }
    with Panel(Bench(graph_of(nodes)), ROOTS) as panel:
        told = measured(panel.grade([Sample("a b"), Sample("4"), Sample("")]))
    assert told == {
        "some": Measured(mean=0.75, count=2, not_applicable=0, failed=1),
        "none": Measured(mean=4.0, count=1, not_applicable=2, failed=0),
        "root": Measured(mean=2.75, count=2, not_applicable=1, failed=0),
    }
    assert measured([]) == {}


# --- weight ---------------------------------------------------------------------------------------------


def test_graders_load_nothing_heavy() -> None:
    probe = (
        "import sys, pkgutil, importlib, harmony_runtime.graders as g\n"
        "for m in pkgutil.iter_modules(g.__path__):\n"
        "    if m.name != 'reward_model': importlib.import_module(f'{g.__name__}.{m.name}')\n"
        "print([m for m in ('torch', 'transformers', 'datasets', 'numpy') if m in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
