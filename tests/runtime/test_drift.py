"""What keeps a stage from going on inside: another recipe, or other conditions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from reinforcement_support import GRADERS, REWARD
from runtime_support import (
    DATA,
    MODEL,
    SAVE,
    STAGE,
    Ref,
    Told,
    Train,
    graph_of,
    json_lines,
    read_lines,
    same,
    sft,
    sums,
    tiny,
    training,
)

from harmony_compiler.graph.algorithms import Ppo
from harmony_compiler.graph.graph import ONE_DEVICE, Graph, Origin
from harmony_compiler.graph.identity import Meanings
from harmony_compiler.graph.models import LocalModel
from harmony_compiler.graph.outputs import Save
from harmony_grammar import records
from harmony_runtime import drift
from harmony_runtime.disk.runfolder import RunFolder
from harmony_runtime.drift import Drift
from harmony_runtime.failures import Interrupted, RunFailed
from harmony_runtime.processes.context import Context
from harmony_runtime.watch import Silent

Refused = Callable[..., RunFailed]


def stopped(train: Train, graph: Graph, after: int = 2, out: str = "out", **options: Any) -> None:
    with pytest.raises(Interrupted):
        train(graph, out, watcher=Told(stop_at=after), **options)


def kept_in(run: Path) -> dict[str, bytes]:
    """What a run may lose nothing of: checkpoints, finished stages and lines."""
    files = [file for part in ("checkpoints", "stages") for file in (run / part).rglob("*")]
    files += [*run.glob("*.jsonl"), run / "graph.json"]
    return {str(file): file.read_bytes() for file in files if file.is_file()}


# --- another recipe -------------------------------------------------------------------------------------


def test_a_field_changed_inside_a_stage(train: Train, refused: Refused, tmp_path: Path) -> None:
    whole = train(training(), "whole")
    stopped(train, training())
    before = kept_in(tmp_path / "out")
    for accepted in (False, True):  # what a stage is called after cannot be accepted away
        fault = refused(training(lr=1e-3, seed=8), resume=True, allow_drift=accepted)
        assert fault.exit_code == 1
        assert fault.message == (
            "small.recipe:3: `tuned`: the recipe has changed inside this stage, which was stopped after step "
            "2: `seed` was 7, is 8; `lr` was 0.01, is 0.001. Put that back to go on, or start a new run with "
            f"`--reuse {tmp_path / 'out'}`, which takes over the finished stages and trains this one anew"
        )
    assert kept_in(tmp_path / "out") == before
    train(training(), resume=True)
    stage = f"stages/{whole.stages[0].identity}"
    assert same(tmp_path / "out" / stage, tmp_path / "whole" / stage)


def test_rows_changed_inside_a_stage(train: Train, refused: Refused, tmp_path: Path) -> None:
    rows = [{"q": f"{n}+{n}", "a": str(n + n)} for n in range(8)]
    graph = training(data=json_lines(tmp_path / "rows.jsonl", rows))
    stopped(train, graph)
    before = kept_in(tmp_path / "out")
    json_lines(tmp_path / "rows.jsonl", [*rows[:-1], {"q": "7+7", "a": "15"}])
    assert "step 2: the content of `dataset.path` has changed. Put" in refused(graph, resume=True).message
    assert kept_in(tmp_path / "out") == before
    json_lines(tmp_path / "rows.jsonl", rows)
    (tmp_path / "rows.jsonl").rename(tmp_path / "moved.jsonl")  # where it stands is nobody's business
    train(training(data=json_lines(tmp_path / "moved.jsonl", rows)), resume=True)


def test_a_base_model_changed_inside_a_stage(
    train: Train, refused: Refused, tmp_path: Path, folder: Path
) -> None:
    stopped(train, training(LocalModel(path=str(folder))))
    before = kept_in(tmp_path / "out")
    other = refused(training(tiny(seed=8)), resume=True)
    assert "step 2: `model` was `local`, is `scratch`. Put" in other.message
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"initializer_range": 0.5}))
    changed = refused(training(LocalModel(path=str(folder))), resume=True)
    assert "step 2: the content of `model.path` has changed. Put" in changed.message
    assert kept_in(tmp_path / "out") == before


def two_stages(first: Mapping[str, Any] | None = None, second: Mapping[str, Any] | None = None) -> Graph:
    later = Ref("later")
    return graph_of(
        {
            MODEL: tiny(),
            DATA: sums(),
            STAGE: sft(**({"steps": 2} | dict(first or {}))),
            later: sft(**({"model": STAGE, "steps": 4} | dict(second or {}))),
            SAVE: Save(model=later, key="small", if_exists="overwrite"),
        },
        (SAVE,),
    )


class StopIn(Told):
    """Stops in the stage of this name, after its second step."""

    def __init__(self, stage: str) -> None:
        super().__init__()
        self.stage = stage

    def step(self, name: str, step: int, *_: Any) -> None:
        if (name, step) == (self.stage, 2):
            raise KeyboardInterrupt


def test_a_finished_stage_edited_before_an_unfinished_one(
    train: Train, refused: Refused, tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        train(two_stages(), watcher=StopIn("later"))
    fault = refused(two_stages(first={"lr": 1e-3}), resume=True)
    assert "`later`: the recipe has changed inside this stage" in fault.message
    assert "`model.lr` was 0.01, is 0.001" in fault.message
    told = Told()
    train(two_stages(), watcher=told, resume=True)
    assert told.started == ["later"]


def renamed(graph: Graph, name: str) -> Graph:
    origins = {**graph.origins, STAGE: Origin(name, "small.recipe", 3)}
    return records.replace(graph, origins=origins)


def test_a_stage_that_was_renamed(train: Train, refused: Refused, tmp_path: Path) -> None:
    stopped(train, training())
    fault = refused(renamed(training(), "warm"), resume=True)
    assert fault.exit_code == 1
    assert fault.message.startswith(
        "small.recipe:3: `warm`: the stage was called `tuned` when it was stopped after step 2, and so it is "
        "in metrics.jsonl: give it that name again, or start"
    )


def test_a_stage_that_the_recipe_no_longer_has(train: Train, tmp_path: Path) -> None:
    stopped(train, training())
    told = Told()
    train(renamed(training(lr=1e-3), "another"), watcher=told, resume=True)
    (folder,) = (tmp_path / "out" / "checkpoints").iterdir()
    assert [text for text in told.warnings if text.startswith(f"{folder} keeps a checkpoint of `tuned`")]
    assert {line["stage"] for line in read_lines(tmp_path / "out/metrics.jsonl")} == {"tuned", "another"}


def test_what_a_crash_left_of_a_finished_stage(train: Train, tmp_path: Path) -> None:
    identity = train(training()).stages[0].identity
    left = tmp_path / "out" / "checkpoints" / f"tuned-{identity}"
    left.mkdir(exist_ok=True)
    told = Told()
    train(training(), watcher=told, resume=True)
    assert told.warnings == []
    assert not left.exists()


# --- other conditions -----------------------------------------------------------------------------------


def with_torch(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    found = drift.versions()
    monkeypatch.setattr(drift, "versions", lambda: found | {"torch": version})


def test_other_versions_do_not_go_on_inside_a_stage(
    train: Train, refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_torch(monkeypatch, "1.0")
    stopped(train, training())
    before = kept_in(tmp_path / "out")
    with_torch(monkeypatch, "2.0")
    fault = refused(training(), resume=True)
    assert fault.exit_code == 2
    assert fault.message == (
        "small.recipe:3: `tuned`: the stage was stopped after step 2 under other conditions, and would not "
        "go on in the same bits: torch was 1.0, is 2.0. Restore that, or accept it with `--allow-drift`, "
        "which manifest.json records"
    )
    assert kept_in(tmp_path / "out") == before
    with_torch(monkeypatch, "1.0")
    assert train(training(), resume=True).stages[0].steps == 6


def test_accepted_conditions_are_recorded(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def recorded() -> Any:
        return json.loads((tmp_path / "out" / "manifest.json").read_text())["drift"]

    with_torch(monkeypatch, "1.0")
    stopped(train, training())
    assert recorded() == []
    with_torch(monkeypatch, "2.0")
    told = Told(stop_at=4)
    with pytest.raises(Interrupted):
        train(training(), watcher=told, resume=True, allow_drift=True)
    expected = [{"stage": "tuned", "step": 2, "differences": ["torch was 1.0, is 2.0"]}]
    assert recorded() == expected
    (warning,) = told.warnings
    assert "goes on after step 2" in warning
    assert "torch was 1.0, is 2.0" in warning

    train(training(), resume=True)  # the checkpoint is of the new conditions, and what was noted stays
    assert recorded() == expected


def test_other_versions_do_not_touch_a_finished_stage(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    with_torch(monkeypatch, "1.0")
    train(training())
    with_torch(monkeypatch, "2.0")
    assert train(training(), resume=True).stages[0].reused


def test_how_models_are_placed_is_a_condition(tmp_path: Path) -> None:
    def conditions(graph: Graph, ref: Ref) -> dict[str, Any]:
        folder = RunFolder(tmp_path, {}, writes=False)
        return Drift(
            graph, Meanings({}, {}, {}), {}, False, folder, Context(ONE_DEVICE), Silent()
        ).conditions(ref)

    assert conditions(training(tiny(max_batch_tokens=64, attention="eager")), STAGE) == {
        "model.tp": 1,
        "model.max_batch_tokens": 64,
        "model.dtype": "auto",
        "model.attention": "eager",
        "model.gradient_checkpointing": False,
    }
    # Of a stage before this one only the model counts, which the stage goes on to train.
    critic, later = Ref("critic"), Ref("later")
    nodes = training().nodes | GRADERS | {critic: tiny(seed=8)}
    shape = {"policy_model": MODEL, "value_model": critic, "dataset": DATA, "grader": REWARD}
    nodes[STAGE] = Ppo(**shape, max_num_ppo_steps=1, seed=7)
    nodes[later] = sft(model=STAGE)
    found = conditions(graph_of(nodes, (later,)), later)
    assert found["model.policy_model.tp"] == 1
    assert {name.rpartition(".")[0] for name in found} == {"model.policy_model"}


def test_processes_on_different_machines_are_told_together() -> None:
    class Two(Context):
        def gather(self, items: list[Any]) -> list[Any]:
            return [*items, {**items[0], "device": "H200"}]

    found = drift.machine(Two(ONE_DEVICE))
    assert found["device"] == ["cpu", "H200"]
    assert found["python"].startswith("3.")
    assert {"world_size", "shard", "torch", "numpy", "peft", "threads", "instructions"} <= found.keys()
