"""PPO: TRL's PPOTrainer, the last version that has it. Its mathematics stands inside `train()`: its local
variables are read where it asks for the gradients of a micro-batch."""

from __future__ import annotations

import sys
import tempfile
from typing import Any

import numpy
import torch
from datasets import Dataset
from recording.models import critic, gradients, language_model, moved
from recording.start import drawing, reference
from recording.store import Store
from recording.training import UNWANTED, tokenizer
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

PROMPTS = ["12", "ab", "?!", "7+", "no", "x=", "cd", "it"]
EQUAL = ["three!", "abcdef", "answer", "7+5=12", "maybe?", "x=y+z;", "defghi", "is it?"]
RAGGED = ["three!", "a<eos>", "answe<eos>", "7+5=12", "<eos>", "x=y<eos>", "defg<eos>", "is<eos>"]
SCORES = [1.0, 0.0, 0.5, -0.5, 0.25, 1.0, 0.75, 0.0]
LENGTH = 6
LOCALS = ("rewards", "values", "logprobs", "ref_logprobs", "advantages", "returns")

CASES: dict[str, dict[str, Any]] = {
    "equal lengths": {"kl_coef": 0.04, "temperature": 1.0, "gamma": 1.0, "lam": 0.95},
    "equal lengths, kl_beta 0, temperature 0.7": {
        "kl_coef": 0.0, "temperature": 0.7, "gamma": 0.9, "lam": 0.8
    },
    "equal lengths, accumulation 4": {
        "kl_coef": 0.04, "temperature": 0.7, "gamma": 1.0, "lam": 0.95, "accumulation": 4
    },
    "ragged lengths": {"kl_coef": 0.04, "temperature": 1.0, "gamma": 0.99, "lam": 0.95},
}  # fmt: skip
SHARED = {"cliprange": 0.1, "cliprange_value": 0.1, "vf_coef": 1.0, "whiten_rewards": False}


def encoded(texts: list[str], length: int) -> torch.Tensor:
    """On the right filled up with 0, the pad token."""
    turn = tokenizer()
    rows = torch.zeros(len(texts), length, dtype=torch.long)
    for row, text in zip(rows, texts, strict=True):
        ids = turn.encode(text)
        row[: len(ids)] = torch.tensor(ids)
    return rows


def one_step(settings: dict[str, Any], answers: list[str]) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    accumulation = settings.pop("accumulation", 1)
    prompts = encoded([f"<bos><user>{prompt}<assistant>" for prompt in PROMPTS], 5)
    arguments = PPOConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=len(PROMPTS) // accumulation,
        gradient_accumulation_steps=accumulation,
        total_episodes=len(PROMPTS),
        num_ppo_epochs=1,
        num_mini_batches=1,
        num_sample_generations=0,
        response_length=LENGTH,
        learning_rate=1e-9,
        **UNWANTED | settings,
    )
    value_model = critic()
    found = PPOTrainer(
        arguments,
        tokenizer(),
        language_model(),
        reference(),
        torch.nn.Module(),
        # More than a batch: with the last one of a pass over the prompts Accelerate does not accumulate, and
        # each micro-batch would become an update of its own.
        Dataset.from_list([{"input_ids": row} for row in prompts.tolist() * 3]),
        value_model,
    )
    look = _Look(found)
    old_critic, drawn_by = moved(critic(), 5, 0.05).eval(), drawing().eval()
    get_reward = ppo_trainer.get_reward

    def generated(_: Any, queries: torch.Tensor, *__: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """The given answers, as if another policy had drawn them."""
        ids = torch.cat([queries, encoded(answers, LENGTH)], 1)
        logits = ppo_trainer.forward(drawn_by, ids, 0).logits[:, queries.shape[1] - 1 : -1]
        return ids, logits / settings["temperature"]

    def judged(model: torch.nn.Module, *of: Any) -> Any:
        """What another critic said, so that values are clipped too, or the given scores."""
        return get_reward(old_critic, *of) if model is value_model else (None, torch.tensor(SCORES), None)

    ppo_trainer.batch_generation, ppo_trainer.get_reward = generated, judged
    numpy.random.seed(1)  # of the order in which micro-batches are taken
    try:
        found.train()
    finally:
        ppo_trainer.get_reward = get_reward
    assert len(look.losses) == accumulation
    return look.facts(), look.gradients


class _Look:
    """Reads the trainer's variables whenever it asks for gradients."""

    def __init__(self, trainer: PPOTrainer) -> None:
        self._trainer = trainer
        self._backward = trainer.accelerator.backward
        self._locals: dict[str, Any] = {}
        self.losses: list[tuple[float, float]] = []
        self.gradients: dict[str, torch.Tensor] = {}
        trainer.accelerator.backward = self._look

    def _look(self, loss: torch.Tensor) -> None:
        self._backward(loss)
        self._locals = dict(sys._getframe(1).f_locals)
        self.losses.append((self._locals["pg_loss"].item(), self._locals["vf_loss"].item()))
        if self._trainer.accelerator.sync_gradients:
            policy, value_model = self._trainer.model.policy, self._trainer.model.value_model
            self.gradients = gradients(policy, "policy/") | gradients(value_model, "critic/")

    def facts(self) -> dict[str, Any]:
        held = self._locals
        policy, value = (sum(part) / len(part) for part in zip(*self.losses, strict=True))
        return {
            "policy_loss": policy,
            "value_loss": value,
            "context": held["context_length"],
            "ids": held["query_responses"].tolist(),
            "scores": SCORES,
            # TRL counts one more token in values than in probabilities: that behind the last one, which has
            # the grade. Where a row is full there is none, and the last token has it.
            "counted": (~held["padding_mask"]).int().tolist(),
            "counted_values": (~held["padding_mask_p1"]).int().tolist(),
            **{name: held[name].tolist() for name in LOCALS},
        }


def record() -> None:
    store = Store("ppo")
    for name, case in CASES.items():
        settings = SHARED | case
        accumulation = settings.get("accumulation", 1)
        facts, found = one_step(dict(settings), RAGGED if "ragged" in name else EQUAL)
        store.case(name, found, accumulation=accumulation, settings=settings, **facts)
    store.write()
