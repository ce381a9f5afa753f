"""Our losses and their gradients, in float32 and through our own way of scoring, against recorded ones."""

# Names of tensors end in their shape: C completions, P prompts or pairs, G of a group, B rows, T tokens.
# ruff: noqa: N806

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from harmony_compiler.graph.algorithms import Ppo
from harmony_compiler.graph.values import Ref
from harmony_runtime.algorithms.ppo import Lesson, lesson_of
from harmony_runtime.rollout.batch import Batch
from parity.ours import (
    Recording,
    critic,
    installed,
    padded,
    recording,
    scorer,
    updated,
)
from parity.table import Row, farthest, largest, relative

LOSS, GRADIENT = 1e-5, 1e-4

NOTES = (
    "All inputs have rows of different lengths; those against the papers have a fully masked one too. All of "
    "TRL's GRPO has a group of equal rewards, a completion that nobody graded, and clipped tokens.",
    "TRL knows no mean over sequences for SFT, and its means over sequences and constants count masked rows: "
    "these cases stand against the papers alone.",
    "`sigmoid` in TRL ignores label smoothing: compared is its `aot`, with one pair in a micro-batch.",
    "`ipo` in TRL divides log-probabilities by lengths: compared are answers of one length, and beta has it.",
    "GRPO in TRL pads prompts on the left and gives no positions: a rotary model, as here, sees only how far "
    "tokens lie apart; another one would differ.",
    "The distance in TRL's GRPO is taken without its `use_bias_correction_kl`, which is on by default.",
    "PPO in TRL pays the grade one token behind the last one, where there is room: with ragged lengths, "
    "our functions are asked with its masks, else all of what a stage makes of completions.",
    "PPO in TRL averages over a micro-batch: with accumulation, all have as many tokens.",
)


def rows(losses: ModuleType) -> Iterator[Row]:
    """`losses` is our module, or a mutation of it."""
    with installed(losses):
        for algorithm, check in {"sft": _sft, "dpo": _dpo, "grpo": _grpo, "ppo": _ppo}.items():
            held = recording(algorithm)
            for case in held.facts["cases"]:
                for what, measured in check(losses, held, case):
                    tolerance = GRADIENT if what.startswith("gradient") else LOSS
                    yield Row(algorithm, case["name"], held.reference, what, measured, tolerance)


Measures = Iterator[tuple[str, float]]


def _sft(losses: ModuleType, held: Recording, case: dict[str, Any]) -> Measures:
    ids_BT = padded([row["input_ids"] for row in case["rows"]])
    trained_BT = padded([[label != -100 for label in row["labels"]] for row in case["rows"]])
    score = scorer()

    def loss(part: list[int]) -> Tensor:
        weights_BT = losses.token_weights(trained_BT[part].float(), int(trained_BT.sum()), 0, "tokens")
        found: Tensor = losses.sft_loss(score(ids_BT[part], trained_BT[part]), weights_BT)
        return found

    found, gradients = updated(score, len(ids_BT), case["accumulation"], loss)
    yield "loss", relative(found, case["loss"])
    yield "gradient", farthest(gradients, held.tensors(case["name"]))


def _dpo(losses: ModuleType, held: Recording, case: dict[str, Any]) -> Measures:
    pairs, settings = case["rows"], case["settings"]
    ids_2PT, trained_2PT = (
        [padded([_answer(pair, side, only=only) for pair in pairs]) for side in ("chosen", "rejected")]
        for only in (False, True)
    )
    score, reference = scorer(), scorer("reference")
    with torch.no_grad():
        reference_2P = [reference(*of).sum(1) for of in zip(ids_2PT, trained_2PT, strict=True)]
    name, beta, scale = settings["loss_type"], settings["beta"], 1.0
    if name == "ipo":
        # TRL's divides each answer's log-probability by its length, four: (m / 4 - 1 / (2 * beta))² is ours
        # with beta / 4, divided by 4².
        assert {int(trained_PT.sum(1).min()) for trained_PT in trained_2PT} == {4}
        beta, scale = beta / 4, 1 / 16
    better, worse = [], []

    def loss(part: list[int]) -> Tensor:
        policy = [
            score(ids[part], trained[part]).sum(1) for ids, trained in zip(ids_2PT, trained_2PT, strict=True)
        ]
        found = losses.dpo_loss(
            *policy,
            *(held_P[part] for held_P in reference_2P),
            beta=beta,
            loss={"aot": "sigmoid"}.get(name, name),
            label_smoothing=settings.get("label_smoothing", 0.0),
        )
        better.append(found.chosen_P)
        worse.append(found.rejected_P)
        mean: Tensor = found.losses_P.sum() * scale / len(pairs)
        return mean

    found, gradients = updated(score, len(pairs), case["accumulation"], loss)
    yield "loss", relative(found, case["loss"])
    yield "gradient", farthest(gradients, held.tensors(case["name"]))
    means = [float(torch.cat(held).mean()) * settings["beta"] / beta for held in (better, worse)]
    theirs = [case["metrics"][f"rewards/{side}"] for side in ("chosen", "rejected")]
    yield "implicit rewards", max(abs(one - other) for one, other in zip(means, theirs, strict=True))


