"""`harmonyc serve-grader`: a grader of a Python file, asked over HTTP."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import pytest
from dsl_support import Harmonyc

from harmony_runtime.graders.serving import LARGEST

GRADERS = """
    import asyncio, sys, time
    from harmony_dsl import Grader, Score, grader

    async def score(completion):
        if completion == "meet":
            await meeting()
        if completion.startswith("raise "):
            raise eval(completion.removeprefix("raise "))
        if completion == "torch":
            return "torch" in sys.modules
        return {"none": None, "nan": float("nan"), "text": "good"}.get(completion, 0.5)

    def hang(completion):
        print("hangs", flush=True)
        time.sleep(100)

    came = []

    async def meeting():
        came.append(1)
        while len(came) < 4:
            await asyncio.sleep(0.001)

    @grader(batched=True, batch=3)
    def batches(completion):
        return [len(completion)] * len(completion)

    class Lengths(Grader):
        async def set_up(self):
            self.unit = 10

        async def grade(self, sample):
            if sample.completion == "half":
                return Score(0.5, "\\ud800")
            return Score(len(sample.completion) / self.unit)

        async def tear_down(self):
            print("torn down", flush=True)

    class Broken(Grader):
        async def set_up(self):
            raise ConnectionError("no model there")

    one = 1
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("graders") / "graders.py"
    file.write_text(dedent(GRADERS), encoding="utf-8")
    return file


@pytest.fixture(autouse=True)
def paths(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of a grader's file is searched for what the file imports."""
    monkeypatch.setattr(sys, "path", list(sys.path))


class Server:
    def __init__(self, process: subprocess.Popen[str], name: str) -> None:
        self.process = process
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith(f"serving {name} on http://127.0.0.1:"), line
        self.url = line.split()[-1]

    def score(self, *completions: str) -> list[Any]:
        """The grades of samples that are sent together."""
        samples = [{"completion": completion} for completion in completions]
        status, told = self.post(json.dumps({"samples": samples}).encode())
        assert status == 200, told
        grades: list[Any] = told["grades"]
        return grades

    def post(self, body: bytes) -> tuple[int, Any]:
        opener = build_opener(ProxyHandler({}))
        try:
            with opener.open(Request(f"{self.url}/score", body), timeout=30) as answer:
                return answer.status, json.load(answer)
        except HTTPError as fault:
            with fault:
                return fault.code, json.load(fault)


@contextmanager
def serving(file: Path, name: str, *options: str) -> Iterator[Server]:
    command = [sys.executable, "-m", "harmony_dsl", "serve-grader", f"{file}:{name}", "--port", "0", *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield Server(process, name)
        finally:
            process.kill()


@pytest.fixture(scope="module")
def server(file: Path) -> Iterator[Server]:
    with serving(file, "score") as server:
        yield server


# --- grades ---------------------------------------------------------------------------------------------


def test_grades_come_in_order(server: Server) -> None:
    assert server.score("x", "none", "raise ValueError('too long')", "y") == [
        {"score": 0.5},
        {"not_applicable": True},
        {"failed": "ValueError: too long"},
        {"score": 0.5},
    ]
    assert server.score() == []


@pytest.mark.parametrize(
    ("completion", "failed"),
    [
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise KeyboardInterrupt()", "KeyboardInterrupt"),
        ("raise asyncio.CancelledError()", "asyncio.exceptions.CancelledError"),
        ("raise StopIteration()", "RuntimeError: coroutine raised StopIteration"),
        ("nan", "scored nan"),
        ("text", "returned a `str` instead of a number, None, or a grade such as `Score(0.5)`"),
    ],
)
def test_whatever_the_function_does_is_a_grade(server: Server, completion: str, failed: str) -> None:
    assert server.score(completion, "x") == [{"failed": failed}, {"score": 0.5}]


def test_samples_of_an_async_function_go_on_together(server: Server) -> None:
    assert server.score(*["meet"] * 4) == [{"score": 0.5}] * 4


def test_no_torch_is_loaded(server: Server) -> None:
    assert server.score("torch") == [{"score": 0.0}]


def test_a_function_in_a_thread_may_do_the_same(tmp_path: Path) -> None:
    file = tmp_path / "threads.py"
    file.write_text("def raises(completion):\n    raise eval(completion)\n", encoding="utf-8")
    with serving(file, "raises", "--workers", "2") as server:
        raised = ["SystemExit(3)", "KeyboardInterrupt()", "StopIteration()", "ValueError(1)"]
        assert [grade["failed"].partition(":")[0] for grade in server.score(*raised)] == [
            *("SystemExit", "KeyboardInterrupt", "RuntimeError", "ValueError")
        ]


def test_what_it_imports_beside_it_is_a_part_of_its_version(tmp_path: Path) -> None:
    def version() -> Any:
        opener = build_opener(ProxyHandler({}))
        with serving(tmp_path / "mine.py", "score") as server, opener.open(f"{server.url}/info") as answer:
            return json.load(answer)["version"]

    (tmp_path / "mine.py").write_text("from near import score\n")
    (tmp_path / "near.py").write_text("def score(completion): return 0\n")
    before = version()
    assert version() == before
    (tmp_path / "near.py").write_text("def score(completion): return 1\n")
    assert version() != before


def test_samples_that_come_together_make_batches(file: Path) -> None:
    with serving(file, "batches") as server:
        assert server.score(*"abcd") == [{"score": 3.0}] * 3 + [{"score": 1.0}]


# --- questions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("{", "Expecting property name enclosed in double quotes"),
        ("[" * 100_000, "maximum recursion depth exceeded"),
        ('{"samples": [{"completion": "x", "metadata": {"n": NaN}}]}', "`NaN` is no number in JSON"),
        ("[]", 'a question is `{"samples": [{"completion": "…"}, …]}`'),
        ('{"samples": {}}', 'a question is `{"samples": [{"completion": "…"}, …]}`'),
        ('{"samples": [{"prompt": "x"}]}', "`samples[0]` is no object with a `completion`"),
        ('{"samples": [{"completion": "x"}, 5]}', "`samples[1]` is no object with a `completion`"),
        ('{"samples": [{"completion": 5}]}', "`completion` of `samples[0]` is no text"),
        ('{"samples": [{"completion": "", "metadata": []}]}', "`metadata` of `samples[0]` is no object"),
        ('{"samples": [{"completion": "", "turns": [5]}]}', "`turns` of `samples[0]` is no list of"),
        ('{"samples": [{"completion": "", "metdata": {}}]}', "`metdata` of `samples[0]` is unknown"),
    ],
)
def test_what_is_no_question_is_told(server: Server, body: str, error: str) -> None:
    status, told = server.post(body.encode())
    assert status == 422
    assert told["error"].startswith(error)


