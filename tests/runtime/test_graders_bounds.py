"""Bounds: tries, time, places, what is known, and budgets."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from graders_support import graph_of

from harmony_compiler.graph.graders import Contains, Judge
from harmony_compiler.graph.graders import Grader as Node
from harmony_compiler.graph.values import Duration, Ref
from harmony_runtime.graders.kinds import Asked, Priced, TryAgain
from harmony_runtime.graders.making import Bench
from harmony_runtime.graders.panel import Panel
from harmony_runtime.graders.protocol import DoesNotApply, Failure, Grade, Sample, Score

Answer = Callable[[Sample, int], Awaitable[Any]]


class Server(Asked):
    """Something that is asked: `answer` gets the sample and how often it was asked about before."""

    keeps = True

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.asked: Counter[str] = Counter()
        self.released = 0
        self.now = self.most = 0

    @property
    def version(self) -> str:
        return "1"

    async def grade(self, sample: Sample) -> Grade:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            self.asked[sample.completion] += 1
            grade: Grade = await self._answer(sample, self.asked[sample.completion] - 1)
            return grade
        finally:
            self.now -= 1


def panel(
    server: Asked, node: Node | None = None, *, kept: Path | None = None, warn: Callable[[str], None] = print
) -> Panel:
    node = node or Contains(text="x")
    bench = Bench(graph_of({"g": node}), keys={Ref("g"): "what is asked"}, kept=kept, warn=warn)
    return Panel(bench, [Ref("g")], factories={type(node): lambda *_: server})


def grades(server: Asked, *completions: str, **fields: Any) -> list[Grade]:
    with panel(server, Contains(text="x", **fields)) as made:
        return [verdict.grades["g"] for verdict in made.grade([Sample(text) for text in completions])]


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses between tries, which take no time here."""
    seen: list[float] = []
    from harmony_runtime.graders import tries

    true = tries._pause

    def short(*given: Any) -> float:
        seen.append(true(*given))
        return 0.0

    monkeypatch.setattr(tries, "_pause", short)
    return seen


# --- tries ----------------------------------------------------------------------------------------------


async def at_last(sample: Sample, before: int) -> Grade:
    if before < 2:
        raise TryAgain("the server is busy")
    return Score(0.75)


def test_what_another_try_may_mend_is_tried_again(pauses: list[float]) -> None:
    server = Server(at_last)
    assert grades(server, "a", "b") == [Score(0.75)] * 2
    assert server.asked == {"a": 3, "b": 3}


def test_after_the_last_try_it_is_a_failure_that_says_so(pauses: list[float]) -> None:
    server = Server(at_last)
    assert grades(server, "a", retries=1) == [Failure("the server is busy (tried 2 times)")]
    assert grades(Server(at_last), "a", retries=0) == [Failure("the server is busy")]


def test_what_is_final_is_not_tried_again(pauses: list[float]) -> None:
    async def refuses(sample: Sample, before: int) -> Grade:
        return Failure("no such model")

    server = Server(refuses)
    assert grades(server, "a") == [Failure("no such model")]
    assert server.asked == {"a": 1}
    assert pauses == []


def test_pauses_double_differ_and_heed_the_server(pauses: list[float]) -> None:
    async def busy(sample: Sample, before: int) -> Grade:
        raise TryAgain("busy", after={0: None, 1: None, 2: 7.0, 3: 10_000.0}[before])

    grades(Server(busy), "a", retries=4)
    first, second, third, fourth = pauses
    assert 0.125 <= first <= 0.25 < 2 * first != second
    assert 0.25 <= second <= 0.5
    assert third == 7.0
    assert fourth == 60.0  # nobody waits for hours
    again = list(pauses)
    grades(Server(busy), "a", retries=4)
    assert pauses[4:] == again  # the jitter is the sample's own
    grades(Server(busy), "b", retries=4)
    assert pauses[8:10] != again[:2]


# --- time -----------------------------------------------------------------------------------------------


async def hangs(sample: Sample, before: int) -> Grade:
    await asyncio.sleep(60)
    return Score(1.0)


def test_a_try_that_takes_too_long_ends_and_a_third_is_not_made(pauses: list[float]) -> None:
    server = Server(hangs)
    found = grades(server, "a", retries=5, timeout=Duration(30, "ms"))
    assert found == [Failure("took longer than 30ms (tried 2 times)")]
    assert server.now == 0


def test_one_that_hangs_does_not_keep_the_others(pauses: list[float]) -> None:
    async def answer(sample: Sample, before: int) -> Grade:
        return await hangs(sample, before) if sample.completion == "a" and not before else Score(1.0)

    server = Server(answer)
    assert grades(server, "a", "b", timeout=Duration(30, "ms"), concurrency=1) == [Score(1.0)] * 2


