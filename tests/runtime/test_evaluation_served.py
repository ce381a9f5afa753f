"""Endpoints in `compare`, against a server that answers as each test says."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the extra `dev`")

from judge_server import JudgeServer, nobody, refusal, says
from reinforcement_support import EXACT, GRADERS, PROMPTS, SHORT, samples_of
from runtime_support import MODEL, Told, Train, desk_of, graph_of, sums, tiny
from starlette.responses import Response

from harmony_compiler.graph.evaluations import Compare
from harmony_compiler.graph.graders import Equals
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.models import Endpoint
from harmony_compiler.graph.settings import Sampling
from harmony_compiler.graph.values import Duration, Ref, Secret
from harmony_runtime.chance import stream
from harmony_runtime.data.questions import questions_of
from harmony_runtime.failures import RunFailed
from harmony_runtime.graders import tries
from harmony_runtime.graders.completions import read_completions
from harmony_runtime.graders.making import Bench
from harmony_runtime.graders.panel import Panel, PolicyStop
from harmony_runtime.processes.pulse import Pulse
from harmony_runtime.rollout import served
from harmony_runtime.rollout.served import Served

REPORT, WISE = Ref("report"), Ref("wise")
ROWS = 10
PLACE = "small.recipe:2: `wise`: "


@pytest.fixture(scope="module")
def started() -> Iterator[JudgeServer]:
    with JudgeServer() as server:
        yield server


@pytest.fixture
def server(started: JudgeServer, monkeypatch: pytest.MonkeyPatch) -> JudgeServer:
    monkeypatch.setattr(tries, "_pause", lambda *_: 0.0)
    started.plays(right)
    return started


def right(question: dict[str, Any]) -> Any:
    """The answer of the row, which doubles a number."""
    number = int(question["messages"][-1]["content"].partition("+")[0])
    return says(f"{2 * number}" + "!" * (number % 4))


def but(*numbers: int, play: Callable[[int], Any]) -> Callable[[dict[str, Any]], Any]:
    """A script that answers right; to the questions about some numbers, by how often they came, it plays."""
    often = dict.fromkeys(numbers, 0)

    def script(question: dict[str, Any]) -> Any:
        number = int(question["messages"][-1]["content"].partition("+")[0])
        if number not in often:
            return right(question)
        often[number] += 1
        return play(often[number]) or right(question)

    return script


def comparing(url: str, endpoint: dict[str, Any] | None = None, **changes: Any) -> Graph:
    """A new model and a served one on ten rows."""
    fields: dict[str, Any] = {
        "models": (MODEL, WISE),
        "dataset": PROMPTS,
        "graders": (EXACT, SHORT),
        "sampling": Sampling(max_tokens=6, temperature=0.0),
        "seed": 7,
    }
    wise = Endpoint(**({"url": url, "model": "sage"} | (endpoint or {})))
    prompts = sums(completion=None, metadata={"answer": "{{ a }}"})
    nodes = {MODEL: tiny(), WISE: wise, PROMPTS: prompts, **GRADERS}
    return graph_of({**nodes, REPORT: Compare(**(fields | changes))}, (REPORT,))


def results(out: Path) -> Any:
    return json.loads((out / "results.json").read_text(encoding="utf-8"))["evaluations"]["report"]


# --- what is asked and what is heard ----------------------------------------------------------------------


def test_a_served_model_stands_beside_others(server: JudgeServer, train: Train, tmp_path: Path) -> None:
    told = Heard()
    train(comparing(server.url), watcher=told)
    found = results(tmp_path / "out")
    assert found["wise"]["exact"] == {"mean": 1.0, "count": ROWS, "not_applicable": 0, "failed": 0}
    assert found["base"]["exact"]["mean"] == 0
    lines = samples_of(tmp_path / "out")
    assert [line["model"] for line in lines] == ["base"] * ROWS + ["wise"] * ROWS
    assert [line["prompt"] for line in lines[ROWS:]] == [f"{n}+{n}" for n in range(5, 15)]
    assert {line["completion_tokens"] for line in lines[ROWS:]} == {12}
    assert lines[ROWS] == {
        "stage": "report",
        "step": 0,
        "model": "wise",
        "prompt": "5+5",
        "turns": [{"role": "user", "content": "5+5"}],
        "completion": "10!",
        "metadata": {"answer": "10!"},
        "stop": "end",
        "completion_tokens": 12,
        "grades": {"exact": {"score": 1.0}, "short": {"score": 0.3}},
    }
    assert told.counts
    assert {of for _, _, of in told.counts} == {ROWS}
    asked = {question["messages"][0]["content"]: question for question in server.asked}
    assert len(server.asked) == len(asked) == ROWS
    assert asked["5+5"] == {
        "model": "sage",
        "messages": [{"role": "user", "content": "5+5"}],
        "temperature": 0.0,
        "max_tokens": 6,
        "stream": False,
    }


class Heard(Told):
    def __init__(self) -> None:
        super().__init__()
        self.counts: list[tuple[int, int, int]] = []

    def answering(self, drawn: int, graded: int, of: int) -> None:
        self.counts.append((drawn, graded, of))


def test_each_completion_has_a_seed_of_its_own(server: JudgeServer, train: Train, tmp_path: Path) -> None:
    sampling = Sampling(max_tokens=6, temperature=0.7, top_p=0.9, stop=("!", "?"))
    train(comparing(server.url, models=(WISE,), samples=2, limit=3, sampling=sampling))
    assert [(q["temperature"], q["top_p"], q["stop"]) for q in server.asked] == [(0.7, 0.9, ["!", "?"])] * 6
    named = {stream(7, f"completion {number}").initial_seed() % 2**31 for number in range(6)}
    assert len(named) == 6
    assert {question["seed"] for question in server.asked} == named
    lines = samples_of(tmp_path / "out")
    assert [line["prompt"] for line in lines] == ["5+5", "5+5", "6+6", "6+6", "7+7", "7+7"]
    # The API has one word for the end of a text and for a text of `stop`.
    assert {line["stop"] for line in lines} == {"stop"}


def test_a_server_without_seeds_is_asked_without(server: JudgeServer, train: Train) -> None:
    server.plays(lambda q: refusal(400, "unknown field: seed") if "seed" in q else right(q))
    told = Told()
    train(comparing(server.url, models=(WISE,), sampling=Sampling(max_tokens=6)), watcher=told)
    assert told.warnings == ["the server of `sage` knows no `seed`: what it writes is drawn anew in each run"]


def test_what_the_server_says_of_the_end_is_kept(server: JudgeServer, train: Train, tmp_path: Path) -> None:
    cut = says("10!")
    cut["choices"][0]["finish_reason"] = "length"
    server.plays(but(5, play=lambda _: cut))
    train(comparing(server.url, models=(WISE,)))
    stops = [line["stop"] for line in samples_of(tmp_path / "out")]
    assert stops == ["length"] + ["end"] * (ROWS - 1)


def test_tokens_that_no_server_counts_are_unknown(server: JudgeServer, train: Train, tmp_path: Path) -> None:
    server.plays(lambda question: right(question) | {"usage": None})
    train(comparing(server.url, models=(WISE,)))
    assert {line["completion_tokens"] for line in samples_of(tmp_path / "out")} == {None}
    # Such a file is graded again as any other.
    again = [sample for _, sample in read_completions(tmp_path / "out" / "samples.jsonl")]
    assert [(sample.prompt, sample.tokens) for sample in again] == [(f"{n}+{n}", None) for n in range(5, 15)]


def test_a_half_character_of_a_reply_can_be_written_down(
    server: JudgeServer, train: Train, tmp_path: Path
) -> None:
    answer = json.dumps(says("\ud83d"))
    server.plays(but(5, play=lambda _: Response(answer, media_type="application/json")))
    train(comparing(server.url, models=(WISE,)))
    assert samples_of(tmp_path / "out")[0]["completion"] == "?"


def test_a_turn_is_sent_as_the_api_takes_it() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "add", "arguments": {"ä": 1}}}
    turn = {"role": "assistant", "content": None, "tool_calls": [call], "weight": 0.0}
    sent = {**call, "function": {"name": "add", "arguments": '{"ä": 1}'}}
    assert served._message(turn) == {"role": "assistant", "content": None, "tool_calls": [sent]}
    answer = {"role": "tool", "content": "1", "tool_call_id": "a"}
    assert served._message(answer) == answer


# --- what goes wrong --------------------------------------------------------------------------------------


def test_what_another_try_mends_is_asked_again(server: JudgeServer, train: Train, tmp_path: Path) -> None:
    server.plays(but(5, 6, play=lambda time: refusal(503, "busy") if time < 4 else None))
    train(comparing(server.url, models=(WISE,)))
    assert results(tmp_path / "out")["wise"]["exact"]["mean"] == 1
    assert len(server.asked) == ROWS + 6


def test_a_missing_completion_is_a_failure_of_every_grader(
    server: JudgeServer, train: Train, tmp_path: Path
) -> None:
    """It is no fault of the graders: none of their policies is asked."""
    server.plays(but(6, play=lambda _: refusal(400, "too rude")))
    graph = comparing(server.url, models=(WISE,))
    strict = Equals(expected="{{ metadata.answer }}", on_failure="stop")
    train(graph_of({**graph.nodes, EXACT: strict}, graph.outputs))
    exact = {"mean": 1.0, "count": ROWS - 1, "not_applicable": 0, "failed": 1}
    assert results(tmp_path / "out")["wise"]["exact"] == exact
    line = samples_of(tmp_path / "out")[1]
    reason = f"there is no completion: {server.url}/chat/completions answers 400: too rude"
    assert line["grades"] == {"exact": {"failed": reason}, "short": {"failed": reason}}
    assert [line[name] for name in ("completion", "stop", "completion_tokens")] == [None] * 3
    assert line["prompt"] == "6+6"
    assert len(server.asked) == ROWS, "what is refused is not asked again"


def test_a_run_stops_where_too_many_are_missing_and_goes_on(
    server: JudgeServer, train: Train, tmp_path: Path
) -> None:
    server.plays(but(6, 9, play=lambda _: refusal(503, "busy")))
    with pytest.raises(PolicyStop) as caught:
        train(comparing(server.url, models=(WISE,)))
    assert str(caught.value) == (
        f"{PLACE}more than 10 % of 10 completions of `sage` are missing: {server.url}/chat/completions "
        "answers 503: busy (tried 5 times). Mend the cause, then go on with `--resume`"
    )
    assert not (tmp_path / "out" / "results.json").exists()
    server.plays(right)
    train(comparing(server.url, models=(WISE,)), resume=True)
    assert results(tmp_path / "out")["wise"]["exact"]["count"] == ROWS


def test_a_server_that_died_is_not_asked_for_all_the_rest(server: JudgeServer, train: Train) -> None:
    server.plays(lambda _: refusal(400, "no"))
    many = comparing(server.url, models=(WISE,), samples=30, sampling=Sampling(max_tokens=6))
    with pytest.raises(PolicyStop, match="more than 10 % of 300 completions"):
        train(many)
    assert len(server.asked) < 150


def test_a_try_that_hangs_ends(
    server: JudgeServer, train: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(served, "_LONGEST", Duration(0.2, "s"))
    server.plays(but(5, play=lambda _: asyncio.sleep(30)))
    train(comparing(server.url, models=(WISE,)))
    failed = samples_of(tmp_path / "out")[0]["grades"]["exact"]["failed"]
    assert failed == "there is no completion: took longer than 0.2s (tried 2 times)"


def test_an_absent_server_is_told_before_a_weight_is_made(refused: Any) -> None:
    url = nobody()
    fault: RunFailed = refused(comparing(url))
    assert fault.exit_code == 2
    assert fault.message.startswith(f"{PLACE}no server answers at {url}: ")
    assert fault.message.endswith("start the server of `sage`, or mend the endpoint's `url`")


def test_a_wrong_key_is_told_before_a_weight_is_made(
    server: JudgeServer, refused: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.plays(right, key="right")
    monkeypatch.setenv("WISE_KEY", "wrong")
    fault: RunFailed = refused(comparing(server.url, {"key": Secret("WISE_KEY")}))
    assert fault.message == (
        f'{PLACE}{server.url}/models answers 401: no key is Bearer env("WISE_KEY"): '
        'check what env("WISE_KEY") holds'
    )


def test_faulty_rows_are_told_before_anything_is_asked(server: JudgeServer, refused: Any) -> None:
    graph = comparing(server.url, models=(WISE,))
    prompts = sums(completion=None, prompt="{{ nothing }}")
    fault: RunFailed = refused(graph_of({**graph.nodes, PROMPTS: prompts}, graph.outputs))
    assert fault.diagnostics
    assert server.asked == []


# --- once, and by several ---------------------------------------------------------------------------------


def test_what_was_measured_is_not_asked_again(server: JudgeServer, train: Train, tmp_path: Path) -> None:
    train(comparing(server.url))
    server.plays(lambda _: refusal(500, "not again"))
    summary = train(comparing(server.url), resume=True)
    assert server.asked == []
    assert summary.evaluations["report"]["wise"]["exact"].mean == 1


def test_processes_share_what_is_asked(server: JudgeServer, tmp_path: Path) -> None:
    graph = comparing(server.url)
    prompts = list(questions_of(desk_of(graph, tmp_path / "home"), PROMPTS, limit=5))
    gathered: list[Any] = []

    def gather(items: list[Any]) -> list[Any]:
        gathered.extend(items)
        return list(gathered)

    wise = graph.nodes[WISE]
    assert isinstance(wise, Endpoint)
    with Panel(Bench(graph), [EXACT]) as panel:
        for rank, share in enumerate((["5+5", "6+6"], ["7+7", "8+8", "9+9"])):
            server.plays(right)
            context: Any = SimpleNamespace(world_size=2, rank=rank, gather=gather, pulse=Pulse())
            answered = Served(wise, PLACE, print).answers(
                prompts,
                1,
                Sampling(max_tokens=6),
                panel=panel,
                context=context,
                seed=7,
                told=lambda *_: None,
            )
            assert sorted(question["messages"][-1]["content"] for question in server.asked) == share
    assert [one.line()["prompt"] for one in answered] == [f"{n}+{n}" for n in range(5, 10)]
    assert [one.verdict.scores for one in answered] == [(1.0,)] * 5


# --- the command ------------------------------------------------------------------------------------------

RECIPE = """\
recipe compared { seed = 7 }
input url: str
dataset sums = rows([{ q = "5+5", a = "10!" }, { q = "6+6", a = "12!!" }]) {
  prompt = "{{ q }}"
  metadata = { answer = "{{ a }}" }
}
model small = scratch { hidden_size = 16, layers = 1, heads = 2, context = 64 }
let wise = endpoint(url, model = "sage")
grader right = equals("{{ metadata.answer }}")
evaluate report = compare {
  models = [small, wise]
  dataset = sums
  graders = [right]
  sampling { max_tokens = 4 }
}
"""


def test_the_command_compares_an_endpoint(server: JudgeServer, tmp_path: Path) -> None:
    (tmp_path / "compared.recipe").write_text(RECIPE, encoding="utf-8")
    command = [sys.executable, "-m", "harmony_dsl", "run", "compared.recipe", "--out", "out"]
    done = subprocess.run(
        [*command, "--set", f"url={server.url}"],
        check=False,
        cwd=tmp_path,
        env=os.environ | {"HARMONY_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert results(tmp_path / "out")["wise"]["right"]["mean"] == 1
    assert "wise" in done.stdout


def test_only_endpoints_need_a_client() -> None:
    probe = "import sys, harmony_runtime.executor; sys.exit('harmony_runtime.graders.http' in sys.modules)"
    subprocess.run([sys.executable, "-c", probe], check=True, timeout=120)
