"""Judges behind an OpenAI-compatible API, against a server that answers as each test says."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from math import log
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the extra `dev`")

from graders_support import graph_of
from judge_server import JudgeServer, half, nobody, refusal, reset, says, verdict

from harmony_compiler.graph.graders import Judge
from harmony_compiler.graph.models import Endpoint
from harmony_compiler.graph.values import Ref, Secret
from harmony_runtime.failures import RunFailed
from harmony_runtime.graders import endpoint
from harmony_runtime.graders.judging.served import ServedJudge
from harmony_runtime.graders.kinds import Priced, TryAgain
from harmony_runtime.graders.making import Bench
from harmony_runtime.graders.protocol import DoesNotApply, Failure, Grade, Sample, Score

SAMPLE = Sample("4", prompt="2+2?", turns=({"role": "user", "content": "2+2?"},))
UNREAD = "its answer cannot be read: "


@pytest.fixture(scope="module")
def started() -> Iterator[JudgeServer]:
    with JudgeServer() as server:
        yield server


@pytest.fixture
def server(started: JudgeServer) -> JudgeServer:
    return started


class Asking:
    """One judge at a server: what it answers to samples, and what it warns of."""

    def __init__(self, url: str, endpoint: Mapping[str, Any] | None = None, **judge: Any) -> None:
        self.warned: list[str] = []
        nodes = {
            "wise": Endpoint(**{"url": url, "model": "wise", **(endpoint or {})}),
            "good": Judge(**{"model": Ref("wise"), "criteria": "It is right.", **judge}),
        }
        self.judge = ServedJudge(nodes["good"], Bench(graph_of(nodes), warn=self.warned.append))

    def all(self, *samples: Sample) -> list[Any]:
        """The outcomes, all asked for at the same time; what was raised stands where it was."""

        async def asked() -> list[Any]:
            await self.judge.set_up()
            try:
                return await asyncio.gather(*map(self.judge.grade, samples), return_exceptions=True)
            finally:
                await self.judge.tear_down()

        return asyncio.run(asked())

    def one(self, sample: Sample = SAMPLE) -> Any:
        (outcome,) = self.all(sample)
        return outcome

    def check(self) -> None:
        asyncio.run(self.judge.check([]))


def graded(outcome: Any) -> Grade:
    assert isinstance(outcome, Priced), outcome
    return outcome.grade


def odds(text: str, others: Mapping[str, float]) -> dict[str, Any]:
    """A token of an answer, with the probabilities of the likeliest ones."""
    top = [{"token": other, "logprob": log(share)} for other, share in others.items()]
    return {"token": text, "logprob": log(others[text]), "top_logprobs": top}


# --- answers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "grade"),
    [
        ("pass", Score(1.0, "because")),
        ("fail", Score(0.0, "because")),
        ("not applicable", DoesNotApply("because")),
    ],
)
def test_pass_fail_or_not_applicable(server: JudgeServer, answer: str, grade: Grade) -> None:
    server.plays(lambda _: verdict(answer))
    assert Asking(server.url).one() == Priced(grade, tokens=42)


@pytest.mark.parametrize(("raw", "score"), [(False, 0.75), (True, 4.0)])
def test_a_scale_is_mapped_to_0_to_1_unless_it_is_raw(server: JudgeServer, raw: bool, score: float) -> None:
    server.plays(lambda _: verdict(4))
    asking = Asking(server.url, answer="scale", scale=(1, 5), raw=raw)
    assert graded(asking.one()) == Score(score, "because")


RECORD = {
    "type": "object",
    "properties": {"score": {"type": ["number", "boolean", "null"]}, "tone": {"type": "string"}},
    "required": ["score", "tone"],
}


@pytest.mark.parametrize(
    ("score", "expected"), [(0.25, 0.25), (-3, -3.0), (True, 1.0), (False, 0.0), (None, None)]
)
def test_a_record_by_the_recipes_schema(server: JudgeServer, score: Any, expected: float | None) -> None:
    told = json.dumps({"score": score, "tone": "warm"})
    server.plays(lambda _: says(told))
    grade = graded(Asking(server.url, answer=RECORD).one())
    assert grade == (DoesNotApply(told) if expected is None else Score(expected, told))


def test_the_question_is_asked_as_the_api_wants_it(server: JudgeServer) -> None:
    server.plays(lambda _: verdict("pass"))
    Asking(server.url, max_tokens=99).one()
    (asked,) = server.asked
    assert asked["model"] == "wise"
    assert (asked["temperature"], asked["max_tokens"], asked["stream"]) == (0.0, 99, False)
    assert "logprobs" not in asked
    assert [turn["role"] for turn in asked["messages"]] == ["system", "user"]
    assert asked["response_format"]["type"] == "json_schema"
    assert asked["response_format"]["json_schema"]["schema"]["required"] == ["reasoning", "answer"]


def test_many_are_asked_about_at_the_same_time(server: JudgeServer) -> None:
    inside: list[int] = []

    async def slowly(now: list[int]) -> dict[str, Any]:
        now.append(1)
        while len(now) < 8:  # answers nobody before all have asked
            await asyncio.sleep(0.001)
        return verdict("pass")

    server.plays(lambda _: slowly(inside))
    outcomes = Asking(server.url, concurrency=8).all(*[SAMPLE] * 8)
    assert [graded(outcome) for outcome in outcomes] == [Score(1.0, "because")] * 8


# --- a weighted scale -----------------------------------------------------------------------------------


def test_a_weighted_scale_is_the_mean_by_the_probabilities(server: JudgeServer) -> None:
    shares = {"4": 0.5, " 4": 0.1, "2": 0.2, "7": 0.1, "x": 0.1}  # 7 is beyond the scale, x is no answer
    tokens = [odds("{", {"{": 1.0}), odds("4", shares), odds("}", {"}": 1.0})]
    told = says('{"reasoning": "so", "answer": 4}', tokens=tokens)
    server.plays(lambda _: told)
    grade = graded(Asking(server.url, answer="scale", raw=True, weighted=True).one())
    assert isinstance(grade, Score)
    assert grade.value == pytest.approx((0.6 * 4 + 0.2 * 2) / 0.8)
    assert server.asked[0]["logprobs"] is True
    assert server.asked[0]["top_logprobs"] == 20


@pytest.mark.parametrize("tokens", [None, [odds("four", {"four": 1.0})], [{"token": "4"}], "none"])
def test_where_no_probabilities_are_told_the_plain_answer_counts_and_it_is_said(
    server: JudgeServer, tokens: Any
) -> None:
    told = says('{"reasoning": "so", "answer": 4}', tokens=tokens)
    server.plays(lambda _: told)
    grade = graded(Asking(server.url, answer="scale", raw=True, weighted=True).one())
    assert grade == Score(4.0, "so [not weighted: nothing tells how likely each answer is]")


# --- answers that cannot be read ------------------------------------------------------------------------

BAD = {
    "no JSON": ("It passes.", "there is no JSON object in it"),
    "malformed": ('{"reasoning": "so", "answer": "pass"', "there is no JSON object in it"),
    "another word": ('{"reasoning": "so", "answer": "good"}', "`answer`: 'good' is not one of"),
    "no answer": ('{"reasoning": "so"}', "'answer' is a required property"),
    "nothing": (None, "there is no JSON object in it"),
    "deep": ('{"a":' * 5000, "it is nested too deeply"),
    "long": ("{" * 100_001, "it is too long"),
}


@pytest.mark.parametrize("case", BAD)
def test_an_answer_that_cannot_be_read_is_asked_for_once_more(server: JudgeServer, case: str) -> None:
    text, why = BAD[case]
    answers = [says(text), verdict("pass")]
    server.plays(lambda _: answers[len(server.asked) - 1])
    assert Asking(server.url).one() == Priced(Score(1.0, "because"), tokens=84)
    first, again = (asked["messages"] for asked in server.asked)
    assert again[:2] == first
    assert [turn["role"] for turn in again[2:]] == ["assistant", "user"]
    assert again[2]["content"] == (text or "")[:4000]
    assert why in again[3]["content"]


def test_two_answers_that_cannot_be_read_may_be_mended_by_another_try(server: JudgeServer) -> None:
    bad = [says("Hm."), says("Hm."), verdict("pass")]
    server.plays(lambda _: bad[len(server.asked) - 1])
    asking = Asking(server.url)

    async def tried() -> Any:
        await asking.judge.set_up()
        with pytest.raises(TryAgain, match=UNREAD + "there is no JSON object in it") as caught:
            await asking.judge.grade(SAMPLE)
        assert caught.value.tokens == 2 * 42
        grade = await asking.judge.grade(SAMPLE)
        await asking.judge.tear_down()
        return grade

    assert asyncio.run(tried()) == Priced(Score(1.0, "because"), tokens=42)


def test_a_score_that_is_no_number(server: JudgeServer) -> None:
    loose = {"type": "object", "properties": {"score": {}}}
    server.plays(lambda _: says('{"score": "high"}'))
    assert UNREAD + "`score` is neither" in str(Asking(server.url, answer=loose).one())
    server.plays(lambda _: says('{"score": NaN}'))
    assert UNREAD + "there is no JSON object" in str(Asking(server.url, answer=loose).one())


def test_a_cut_answer_says_what_to_raise(server: JudgeServer) -> None:
    told = says('{"reasoning": "it is')
    told["choices"][0]["finish_reason"] = "length"
    server.plays(lambda _: told)
    grade = graded(Asking(server.url, max_tokens=5).one())
    assert grade == Failure("its answer ends at `max_tokens = 5`: let it be longer")
    assert len(server.asked) == 1


def test_the_last_record_of_an_answer_counts(server: JudgeServer) -> None:
    aloud = '<think>It says {"answer": "pass"}</think>\n```json\n{"reasoning": "{no}", "answer": "fail"}\n```'
    server.plays(lambda _: says(aloud))
    assert graded(Asking(server.url).one()) == Score(0.0, "{no}")


def test_tokens_that_a_server_does_not_tell_are_guessed(server: JudgeServer) -> None:
    server.plays(lambda _: says('{"reasoning": "", "answer": "pass"}', usage=None))
    outcome = Asking(server.url).one()
    chars = sum(len(turn["content"]) for turn in server.asked[0]["messages"]) + 35
    assert outcome.tokens == chars // 4


# --- servers that know less -----------------------------------------------------------------------------


def test_a_server_without_structured_output_is_asked_in_words_and_it_is_said_once(
    server: JudgeServer,
) -> None:
    def script(body: dict[str, Any]) -> Any:
        unknown = [name for name in ("response_format", "logprobs", "max_tokens") if name in body]
        if not unknown:
            return verdict(4)
        newer = ", use max_completion_tokens" if "max_tokens" in unknown else ""
        return refusal(400, f"unsupported: {', '.join(unknown)}{newer}")

    server.plays(script)
    asking = Asking(server.url, answer="scale", weighted=True)
    outcomes = asking.all(SAMPLE, SAMPLE, SAMPLE)
    assert {graded(outcome).value for outcome in outcomes} == {0.75}  # type: ignore[union-attr]
    assert server.asked[-1].keys() == {"model", "messages", "temperature", "max_completion_tokens", "stream"}
    assert [text.partition(":")[0] for text in asking.warned] == [
        "the server of `wise` knows no `response_format`",
        "the server of `wise` knows no `logprobs`",
    ]


def test_another_refusal_is_final_and_told_in_the_servers_words(server: JudgeServer) -> None:
    server.plays(lambda _: refusal(404, "there is no model `wise`"))
    grade = graded(Asking(server.url).one())
    assert isinstance(grade, Failure)
    assert grade.reason.endswith("/chat/completions answers 404: there is no model `wise`")
    assert len(server.asked) == 1


# --- faults that another try may mend -------------------------------------------------------------------

FAULTS: dict[str, tuple[Callable[[dict[str, Any]], Any], str, float | None]] = {
    "429": (lambda _: refusal(429, "slow down", **{"retry-after": "7"}), "answers 429: slow down", 7.0),
    "500": (lambda _: refusal(500, "oh no"), "answers 500: oh no", None),
    "reset": (reset, "broke off", None),
    "half": (half, "broke off", None),
    "no choices": (lambda _: {"choices": []}, "has no `choices`", None),
    "an error": (lambda _: {"error": "overloaded"}, "answers with an error: overloaded", None),
}


@pytest.mark.parametrize("case", FAULTS)
def test_faults_of_the_transport_may_be_tried_again(server: JudgeServer, case: str) -> None:
    script, reason, after = FAULTS[case]
    server.plays(script)
    outcome = Asking(server.url).one()
    assert isinstance(outcome, TryAgain), outcome
    assert reason in str(outcome)
    assert outcome.after == after


def test_a_server_that_is_gone_may_come_back() -> None:
    gone = nobody()
    outcome = Asking(gone).one()
    assert isinstance(outcome, TryAgain)
    assert f"no server answers at {gone}" in str(outcome)


def test_a_huge_answer_is_not_read(server: JudgeServer) -> None:
    server.plays(lambda _: says("x" * 5_000_000))
    grade = graded(Asking(server.url).one())
    assert isinstance(grade, Failure)
    assert "answers with more than 4,194,304 bytes" in grade.reason


def test_a_slow_judge_is_let_go_when_its_time_is_over(server: JudgeServer) -> None:
    async def for_ever() -> None:
        await asyncio.sleep(60)

    async def impatiently(judge: ServedJudge) -> Any:
        await judge.set_up()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(judge.grade(SAMPLE), 0.2)
        server.script = lambda _: verdict("pass")
        grade = await judge.grade(SAMPLE)
        await judge.tear_down()
        return grade

    server.plays(lambda _: for_ever())
    asking = Asking(server.url, concurrency=1)  # the next one needs the connection
    assert graded(asyncio.run(impatiently(asking.judge))) == Score(1.0, "because")


# --- keys -----------------------------------------------------------------------------------------------

KEYED = {"key": Secret("JUDGE_KEY"), "headers": {"X-Team": "seven", "X-Pass": Secret("JUDGE_PASS")}}


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", "sk-very-secret")
    monkeypatch.setenv("JUDGE_PASS", "open-sesame")


@pytest.mark.usefixtures("keys")
def test_key_and_headers_are_sent(server: JudgeServer) -> None:
    server.plays(lambda _: verdict("pass"), key="sk-very-secret")
    asking = Asking(server.url, KEYED)
    asking.check()
    assert graded(asking.one()) == Score(1.0, "because")
    assert server.headers["x-team"] == "seven"
    assert server.headers["x-pass"] == "open-sesame"


@pytest.mark.usefixtures("keys")
def test_a_wrong_key_is_refused_before_anything_is_loaded_and_never_shown(server: JudgeServer) -> None:
    server.plays(lambda _: verdict("pass"), key="another")
    asking = Asking(server.url, KEYED)
    with pytest.raises(RunFailed) as caught:
        asking.check()
    grade = graded(asking.one())
    with pytest.raises(RunFailed, match="give the endpoint a `key`"):
        Asking(server.url).check()
    assert str(caught.value) == (
        f'{server.url}/models answers 401: no key is Bearer env("JUDGE_KEY"): '
        'check what env("JUDGE_KEY") holds'
    )
    assert isinstance(grade, Failure)
    assert "sk-very-secret" not in grade.reason
    assert server.asked == []


@pytest.mark.usefixtures("keys")
def test_a_key_that_an_error_repeats_is_never_shown(server: JudgeServer) -> None:
    server.plays(lambda _: {"error": "no quota for sk-very-secret"})
    outcome = Asking(server.url, KEYED).one()
    assert isinstance(outcome, TryAgain)
    assert str(outcome) == 'the server answers with an error: no quota for env("JUDGE_KEY")'


@pytest.mark.usefixtures("keys")
def test_a_header_that_is_a_secret_is_never_shown(server: JudgeServer) -> None:
    server.plays(lambda _: refusal(404, f"no model for {server.headers['x-pass']}"))
    grade = graded(Asking(server.url, KEYED).one())
    assert isinstance(grade, Failure)
    assert grade.reason.endswith('no model for env("JUDGE_PASS")')


def test_an_unset_key_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    with pytest.raises(RunFailed, match="no variable `JUDGE_KEY`"):
        Asking("http://127.0.0.1:9/v1", KEYED).check()


def test_a_server_that_is_not_there_is_said_before_anything_is_loaded() -> None:
    with pytest.raises(RunFailed) as caught:
        Asking(nobody()).check()
    assert caught.value.exit_code == 2
    assert str(caught.value).endswith("start the server of `wise`, or mend the endpoint's `url`")


def test_a_server_that_never_answers_is_said_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(endpoint, "_PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(RunFailed, match=r"did not answer within 0\.2 s: see what") as caught:
            Asking(f"http://127.0.0.1:{silent.getsockname()[1]}/v1").check()
        assert caught.value.exit_code == 2


def test_a_server_that_lists_no_models_is_there(server: JudgeServer) -> None:
    server.plays(lambda _: verdict("pass"))
    Asking(server.url.removesuffix("/v1")).check()  # nothing stands there: 404
