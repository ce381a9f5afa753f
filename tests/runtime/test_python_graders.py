"""People's own graders: what they may be, what they may answer, and all that they may do wrong."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import pytest
from graders_support import graph_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import harmony_dsl
from harmony_compiler.graph.graders import PythonGrader as Node
from harmony_compiler.graph.values import Duration, Ref
from harmony_runtime.failures import RunFailed
from harmony_runtime.graders.functions import FunctionGrader, grader, grader_of, metadata_schema
from harmony_runtime.graders.kinds import TryAgain
from harmony_runtime.graders.making import Bench
from harmony_runtime.graders.panel import Panel
from harmony_runtime.graders.protocol import DoesNotApply, Failure, Grade, Grader, Sample, Score
from harmony_runtime.graders.workers.python import PythonGrader

pytestmark = pytest.mark.skipif(os.name == "nt", reason="process groups are POSIX's")


def node_of(folder: Path, source: str, name: str = "score", **fields: Any) -> Node:
    """A node of a grader in `mine.py`."""
    (folder / "mine.py").write_text(source, encoding="utf-8")
    return Node(function=f"{folder / 'mine.py'}:{name}", **fields)


def hosted(node: Node, work: Callable[[PythonGrader], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        asked = PythonGrader(node, Bench(graph_of({})))
        try:
            await asked.set_up()
            return await work(asked)
        finally:
            await asked.tear_down()

    return asyncio.run(run())


def grades(node: Node, *samples: Sample | str) -> list[Grade | TryAgain]:
    """What comes of samples that are handed over at the same time, each tried once."""

    async def one(asked: PythonGrader, sample: Sample) -> Grade | TryAgain:
        try:
            return await asked.grade(sample)
        except TryAgain as fault:
            return fault

    async def work(asked: PythonGrader) -> Sequence[Grade | TryAgain]:
        made = (Sample(sample) if isinstance(sample, str) else sample for sample in samples)
        return await asyncio.gather(*(one(asked, sample) for sample in made))

    return list(hosted(node, work))


def faults(node: Node, *samples: str) -> list[str]:
    """The same, in words; "" for a score."""
    told = grades(node, *samples)
    return ["" if isinstance(g, Score) else g.reason if isinstance(g, Failure) else str(g) for g in told]


# --- what a grader may be, and answer -------------------------------------------------------------------

SAMPLE = Sample("abc", "Why?", turns=({"role": "user", "content": "Why?"},), metadata={"answer": 2})


@pytest.mark.parametrize(
    "source",
    [
        "def score(completion, prompt, turns, metadata):",
        "def score(*, metadata, turns, prompt, completion):",
        "async def score(completion, prompt, turns, metadata):",
        "def score(prompt, completion, turns, metadata, limit=3, *rest):",
    ],
)
def test_a_function_gets_what_it_takes_by_name(source: str, tmp_path: Path) -> None:
    body = "\n    return len(completion) + metadata['answer'] + (turns[0]['content'] == prompt == 'Why?')\n"
    assert grades(node_of(tmp_path, source + body), SAMPLE) == [Score(6.0)]


@pytest.mark.parametrize(
    ("answer", "grade"),
    [
        ("1", Score(1.0)),
        ("True", Score(1.0)),
        ("0.5", Score(0.5)),
        ("Fraction(1, 4)", Score(0.25)),
        ("None", DoesNotApply()),
        ("Score(0.5, 'half')", Score(0.5, "half")),
        ("DoesNotApply('no sum')", DoesNotApply("no sum")),
        ("Failure('no key')", Failure("no key")),
        ("float('nan')", Failure("scored nan")),
        ("10 ** 400", Failure("scored an integer that is too large")),
        (
            "'1'",
            Failure("returned a `str` instead of a number, None, or a grade such as `Score(0.5)`"),
        ),
        (
            "[1]",
            Failure("returned a `list` instead of a number, None, or a grade such as `Score(0.5)`"),
        ),
    ],
)
def test_what_a_function_may_return(answer: str, grade: Grade, tmp_path: Path) -> None:
    source = "from fractions import Fraction\nfrom harmony_dsl import DoesNotApply, Failure, Score\n"
    assert grades(node_of(tmp_path, f"{source}def score(): return {answer}\n"), "x") == [grade]


CLASS = """
from pathlib import Path
from harmony_dsl import Grader, Sample, Score

class Own(Grader):
    async def set_up(self):
        self.log("+")

    async def grade(self, sample: Sample):
        self.log(sample.completion)
        return Score(len(sample.completion))

    async def tear_down(self):
        self.log("-")

    def log(self, text):
        with Path(__file__).with_name("log").open("a") as file:
            file.write(text)

