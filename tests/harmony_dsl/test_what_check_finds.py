"""What `check` finds before training: each mistake alone in a recipe, by its own code, on its line.

Every case is the one good recipe below with a small change, and the words that stand on the faulty line.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pytest
from dsl_support import Harmonyc

GOOD = """\
recipe school { seed = 7 }
input lr: float = 1e-5 where 0 < lr < 1e-2
model start = scratch { hidden_size = 32, layers = 1, heads = 4, kv_heads = 2, context = 512 }
model opinion = endpoint("http://localhost:8000/v1") { model = "judge", key = env("JUDGE_KEY") }
dataset problems = jsonl("problems.jsonl") {
  split = "train[:80%]"
  prompt = "{{ question }}"
  metadata = { answer = "{{ answer | trim }}" }
}
dataset demos = problems { completion = "{{ answer }}" }
dataset pairs = jsonl("pairs.jsonl") {
  prompt = "{{ question }}"
  chosen = "{{ good }}"
  rejected = "{{ bad }}"
}
grader exact = equals { expected = "{{ metadata.answer }}" }
grader brief = clamp(1 - words(completion) / 20, 0, 1)
grader clear = judge { model = opinion, criteria = "Every step follows." }
grader mine = python("graders.py:score")
train warm = sft {
  model = start
  dataset = demos
  lr = lr
  schedule = cosine { warmup = 10% }
  samples_per_batch = 16
  max_grad_norm = 1.0
  epochs = 1
}
train liked = dpo {
  model = warm
  dataset = pairs
  loss = "sigmoid"
  label_smoothing = 0.1
  steps = 4
}
train tuned = grpo {
  model = liked
  dataset = problems
  grader = 0.7 * exact + 0.1 * brief + 0.1 * clear + 0.1 * mine
  completions_per_sample = 8
  samples_per_batch = 64
  samples_per_mini_batch = 32
  checkpoint { every = 30min }
  steps = 200
}
evaluate report = compare {
  models = [start, warm, tuned]
  dataset = problems { split = "train[80%:]" }
  graders = [exact, brief]
}
save tuned as "tuned"
"""

GRADERS = """\
def score(completion, metadata):
    return float(completion.strip() == metadata["answer"])


def shout(completion, volume):
    return float(completion.isupper())
