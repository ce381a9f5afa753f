"""GRPO: TRL's GRPOTrainer on completions that are given, graded and weighed by itself."""

from __future__ import annotations

import tempfile
from typing import Any

import torch
from datasets import Dataset
from recording.models import language_model
from recording.start import drawing, reference
from recording.store import Store
from recording.training import UNWANTED, Update, one_update, saved, tokenizer
from trl import GRPOConfig, GRPOTrainer

PROMPTS = ["12", "what is up", "Sort: cab"]
# Three groups of four; some end, some were cut. Nobody grades the second one of the last group.
ANSWERS = [
    ["3<eos>", "twelve<eos>", "12<eos>", "no idea!"],
    ["not much<eos>", "<eos>", "nothing", "hm<eos>"],
    ["abc<eos>", "acb<eos>", "cab, bac", "b<eos>"],
]
REWARDS = [[0.0, 0.25, 1.0, 0.5], [0.5, 0.5, 0.5, 0.5], [1.0, None, 0.0, 0.25]]
GROUP, LONGEST = 4, 10

CASES: dict[str, dict[str, Any]] = {
    "tokens": {"loss_type": "dapo"},
    "tokens, kl_beta 0.04, temperature 0.7": {"loss_type": "dapo", "beta": 0.04, "temperature": 0.7},
    "tokens, a fully masked row": {"loss_type": "dapo", "beta": 0.04, "mask_truncated_completions": True},
    "sequences, mean_std": {"loss_type": "grpo", "scale_rewards": "group"},
    "sequences, kl_beta 0.04": {"loss_type": "grpo", "beta": 0.04},
    "constant, kl_beta 0.04": {"loss_type": "dr_grpo", "beta": 0.04},
    "ratio of sequences, tokens": {
        "loss_type": "dapo", "importance_sampling_level": "sequence", "beta": 0.04, "temperature": 0.7
    },
    "ratio of sequences, sequences": {"loss_type": "grpo", "importance_sampling_level": "sequence"},
}  # fmt: skip
SHARED: dict[str, Any] = {
    "beta": 0.0,
    "temperature": 1.0,
    "epsilon": 0.1,
    "epsilon_high": 0.2,
    "scale_rewards": "none",
    "importance_sampling_level": "token",
    "mask_truncated_completions": False,
}


def trainer(settings: dict[str, Any], accumulation: int) -> GRPOTrainer:
    turn = tokenizer()
    prompts = [f"<bos><user>{prompt}<assistant>" for prompt in PROMPTS]
    completions = [turn.encode(answer) for group in ANSWERS for answer in group]

    def rollout(asked: list[str], _: Any) -> dict[str, Any]:
        assert asked == [prompt for prompt in prompts for _ in range(GROUP)]
        return {
            "prompt_ids": [turn.encode(prompt) for prompt in asked],
            "completion_ids": completions,
            "logprobs": [[0.0] * len(ids) for ids in completions],
        }

    def grade(completion_ids: list[list[int]], **_: Any) -> list[float | None]:
        assert completion_ids == completions
        return [reward for group in REWARDS for reward in group]

    arguments = GRPOConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=len(completions) // accumulation,
        gradient_accumulation_steps=accumulation,
        num_generations=GROUP,
        max_completion_length=LONGEST,
        shuffle_dataset=False,
        max_steps=1,
        max_grad_norm=0.0,
        learning_rate=1e-9,
        # On by default: it multiplies the distance by the ratio, which is not the formula of the paper.
        use_bias_correction_kl=False,
        **UNWANTED | settings,
    )
    found = GRPOTrainer(
        saved(language_model()),
        grade,
        arguments,
        train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in prompts]),
        processing_class=turn,
        rollout_func=rollout,
    )
    if found.ref_model is not None:
        found.ref_model.load_state_dict(reference().state_dict())
    return found


def one_step(found: GRPOTrainer) -> tuple[Update, dict[str, torch.Tensor]]:
    """An update, and the batch that the trainer made, before it was shuffled and cut."""
    batches = []
    score = found._generate_and_score_completions

    def scored(inputs: Any) -> dict[str, Any]:
        """As if another policy had drawn: TRL has no old policy here but in later iterations."""
        batch = score(inputs)
        policy = {name: held.clone() for name, held in found.model.state_dict().items()}
        found.model.load_state_dict(drawing().state_dict())
        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
        attended = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
        with torch.no_grad():
            old, _, _ = found._get_per_token_logps_and_entropies(
                found.model, ids, attended, batch["completion_ids"].shape[1]
            )
        found.model.load_state_dict(policy)
        batches.append(batch | {"old_per_token_logps": old})
        return dict(batches[-1])

    found._generate_and_score_completions = scored
    update = one_update(found)
    (batch,) = batches
    return update, batch


def rows_of(batch: dict[str, torch.Tensor], completions: list[list[int]]) -> list[dict[str, Any]]:
    """The batch as it was before padding; `counts` says whether the row is trained on."""
    rows = []
    for number, completion in enumerate(completions):
        prompt = batch["prompt_ids"][number][batch["prompt_mask"][number].bool()].tolist()
        row = {"prompt": prompt, "completion": completion}
        row["counts"] = bool(batch["completion_mask"][number].any())
        for name in ("old", "ref"):
            if (held := batch.get(f"{name}_per_token_logps")) is not None:
                row[name] = held[number, : len(completion)].tolist()
        rows.append(row)
    return rows


def record() -> None:
    store = Store("grpo")
    turn = tokenizer()
    completions = [turn.encode(answer) for group in ANSWERS for answer in group]
    for name, case in CASES.items():
        settings = SHARED | case
        for accumulation in (1, 4):
            found = trainer(settings, accumulation)
            update, batch = one_step(found)
            counted = update.metrics
            store.case(
                f"{name}, accumulation {accumulation}",
                update.gradients,
                loss=update.loss,
                accumulation=accumulation,
                settings=settings,
                metrics={key: counted[key] for key in ("kl", "clip_ratio/region_mean") if key in counted},
                rows=rows_of(batch, completions),
                advantages=batch["advantages"].tolist(),
            )
    store.facts |= {"rewards": REWARDS, "longest": LONGEST}
    store.write()