def test_one_that_does_not_let_itself_be_cancelled_is_left_behind(
    pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    from harmony_runtime.graders import hosting

    monkeypatch.setattr(hosting, "_PATIENCE", 0.05)

    async def stubborn(sample: Sample, before: int) -> Grade:
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            try:
                await asyncio.sleep(0.5)
            except asyncio.CancelledError:
                continue
        return Score(1.0)

    started = time.monotonic()
    found = grades(Server(stubborn), "a", retries=0, timeout=Duration(20, "ms"))
    assert found == [Failure("took longer than 20ms")]
    assert time.monotonic() - started < 0.5


# --- places ---------------------------------------------------------------------------------------------


async def shortly(sample: Sample, before: int) -> Grade:
    await asyncio.sleep(0.01)
    return Score(1.0)


@pytest.mark.parametrize(("fields", "most"), [({}, 32), ({"concurrency": 3}, 3)])
def test_so_many_are_asked_at_the_same_time(fields: dict[str, int], most: int) -> None:
    server = Server(shortly)
    grades(server, *map(str, range(50)), **fields)
    assert server.most == most


# --- what is known --------------------------------------------------------------------------------------


async def told(sample: Sample, before: int) -> Any:
    return Priced(Score(float(len(sample.completion)), "long"), tokens=10)


def test_tries_that_gave_nothing_are_paid_by_their_sample(pauses: list[float]) -> None:
    async def third(sample: Sample, before: int) -> Any:
        if before < 2 or sample.completion == "never":
            raise TryAgain("unreadable", tokens=7)
        return Priced(Score(1.0), tokens=10)

    with panel(Server(third), Contains(text="x", retries=3)) as made:
        verdicts = made.grade([Sample("a"), Sample("never")])
    assert [verdict.costs["g"].tokens for verdict in verdicts] == [7 + 7 + 10, 4 * 7]


def test_a_grade_that_is_kept_is_not_asked_for_again(tmp_path: Path) -> None:
    kept, first, second = tmp_path / "home" / "grades.sqlite", Server(told), Server(told)
    samples = [Sample("a"), Sample("bb"), Sample("a"), Sample("a", metadata={"k": 1})]
    for server in (first, second):
        with panel(server, kept=kept) as made:
            verdicts = made.grade(samples)
            made.admit(verdicts)
            assert [verdict.grades["g"] for verdict in verdicts] == [
                Score(1.0, "long"),
                Score(2.0, "long"),
                Score(1.0, "long"),
                Score(1.0, "long"),
            ]
            # Equal samples of a step are one question, which is paid once.
            known, tokens = (1, 30) if server is first else (4, 0)
            assert made.spent["g"]["known"] == known
            assert made.spent["g"]["tokens"] == tokens
    assert first.asked == {"a": 2, "bb": 1}  # equal samples of a step are one question
    assert not second.asked


def test_what_is_asked_and_of_whom_decides_what_is_known(tmp_path: Path) -> None:
    class Newer(Server):
        @property
        def version(self) -> str:
            return "2"

    kept = tmp_path / "grades.sqlite"
    for server in (Server(told), Newer(told)):
        with panel(server, kept=kept) as made:
            made.grade([Sample("a")])
        assert server.asked == {"a": 1}


def test_failures_are_not_kept(tmp_path: Path, pauses: list[float]) -> None:
    async def once_down(sample: Sample, before: int) -> Grade:
        if not before:
            raise ConnectionError("down")
        return DoesNotApply("nothing to say")

    server = Server(once_down)
    for expected in (Failure("ConnectionError: down"), DoesNotApply("nothing to say")) * 2:
        with panel(server, Contains(text="x", retries=0), kept=tmp_path / "grades.sqlite") as made:
            found = made.grade([Sample("a")])[0].grades["g"]
            if server.asked["a"] == 1:
                assert found == expected
    assert server.asked == {"a": 2}
    assert found == DoesNotApply("nothing to say")


def test_one_that_wavers_is_asked_each_time(tmp_path: Path) -> None:
    server = Server(told)
    server.keeps = False
    with panel(server, kept=tmp_path / "grades.sqlite") as made:
        made.grade([Sample("a")] * 3)
    assert server.asked == {"a": 3}
    assert not (tmp_path / "grades.sqlite").exists()


@pytest.mark.parametrize("damage", ["text", "folder", "foreign"])
def test_a_damaged_file_costs_money_and_no_run(tmp_path: Path, damage: str) -> None:
    kept, warned = tmp_path / "grades.sqlite", list[str]()
    if damage == "text":
        kept.write_text("no database " * 100)
    elif damage == "folder":
        kept.mkdir()
    else:
        with panel(Server(told), kept=kept) as made:
            made.grade([Sample("a")])
        with sqlite3.connect(kept) as database:
            database.execute("UPDATE grades SET grade = '{'")
    server = Server(told)
    with panel(server, kept=kept, warn=warned.append) as made:
        assert made.grade([Sample("a"), Sample("b")])[0].grades["g"] == Score(1.0, "long")
    assert server.asked == {"a": 1, "b": 1}
    assert len(warned) == (damage != "foreign")
    assert all(f"grades are not kept: {kept}: " in text for text in warned)


# --- budgets --------------------------------------------------------------------------------------------


def judge(**fields: Any) -> Judge:
    return Judge(model=Ref("g"), criteria="good", **fields)


SPENT = DoesNotApply("the budget of this grader is spent")


def asked_in_steps(made: Panel, *steps: int) -> list[int]:
    """How many of each step's samples were graded."""
    found = []
    for step, count in enumerate(steps):
        verdicts = made.grade([Sample(f"{step} {number}") for number in range(count)])
        made.admit(verdicts)
        found.append(sum(verdict.grades["g"] != SPENT for verdict in verdicts))
    return found


def test_a_budget_counts_completions_and_the_rest_does_not_apply() -> None:
    with panel(Server(told), judge(budget=10)) as made:
        assert asked_in_steps(made, 4, 4, 4, 4) == [4, 4, 2, 0]
        assert made.spent["g"]["grades"] == 10
        verdicts = made.grade([Sample("a")])
    assert verdicts[0].scores == (None,)


def test_a_budget_of_tokens_is_asked_before_each_step() -> None:
    with panel(Server(told), judge(token_budget=45)) as made:
        assert asked_in_steps(made, 3, 3, 3) == [3, 3, 0]
        assert made.spent["g"]["tokens"] == 60


def test_a_run_that_goes_on_has_spent_what_it_has_spent() -> None:
    with panel(Server(told), judge(budget=10)) as made:
        asked_in_steps(made, 7)
        state = made.state()
    with panel(Server(told), judge(budget=10)) as fresh:
        fresh.restore(state)
        assert asked_in_steps(fresh, 7) == [3]


def test_what_is_known_counts_so_that_a_repeated_run_ends_alike(tmp_path: Path) -> None:
    for known in (0, 10):
        with panel(Server(told), judge(budget=10, token_budget=1000), kept=tmp_path / "kept") as made:
            assert asked_in_steps(made, 8, 8) == [8, 2]
            assert made.spent["g"]["known"] == known


def test_of_a_round_in_parts_those_with_the_lowest_numbers_are_asked() -> None:
    """However many processes share it, and whatever ends first."""
    with panel(Server(told), judge(budget=2)) as made, made.grading() as grading:
        for number in (5, 1, 3, 0):
            grading.put(number, Sample(str(number)))
        found = [verdict.grades["g"] == SPENT for verdict in grading.verdicts()]
    assert found == [False, False, True, True]


# --- streaming ------------------------------------------------------------------------------------------


def test_a_sample_is_asked_about_before_the_next_one_comes() -> None:
    server = Server(shortly)
    with panel(server) as made, made.grading() as grading:
        grading.put(0, Sample("a"))
        end = time.monotonic() + 10
        while grading.graded < 1 and time.monotonic() < end:
            time.sleep(0.005)
        assert server.asked == {"a": 1}
        grading.put(1, Sample("b"))
        assert len(grading.verdicts()) == 2


def test_what_is_under_way_ends_with_what_failed_meanwhile() -> None:
    server = Server(hangs)
    with panel(server) as made:
        with pytest.raises(ZeroDivisionError), made.grading() as grading:
            grading.put(0, Sample("a"))
            raise ZeroDivisionError
        end = time.monotonic() + 10
        while server.now and time.monotonic() < end:
            time.sleep(0.005)
        assert server.now == 0


def test_half_a_character_in_a_reason_can_be_kept_and_written(tmp_path: Path) -> None:
    async def odd(sample: Sample, before: int) -> Any:
        return Score(1.0, "so \ud800 so") if sample.completion == "a" else Failure("\ud800")

    for _ in range(2):
        with panel(Server(odd), kept=tmp_path / "kept") as made:
            found = [verdict.grades["g"] for verdict in made.grade([Sample("a"), Sample("b")])]
        assert found == [Score(1.0, "so ? so"), Failure("?")]