"""


class Case(NamedTuple):
    slug: str
    change: str
    """What is replaced in the good recipe; "" adds to its end."""
    by: str
    at: str = ""
    """Words on the faulty line; the first line of `by` where none are given."""
    options: tuple[str, ...] = ()


CASES = {
    "misspelt field": Case("unknown-field", "max_grad_norm", "max_grad_nrom"),
    "field in the wrong block": Case("unknown-field", "  steps = 200", "  temperature = 0.9\n  steps = 200"),
    "field twice": Case("duplicate-field", "  steps = 200", "  steps = 200\n  steps = 100", "  steps = 100"),
    "wrong type": Case("wrong-type", "samples_per_batch = 16", 'samples_per_batch = "16"'),
    "out of range": Case("out-of-range", "label_smoothing = 0.1", "label_smoothing = 0.9"),
    "unknown column": Case("unknown-column", "{{ question }}", "{{ qestion }}"),
    "unknown filter": Case("unknown-filter", "| trim", "| trimm"),
    "broken template": Case("broken-template", "{{ answer }}", "{{ answer }"),
    "quote inside {{ }}": Case("quote-in-template", "{{ answer | trim }}", '{{ answer.split("####")[-1] }}'),
    "metadata that the rows lack": Case("unknown-metadata", "metadata.answer", "metadata.reply"),
    "SFT rows given to DPO": Case("wrong-type", "dataset = pairs", "dataset = demos"),
    "pairs given to GRPO": Case("wrong-type", "dataset = problems\n  grader", "dataset = pairs\n  grader"),
    "prompts given to SFT": Case("wrong-type", "dataset = demos", "dataset = problems"),
    "a grader for a model": Case("wrong-type", "model = start", "model = exact"),
    "epochs and steps": Case("one-too-many", "epochs = 1", "epochs = 1\n  steps = 3", "steps = 3"),
    "neither epochs nor steps": Case("neither-given", "  epochs = 1\n", "", "train warm"),
    "groups that do not divide the batch": Case(
        "rule-broken", "completions_per_sample = 8", "completions_per_sample = 7", "samples_per_batch = 64"
    ),
    "mini-batches that do not divide it": Case(
        "rule-broken", "samples_per_mini_batch = 32", "samples_per_mini_batch = 24"
    ),
    "a batch that does not divide over the processes": Case(
        "rule-broken",
        "samples_per_batch = 16",
        "samples_per_batch = 15",
        options=("--num-processes", "2"),
    ),
    "mini-batch above the batch": Case(
        "rule-broken", "samples_per_mini_batch = 32", "samples_per_mini_batch = 128"
    ),
    "tp beyond the world": Case("rule-broken", "context = 512", "context = 512, tp = 2"),
    "tp that does not divide the heads": Case(
        "uneven-heads", "context = 512", "context = 512, tp = 4", options=("--num-processes", "4")
    ),
    "a bare float for a share": Case("bare-share", "warmup = 10%", "warmup = 0.1"),
    "lr copied into a trained model": Case("fixed-field", "model = liked", "model = liked { lr = 1e-6 }"),
    "Python grader without its file": Case("missing-file", "graders.py:score", "grader.py:score"),
    "Python grader without its function": Case("no-python-function", "graders.py:score", "graders.py:scor"),
    "Python grader with an impossible parameter": Case(
        "impossible-parameter", "graders.py:score", "graders.py:shout"
    ),
    "label_smoothing with ipo": Case("unread-field", '"sigmoid"', '"ipo"', "label_smoothing"),
    "unused dataset": Case(
        "unused-value", "", 'dataset more = jsonl("pairs.jsonl") { prompt = "{{ bad }}" }\n'
    ),
    "import cycle": Case("import-cycle", "recipe school", 'import "circle.recipe" as c\nrecipe school'),
    "secret as a string": Case("secret-as-text", 'env("JUDGE_KEY")', '"sk-123456"'),
    "credential in a URL": Case("credential-in-address", "http://localhost", "http://me:hunter2@localhost"),
    "save collision": Case("key-twice", "", 'save warm as "tuned"\n'),
    "endpoint given to train": Case("wrong-type", "model = start", "model = opinion"),
    "unknown unit": Case("unknown-unit", "30min", "30mins"),
    "missing value": Case("missing-value", "samples_per_batch = 16", "samples_per_batch ="),
    "stray character": Case("stray-character", "samples_per_batch = 16", "samples_per_batch = 16 $"),
    "unclosed string": Case("unclosed-string", '"Every step follows."', '"Every step follows.'),
    "unclosed brace": Case(
        "unclosed-bracket", 'rejected = "{{ bad }}"\n}', 'rejected = "{{ bad }}"', "dataset pairs"
    ),
    "unclosed bracket": Case("unclosed-bracket", "[exact, brief]", "[exact, brief"),
}


@pytest.fixture
def school() -> None:
    rows = [{"question": f"{n}+{n}", "answer": str(2 * n)} for n in range(1, 21)]
    Path("problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pairs = [{"question": f"{n}+1", "good": str(n + 1), "bad": str(n)} for n in range(1, 21)]
    Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    Path("graders.py").write_text(GRADERS)
    Path("circle.recipe").write_text('import "case.recipe" as back\nlet more = back.lr\n')


def findings(harmonyc: Harmonyc, text: str, *options: str) -> list[dict[str, object]]:
    Path("case.recipe").write_text(text)
    told = harmonyc("check", "case.recipe", "--format", "json", *options)
    found: list[dict[str, object]] = json.loads(told.out)["diagnostics"]
    return found


@pytest.mark.usefixtures("school")
def test_the_good_recipe_has_no_finding(harmonyc: Harmonyc) -> None:
    assert findings(harmonyc, GOOD) == []


@pytest.mark.usefixtures("school")
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_each_mistake_is_found_alone(case: Case, harmonyc: Harmonyc) -> None:
    text = GOOD + case.by
    if case.change:
        assert case.change in GOOD
        text = GOOD.replace(case.change, case.by, 1)
    place = GOOD.index(case.change) if case.change else len(GOOD)
    words = case.at or case.by.splitlines()[0]
    line = text.count("\n", 0, text.index(words, place if words in case.by else 0)) + 1
    told = findings(harmonyc, text, *case.options)
    worst = [f for f in told if f["severity"] == "error"] or told
    assert [(f["slug"], f["span"]["start"]["line"]) for f in worst] == [(case.slug, line)]  # type: ignore[index]
