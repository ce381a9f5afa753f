"""Real judges below combinations of combinations: each is set up and torn down once, whatever happens."""

from __future__ import annotations

from collections.abc import Iterator
from functools import wraps
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the extra `dev`")

from graders_support import combination, graph_of
from judge_server import JudgeServer, verdict

from harmony_compiler.graph.graders import Judge
from harmony_compiler.graph.models import Endpoint
from harmony_compiler.graph.values import Ref, Secret
from harmony_runtime.failures import RunFailed
from harmony_runtime.graders.endpoint import Chat
from harmony_runtime.graders.judging.served import ServedJudge
from harmony_runtime.graders.making import Bench
from harmony_runtime.graders.panel import Panel
from harmony_runtime.graders.protocol import Sample

KEYS = {"a": "KEY_OF_A", "b": "KEY_OF_B", "c": "KEY_OF_C"}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[JudgeServer]:
    for key in KEYS.values():
        monkeypatch.setenv(key, "known")
    with JudgeServer() as server:
        server.plays(lambda _: verdict("pass"))
        yield server


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Set-ups and tear-downs of judges by their criteria, and connections that were closed, as they come."""
    log: list[str] = []

    def logged(owner: Any, name: str, mark: str) -> None:
        real = getattr(owner, name)

        @wraps(real)
        async def call(self: Any) -> None:
            log.append(mark + (self._node.criteria if owner is ServedJudge else ""))
            await real(self)

        monkeypatch.setattr(owner, name, call)

    logged(ServedJudge, "set_up", "+")
    logged(ServedJudge, "tear_down", "-")
    logged(Chat, "close", "closed")
    return log


def nested(server: JudgeServer) -> Panel:
    """Two roots over three judges: each judge is needed twice, and below another combination."""
    nodes: dict[str, Any] = {}
    for name, key in KEYS.items():
        nodes[f"at {name}"] = Endpoint(url=server.url, model="wise", key=Secret(key))
        nodes[name] = Judge(model=Ref(f"at {name}"), criteria=name, cache=False)
    nodes["inner"] = combination(("*", ("grader", 0), ("grader", 1)), "a", "b")
    nodes["root"] = combination(("+", ("grader", 0), ("grader", 1)), "inner", "c")
    nodes["other"] = combination(("mean", ("grader", 0), ("grader", 1), ("grader", 2)), "inner", "b", "c")
    return Panel(Bench(graph_of(nodes)), [Ref("root"), Ref("other")])


def test_each_judge_is_set_up_and_torn_down_exactly_once(server: JudgeServer, called: list[str]) -> None:
    with nested(server) as panel:
        assert called == ["+a", "+b", "+c"]
        verdicts = panel.grade([Sample("4", prompt="2+2?"), Sample("5", prompt="2+2?")])
    assert called[3:] == ["-c", "closed", "-b", "closed", "-a", "closed"]
    assert [verdict.scores for verdict in verdicts] == [(2.0, 1.0)] * 2


def test_so_it_is_when_the_third_cannot_be_set_up(
    server: JudgeServer, called: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KEY_OF_C")
    with pytest.raises(RunFailed, match="no variable `KEY_OF_C`"), nested(server):
        raise AssertionError("it was entered")
    assert called == ["+a", "+b", "+c", "-c", "-b", "closed", "-a", "closed"]