instance = Own()

def score():
    return 1
"""


@pytest.mark.parametrize("name", ["Own", "instance"])
def test_a_class_is_set_up_once_and_torn_down(name: str, tmp_path: Path) -> None:
    assert grades(node_of(tmp_path, CLASS, name), "a", "a", "a") == [Score(1.0)] * 3
    assert (tmp_path / "log").read_text() == "+aaa-"


def test_a_file_imports_its_neighbours_and_itself(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("WORTH = 3\n")
    source = "import beside, sys\ndef score(): return beside.WORTH * (sys.modules[__name__].score is score)\n"
    assert grades(node_of(tmp_path, source), "x") == [Score(3.0)]


def test_a_file_may_be_called_like_a_module(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("def score(): return 1\n")
    assert grades(Node(function=f"{tmp_path / 'json.py'}:score"), "x") == [Score(1.0)]


def test_a_function_has_the_main_thread_and_no_event_loop(tmp_path: Path) -> None:
    source = """
import asyncio, signal

def score():
    signal.alarm(0)
    async def one():
        return 1
    return asyncio.run(one())
"""
    assert grades(node_of(tmp_path, source), "x") == [Score(1.0)]


def test_through_a_panel_in_order(tmp_path: Path) -> None:
    graph = graph_of({"own": node_of(tmp_path, "def score(completion): return float(completion)\n")})
    with Panel(Bench(graph), [Ref("own")]) as panel:
        verdicts = panel.grade([Sample(str(number)) for number in range(100)])
    assert [verdict.scores[0] for verdict in verdicts] == list(range(100))


# --- how many at the same time --------------------------------------------------------------------------

COUNTED = """
import asyncio, os, time
from harmony_dsl import Score, grader
running = most = 0

def score(completion):
    time.sleep(0.2)
    return Score(1, str(os.getpid()))

async def wait(completion):
    global running, most
    running += 1
    most = max(most, running)
    await asyncio.sleep(0.2)
    running -= 1
    return Score(most, str(os.getpid()))

@grader(batched=True, batch=8)
def together(completion, metadata):
    assert len(completion) == len(metadata)
    time.sleep(0.2)
    return [Score(len(completion), str(os.getpid()))] * len(completion)
"""


@pytest.mark.parametrize(
    ("name", "concurrency", "processes", "most"),
    [
        ("score", None, 1, 1),
        ("score", 2, 2, 1),
        ("wait", None, 1, 16),
        ("wait", 3, 1, 3),
        ("together", None, 1, 8),
    ],
)
def test_how_many_are_graded_at_the_same_time(
    name: str, concurrency: int | None, processes: int, most: int, tmp_path: Path
) -> None:
    count = 20 if name == "wait" else 6 if name == "score" else 24
    found = grades(node_of(tmp_path, COUNTED, name, concurrency=concurrency), *["x"] * count)
    scores = [grade for grade in found if isinstance(grade, Score)]
    assert len(scores) == count
    assert len({grade.reasoning for grade in scores}) == processes
    assert max(grade.value for grade in scores) == most


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("[1]", "returned 1 answers to 2 samples"),
        ("1", "returned a `int` instead of a list with an answer for each sample"),
        ("'ab'", "returned a `str` instead of a list with an answer for each sample"),
        ("[1, 'x']", "returned a `str` instead of a number, None, or a grade such as `Score(0.5)`"),
    ],
)
def test_what_a_batched_function_may_not_return(answer: str, reason: str) -> None:
    @grader(batched=True)
    def score(completion: list[str]) -> Any:
        return eval(answer)

    made = FunctionGrader(score)
    assert asyncio.run(made.grade_all([Sample("a"), Sample("b")]))[1] == Failure(reason)


# --- what goes wrong ------------------------------------------------------------------------------------

WRONG = """
import ctypes, os, sys, time
import resource

def score(completion):
    if completion == "raise":
        raise ValueError("no sum")
    if completion == "exit":
        sys.exit(4)
    if completion == "end":
        os._exit(3)
    if completion == "crash":
        ctypes.string_at(0)
    if completion == "hang":
        time.sleep(600)
    if completion == "print":
        while True:
            print("on and on")
    if completion == "memory":
        resource.setrlimit(resource.RLIMIT_AS, (2**31, resource.RLIM_INFINITY))
        return len(bytearray(2**32))
    if completion == "signal":
        os.kill(os.getpid(), 40)
    if completion == "stop":
        return next(iter(()))
    return 1
