"""The quickstart learns what it says: the whole run, and the model that comes out of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from dsl_support import ROOT, Harmonyc


@pytest.mark.slow
def test_the_quickstart_learns_to_sort(harmonyc: Harmonyc, tmp_path: Path) -> None:
    told = harmonyc("run", str(ROOT / "examples" / "quickstart.recipe"))
    assert told.code == 0, told.err
    assert told.err == ""
    lines = Path("runs/quickstart-1/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    losses = [json.loads(line)["loss"] for line in lines]
    assert losses[0] > 4
    assert losses[-1] < 0.05

    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    saved = tmp_path / "home" / "models" / "quickstart-sorter"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(saved), AutoTokenizer.from_pretrained(saved)
    heldout = (ROOT / "examples" / "data" / "sort_heldout.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in heldout.splitlines()]
    prompts = torch.tensor(
        [
            tokenizer.apply_chat_template(
                [{"role": "user", "content": row["question"]}], add_generation_prompt=True, return_dict=False
            )
            for row in rows
        ]
    )
    written = model.generate(
        prompts, attention_mask=torch.ones_like(prompts), max_new_tokens=7, do_sample=False
    )
    answers = tokenizer.batch_decode(written[:, prompts.shape[1] :], skip_special_tokens=True)
    right = sum(answer == row["answer"] for answer, row in zip(answers, rows, strict=True))
    assert right >= 0.95 * len(rows)