def _answer(pair: Mapping[str, list[int]], side: str, *, only: bool) -> list[Any]:
    """Prompt and answer; or which of these tokens are the answer's."""
    if only:
        return [False] * len(pair["prompt"]) + [True] * len(pair[side])
    return pair["prompt"] + pair[side]


def _grpo(losses: ModuleType, held: Recording, case: dict[str, Any]) -> Measures:
    settings, rows_C = case["settings"], case["rows"]
    rewards = [
        [math.nan if reward is None else reward for reward in group] for group in held.facts["rewards"]
    ]
    kind = "mean_std" if settings["scale_rewards"] == "group" else "mean"
    advantages_C = losses.group_advantages(torch.tensor(rewards), kind).flatten()
    yield "advantages", largest(advantages_C, torch.tensor(case["advantages"]))

    ids_CT = padded([row["prompt"] + row["completion"] for row in rows_C])
    trained_CT = padded(
        [[False] * len(row["prompt"]) + [row["counts"]] * len(row["completion"]) for row in rows_C]
    )
    drawn_CT = padded([[0.0] * len(row["prompt"]) + row["old"] for row in rows_C])
    tokens, trained = int(trained_CT.sum()), int(trained_CT.any(1).sum())
    score, temperature = scorer(), settings["temperature"]
    reference_CT = None
    if settings["beta"]:
        with torch.no_grad():
            reference_CT = scorer("reference")(ids_CT, trained_CT, temperature)
        theirs_CT = padded([[0.0] * len(row["prompt"]) + row["ref"] for row in rows_C]) * trained_CT
        yield "reference", largest(reference_CT, theirs_CT) / float(theirs_CT.abs().max())
    clipped, distance = [], []

    def loss(part: list[int]) -> Tensor:
        found = losses.grpo_loss(
            score(ids_CT[part], trained_CT[part], temperature),
            drawn_CT[part],
            advantages_C[part],
            losses.token_weights(
                trained_CT[part].float(),
                tokens,
                trained,
                _REDUCES[settings["loss_type"]],
                held.facts["longest"],
            ),
            clip_range=settings["epsilon"],
            clip_range_high=settings["epsilon_high"],
            ratio=settings["importance_sampling_level"],
            reference_BT=None if reference_CT is None else reference_CT[part],
            kl_beta=settings["beta"],
        )
        clipped.append(int(found.clipped_BT.sum()))
        distance.append(0.0 if found.kl_BT is None else float(found.kl_BT.sum()))
        total: Tensor = found.loss
        return total

    found, gradients = updated(score, len(rows_C), case["accumulation"], loss)
    yield "loss", relative(found, case["loss"])
    yield "gradient", farthest(gradients, held.tensors(case["name"]))
    # What TRL counts are means over a micro-batch, and under ratios of sequences, over those.
    if case["accumulation"] == 1 and settings["importance_sampling_level"] == "token":
        yield "clipped share", relative(sum(clipped) / tokens, case["metrics"]["clip_ratio/region_mean"])
        if settings["beta"]:
            yield "kl", relative(sum(distance) / tokens, case["metrics"]["kl"])


_REDUCES = {"dapo": "tokens", "grpo": "sequences", "dr_grpo": "constant"}