"""
SHORT = Duration(1, "s")


@pytest.mark.parametrize(
    ("completion", "reason"),
    [
        ("raise", "ValueError: no sum (mine.py:7)"),
        ("exit", "SystemExit: 4 (mine.py:9)"),
        ("end", "the worker process ended itself with exit code 3"),
        ("crash", "the worker process was ended by SIGSEGV"),
        ("signal", "the worker process was ended by signal 40"),
        ("hang", "took longer than 1s"),
        ("print", "took longer than 1s"),
        ("memory", "MemoryError (mine.py:21)"),
        ("stop", "RuntimeError: StopIteration:"),
    ],
)
def test_what_a_function_does_wrong_is_its_samples_alone(
    completion: str, reason: str, tmp_path: Path
) -> None:
    found = faults(node_of(tmp_path, WRONG, timeout=SHORT), "x", completion, "y")
    assert found == ["", reason, ""]


ASYNC = """
import asyncio, os, time

async def score(completion):
    await asyncio.sleep(0.05)
    if completion == "end":
        os._exit(3)
    if completion == "hang":
        await asyncio.sleep(600)
    if completion == "deaf":
        while True:
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                pass
    if completion == "cancel":
        raise asyncio.CancelledError
    return os.getpid()
"""


def test_who_yields_is_dropped_and_the_process_stays(tmp_path: Path) -> None:
    node = node_of(tmp_path, ASYNC, timeout=SHORT)

    async def work(asked: PythonGrader) -> None:
        first, second = await asked.grade(Sample("x")), asyncio.ensure_future(asked.grade(Sample("hang")))
        with pytest.raises(TryAgain, match="took longer than 1s"):
            await second
        assert await asked.grade(Sample("x")) == first

    hosted(node, work)


def test_who_does_not_yield_is_ended_and_the_next_one_graded(tmp_path: Path) -> None:
    async def work(asked: PythonGrader) -> None:
        first = await asked.grade(Sample("x"))
        with pytest.raises(TryAgain, match="took longer than 1s"):
            await asked.grade(Sample("deaf"))
        while (again := await asked.grade(Sample("x"))) == first:
            await asyncio.sleep(0.1)
        assert isinstance(again, Score)

    hosted(node_of(tmp_path, ASYNC, timeout=SHORT), work)


def test_a_dead_process_costs_only_the_sample_that_killed_it(tmp_path: Path) -> None:
    found = faults(node_of(tmp_path, ASYNC), *["x"] * 5, "end", "cancel", *["x"] * 5)
    assert found[:5] == found[7:] == [""] * 5
    assert found[5] == "the worker process ended itself with exit code 3"
    assert found[6] == "asyncio.exceptions.CancelledError (mine.py:17)"


BATCHED = """
import os, time
from harmony_dsl import grader

@grader(batched=True)
def score(completion):
    if "end" in completion:
        os._exit(3)
    if "raise" in completion:
        raise ValueError("no sum")
    time.sleep(0.1)
    return [1] * len(completion)
"""


def test_in_a_batch_a_death_costs_only_its_sample_and_an_exception_its_batch(tmp_path: Path) -> None:
    found = faults(node_of(tmp_path, BATCHED), "x", "x", "end", "x")
    assert found == ["", "", "the worker process ended itself with exit code 3", ""]
    found = faults(node_of(tmp_path, BATCHED), "x", "x", "raise", "x")
    assert found[2] == "ValueError: no sum (mine.py:10)"
    assert set(found) <= {"", found[2]}


@pytest.mark.parametrize(
    ("source", "name", "reason"),
    [
        (
            "import nowhere_at_all\n",
            "score",
            "`mine.py` cannot be imported: ModuleNotFoundError: .* [(]mine.py:1[)]",
        ),
        ("\nraise SystemExit(3)\n", "score", "`mine.py` cannot be imported: SystemExit: 3 [(]mine.py:2[)]"),
        ("def score(:\n", "score", "`mine.py` cannot be imported: .*SyntaxError"),
        ("import os\nos._exit(3)\n", "score", "importing `mine.py` failed: the worker process ended itself"),
        ("", "score", "`mine.py` defines no `score`"),
        (
            "score = 3\n",
            "score",
            "`score` of `mine.py` makes no grader: .*a `int` is no grader: name a function",
        ),
        ("class score: ...\n", "score", "the class `score` is no grader"),
        ("def score(reference): ...\n", "score", "takes a parameter `reference`, which no grader is given"),
    ],
)
def test_what_cannot_be_imported_is_told_before_anything_is_trained(
    source: str, name: str, reason: str, tmp_path: Path
) -> None:
    asked = PythonGrader(node_of(tmp_path, source, name), Bench(graph_of({})))
    for way in (asked.check([]), asked.set_up()):
        with pytest.raises(RunFailed, match=reason) as raised:
            asyncio.run(way)  # type: ignore[arg-type]
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("method", ["set_up", "tear_down"])
def test_a_life_that_fails_is_told_with_its_place(method: str, tmp_path: Path) -> None:
    at = {"set_up": "+", "tear_down": "-"}[method]
    source = CLASS.replace(f'self.log("{at}")', f'self.log("{at}")\n        raise OSError("no line")')
    with pytest.raises(RunFailed, match=rf"`{method}` of `Own` of `mine.py` failed: OSError: no line \(mine"):
        grades(node_of(tmp_path, source, "Own"), "a")
    assert (tmp_path / "log").read_text() == {"set_up": "+-", "tear_down": "+a-"}[method]


# --- metadata -------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def test_metadata_arrives_unchanged(tmp_path: Path) -> None:
    source = "import json\nfrom harmony_dsl import Score\n"
    source += "def score(metadata): return Score(1, json.dumps(metadata))\n"
    asked = PythonGrader(node_of(tmp_path, source), Bench(graph_of({})))
    with asyncio.Runner() as runner:
        runner.run(asked.set_up())

        @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(st.dictionaries(st.text(), JSON, max_size=4))
        def arrives(metadata: dict[str, Any]) -> None:
            grade = runner.run(asked.grade(Sample("x", metadata=metadata)))
            assert isinstance(grade, Score)
            assert json.loads(grade.reasoning) == metadata

        try:
            arrives()
        finally:
            runner.run(asked.tear_down())


TYPED = """
from typing import NotRequired, TypedDict

