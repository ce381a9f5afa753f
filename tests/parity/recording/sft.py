"""SFT: TRL's SFTTrainer on rows that are in tokens already."""

from __future__ import annotations

import tempfile
from typing import Any

from datasets import Dataset
from recording.models import language_model
from recording.store import Store
from recording.training import UNWANTED, one_update, parameters_after, saved, tokenizer
from trl import SFTConfig, SFTTrainer

ROWS = [
    ("12", "3"),
    ("what is up", "not much!"),
    ("a", "long answer, longer than others"),
    ("7+5", "12"),
    ("3*4 =", "12."),
    ("Sort: cab", "abc"),
    ("?", "!"),
    ("say it again", "again"),
]
STEPS, LR = 20, 1e-3


def tokens(masked: int | None = None) -> list[dict[str, list[int]]]:
    """The rows as the built-in template writes them; nothing counts in row `masked`."""
    turn = tokenizer()
    found = []
    for number, (question, answer) in enumerate(ROWS):
        prompt = turn.encode(f"<bos><user>{question}<assistant>")
        ids = prompt + turn.encode(f"{answer}<eos>")
        labels = [-100] * len(ids) if number == masked else [-100] * len(prompt) + ids[len(prompt) :]
        found.append({"input_ids": ids, "labels": labels})
    return found


def trainer(rows: list[dict[str, list[int]]], accumulation: int, **settings: Any) -> SFTTrainer:
    size = len(rows) // accumulation
    arguments = SFTConfig(
        output_dir=tempfile.mkdtemp(prefix="parity-"),
        per_device_train_batch_size=size,
        gradient_accumulation_steps=accumulation,
        # Nothing is cut: a row that was left without labels by cutting would be dropped.
        max_length=None,
        **UNWANTED | settings,
    )
    return SFTTrainer(
        saved(language_model()),
        arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer(),
    )


def record() -> None:
    store = Store("sft")
    for name, masked in (("ragged lengths", None), ("a fully masked row", 2)):
        rows = tokens(masked)
        for accumulation in (1, 4):
            found = trainer(rows, accumulation, max_steps=1, max_grad_norm=0.0, learning_rate=1e-9)
            update = one_update(found)
            store.case(
                f"{name}, accumulation {accumulation}",
                update.gradients,
                loss=update.loss,
                accumulation=accumulation,
                rows=rows,
            )
    found = trainer(tokens(), 1, max_steps=STEPS, max_grad_norm=1.0, learning_rate=LR)
    store.facts["steps"] = {"rows": ROWS, "steps": STEPS, "lr": LR}
    store.tensors |= {f"after/{name}": tensor for name, tensor in parameters_after(found).items()}
    store.write()
