"""Worker processes: rules in them, deadlines, deaths, and the end of their parent."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from harmony_compiler.graph.graders import Contains, Equals, Matches
from harmony_runtime.graders.kinds import TryAgain
from harmony_runtime.graders.protocol import Failure, Grade, Sample, Score
from harmony_runtime.graders.workers import process as processes
from harmony_runtime.graders.workers.pool import Workers, answered
from harmony_runtime.graders.workers.process import Ended, Process

pytestmark = pytest.mark.skipif(os.name == "nt", reason="process groups are POSIX's")

EQUALS = Equals(expected="{{ metadata.answer }}")
HANGS = Matches(regex="(a+)+$")
ENDLESS = Sample("a" * 60 + "b")
LONG = 60.0
"""Seconds that nothing here takes."""


def sample(completion: str, answer: str = "4") -> Sample:
    return Sample(completion, metadata={"answer": answer})


def with_workers(work: Callable[[Workers], Awaitable[None]], count: int = 1) -> None:
    async def run() -> None:
        workers = Workers(count)
        try:
            await work(workers)
        finally:
            await workers.close()

    asyncio.run(run())


def is_there(pid: int) -> bool:
    """Whether a process runs; one that ended may wait for somebody to take notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except FileNotFoundError:
        return False


def test_rules_are_made_from_their_nodes() -> None:
    async def work(workers: Workers) -> None:
        assert await workers.grade(EQUALS, sample(" 4 "), LONG) == Score(1.0)
        assert await workers.grade(EQUALS, sample("5"), LONG) == Score(0.0, 'expected "4"')
        assert await workers.grade(Contains(text="{{ prompt }}"), Sample("abc", "b"), LONG) == Score(1.0)
        assert await workers.grade(Matches(regex="^b"), Sample("abc"), LONG) == Score(0.0)

    with_workers(work)


def test_a_rule_that_cannot_be_made_is_a_failure() -> None:
    async def work(workers: Workers) -> None:
        grade = await workers.grade(Equals(expected="{{ x"), sample("4"), LONG)
        assert isinstance(grade, Failure)
        assert "template" in grade.reason

    with_workers(work)


def test_what_hangs_is_ended_and_the_next_sample_is_graded() -> None:
    async def work(workers: Workers) -> None:
        assert await workers.grade(HANGS, Sample("aaa"), LONG) == Score(1.0)
        started = time.monotonic()
        assert await workers.grade(HANGS, ENDLESS, 0.3) == Failure("took longer than 0.3 s")
        assert time.monotonic() - started < 5
        assert await workers.grade(HANGS, Sample("aab"), LONG) == Score(0.0)

    with_workers(work)


def test_grades_belong_to_their_samples() -> None:
    async def work(workers: Workers) -> None:
        asked = [workers.grade(EQUALS, sample(str(n), str(n % 3)), LONG) for n in range(60)]
        grades = await asyncio.gather(*asked)
        assert [grade == Score(1.0) for grade in grades] == [n < 3 for n in range(60)]

    with_workers(work, 2)


def test_many_samples_take_little_time() -> None:
    async def work(workers: Workers) -> None:
        await workers.grade(EQUALS, sample("4"), LONG)
        started = time.process_time()
        await asyncio.gather(*(workers.grade(EQUALS, sample("4"), LONG) for _ in range(2000)))
        assert time.process_time() - started < 2

    with_workers(work)


def test_a_worker_that_dies_leaves_its_sample_to_be_tried_again() -> None:
    async def work(workers: Workers) -> None:
        asked = asyncio.ensure_future(workers.grade(HANGS, ENDLESS, LONG))
        while not (running := workers._seats.processes) or not running[0]._asked or not running[0].made:
            await asyncio.sleep(0.01)
        os.kill(running[0].pid, signal.SIGSEGV)
        with pytest.raises(TryAgain, match="SIGSEGV"):
            await asked
        assert await workers.grade(HANGS, Sample("aaa"), LONG) == Score(1.0)

    with_workers(work)


def test_who_gives_up_leaves_no_worker_busy() -> None:
    async def work(workers: Workers) -> None:
        await workers.grade(HANGS, Sample("aaa"), LONG)
        pid = workers._seats.processes[0].pid
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(workers.grade(HANGS, ENDLESS, LONG), 0.2)
        assert await workers.grade(HANGS, Sample("aaa"), LONG) == Score(1.0)
        assert workers._seats.processes[0].pid != pid

    with_workers(work)


def test_processes_are_started_when_they_are_needed_and_end() -> None:
    pids: list[int] = []

    async def work(workers: Workers) -> None:
        assert workers._seats.processes == []
        for _ in range(3):
            await workers.grade(EQUALS, sample("4"), LONG)
        assert len(workers._seats.processes) == 1
        asked: list[Awaitable[Grade]] = [workers.grade(EQUALS, sample("4"), LONG) for _ in range(20)]
        await asyncio.gather(*asked)
        pids.extend(process.pid for process in workers._seats.processes)
        assert len(pids) == 2

    with_workers(work, 2)
    assert not any(map(is_there, pids))


@pytest.mark.parametrize("value", [{1, 2}, 10**5000, "deep"], ids=["a set", "a long number", "deep"])
def test_what_json_cannot_say_is_a_failure(value: object) -> None:
    if value == "deep":
        value = []
        for _ in range(100_000):
            value = [value]

    async def work(workers: Workers) -> None:
        grade = await workers.grade(EQUALS, Sample("4", metadata={"answer": value}), LONG)
        assert isinstance(grade, Failure)
        assert grade.reason.startswith("the sample cannot be handed to a worker process: ")
        assert await workers.grade(EQUALS, sample("4"), LONG) == Score(1.0)

    with_workers(work)