class Answer(TypedDict):
    answer: str
    tests: NotRequired[list[str]]

def score(metadata: Answer):
    return 1
"""


def test_rows_are_held_against_the_type_of_metadata(tmp_path: Path) -> None:
    asked = PythonGrader(node_of(tmp_path, TYPED), Bench(graph_of({})))
    asyncio.run(asked.check([{"answer": "4"}, {"answer": "4", "tests": []}]))
    with pytest.raises(RunFailed, match="row 2: `answer`: 4 is not of type 'string'"):
        asyncio.run(asked.check([{"answer": "4"}, {"answer": 4}]))


class Answer(TypedDict):
    answer: str
    tests: NotRequired[list[str]]
    more: NotRequired[dict[str, int | None]]


SCHEMA = {
    "type": "object",
    "properties": {
        "answer": {"type": "string"},
        "tests": {"type": "array", "items": {"type": "string"}},
        "more": {
            "type": "object",
            "additionalProperties": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        },
    },
    "required": ["answer"],
}


def typed(metadata: Answer) -> float:
    return 1.0


@grader(batched=True)
def typed_batch(metadata: list[Answer]) -> list[float]:
    return [1.0] * len(metadata)


class Typed(Grader):
    metadata: Answer


def untyped(metadata: dict[str, Any]) -> float:
    return 1.0


@pytest.mark.parametrize("made", [typed, typed_batch, Typed, Typed(), grader_of(typed)])
def test_the_schema_of_metadata(made: Any) -> None:
    assert metadata_schema(made) == SCHEMA


@pytest.mark.parametrize("made", [untyped, lambda completion: 1, Grader, 3])
def test_who_says_nothing_has_no_schema(made: Any) -> None:
    assert metadata_schema(made) == {}


# --- the decorator --------------------------------------------------------------------------------------


def test_a_type_that_no_schema_can_say_is_told_at_once(tmp_path: Path) -> None:
    source = """
from typing import Literal, TypedDict

class Row(TypedDict):
    mark: Literal[b"x"]

def score(metadata: Row):
    return 1
"""
    with pytest.raises(RunFailed, match="bytes is not JSON serializable"):
        faults(node_of(tmp_path, source), "x")


def test_a_decorated_function_stays_the_function() -> None:
    def score(completion: str) -> int:
        return len(completion)

    assert harmony_dsl.grader(score) is score
    assert harmony_dsl.grader(batched=True)(score) is score
    assert score("abc") == 3


def test_what_the_decorator_refuses() -> None:
    with pytest.raises(TypeError, match="takes a parameter `reference`, which no grader is given by name"):
        grader(lambda reference: 1)
    with pytest.raises(ValueError, match="at least one sample"):
        grader(batched=True, batch=0)


def test_grades_are_kept_where_the_recipe_says_so(tmp_path: Path) -> None:
    for cache in (False, True):
        assert PythonGrader(node_of(tmp_path, CLASS, cache=cache), Bench(graph_of({}))).keeps is cache
