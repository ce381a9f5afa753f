"""DPO: TRL's DPOTrainer on pairs, with a reference that is another model than the policy."""

from __future__ import annotations

import tempfile
from typing import Any

from datasets import Dataset
from recording.models import language_model
from recording.start import reference
from recording.store import Store
from recording.training import UNWANTED, one_update, parameters_after, saved, tokenizer
from trl import DPOConfig, DPOTrainer

PAIRS = [
    ("12", "3", "forty-two"),
    ("what is up", "not much!", "no"),
    ("a", "longer answer", "short"),
    ("7+5", "12", "13"),
    ("3*4 =", "12.", "it is 11"),
    ("Sort: cab", "abc", "acb"),
    ("?", "!", "??"),
    ("say it again", "again", "no, never again"),
]
# TRL's `ipo` divides a completion's log-probability by its length: here all have four tokens.
EQUAL_PAIRS = [(prompt, chosen[:1] + "ab", rejected[:1] + "yz") for prompt, chosen, rejected in PAIRS]
STEPS, LR, BETA = 20, 1e-3, 0.1


def trainer(
    pairs: list[tuple[str, str, str]], accumulation: int, *, start: bool = False, **settings: Any
) -> Any:
    """`start`: the policy's own start is the reference, which TRL then loads by itself."""
    rows = [
        {"prompt": f"<bos><user>{prompt}<assistant>", "chosen": f"{good}<eos>", "rejected": f"{bad}<eos>"}
        for prompt, good, bad in pairs
    ]
    arguments = DPOConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=len(rows) // accumulation,
        gradient_accumulation_steps=accumulation,
        max_length=None,
        **UNWANTED | settings,
    )
    return DPOTrainer(
        saved(language_model()),
        None if start else saved(reference()),
        arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer(),
    )


CASES: dict[str, dict[str, Any]] = {
    "sigmoid, ragged lengths": {"loss_type": "sigmoid"},
    "hinge": {"loss_type": "hinge"},
    # A large beta, so that some pairs are beyond the hinge.
    "hinge, some pairs beyond it": {"loss_type": "hinge", "beta": 0.9},
    # `label_smoothing` is ignored under "sigmoid". "aot" knows it; it sorts margins over a micro-batch first,
    # so with one pair in each it is conservative DPO.
    "label smoothing 0.2": {"loss_type": "aot", "label_smoothing": 0.2, "accumulations": (8,)},
    "ipo, equal lengths": {"loss_type": "ipo", "pairs": EQUAL_PAIRS},
}


def record() -> None:
    store = Store("dpo")
    for name, case in CASES.items():
        settings = {"beta": BETA} | case
        pairs = settings.pop("pairs", PAIRS)
        for accumulation in settings.pop("accumulations", (1, 4)):
            options = {key: value for key, value in settings.items() if key != "accumulations"}
            found = trainer(
                pairs, accumulation, max_steps=1, max_grad_norm=0.0, learning_rate=1e-9, **options
            )
            rows = [dict(row) for row in found.train_dataset]
            update = one_update(found)
            store.case(
                f"{name}, accumulation {accumulation}",
                update.gradients,
                loss=update.loss,
                accumulation=accumulation,
                settings=options,
                metrics={key: value for key, value in update.metrics.items() if key.startswith("rewards/")},
                rows=[{key: row[f"{key}_ids"] for key in ("prompt", "chosen", "rejected")} for row in rows],
            )
    found = trainer(PAIRS, 1, start=True, beta=BETA, max_steps=STEPS, max_grad_norm=1.0, learning_rate=LR)
    store.facts["steps"] = {"rows": PAIRS, "steps": STEPS, "lr": LR, "beta": BETA}
    store.tensors |= {f"after/{name}": tensor for name, tensor in parameters_after(found).items()}
    store.write()
