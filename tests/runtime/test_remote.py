"""`remote`: what a reward server says, what it may do wrong, and what is asked of it before any training."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from reward_servers import (
    GOOD,
    ONE,
    Asked,
    Served,
    free_port,
    grade,
    refused,
    remote,
    says,
    scripted,
    served,
    set_up,
    speaks,
)

from harmony_compiler.graph.values import Duration, Secret
from harmony_runtime.failures import RunFailed
from harmony_runtime.graders import http
from harmony_runtime.graders.kinds import TryAgain
from harmony_runtime.graders.protocol import DoesNotApply, Failure, Grade, Sample, Score

GRADERS = """
    import os, threading
    from typing import NotRequired, TypedDict
    from harmony_dsl import Score

    class Answer(TypedDict):
        answer: str
        hints: NotRequired[list[str]]

    together = threading.Barrier(8)

    def score(completion, prompt, turns, metadata: Answer):
        if completion == "all together":
            together.wait(30)
        if completion == "what was asked":
            return Score(0.25, f"{prompt} {turns} {metadata}")
        if completion == "nothing":
            return None
        return completion == metadata["answer"]
"""


@pytest.fixture(scope="module")
def graders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("graders") / "graders.py"
    file.write_text(dedent(GRADERS), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def server(graders: Path) -> Iterator[Served]:
    with served(graders, "score", "--workers", "8") as server:
        yield server


# --- the reference server -------------------------------------------------------------------------------


def test_a_server_in_another_process_grades(server: Served) -> None:
    right, wrong, nothing, broken = grade(
        server.url, ONE, Sample("5", metadata={"answer": "4"}), Sample("nothing"), Sample("x")
    )
    assert (right, wrong, nothing) == (Score(1.0), Score(0.0), DoesNotApply())
    assert isinstance(broken, Failure)
    assert broken.reason.startswith("KeyError: 'answer'")


def test_the_server_sees_all_of_a_sample(server: Served) -> None:
    asked = Sample("what was asked", ONE.prompt, turns=ONE.turns, metadata={"answer": "\u00e9\ud800"})
    (told,) = grade(server.url, asked)
    assert told == Score(0.25, f"2+2 {[dict(ONE.turns[0])]} {dict(asked.metadata)}")


def test_eight_samples_are_graded_at_the_same_time(server: Served) -> None:
    together = Sample("all together", metadata={"answer": "all together"})
    assert grade(server.url, *[together] * 8) == [Score(1.0)] * 8


def test_its_version_follows_its_file(server: Served, tmp_path: Path) -> None:
    async def version(url: str) -> str:
        async with set_up(url) as grader:
            return grader.version

    other = tmp_path / "graders.py"
    other.write_text("def score(completion): return 1", encoding="utf-8")
    with served(other) as second:
        versions = [asyncio.run(version(url)) for url in (server.url, second.url)]
    assert all(re.fullmatch("score [0-9a-f]{12}", text) for text in versions)
    assert versions[0] != versions[1]


def test_a_grade_is_kept_unless_the_recipe_says_no() -> None:
    assert remote("http://localhost").keeps
    assert not remote("http://localhost", cache=False).keeps


def test_while_the_server_is_gone_another_try_may_help(graders: Path) -> None:
    async def story() -> Grade:
        with served(graders) as first:
            async with set_up(first.url) as grader:
                assert await grader.grade(ONE) == Score(1.0)
                first.kill()
                for _ in range(2):
                    with pytest.raises(TryAgain):
                        await grader.grade(ONE)
                with served(graders, port=first.port):
                    return await grader.grade(ONE)

    assert asyncio.run(story()) == Score(1.0)


# --- before training ------------------------------------------------------------------------------------


def test_rows_with_what_the_server_needs_pass(server: Served) -> None:
    rows = [{"answer": "4"}, {"answer": "5", "hints": ["a"], "more": 1}]
    asyncio.run(remote(server.url).check(rows))


def test_rows_without_it_are_told_together(server: Served) -> None:
    rows: list[dict[str, Any]] = [{"answer": "4"}, {}, {"answer": 5}, {"answer": "4", "hints": ["a", 1]}]
    rows += [{"answer": "4", "day": date(2026, 1, 1)}, {}, {"answer": "6"}, {}]
    assert refused(server.url, *rows) == (
        f"the server `score` at {server.url} does not take the metadata of 6 of 8 rows: "
        "row 2: 'answer' is a required property; row 3: `answer`: 5 is not of type 'string'; "
        "row 4: `hints[1]`: 1 is not of type 'string'; "
        "row 5: JSON cannot say it: Object of type date is not JSON serializable; "
        "row 6: 'answer' is a required property; …. "
        "Add to the dataset what it needs: `metadata = { answer = … }`"
    )


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ([], "its `/metadata_schema` is no JSON schema: it is no object"),
        ({"type": 5}, "its `/metadata_schema` is no JSON schema: `type`: 5 is not valid under any"),
    ],
)
def test_a_schema_at_fault_is_the_servers(schema: Any, words: str) -> None:
    def answer(asked: Asked) -> bytes:
        return says(schema) if asked.path == "/metadata_schema" else speaks(GOOD)(asked)

    with scripted(answer) as (url, _):
        assert f"the server `own` at {url}: {words}" in refused(url, {})


def test_a_schema_sends_nobody_elsewhere() -> None:
    def answer(asked: Asked) -> bytes:
        return speaks(GOOD, schema={"$ref": f"http://{asked.headers['host']}/more"})(asked)

    with scripted(answer) as (url, came):
        told = refused(url, {})
    assert (
        f"{url}: its `/metadata_schema` refers to `{url}/more`, which is not in it, and nothing is fetched"
        in told
    )
    assert [asked.path for asked in came] == ["/info", "/metadata_schema"]


@pytest.mark.parametrize(
    ("info", "words"),
    [
        (
            {"protocol": 2, "name": "n", "version": "1"},
            "speaks protocol 2 of reward servers, and this version of",
        ),
        (
            {"protocol": 1, "name": "n"},
            'is no reward server: its `/info` is {"protocol": 1, "name": "n"}, not',
        ),
        ([1], "is no reward server: its `/info` is [1], not"),
    ],
)
def test_another_kind_of_server_is_refused(info: Any, words: str) -> None:
    with scripted(speaks(GOOD, info)) as (url, _):
        assert words in refused(url)
        with pytest.raises(RunFailed, match=re.escape(words)):
            grade(url, ONE)


def test_no_server_is_told_with_how_to_start_one() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(RunFailed) as caught:
        asyncio.run(remote(url).check([]))
    told = str(caught.value)
    assert told.startswith(f"no server answers at {url}: ")
    assert told.endswith(": start the server, as with `harmonyc serve-grader`, or correct `url`")
    assert caught.value.exit_code == 2


def test_a_server_that_never_answers_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        told = refused(url, timeout=Duration(50, "ms"))
    assert told == f"{url}/info did not answer within 50ms: see what the server does, or raise `timeout`"


# --- keys -----------------------------------------------------------------------------------------------


def test_the_key_is_sent_and_never_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REWARD_KEY", "s3cret-key")

    ways = iter([lambda sent: {"score": 1, "reasoning": sent}, lambda sent: {"failed": sent}])

    def echo(asked: Asked) -> bytes:
        return says({"grades": [next(ways)(asked.headers["authorization"])]})

    with scripted(speaks(echo)) as (url, came):
        grades = [grade(url, ONE, key=Secret("REWARD_KEY"))[0] for _ in range(2)]
    assert {asked.headers["authorization"] for asked in came} == {"Bearer s3cret-key"}
    assert grades == [Score(1.0, 'Bearer env("REWARD_KEY")'), Failure('Bearer env("REWARD_KEY")')]


def test_a_key_that_the_server_does_not_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REWARD_KEY", "s3cret-key")
    with scripted(lambda asked: says({"error": f"no: {asked.headers}"}, 401)) as (url, _):
        told = refused(url, key=Secret("REWARD_KEY"))
    assert told.startswith(f"{url}/info answers 401: no: ")
    assert told.endswith(": set `key` to what the server asks for")
    assert 'env("REWARD_KEY")' in told and "s3cret" not in told


# --- wrong answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        pytest.param(says({"error": "no such text"}, 422), "/score answers 422: no such text", id="422"),
        pytest.param(
            says({"error": {"message": "x" * 999}}, 400), f"/score answers 400: {'x' * 300}…", id="long"
        ),
        pytest.param(
            says(" " * (http.LARGEST + 1)), "/score answers with more than 4,194,304 bytes", id="huge"
        ),
        pytest.param(says({"grades": []}), " answers with 0 grades to one sample", id="none"),
        pytest.param(says({"grades": [{"score": 1}] * 2}), " answers with 2 grades to one sample", id="two"),
        pytest.param(says([1]), ' answers without `{"grades": […]}`: [1]', id="list"),
        pytest.param(says({"grades": 1}), ' answers without `{"grades": […]}`: {"grades": 1}', id="number"),
    ],
)
def test_what_is_final(answer: bytes, words: str) -> None:
    with scripted(speaks(answer)) as (url, _):
        assert grade(url, ONE) == [Failure(f"{url}{words}")]


@pytest.mark.parametrize(
    "told",
    [
        *(0.5, None, "0.5", [], {}),
        *(
            {"score": "1"},
            {"score": True},
            {"score": None},
            {"score": 1, "failed": "x"},
            {"score": 1, "of": 2},
        ),
        *({"score": 1, "reasoning": 5}, {"not_applicable": False}, {"failed": 1}, {"grade": 1}),
    ],
    ids=str,
)
def test_what_is_no_grade(told: Any) -> None:
    with scripted(speaks(says({"grades": [told]}))) as (url, _):
        assert grade(url, ONE) == [Failure(f"{url} answers with what is no grade: {json.dumps(told)}")]


@pytest.mark.parametrize(
    ("text", "said"),
    [("NaN", "nan"), ("-Infinity", "minus infinity"), ("1e999", "infinity"), ("9" * 400, "an integer that")],
)
def test_a_score_is_a_finite_number(text: str, said: str) -> None:
    with scripted(speaks(says(f'{{"grades": [{{"score": {text}}}]}}'))) as (url, _):
        (told,) = grade(url, ONE)
    assert isinstance(told, Failure) and told.reason.startswith(f"scored {said}")


def test_grades_are_read() -> None:
    told = [{"score": -2}, {"score": 0.5, "reasoning": "half"}, {"not_applicable": True, "reasoning": "no"}]
    answers = iter([*told, {"failed": "why"}])
    with scripted(speaks(lambda _: says({"grades": [next(answers)]}))) as (url, came):
        found = [grade(url, ONE)[0] for _ in range(4)]
    assert found == [Score(-2.0), Score(0.5, "half"), DoesNotApply("no"), Failure("why")]
    asked = json.loads(next(one.body for one in came if one.path == "/score"))
    turns = [{"role": "user", "content": "2+2"}]
    sample = {"completion": "4", "prompt": "2+2", "turns": turns, "metadata": {"answer": "4"}}
    assert asked == {"samples": [sample]}


def test_a_sample_that_json_cannot_say_fails() -> None:
    with scripted(speaks(GOOD)) as (url, came):
        (told,) = grade(url, Sample("4", metadata={"day": date(2026, 1, 1)}))
    assert told == Failure("the sample cannot be sent as JSON: Object of type date is not JSON serializable")
    assert [asked.path for asked in came] == ["/info"]
