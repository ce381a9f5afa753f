"""The pairs of the DPO example, and the script that makes them of a run's answers."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from dsl_support import ROOT

DATA = ROOT / "examples" / "data"


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("make_pairs", DATA / "make_pairs.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def answer(prompt: str, completion: str, *scores: float | None, stage: str = "answers") -> dict[str, Any]:
    grades = [{"not_applicable": True} if score is None else {"score": score} for score in scores]
    names = ("exact", "close")
    return {
        "stage": stage,
        "prompt": prompt,
        "completion": completion,
        "grades": dict(zip(names, grades, strict=True)),
    }


def test_the_best_answer_makes_a_pair_with_the_worst(script: Any, tmp_path: Path) -> None:
    samples = [
        answer("a", "so so", 0, 0.5),
        answer("a", "best", 1, 1),
        answer("a", "worst", 0, None),
        answer("b", "the same", 0, 0.5),
        answer("b", "as good", 0.5, 0),
        answer("c", "better", None, 0.1, stage="heldout_answers"),
        answer("c", "worse", 0, 0, stage="heldout_answers"),
        answer("d", "of no pair", 0, 0, stage="report"),
        answer("d", "of another evaluation", 1, 1, stage="report"),
    ]
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    script.write(tmp_path, tmp_path)
    found = [(tmp_path / name).read_text().splitlines() for name in script.FILES.values()]
    assert [[json.loads(line) for line in lines] for lines in found] == [
        [{"prompt": "a", "chosen": "best", "rejected": "worst"}],
        [{"prompt": "c", "chosen": "better", "rejected": "worse"}],
    ]


def agreement(one: str, other: str) -> float:
    return sum(a == b for a, b in zip(one, other, strict=False)) / max(len(one), len(other))


@pytest.mark.parametrize(("name", "rows"), [("sort_pairs", 2000), ("sort_pairs_heldout", 500)])
def test_of_the_pairs_beside_it_the_first_answer_is_better(name: str, rows: int) -> None:
    """And no problem is one that the model has imitated the answer of."""
    pairs = [json.loads(line) for line in (DATA / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    assert rows - 20 <= len(pairs) <= rows
    problems = DATA / ("sort_train.jsonl" if name == "sort_pairs" else "sort_heldout.jsonl")
    answers = {
        row["question"]: row["answer"] for row in map(json.loads, problems.read_text().splitlines()[-rows:])
    }
    for pair in pairs:
        right = answers[pair["prompt"]]
        better, worse = (
            (text == right, agreement(text, right)) for text in (pair["chosen"], pair["rejected"])
        )
        assert better > worse
