"""The quickstart learns what it says: the whole run, and the model that comes out of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dsl_support import ROOT, Harmonyc

import harmony_dsl
from harmony_compiler.graph.algorithms import Algorithm
from harmony_runtime.failures import Interrupted
from harmony_runtime.watch import Silent

RECIPE = str(ROOT / "examples" / "quickstart.recipe")
HELDOUT = ROOT / "examples" / "data" / "sort_heldout.jsonl"


@pytest.mark.slow
def test_the_quickstart_learns_to_sort(harmonyc: Harmonyc, tmp_path: Path) -> None:
    told = harmonyc("run", RECIPE)
    assert told.code == 0, told.err
    results = json.loads(Path("runs/quickstart-1/results.json").read_text(encoding="utf-8"))
    scores = {
        model: {grader: found["mean"] for grader, found in graders.items()}
        for model, graders in results["evaluations"]["report"].items()
    }
    assert list(scores) == ["newborn", "taught", "sorter"]
    assert scores["newborn"]["exact"] < 0.01
    assert 0.2 < scores["taught"]["exact"] < 0.75
    assert scores["sorter"]["exact"] >= 0.8
    assert scores["sorter"]["tidy"] > 0.95
    table = told.out.partition("report: mean scores on 500 rows\n")[2].splitlines()
    assert table[0].split() == ["exact", "close", "tidy"]
    for line, (model, of_model) in zip(table[1:4], scores.items(), strict=True):
        assert line.split() == [model, *(f"{mean:.3f}" for mean in of_model.values())]

    # What was saved is what was measured, to a person who knows transformers alone.
    saved = tmp_path / "home" / "models" / "quickstart-sorter"
    assert exact_share(saved) == pytest.approx(scores["sorter"]["exact"])


def exact_share(folder: Path) -> float:
    """The share of held-out problems that a saved model solves, each answered greedily by `generate`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    rows = [json.loads(line) for line in HELDOUT.read_text(encoding="utf-8").splitlines()]
    asked = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": row["question"]}], add_generation_prompt=True, return_dict=False
        )
        for row in rows
    ]
    prompts = torch.tensor(asked)
    mask = torch.ones_like(prompts)
    written = model.generate(prompts, attention_mask=mask, max_new_tokens=8, do_sample=False)
    answers = tokenizer.batch_decode(written[:, prompts.shape[1] :], skip_special_tokens=True)
    return sum(answer == row["answer"] for answer, row in zip(answers, rows, strict=True)) / len(rows)


class StopAt(Silent):
    """Stops a run as Ctrl-C does, after a step of a stage."""

    def __init__(self, stage: str, step: int) -> None:
        self._where = (stage, step)

    def step(self, name: str, step: int, metrics: object, timing: object) -> None:
        if (name, step) == self._where:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_its_reinforcement_goes_on_in_the_same_bits(house: Path) -> None:
    """Stopped after any of six steps and continued, it ends as a run in one go does."""
    graph = harmony_dsl.compile(Path(RECIPE), inputs={"practice": 6}).graph
    assert graph is not None
    straight, taught = house / "straight", house / "taught"
    harmony_dsl.run(graph, straight, watcher=Silent())
    with pytest.raises(Interrupted):
        harmony_dsl.run(graph, taught, watcher=StopAt("taught", 50))
    for step in range(1, 6):
        out = shutil.copytree(taught, house / f"stopped-{step}")
        with pytest.raises(Interrupted):
            harmony_dsl.run(graph, out, watcher=StopAt("sorter", step), resume=True)
        assert len((out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()) == 50 + step
        harmony_dsl.run(graph, out, watcher=Silent(), resume=True)
        assert left_in(out) == left_in(straight)


def left_in(out: Path) -> dict[str, bytes]:
    """What the recipe alone determines of a run: weights, metrics, samples."""
    files = [out / "metrics.jsonl", out / "samples.jsonl", *sorted(out.glob("stages/*/model.safetensors"))]
    assert len(files) == 4
    return {str(file.relative_to(out)): file.read_bytes() for file in files}


@pytest.mark.slow
def test_two_processes_train_as_one(house: Path) -> None:
    """The same batches, the same losses, the same scores; and one process alone writes."""
    losses, tables = [], []
    for processes in ("1", "2"):
        out = house / processes
        run = ("run", RECIPE, "--set", "practice=3", "--num-processes", processes, "--out", str(out))
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        told = subprocess.run(
            [sys.executable, "-m", "harmony_dsl", *run],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
        assert told.returncode == 0, told.stderr
        lines = [
            json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        assert len(lines) == 53
        assert len((out / "samples.jsonl").read_text(encoding="utf-8").splitlines()) == 3 * 256 + 3 * 500
        losses.append([line["loss"] for line in lines])
        tables.append(json.loads((out / "results.json").read_text(encoding="utf-8"))["evaluations"]["report"])
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)
    for model, graders in tables[0].items():
        assert tables[1][model]["exact"]["mean"] == pytest.approx(graders["exact"]["mean"], abs=0.005)


def test_its_inputs_change_it() -> None:
    """Another seed makes another model, and other stages; practice is the length of the last one."""
    graphs = [harmony_dsl.compile(Path(RECIPE), inputs={"seed": seed}).graph for seed in (7, 8)]
    assert all(graph is not None for graph in graphs)
    seeded = [
        {ref for ref, node in graph.nodes.items() if hasattr(node, "seed")} for graph in graphs if graph
    ]
    assert seeded[0].isdisjoint(seeded[1])
    shorter = harmony_dsl.compile(Path(RECIPE), inputs={"practice": 3}).graph
    assert shorter is not None
    assert [node.steps for node in shorter.nodes.values() if isinstance(node, Algorithm)] == [50, 3]
