"""The order of a run with evaluations, and what is kept of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from runtime_support import DATA, MODEL, SAVE, STAGE, Told, Train, graph_of, training

from harmony_compiler.graph.evaluations import Compare
from harmony_compiler.graph.graders import Equals
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.values import Ref
from harmony_grammar.records import replace
from harmony_runtime.failures import Interrupted, RunFailed
from harmony_runtime.watch import Measured

GRADER, REPORT = Ref("exact"), Ref("report")

FOUND = {
    "base": {"exact": Measured(None, 0, 3, 7)},
    "tuned": {"exact": Measured(0.5, 10, 0, 0)},
}


def measuring(name: str = "report", entries: Mapping[str, tuple[str, ...]] | None = None) -> Graph:
    """Train, save and compare."""
    nodes = training(steps=2).nodes
    nodes |= {
        GRADER: Equals(expected="4"),
        REPORT: Compare(models=(MODEL, STAGE), dataset=DATA, graders=(GRADER,), seed=7),
    }
    graph = graph_of(nodes, (SAVE, REPORT))
    graph.origins[REPORT] = replace(graph.origins[REPORT], name=name, entries=dict(entries or {}))
    return graph


@dataclass(frozen=True)
class Prepared:
    name: str
    identity: str
    counts: Mapping[str, Any] = field(default_factory=dict)


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch, registry: Path) -> list[str]:
    """What happens to an evaluation, which finds `FOUND`; the registry must hold the model by then."""
    happened: list[str] = []

    def prepare(run: Any, ref: Ref, name: str, identity: str) -> Prepared:
        happened.append(f"prepared {name}")
        return Prepared(name, identity)

    def evaluate(run: Any, prepared: Prepared) -> Any:
        happened.append(f"evaluated {prepared.name}, saved: {(registry / 'small').is_dir()}")
        return FOUND

    monkeypatch.setattr("harmony_runtime.run.evaluation.prepare", prepare)
    monkeypatch.setattr("harmony_runtime.run.evaluation.evaluate", evaluate)
    return happened


class Following(Told):
    def __init__(self, happened: list[str]) -> None:
        super().__init__()
        self._happened = happened

    def stage_started(self, name: str, *_: Any) -> None:
        self._happened.append(f"trained {name}")


def test_all_is_prepared_then_trained_then_saved_then_measured(
    train: Train, tmp_path: Path, events: list[str]
) -> None:
    summary = train(measuring(), watcher=Following(events))
    assert events == ["prepared report", "trained tuned", "evaluated report, saved: True"]
    assert summary.evaluations == {"report": FOUND}
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["evaluations"] == {
        "report": {
            "base": {"exact": {"mean": None, "count": 0, "not_applicable": 3, "failed": 7}},
            "tuned": {"exact": {"mean": 0.5, "count": 10, "not_applicable": 0, "failed": 0}},
        }
    }
    assert list(results["saved"]) == ["small"]


def test_what_was_measured_is_not_measured_again(train: Train, tmp_path: Path, events: list[str]) -> None:
    train(measuring())
    first = json.loads((tmp_path / "out" / "results.json").read_text())
    events.clear()
    told = Told()
    summary = train(measuring(name="again"), watcher=told, resume=True)
    assert events == []
    assert summary.evaluations == {"again": FOUND}
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["evaluations"] == {"again": first["evaluations"]["report"]}
    assert any("`again` is measured in" in text for text in told.texts)

    # The columns bear other names now, which the kept result does not know.
    train(measuring(entries={"models": ("start", "end")}), resume=True)
    assert events == ["prepared report", "evaluated report, saved: True"]


def test_a_stop_in_an_evaluation_keeps_the_training(
    train: Train, tmp_path: Path, events: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("harmony_runtime.run.evaluation.evaluate", stopped)
        with pytest.raises(Interrupted, match="1 finished stage"):
            train(measuring())
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert list(results["saved"]) == ["small"]
    events.clear()
    train(measuring(), resume=True)
    assert events == ["prepared report", "evaluated report, saved: True"]


def test_an_evaluation_that_cannot_be_is_refused_before_training(
    refused: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no(*_: Any) -> None:
        raise RunFailed("no rows to compare on")

    monkeypatch.setattr("harmony_runtime.run.evaluation.prepare", no)
    assert refused(measuring()).message == "no rows to compare on"


def test_an_evaluation_and_a_stage_of_one_name(train: Train, events: list[str]) -> None:
    assert train(measuring(name="tuned")).evaluations == {f"tuned.{REPORT}": FOUND}