def test_a_sample_that_is_too_long_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LONGEST", 2**16)

    async def work(workers: Workers) -> None:
        assert isinstance(await workers.grade(EQUALS, sample("4" * 2**16), LONG), Failure)
        assert await workers.grade(EQUALS, sample("4"), LONG) == Score(1.0)

    with_workers(work)


# --- the process ----------------------------------------------------------------------------------------


def asked_of(folder: Path, source: str, *questions: dict[str, object]) -> list[object]:
    """What a process answers about `score` of a file."""
    (folder / "mine.py").write_text(source)
    make = {"make": 0, "file": str(folder / "mine.py"), "name": "score"}

    async def ask() -> list[object]:
        process = await Process.start()
        try:
            return [await answered(process, question, LONG) for question in (make, *questions)]
        finally:
            await process.end()

    return asyncio.run(ask())


GRADE = {"grade": 0, "sample": {"completion": "x", "prompt": "", "turns": [], "metadata": {}, "tokens": None}}


def test_a_worker_is_light_and_leaves_the_cores_to_others(tmp_path: Path) -> None:
    source = """
import os, sys
from harmony_dsl import Score

def score(completion):
    group = os.getpgid(0) == os.getpid()
    return Score(os.nice(0), f"{'torch' in sys.modules} {group} {os.environ['OMP_NUM_THREADS']}")
"""
    _, told = asked_of(tmp_path, source, GRADE)
    assert told == {"grade": {"score": min(os.nice(0) + 5, 19), "reasoning": "False True 1"}}


def test_prints_are_no_answers(tmp_path: Path) -> None:
    source = """
import os, sys
print('{"id": 0, "grade": {"score": 9}}')

def score(completion):
    os.write(1, b'{"id": 1, "grade": {"score": 9}}')
    sys.__stdout__.write('{"id": 1}')
    try:
        return input()
    except EOFError:
        return 1
"""
    made, told = asked_of(tmp_path, source, GRADE)
    assert isinstance(made, dict) and "made" in made
    assert told == {"grade": {"score": 1.0}}


def test_an_answer_that_is_too_long_is_a_failure(tmp_path: Path) -> None:
    source = "from harmony_dsl import Score\ndef score(completion): return Score(1, 'x' * 2**21)\n"
    _, told = asked_of(tmp_path, source, GRADE)
    assert isinstance(told, dict)
    assert "more than 1,048,576" in told["grade"]["failed"]


def test_the_last_words_of_a_process_are_told(tmp_path: Path) -> None:
    source = "import os\ndef score(completion):\n    print('out of paper')\n    os._exit(7)\n"
    with pytest.raises(Ended, match=r"ended itself with exit code 7 \(it last wrote: out of paper\)"):
        asked_of(tmp_path, source, GRADE)


def test_an_interrupt_is_the_parents_business(tmp_path: Path) -> None:
    source = "import os, signal\ndef score():\n    os.kill(os.getpid(), signal.SIGINT)\n    return 1\n"
    _, told = asked_of(tmp_path, source, GRADE)
    assert told == {"grade": {"score": 1.0}}


def test_what_a_process_started_ends_with_it(tmp_path: Path) -> None:
    source = """
import subprocess
from harmony_dsl import Score

def score():
    return Score(subprocess.Popen(["sleep", "600"]).pid)
"""
    _, told = asked_of(tmp_path, source, GRADE)
    assert isinstance(told, dict)
    until(lambda: not is_there(int(told["grade"]["score"])))


def test_what_left_its_session_holds_nobody_up(tmp_path: Path) -> None:
    source = """
import os, subprocess

def score():
    with open(__file__ + ".pid", "w") as file:
        file.write(str(subprocess.Popen(["sleep", "600"], start_new_session=True).pid))
    os._exit(5)
"""
    try:
        with pytest.raises(Ended, match="exit code 5"):
            asked_of(tmp_path, source, GRADE)
    finally:
        os.kill(int((tmp_path / "mine.py.pid").read_text()), signal.SIGKILL)


PARENT = """
import asyncio
from harmony_compiler.graph.graders import Matches
from harmony_runtime.graders.protocol import Sample
from harmony_runtime.graders.workers.pool import Workers

async def work():
    workers, node = Workers(1), Matches(regex="(a+)+$")
    await workers.grade(node, Sample("aaa"), 60)
    print(workers._seats.processes[0].pid, flush=True)
    await workers.grade(node, Sample({completion!r}), 600)
    await asyncio.sleep(600)

asyncio.run(work())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="what a killed process leaves is seen in /proc")
@pytest.mark.parametrize("completion", ["aaa", ENDLESS.completion], ids=["idle", "busy in C"])
def test_a_killed_parent_leaves_no_worker(completion: str) -> None:
    command = [sys.executable, "-c", PARENT.replace("{completion!r}", json.dumps(completion))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        until(lambda: completion != ENDLESS.completion or seconds_computed(pid) > 1)
        assert is_there(pid)
        parent.kill()
    until(lambda: not is_there(pid))


def seconds_computed(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return int(fields[11]) / os.sysconf("SC_CLK_TCK")


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)
