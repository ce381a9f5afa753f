"""What a user tries first: a real tokenizer on a real file, many mistakes at once, a slip of the finger."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from dsl_support import ROOT, Harmonyc

from harmony_compiler.compile import compile_recipe
from harmony_grammar.lexer import scan
from harmony_grammar.source import Source

SHARED = ROOT.parent / "shared" / "data"
QUICKSTART = ROOT / "examples" / "quickstart.recipe"


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_model_with_a_real_tokenizer_learns_from_a_real_file(harmonyc: Harmonyc, tmp_path: Path) -> None:
    rows, tokenizer = SHARED / "gsm8k" / "train_1000.jsonl", SHARED / "tokenizers" / "gpt2"
    if not (rows.exists() and tokenizer.exists()):
        pytest.skip("the real data is not at hand")
    Path("gsm8k.recipe").write_text(
        f"""
        recipe gsm8k {{ seed = 1 }}
        model newborn = scratch {{
          hidden_size = 32, layers = 1, heads = 4, kv_heads = 2, context = 512, tokenizer = "{tokenizer}"
        }}
        dataset demos = jsonl("{rows}") {{ prompt = "{{{{ question }}}}", completion = "{{{{ answer }}}}" }}
        train tuned = sft {{ model = newborn, dataset = demos, lr = 1e-2, samples_per_batch = 4, steps = 20 }}
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


def test_any_token_of_the_quickstart_may_be_missing() -> None:
    """Ends in findings or a clean recipe, never in a crash; and never in a flood of findings."""
    text = QUICKSTART.read_text(encoding="utf-8")
    for token in scan(Source("quickstart.recipe", text)).tokens:
        damaged = text[: token.start] + text[token.end :]
        compilation = compile_recipe(Source("quickstart.recipe", damaged, QUICKSTART))
        errors = [finding for finding in compilation.diagnostics if finding.severity == "error"]
        assert (compilation.graph is None) == bool(errors)
        assert len(errors) <= 4, (token, errors)
