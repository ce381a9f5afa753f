"""A grader's policy ends a run with a checkpoint, and the run goes on from there in the same bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from reinforcement_support import EXACT, reinforcing
from runtime_support import Train, graph_of, read_lines
from test_ppo import practised
from validation_support import HELD_OUT, LENGTH, held_out, validated

from harmony_compiler.graph import graders as nodes
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.values import Percent
from harmony_runtime.failures import RunFailed
from harmony_runtime.graders import making, parts
from harmony_runtime.graders.kinds import Asked
from harmony_runtime.graders.protocol import Grade, Sample, Score

STRICT = nodes.Equals(expected="{{ metadata.answer }}", retries=0, max_failure_rate=Percent(0))


class Judge(Asked):
    """Asked like a server, which may be down; once it is, every question fails."""

    down_from: int | None = None
    asked = 0

    def __init__(self, node: nodes.Equals, bench: making.Bench) -> None:
        pass

    async def grade(self, sample: Sample) -> Grade:
        cls = type(self)
        cls.asked += 1
        if cls.down_from is not None and cls.asked > cls.down_from:
            raise ConnectionError("the judge is down")
        return Score(float(sample.completion.count("1")))


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> type[Judge]:
    class Own(Judge):
        pass

    monkeypatch.setattr(parts, "BUILT_IN", {**making.BUILT_IN, nodes.Equals: Own})
    return Own


def ended(out: Path) -> dict[str, bytes]:
    found = {name: (out / f"{name}.jsonl").read_bytes() for name in ("metrics", "samples")}
    return found | {"weights": next((out / "stages").glob("*/model.safetensors")).read_bytes()}


GRAPHS: dict[str, Callable[[], Graph]] = {
    "grpo": lambda: reinforcing(graders={EXACT: STRICT}, steps=4),
    "ppo": lambda: practised(graders={EXACT: STRICT}, max_num_ppo_steps=4),
}


@pytest.mark.parametrize("algorithm", ["grpo", "ppo"])
def test_a_judge_that_goes_down_stops_the_run_which_goes_on_in_the_same_bits(
    algorithm: str, judge: type[Judge], train: Train, tmp_path: Path
) -> None:
    graph = GRAPHS[algorithm]()
    train(graph, "whole")
    judge.down_from, judge.asked = 27, 0  # in the fourth step of eight completions
    for _ in range(2):  # it may be down for longer
        with pytest.raises(RunFailed) as caught:
            train(graph, "stopped", resume=(tmp_path / "stopped").exists())
        assert caught.value.exit_code == 1
        told = str(caught.value)
        assert "`exact`: " in told
        assert "grades failed, and `max_failure_rate` is 0%: ConnectionError: the judge is down" in told
        assert "a checkpoint is kept after step 3: with `--resume` the run goes on from there" in told
    assert [line["step"] for line in read_lines(tmp_path / "stopped" / "metrics.jsonl")] == [1, 2, 3]
    judge.down_from = None
    train(graph, "stopped", resume=True)
    assert ended(tmp_path / "stopped") == ended(tmp_path / "whole")


@pytest.mark.parametrize("algorithm", ["grpo", "sft"])
def test_a_stop_while_validating_measures_the_step_when_it_goes_on(
    algorithm: str, judge: type[Judge], train: Train, tmp_path: Path
) -> None:
    stopping = nodes.Equals(expected="4", retries=0, on_failure="stop")
    asked = {"validation": {"grader": LENGTH}} if algorithm == "sft" else {}
    graph = held_out(validated(algorithm, **asked), HELD_OUT["prompts"])
    graph = graph_of({**graph.nodes, (LENGTH if asked else EXACT): stopping}, graph.outputs)
    train(graph, "whole")
    judge.down_from, judge.asked = judge.asked - 2, 0  # in the last validation
    for _ in range(2):
        with pytest.raises(RunFailed, match="a checkpoint is kept after step 4"):
            train(graph, "stopped", resume=(tmp_path / "stopped").exists())
        assert [line["step"] for line in read_lines(tmp_path / "stopped" / "metrics.jsonl")] == [1, 2, 3]
    judge.down_from = None
    train(graph, "stopped", resume=True)
    assert ended(tmp_path / "stopped") == ended(tmp_path / "whole")