def test_a_question_is_bounded(server: Server) -> None:
    status, told = server.post(b" " * (LARGEST + 1))
    assert (status, told) == (
        413,
        {"error": "the question has more than 16,777,216 bytes: send fewer samples"},
    )
    assert server.score("x") == [{"score": 0.5}]


# --- beginning and end ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it_after_its_tear_down(file: Path, number: signal.Signals, code: int) -> None:
    with serving(file, "Lengths") as server:
        assert server.score("12345", "half") == [{"score": 0.5}, {"score": 0.5, "reasoning": "?"}]
        server.process.send_signal(number)
        out, err = server.process.communicate(timeout=30)
    assert server.process.returncode == code
    assert out == "torn down\n"
    assert "Traceback" not in err


def test_a_function_that_hangs_does_not_keep_it(file: Path) -> None:
    body = b'{"samples": [{"completion": "x"}]}'
    with serving(file, "hang") as server, socket.socket() as asking:
        asking.connect(("127.0.0.1", int(server.url.rpartition(":")[2])))
        asking.sendall(b"POST /score HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        assert server.process.stdout is not None
        assert server.process.stdout.readline() == "hangs\n"
        server.process.send_signal(signal.SIGTERM)
        server.process.communicate(timeout=30)
    assert server.process.returncode == 143


def test_a_grader_that_cannot_be_set_up_is_told(file: Path, harmonyc: Harmonyc) -> None:
    outcome = harmonyc("serve-grader", f"{file}:Broken", "--port", "0")
    assert outcome.code == 1
    assert outcome.err == "harmonyc: `set_up` of `Broken` failed: ConnectionError: no model there\n"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (
            ["graders:score"],
            2,
            "`graders:score` is not of the form `FILE.py:NAME`, such as `graders.py:score`",
        ),
        (["graders.py"], 2, "`graders.py` is not of the form `FILE.py:NAME`"),
        (["nowhere.py:score"], 1, "there is no file nowhere.py"),
        (["{file}:one"], 1, "a `int` is no grader: name a function, or a class that derives from"),
        (["{file}:two"], 1, "`graders.py` defines no `two`"),
        (["{file}:score", "--port", "65536"], 2, "`65536` is not a port, a whole number from 0 to 65535"),
        (["{file}:score", "--workers", "0"], 2, "`0` is not a whole number above 0"),
        (["{file}:score", "--host", "no.such.host.invalid"], 2, "cannot listen at no.such.host.invalid"),
    ],
)
def test_wrong_usage_is_told(
    file: Path, harmonyc: Harmonyc, arguments: list[str], code: int, words: str
) -> None:
    given = [argument.replace("{file}", str(file)) for argument in arguments]
    outcome = harmonyc("serve-grader", *given, *([] if "--port" in given else ["--port", "0"]))
    assert outcome.code == code
    assert words in outcome.err


def test_a_port_that_is_taken_is_told(file: Path, harmonyc: Harmonyc) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        outcome = harmonyc("serve-grader", f"{file}:score", "--port", str(port))
    assert outcome.code == 2
    assert outcome.err.startswith(
        f"harmonyc: cannot listen at 127.0.0.1, port {port}: Address already in use;"
    )
    assert "`--port 0` takes a port that is free" in outcome.err
