"""What TRL's trainers have in common: their settings, and a look at an update before it is applied."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from recording.models import gradients, weights
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainerCallback

UNWANTED: dict[str, Any] = {
    # In TRL this is on by default, on a processor too.
    "bf16": False,
    "gradient_checkpointing": False,
    "use_cpu": True,
    "report_to": "none",
    "save_strategy": "no",
    "logging_strategy": "no",
    "disable_tqdm": True,
    "lr_scheduler_type": "constant",
    "weight_decay": 0.0,
}


def tokenizer() -> PreTrainedTokenizerBase:
    """The built-in one of this project: what turns text into numbers is not compared here."""
    from harmony_runtime.models.chars import chars_tokenizer

    return chars_tokenizer()


def saved(model: PreTrainedModel) -> PreTrainedModel:
    """A copy that was read from a folder of its own: some trainers read it there a second time."""
    folder = Path(tempfile.mkdtemp(prefix="parity-"))
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return type(model).from_pretrained(folder, dtype=torch.float32)


class Look(TrainerCallback):
    """Keeps the gradients of each update as they are before clipping and the optimiser."""

    def __init__(self) -> None:
        self.gradients: dict[str, torch.Tensor] = {}

    def on_pre_optimizer_step(self, *_: Any, model: torch.nn.Module, **__: Any) -> None:
        self.gradients = gradients(model)


class Update(NamedTuple):
    loss: float
    """Over all its micro-batches."""
    gradients: dict[str, torch.Tensor]
    metrics: dict[str, float]
    """Means over its micro-batches of what the trainer counted."""


def one_update(trainer: Trainer) -> Update:
    """An update as it is before clipping, which must be off."""
    assert not trainer.args.max_grad_norm
    look, losses, counted = Look(), [], {}
    trainer.add_callback(look)
    step = trainer.training_step

    def training_step(*arguments: Any, **options: Any) -> torch.Tensor:
        losses.append(step(*arguments, **options))
        for name, values in trainer._metrics["train"].items():
            counted[name] = sum(values) / len(values)
        return losses[-1]

    trainer.training_step = training_step
    trainer.train()
    assert len(losses) == trainer.args.gradient_accumulation_steps, len(losses)
    return Update(sum(loss.item() for loss in losses), look.gradients, counted)


def parameters_after(trainer: Trainer) -> dict[str, torch.Tensor]:
    trainer.train()
    return weights(trainer.model)
