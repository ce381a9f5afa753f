"""How graders ask servers: what another try may mend, where a question goes, and what is told of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from runpy import run_path

import pytest
from reward_servers import GOOD, ONE, RESET, Asked, free_port, grade, refused, says, scripted, speaks

from harmony_compiler.graph.values import Secret
from harmony_runtime.failures import RunFailed
from harmony_runtime.graders import http
from harmony_runtime.graders.kinds import TryAgain
from harmony_runtime.graders.protocol import Failure, Score


def again(answer: bytes | Callable[[Asked], bytes]) -> TryAgain:
    with scripted(speaks(answer)) as (url, _), pytest.raises(TryAgain) as caught:
        grade(url, ONE)
    assert url in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        pytest.param(says({"error": "busy"}, 500), "/score answers 500: busy", id="500"),
        pytest.param(says("at lunch", 503), "/score answers 503: at lunch", id="503"),
        pytest.param(says({"detail": "slow down"}, 429), "/score answers 429: slow down", id="429"),
        pytest.param(says("", 408), "/score answers 408", id="408"),
        pytest.param(RESET, "/score broke off: ", id="reset"),
        pytest.param(GOOD[:-5], "/score broke off: ", id="half a body"),
        pytest.param(GOOD[:9], "/score broke off: ", id="half a head"),
        pytest.param(says('{"grades": [{'), '/score answers with no JSON: {"grades": [{', id="half of JSON"),
        pytest.param(says("[" * 100_000), "/score answers with no JSON", id="deep"),
    ],
)
def test_what_another_try_may_mend(answer: bytes, words: str) -> None:
    assert words in str(again(answer))


@pytest.mark.parametrize(("said", "seconds"), [("7", 7.0), ("0", 0.0), ("soon", None), ("-3", None)])
def test_the_server_says_how_long_to_wait(said: str, seconds: float | None) -> None:
    assert again(says("", 503, retry_after=said)).after == seconds


def test_the_server_says_until_when_to_wait() -> None:
    moment = datetime.now(UTC) + timedelta(hours=1)
    after = again(says("", 429, retry_after=format_datetime(moment, usegmt=True))).after
    assert after is not None and 3000 < after <= 3600
    assert again(says("", 429, retry_after=format_datetime(moment - timedelta(hours=2)))).after == 0.0


# --- where a question goes ------------------------------------------------------------------------------


def test_a_server_leads_nobody_elsewhere() -> None:
    with (
        scripted(speaks(GOOD)) as (elsewhere, came),
        scripted(speaks(says("", 307, location=f"{elsewhere}/score"))) as (url, _),
    ):
        (told,) = grade(url, ONE)
    assert told == Failure(f"{url}/score answers 307")
    assert came == []


def test_a_server_on_this_machine_is_asked_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with scripted(speaks(GOOD)) as (url, _):
        assert grade(url, ONE) == [Score(0.5)]
        assert grade(url.replace("127.0.0.1", "localhost"), ONE) == [Score(0.5)]


def test_a_key_that_no_header_can_have_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REWARD_KEY", "s3cret\n")
    told = refused("http://127.0.0.1:1", key=Secret("REWARD_KEY"))
    assert "the value of the header `authorization` has a character" in told
    assert "s3cret" not in told


# --- packages -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "package"),
    [("http", "httpx2"), ("json_schemas", "jsonschema"), ("serving", "uvicorn"), ("serving", "starlette")],
)
def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, module: str, package: str) -> None:
    file = Path(http.__file__).with_name(f"{module}.py")
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(RunFailed, match=r"install `harmony-dsl\[graders\]`") as caught:
        run_path(str(file))
    assert package in str(caught.value)
    assert caught.value.exit_code == 2
