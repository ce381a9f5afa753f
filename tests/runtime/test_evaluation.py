"""Evaluations: what is measured is what the models would write, and it is measured once."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from reinforcement_support import EXACT, GRADERS, PROMPTS, REWARD, SHORT, samples_of
from runtime_support import DATA, MODEL, STAGE, Told, Train, graph_of, sft, sums, tiny
from transformers import AutoModelForCausalLM, AutoTokenizer

from harmony_compiler.graph.evaluations import Compare
from harmony_compiler.graph.graders import Formula
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.settings import Sampling
from harmony_compiler.graph.values import Ref
from harmony_runtime.failures import RunFailed
from harmony_runtime.watch import Measured

REPORT = Ref("report")
ROWS = 10


def comparing(**changes: Any) -> Graph:
    """A graph that trains `tuned` and compares it with the model it came from."""
    fields: dict[str, Any] = {
        "models": (MODEL, STAGE),
        "dataset": PROMPTS,
        "graders": (EXACT, SHORT, REWARD),
        "sampling": Sampling(max_tokens=6, temperature=0.0),
        "seed": 7,
    }
    prompts = sums(completion=None, metadata={"answer": "{{ a }}"})
    nodes = {MODEL: tiny(hidden_size=32), DATA: sums(), STAGE: sft(steps=80), PROMPTS: prompts, **GRADERS}
    return graph_of({**nodes, REPORT: Compare(**(fields | changes))}, (REPORT,))


class Heard(Told):
    """Remembers what was told of evaluations."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[object] = []

    def evaluation_started(self, name: str, models: Sequence[str], rows: int) -> None:
        self.heard.append((name, tuple(models), rows))

    def evaluated(self, name: str, model: str, graders: Mapping[str, Measured], seconds: float) -> None:
        self.heard.append((name, model, *graders))


def results(out: Path) -> Any:
    return json.loads((out / "results.json").read_text(encoding="utf-8"))["evaluations"]["report"]


def test_scores_are_of_what_a_model_would_write(train: Train, tmp_path: Path) -> None:
    watcher = Heard()
    summary = train(comparing(), watcher=watcher)
    out = tmp_path / "out"
    assert watcher.heard == [
        ("report", ("base", "tuned"), ROWS),
        ("report", "base", "exact", "short", "reward"),
        ("report", "tuned", "exact", "short", "reward"),
    ]
    folder = next((out / "stages").iterdir())
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    samples = [sample for sample in samples_of(out) if sample["model"] == "tuned"]
    assert len(samples) == ROWS
    right = length = 0
    for sample in samples:
        ids = tokenizer.apply_chat_template(
            sample["turns"], add_generation_prompt=True, return_tensors="pt", return_dict=False
        )
        written = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False)[
            0, ids.shape[1] :
        ]
        text = tokenizer.decode(written, skip_special_tokens=True)
        assert text == sample["completion"]
        right += text.strip() == sample["metadata"]["answer"]
        length += len(text)
    assert right > 0
    found = results(out)["tuned"]
    assert found["exact"] == {"mean": right / ROWS, "count": ROWS, "not_applicable": 0, "failed": 0}
    assert found["short"]["mean"] == pytest.approx(length / ROWS / 10)
    assert summary.evaluations["report"]["tuned"]["exact"].mean == right / ROWS
    assert results(out)["base"]["exact"]["mean"] < right / ROWS


def test_what_was_measured_is_not_measured_again(train: Train, tmp_path: Path) -> None:
    train(comparing())
    files = [tmp_path / "out" / name for name in ("results.json", "samples.jsonl", "metrics.jsonl")]
    before = [file.read_bytes() for file in files]
    watcher = Heard()
    summary = train(comparing(), watcher=watcher, resume=True)
    assert watcher.heard == []
    assert [file.read_bytes() for file in files] == before
    assert summary.evaluations["report"]["base"]["exact"].count == ROWS


def test_fewer_rows_and_more_samples(train: Train, tmp_path: Path) -> None:
    train(comparing(limit=3, samples=4, sampling=Sampling(max_tokens=6), models=(MODEL,)))
    samples = samples_of(tmp_path / "out")
    assert [sample["prompt"] for sample in samples] == [f"{n}+{n}" for n in (5, 6, 7) for _ in range(4)]
    assert len({sample["completion"] for sample in samples}) > 3
    assert results(tmp_path / "out")["base"]["exact"]["count"] == 12


def test_what_does_not_apply_and_what_failed_is_counted_apart(train: Train, tmp_path: Path) -> None:
    odd = Ref("odd")
    graph = comparing(graders=(odd,), models=(MODEL,))
    answer = ("number", ("read", "metadata", "answer"))
    # Eight of the answers end in exclamation marks and are no numbers; the others are 16 and 24.
    formula = Formula(expression=("log", ("-", answer, ("constant", 16))))
    nodes = {odd: formula, **graph.nodes}
    train(graph_of(nodes, graph.outputs))
    found = results(tmp_path / "out")["base"]["odd"]
    assert found == {"mean": pytest.approx(math.log(8)), "count": 1, "not_applicable": 8, "failed": 1}


def test_a_context_without_room_is_told_before_a_weight_is_made(refused: Any) -> None:
    fault: RunFailed = refused(comparing(sampling=Sampling(max_tokens=39, temperature=0.0)))
    assert "all of 10 prompts leave no room for 39 tokens" in str(fault)