def _ppo(losses: ModuleType, held: Recording, case: dict[str, Any]) -> Measures:
    settings, start = case["settings"], case["context"]
    ids_CT = torch.tensor(case["ids"])
    # TRL's tensors begin with the first token of the completion.
    counted_CT, counted_values_CT, drawn_CT, reference_CT, values_CT = (
        torch.nn.functional.pad(torch.tensor(case[name]), (start, 0))
        for name in ("counted", "counted_values", "logprobs", "ref_logprobs", "values")
    )
    counted_CT, counted_values_CT = counted_CT.bool(), counted_values_CT.bool()
    score = scorer()
    with torch.no_grad():
        asked_CT = scorer("reference")(ids_CT, counted_CT, settings["temperature"])
    yield "reference", largest(asked_CT, reference_CT * counted_CT) / float(reference_CT.abs().max())

    if torch.equal(counted_CT, counted_values_CT):
        lesson = _lesson(case, ids_CT, counted_CT, drawn_CT, asked_CT, values_CT)
        advantages_CT, returns_CT = lesson.weighed_CT, lesson.returns_CT
    else:
        # TRL pays the grade one token behind the last one, where there is room, and asks the critic about
        # that token too: our functions with its masks.
        rewards_CT = losses.k1(drawn_CT, asked_CT).where(counted_CT, 0.0) * -settings["kl_coef"]
        paid_C1 = start + counted_values_CT.sum(1, keepdim=True) - 1
        rewards_CT.scatter_add_(1, paid_C1, torch.tensor(case["scores"])[:, None])
        yield "rewards", largest(rewards_CT[:, start:], torch.tensor(case["rewards"]))
        found = losses.gae(
            rewards_CT, values_CT, counted_values_CT, gamma=settings["gamma"], lambda_=settings["lam"]
        )
        advantages_CT, returns_CT = losses.whiten(found.advantages_BT, counted_CT), found.returns_BT
    yield "advantages", largest(advantages_CT[:, start:], torch.tensor(case["advantages"]))
    theirs_CT = torch.tensor(case["returns"]) * counted_values_CT[:, start:]
    yield "returns", largest(returns_CT[:, start:], theirs_CT)

    tokens, tokens_of_values = int(counted_CT.sum()), int(counted_values_CT.sum())

    def policy_loss(part: list[int]) -> Tensor:
        found: Tensor = losses.ppo_policy_loss(
            score(ids_CT[part], counted_CT[part], settings["temperature"]),
            drawn_CT[part],
            advantages_CT[part],
            losses.token_weights(counted_CT[part].float(), tokens, 0, "tokens"),
            clip_range=settings["cliprange"],
        ).loss
        return found

    ask = critic()

    def value_loss(part: list[int]) -> Tensor:
        found: Tensor = losses.ppo_value_loss(
            ask(ids_CT[part], counted_values_CT[part]),
            values_CT[part],
            returns_CT[part],
            losses.token_weights(counted_values_CT[part].float(), tokens_of_values, 0, "tokens"),
            clip_range=settings["cliprange_value"],
        ).loss
        return found

    for name, module, loss in (("policy", score, policy_loss), ("critic", ask, value_loss)):
        found, gradients = updated(module, len(ids_CT), case["accumulation"], loss)
        yield f"loss, {name}", relative(found, case["policy_loss" if name == "policy" else "value_loss"])
        yield f"gradient, {name}", farthest(gradients, held.tensors(f"{case['name']}/{name}"))


def _lesson(case: Mapping[str, Any], *tensors: Tensor) -> Lesson:
    """What `ppo.py` makes of a step's completions."""
    ids_CT, counted_CT, drawn_CT, reference_CT, values_CT = tensors
    settings, nobody = case["settings"], Ref("nobody")
    node = Ppo(
        policy_model=nobody,
        value_model=nobody,
        dataset=nobody,
        grader=nobody,
        max_num_ppo_steps=1,
        seed=0,
        kl_beta=settings["kl_coef"],
        gae_gamma=settings["gamma"],
        gae_lambda=settings["lam"],
    )
    batch = Batch(ids_CT, counted_CT, drawn_CT, counted_CT.sum(1) + case["context"])
    rewards_C = torch.tensor(case["scores"], dtype=torch.float64)
    return lesson_of(batch, rewards_C, reference_CT if settings["kl_coef"] else None, values_CT, node)
