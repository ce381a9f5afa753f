"""What the README promises of a whole run, and what a user tries first, through the real command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from dsl_support import ROOT, Harmonyc

SHARED = ROOT.parent / "shared" / "data"
QUICKSTART = ROOT / "examples" / "quickstart.recipe"


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_the_quickstart_learns_to_sort(harmonyc: Harmonyc, tmp_path: Path) -> None:
    """Rows that were held out are sorted right by the saved model, as transformers generates."""
    told = harmonyc("run", str(QUICKSTART), "--out", "run")
    assert told.code == 0, told.err
    assert losses(Path("run"))[-1] < 0.1

    from transformers import AutoModelForCausalLM, AutoTokenizer

    saved = tmp_path / "home" / "models" / "quickstart-sorter"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(saved), AutoTokenizer.from_pretrained(saved)
    lines = (ROOT / "examples" / "data" / "sort_heldout.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines[:100]]
    turns = [[{"role": "user", "content": row["question"]}] for row in rows]
    prompts = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt")
    ids = model.generate(**prompts, do_sample=False, max_new_tokens=8)
    answers = tokenizer.batch_decode(ids[:, prompts["input_ids"].shape[1] :], skip_special_tokens=True)
    right = sum(answer == row["answer"] for answer, row in zip(answers, rows, strict=True))
    assert right >= 95


def test_a_model_with_a_real_tokenizer_learns_from_a_real_file(harmonyc: Harmonyc, tmp_path: Path) -> None:
    rows, tokenizer = SHARED / "gsm8k" / "train_1000.jsonl", SHARED / "tokenizers" / "gpt2"
    if not (rows.exists() and tokenizer.exists()):
        pytest.skip("the real data is not at hand")
    Path("gsm8k.recipe").write_text(
        f"""
        recipe gsm8k {{ seed = 1 }}
        model newborn = scratch {{
          hidden_size = 64, layers = 2, heads = 4, kv_heads = 2, context = 512, tokenizer = "{tokenizer}"
        }}
        dataset demos = jsonl("{rows}") {{ prompt = "{{{{ question }}}}", completion = "{{{{ answer }}}}" }}
        train tuned = sft {{ model = newborn, dataset = demos, lr = 5e-3, samples_per_batch = 8, steps = 20 }}
        save tuned as "gsm8k-tuned"
        """
    )
    told = harmonyc("run", "gsm8k.recipe", "--out", "run")
    assert told.code == 0, told.err
    fallen = losses(Path("run"))
    assert len(fallen) == 20
    assert fallen[0] - fallen[-1] > 1

    from transformers import AutoModelForCausalLM, AutoTokenizer

    saved = tmp_path / "home" / "models" / "gsm8k-tuned"
    assert AutoModelForCausalLM.from_pretrained(saved).config.vocab_size == 50257
    assert AutoTokenizer.from_pretrained(saved).decode([31373]) == "hello"


SEVEN_FAULTS = """\
recipe faulty { seed = 7 }
input lr: flaot = 1e-3
dataset lessons = jsonl("rows.jsonl") {
  prompt = "{{ qestion }}"
  completion = "{{ answer }}"
}
model newborn = scratch { hidden_size = 96, layers = 2, heads = 5, context = 32 }
train sorter = sft {
  model = newbron
  dataset = lessons
  lr = lr
  samples_per_batch =
  max_grad_nrom = 1.0
  steps: 3
}
save sorter as "sorter"
"""


def test_seven_faults_are_seven_findings(harmonyc: Harmonyc) -> None:
    Path("rows.jsonl").write_text('{"question": "sort 21", "answer": "12"}\n')
    Path("faulty.recipe").write_text(SEVEN_FAULTS)
    told = harmonyc("check", "faulty.recipe", "--format", "json")
    assert told.code == 1
    found = [(f["span"]["start"]["line"], f["slug"]) for f in json.loads(told.out)["diagnostics"]]
    assert found == [
        (2, "unknown-type"),
        (4, "unknown-column"),
        (7, "rule-broken"),
        (9, "unknown-name"),
        (12, "missing-value"),
        (13, "unknown-field"),
        (14, "colon-for-equals"),
    ]
