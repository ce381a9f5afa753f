"""Small recipes of six steps, in which everything that remembers has something to remember.

Batches that do not divide the rows, several updates a step, dropout, a schedule, weight decay, validation,
and the weights of the best one.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

ROWS = 20

MODEL = """
model start = scratch { hidden_size = 16, layers = 1, heads = 2, context = 40 }
model drops = start { adapter = lora { rank = 2, dropout = 0.1 } }
dataset digits = jsonl("rows.jsonl") { split = "train[:80%]", prompt = "{{ question }}", COLUMNS }
dataset others = digits { split = "train[80%:]" }
"""

PRACTICE = """
  grader = agreement(completion, metadata.answer), kl_beta = 0.05, sampling { max_tokens = 6 }
  samples_per_batch = 12, samples_per_mini_batch = 6, mini_epochs = 2, weight_decay = 0.1
"""

COLUMNS = {
    "sft": 'completion = "{{ answer }}"',
    "dpo": 'chosen = "{{ answer }}", rejected = "{{ wrong }}"',
    "grpo": 'metadata = { answer = "{{ answer }}" }',
    "ppo": 'metadata = { answer = "{{ answer }}" }',
}

STAGES = {
    "sft": "sft { model = drops, dataset = digits, lr = 1e-2, samples_per_batch = 6, steps = 6, TAIL, BEST }",
    "dpo": "dpo { model = drops, dataset = digits, lr = 1e-2, samples_per_batch = 6, steps = 6, TAIL, BEST }",
    "grpo": f"grpo {{\n  model = drops, dataset = digits, completions_per_sample = 4, lr = 1e-2, steps = 6\n"
    f"{PRACTICE}  TAIL\n}}",
    "ppo": "ppo {\n  policy_model = drops, dataset = digits, lr_policy = 1e-3, lr_value = 1e-3\n"
    f"  value_warmup = 1, max_num_ppo_steps = 6\n{PRACTICE}  TAIL\n}}",
}

TAIL = "validation { dataset = others, every = 2 }, checkpoint { every = EVERY, keep = 2 }"

BEST = 'early_stop { metric = "validation_loss", patience = 2 }'


def write_rows(folder: Path) -> None:
    """`rows.jsonl`: digits to be sorted."""
    chance = random.Random(7)
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
        for _ in range(ROWS):
            digits = chance.choices("0123456789", k=chance.randint(2, 5))
            row = {"question": "".join(digits), "answer": "".join(sorted(digits)), "wrong": "".join(digits)}
            file.write(json.dumps(row) + "\n")


def recipe(algorithm: str, every: str) -> str:
    """A recipe that keeps a checkpoint as `every` says."""
    head = MODEL.replace("COLUMNS", COLUMNS[algorithm])
    stage = _stage(algorithm, every)
    return f'recipe small {{ seed = 7 }}\n{head}train end = {stage}\nsave end as "end"\n'


def _stage(algorithm: str, every: str) -> str:
    return STAGES[algorithm].replace("TAIL", TAIL.replace("EVERY", every)).replace("BEST", BEST)


def two_stages() -> str:
    """A recipe of two stages that keeps a checkpoint after every step, saves and evaluates."""
    sft, grpo = (_stage(name, "1") for name in ("sft", "grpo"))
    head = MODEL.replace("COLUMNS", COLUMNS["grpo"])
    return (
        f"recipe small {{ seed = 7 }}\n{head}"
        f"dataset demos = digits {{ {COLUMNS['sft']} }}\n"
        f"dataset held = others {{ {COLUMNS['sft']} }}\n"
        f"train warm = {_over(sft, 'drops', 'demos', 'held')}\n"
        f"train end = {_over(grpo, 'warm', 'digits', 'others')}\n"
        "evaluate report = compare {\n"
        "  models = [warm, end], dataset = others\n"
        "  graders = [agreement(completion, metadata.answer)], sampling { max_tokens = 6 }\n}\n"
        'save end as "end"\n'
    )


def _over(stage: str, model: str, dataset: str, held: str) -> str:
    """A stage over another model and other rows."""
    return (
        stage.replace("model = drops", f"model = {model}")
        .replace("dataset = digits", f"dataset = {dataset}")
        .replace("dataset = others", f"dataset = {held}")
    )
