"""TRL's side, as its users write it: `python -m benchmarks.bench.peer JOB`, in TRL's own environment.

JOB is a JSON object: the case's numbers, the folder of the warm model, the file of rows, and where to
answer: a descriptor (`answers`) for blocks of steps, or a file (`mark`) that is made after the first step.
"""

from __future__ import annotations

import json
import os
import sys
from itertools import zip_longest
from time import perf_counter
from typing import Any

from benchmarks.bench.blocks import Blocks, Marked

ENDLESS = 1_000_000

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")


def main(job: dict[str, Any]) -> None:
    from transformers import TrainerCallback

    blocks = Marked(job["mark"]) if "mark" in job else Blocks(job["answers"])

    class Worker(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            blocks.begin()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            blocks.step()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if logs and "loss" in logs:
                blocks.loss(float(logs["loss"]))

    {"sft": sft, "dpo": dpo, "grpo": grpo, "ppo": ppo}[job["algorithm"]](job, blocks, Worker())


def settings(job: dict[str, Any]) -> dict[str, Any]:
    """What all of its trainers get; the rest is TRL's default."""
    return {
        "output_dir": job["out"],
        "per_device_train_batch_size": job["batch"],
        "learning_rate": job["lr"],
        "lr_scheduler_type": "constant",
        "max_steps": ENDLESS,
        "seed": 7,
        # What its users must know to turn off on a processor.
        "bf16": False,
        "gradient_checkpointing": False,
        # Nothing beside training: no checkpoints, no trackers, no progress bar; a log every ten steps.
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "logging_steps": job["log_every"],
    } | job["peer"]


def rows(job: dict[str, Any]) -> Any:
    from datasets import load_dataset

    return load_dataset("json", data_files=job["rows"], split="train")


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def assistant(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def sft(job: dict[str, Any], blocks: Blocks | Marked, worker: Any) -> None:
    from trl import SFTConfig, SFTTrainer

    dataset = rows(job).map(
        lambda row: {"prompt": user(row["question"]), "completion": assistant(row["answer"])},
        remove_columns=["question", "answer", "worse"],
    )
    trainer = SFTTrainer(job["model"], args=SFTConfig(**settings(job)), train_dataset=dataset)
    count_trained_tokens(trainer, worker, blocks)
    trainer.add_callback(worker)
    trainer.train()


def dpo(job: dict[str, Any], blocks: Blocks | Marked, worker: Any) -> None:
    from trl import DPOConfig, DPOTrainer

    class Timed(DPOTrainer):
        def _precompute_ref_logps(self, *arguments: Any) -> Any:
            started = perf_counter()
            dataset = super()._precompute_ref_logps(*arguments)
            blocks.upfront(perf_counter() - started)
            return dataset

    dataset = rows(job).map(
        lambda row: {
            "prompt": user(row["question"]),
            "chosen": assistant(row["answer"]),
            "rejected": assistant(row["worse"]),
        },
        remove_columns=["question", "answer", "worse"],
    )
    trainer = Timed(job["model"], args=DPOConfig(beta=0.1, **settings(job)), train_dataset=dataset)
    count_trained_tokens(trainer, worker, blocks)
    trainer.add_callback(worker)
    trainer.train()


def count_trained_tokens(trainer: Any, worker: Any, blocks: Blocks | Marked) -> None:
    """From the counter that SFT and DPO keep anyway."""
    counted = 0
    wait = worker.on_step_end

    def on_step_end(*arguments: Any, **named: Any) -> None:
        nonlocal counted
        blocks.count(tokens=trainer._total_train_tokens - counted, steps=1)
        counted = trainer._total_train_tokens
        wait(*arguments, **named)

    worker.on_step_end = on_step_end


def grpo(job: dict[str, Any], blocks: Blocks | Marked, worker: Any) -> None:
    from trl import GRPOConfig, GRPOTrainer

    def close(completions: Any, completion_ids: Any, answer: Any, **_: Any) -> list[float]:
        texts = [turns[-1]["content"] for turns in completions]
        rewards = [agreement(text, right) for text, right in zip(texts, answer, strict=True)]
        blocks.count(
            trained_tokens=sum(map(len, completion_ids)),
            completions=len(texts),
            reward=sum(rewards) / len(texts),
        )
        return rewards

    dataset = rows(job).map(
        lambda row: {"prompt": user(row["question"])}, remove_columns=["question", "worse"]
    )
    config = GRPOConfig(
        num_generations=job["group"],
        max_completion_length=job["max_tokens"],
        beta=job["kl_beta"],
        epsilon=0.2,
        **settings(job),
    )
    trainer = GRPOTrainer(job["model"], reward_funcs=close, args=config, train_dataset=dataset)
    trainer.add_callback(worker)
    trainer.train()


def agreement(text: str, right: str) -> float:
    """As the recipe language's: the share of places that agree, over the longer one."""
    pairs = list(zip_longest(text, right))
    return sum(a == b for a, b in pairs) / len(pairs) if pairs else 1.0


def ppo(job: dict[str, Any], blocks: Blocks | Marked, worker: Any) -> None:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    tokenizer = AutoTokenizer.from_pretrained(job["model"], padding_side="left")
    dataset = rows(job).map(
        lambda row: {
            "input_ids": tokenizer.apply_chat_template(
                user(row["question"]), add_generation_prompt=True, return_dict=False
            )
        },
        remove_columns=["question", "answer", "worse"],
    )
    policy, reference = (AutoModelForCausalLM.from_pretrained(job["model"]) for _ in range(2))
    critic = AutoModelForSequenceClassification.from_pretrained(job["model"], num_labels=1)
    config = PPOConfig(
        total_episodes=ENDLESS * job["batch"],
        num_mini_batches=job["mini_batches"],
        num_ppo_epochs=job["mini_epochs"],
        response_length=job["max_tokens"],
        stop_token="eos",
        temperature=1.0,
        kl_coef=job["kl_beta"],
        cliprange=0.2,
        cliprange_value=0.2,
        num_sample_generations=0,
        **settings(job),
    )
    trainer = PPOTrainer(
        config,
        tokenizer,
        policy,
        reference,
        reward_model=free_reward(blocks),
        train_dataset=dataset,
        value_model=critic,
        callbacks=[worker],
    )
    trainer.train()


def free_reward(blocks: Blocks | Marked) -> Any:
    """A reward model that costs nothing: TRL's PPO takes no function. It scores the last token's id."""
    from torch import nn
    from transformers.modeling_outputs import BaseModelOutput

    class Backbone(nn.Module):
        def forward(self, input_ids: Any, attention_mask: Any, **_: Any) -> Any:
            blocks.count(tokens=int(attention_mask.sum()), completions=len(input_ids))
            return BaseModelOutput(hidden_states=((input_ids % 7)[..., None] / 7.0,))

    class Reward(nn.Module):
        base_model_prefix = "backbone"

        def __init__(self) -> None:
            super().__init__()
            self.backbone = Backbone()
            self.score = nn.Identity()

    return Reward()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
