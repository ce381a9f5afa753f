"""Our functions, in float64, against those of derived.py."""

# Names of tensors end in their shape.
# ruff: noqa: N803, N806

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from itertools import product
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from parity import derived
from parity.inputs import LONGEST, PAIRS, PARTS, REWARDS, Tokens, drawn, tokens
from parity.table import Row, largest

TOLERANCE = 1e-10
REDUCES = ("tokens", "sequences", "constant")


def rows(losses: ModuleType) -> Iterator[Row]:
    """`losses` is our module, or a mutation of it."""
    for check in (
        _sft,
        _dpo,
        _advantages,
        _grpo,
        _distances,
        _gae,
        _whiten,
        _ppo_policy,
        _ppo_value,
        _explained,
    ):
        yield from check(losses)


class Found(NamedTuple):
    value: Tensor
    gradients: tuple[Tensor, ...]
    clipped: int = 0


def _found(value: Tensor, *of: Tensor, clipped: int = 0) -> Found:
    return Found(value.detach(), torch.autograd.grad(value.sum(), of), clipped)


def _row(algorithm: str, case: str, what: str, measured: float) -> Row:
    return Row(algorithm, case, "papers", what, measured, TOLERANCE)


def _compared(algorithm: str, case: str, ours: Found, theirs: Found, *, clips: bool = False) -> Iterator[Row]:
    yield _row(algorithm, case, "loss", largest(ours.value, theirs.value))
    yield _row(algorithm, case, "gradient", max(map(largest, ours.gradients, theirs.gradients)))
    if clips:
        # Where nothing is clipped, the case shows nothing.
        gap = abs(ours.clipped - theirs.clipped) if theirs.clipped else math.inf
        yield _row(algorithm, case, "clipped tokens", gap)


def _scored(losses: ModuleType, held: Tokens, logits_BTV: Tensor, temperature: float) -> Tensor:
    """As `Scorer` does it."""
    counted = held.trained_BT[:, 1:]
    found_N = losses.token_logprobs(logits_BTV[:, :-1][counted], held.ids_BT[:, 1:][counted], temperature)
    logprobs_BT = torch.zeros(held.trained_BT.shape, dtype=found_N.dtype)
    logprobs_BT[:, 1:][counted] = found_N
    return logprobs_BT


def _by_hand(held: Tokens, logits_BTV: Tensor, temperature: float) -> Tensor:
    """log p of every trained token, one by one; 0 elsewhere."""
    found = [[torch.zeros((), dtype=torch.float64) for _ in row] for row in held.ids_BT]
    for b, t in held.trained_BT.nonzero().tolist():
        found[b][t] = derived.log_probability(logits_BTV[b, t - 1], int(held.ids_BT[b, t]), temperature)
    return torch.stack([torch.stack(row) for row in found])


@cache
def _near(temperature: float, seed: int) -> Tensor:
    """What another policy would have said, far enough away for ratios that are clipped."""
    start_BT = _by_hand(tokens(), tokens().logits_BTV, temperature)
    return start_BT + drawn(*start_BT.shape, seed=seed, scale=0.3)


# --- imitation and preferences --------------------------------------------------------------------------


def _counts(weighed: bool) -> Tensor:
    return tokens().counts_BT if weighed else tokens().trained_BT.double()


@cache
def _sft_by_hand(reduce: str, weighed: bool) -> Found:
    held = tokens()
    logits_BTV = held.logits_BTV.requires_grad_()
    return _found(derived.sft(logits_BTV, held.ids_BT, _counts(weighed), reduce, LONGEST), logits_BTV)


def _sft(losses: ModuleType) -> Iterator[Row]:
    held = tokens()
    for reduce, accumulation, weighed in product(REDUCES, PARTS, (False, True)):
        counts_BT, logits_BTV = _counts(weighed), held.logits_BTV.clone().requires_grad_()
        all_counts, trained_rows = float(counts_BT.sum()), int((counts_BT > 0).any(1).sum())
        ours = torch.zeros((), dtype=torch.float64)
        for part in map(list, PARTS[accumulation]):
            weights_BT = losses.token_weights(counts_BT[part], all_counts, trained_rows, reduce, LONGEST)
            ours = ours + losses.sft_loss(_scored(losses, held, logits_BTV, 1.0)[part], weights_BT)
        case = f"{reduce}{', weighed turns' if weighed else ''}, accumulation {accumulation}"
        yield from _compared("sft", case, _found(ours, logits_BTV), _sft_by_hand(reduce, weighed))


def _dpo(losses: ModuleType) -> Iterator[Row]:
    cases: list[tuple[str, dict[str, Any]]] = [
        ("sigmoid", {"beta": 0.1, "loss": "sigmoid", "label_smoothing": 0.0}),
        ("sigmoid, label smoothing 0.2", {"beta": 0.3, "loss": "sigmoid", "label_smoothing": 0.2}),
        ("ipo", {"beta": 0.1, "loss": "ipo", "label_smoothing": 0.0}),
        ("hinge", {"beta": 0.5, "loss": "hinge", "label_smoothing": 0.0}),
    ]
    for case, settings in cases:
        policy = [drawn(PAIRS, seed=seed, scale=4).sub(20).requires_grad_() for seed in (3, 4)]
        references = [drawn(PAIRS, seed=seed, scale=4).sub(20) for seed in (5, 6)]
        ours = losses.dpo_loss(*policy, *references, **settings)
        theirs = derived.dpo(*policy, *references, **settings)
        yield from _compared("dpo", case, _found(ours.losses_P, *policy), _found(theirs[0], *policy))
        rewards = max(largest(ours.chosen_P, theirs[1]), largest(ours.rejected_P, theirs[2]))
        yield _row("dpo", case, "implicit rewards", rewards)


# --- GRPO -----------------------------------------------------------------------------------------------


def _advantages(losses: ModuleType) -> Iterator[Row]:
    for (case, groups), kind in product(REWARDS.items(), ("mean", "mean_std")):
        asked_PG = torch.tensor(
            [[math.nan if reward is None else reward for reward in group] for group in groups],
            dtype=torch.float64,
        )
        wanted_PG = torch.tensor(derived.group_advantages(groups, kind), dtype=torch.float64)
        gap = largest(losses.group_advantages(asked_PG, kind), wanted_PG)
        yield _row("grpo", f"{case}, {kind}", "advantages", gap)


@cache
def _grpo_by_hand(ratio: str, reduce: str, kl_beta: float, temperature: float) -> Found:
    held = tokens()
    logits_BTV = held.logits_BTV.requires_grad_()
    loss, clipped = derived.grpo(
        _by_hand(held, logits_BTV, temperature),
        _near(temperature, 8),
        _near(temperature, 9) if kl_beta else None,
        drawn(held.rows, seed=7).tolist(),
        held.trained_BT,
        low=0.1,
        high=0.2,
        ratio=ratio,
        kl_beta=kl_beta,
        reduce=reduce,
        longest=LONGEST,
    )
    return _found(loss, logits_BTV, clipped=clipped)


def _grpo(losses: ModuleType) -> Iterator[Row]:
    held = tokens()
    advantages_B = drawn(held.rows, seed=7)
    all_tokens, trained_rows = int(held.trained_BT.sum()), int(held.trained_BT.any(1).sum())
    at = ((0.0, 1.0), (0.04, 1.0), (0.04, 0.7))
    for ratio, reduce, (kl_beta, temperature), accumulation in product(
        ("token", "sequence"), REDUCES, at, PARTS
    ):
        logits_BTV = held.logits_BTV.clone().requires_grad_()
        ours, clipped = torch.zeros((), dtype=torch.float64), 0
        for part in map(list, PARTS[accumulation]):
            found = losses.grpo_loss(
                _scored(losses, held, logits_BTV, temperature)[part],
                _near(temperature, 8)[part],
                advantages_B[part],
                losses.token_weights(
                    held.trained_BT[part].double(), all_tokens, trained_rows, reduce, LONGEST
                ),
                clip_range=0.1,
                clip_range_high=0.2,
                ratio=ratio,
                reference_BT=_near(temperature, 9)[part] if kl_beta else None,
                kl_beta=kl_beta,
            )
            ours, clipped = ours + found.loss, clipped + int(found.clipped_BT.sum())
        case = f"ratio of a {ratio}, {reduce}, kl_beta {kl_beta:g}, temperature {temperature:g}"
        yield from _compared(
            "grpo",
            f"{case}, accumulation {accumulation}",
            _found(ours, logits_BTV, clipped=clipped),
            _grpo_by_hand(ratio, reduce, kl_beta, temperature),
            clips=True,
        )


def _distances(losses: ModuleType) -> Iterator[Row]:
    for algorithm, name in (("ppo", "k1"), ("grpo", "k3")):
        new_N, reference_N = drawn(12, seed=10).requires_grad_(), drawn(12, seed=11)
        both = (_found(getattr(of, name)(new_N, reference_N), new_N) for of in (losses, derived))
        yield from _compared(algorithm, name, *both)


# --- PPO ------------------------------------------------------------------------------------------------


def _gae(losses: ModuleType) -> Iterator[Row]:
    trained_BT = tokens().trained_BT
    rewards_BT, values_BT = (drawn(*trained_BT.shape, seed=seed) for seed in (12, 13))
    for gamma, lambda_ in ((1.0, 0.95), (0.9, 0.8), (1.0, 1.0), (0.99, 0.0)):
        found = losses.gae(rewards_BT, values_BT, trained_BT, gamma=gamma, lambda_=lambda_)
        wanted = torch.zeros(2, *trained_BT.shape, dtype=torch.float64)
        for b, trained_T in enumerate(trained_BT):
            rewards, values = (held_BT[b, trained_T].tolist() for held_BT in (rewards_BT, values_BT))
            row = derived.gae(rewards, values, gamma=gamma, lambda_=lambda_)
            wanted[:, b, trained_T] = torch.tensor(row, dtype=torch.float64)
        case = f"gamma {gamma:g}, lambda {lambda_:g}"
        yield _row("ppo", case, "advantages", largest(found.advantages_BT, wanted[0]))
        yield _row("ppo", case, "returns", largest(found.returns_BT, wanted[1]))


def _whiten(losses: ModuleType) -> Iterator[Row]:
    trained_BT = tokens().trained_BT
    alone_BT = torch.zeros_like(trained_BT)
    alone_BT[1, 2] = True
    for case, counted_BT in (("whitening", trained_BT), ("whitening of one token", alone_BT)):
        values_BT = drawn(*counted_BT.shape, seed=14).add(3)
        wanted_BT = torch.zeros_like(values_BT)
        by_hand = derived.whitened(values_BT[counted_BT].tolist())
        wanted_BT[counted_BT] = torch.tensor(by_hand, dtype=torch.float64)
        yield _row("ppo", case, "advantages", largest(losses.whiten(values_BT, counted_BT), wanted_BT))


def _means(losses: ModuleType) -> Tensor:
    """Weights for the mean over all trained tokens."""
    trained_BT = tokens().trained_BT
    weights_BT: Tensor = losses.token_weights(trained_BT.double(), int(trained_BT.sum()), 0, "tokens")
    return weights_BT


@cache
def _policy_by_hand(temperature: float) -> Found:
    held = tokens()
    logits_BTV = held.logits_BTV.requires_grad_()
    loss, clipped = derived.ppo_policy(
        _by_hand(held, logits_BTV, temperature),
        _near(temperature, 16),
        drawn(*held.trained_BT.shape, seed=15),
        held.trained_BT,
        0.2,
    )
    return _found(loss, logits_BTV, clipped=clipped)


def _ppo_policy(losses: ModuleType) -> Iterator[Row]:
    held = tokens()
    advantages_BT, weights_BT = drawn(*held.trained_BT.shape, seed=15), _means(losses)
    for temperature, accumulation in product((1.0, 0.7), PARTS):
        logits_BTV = held.logits_BTV.clone().requires_grad_()
        ours, clipped = torch.zeros((), dtype=torch.float64), 0
        for part in map(list, PARTS[accumulation]):
            found = losses.ppo_policy_loss(
                _scored(losses, held, logits_BTV, temperature)[part],
                _near(temperature, 16)[part],
                advantages_BT[part],
                weights_BT[part],
                clip_range=0.2,
            )
            ours, clipped = ours + found.loss, clipped + int(found.clipped_BT.sum())
        case = f"policy, temperature {temperature:g}, accumulation {accumulation}"
        found = _found(ours, logits_BTV, clipped=clipped)
        yield from _compared("ppo", case, found, _policy_by_hand(temperature), clips=True)


def _ppo_value(losses: ModuleType) -> Iterator[Row]:
    trained_BT, weights_BT = tokens().trained_BT, _means(losses)
    returns_BT, old_BT = (drawn(*trained_BT.shape, seed=seed) for seed in (17, 18))
    values_BT = (old_BT + drawn(*old_BT.shape, seed=19, scale=0.3)).requires_grad_()
    for clip_range, accumulation in product((None, 0.2), PARTS):
        ours, clipped = torch.zeros((), dtype=torch.float64), 0
        for part in map(list, PARTS[accumulation]):
            found = losses.ppo_value_loss(
                values_BT[part], old_BT[part], returns_BT[part], weights_BT[part], clip_range=clip_range
            )
            ours, clipped = ours + found.loss, clipped + int(found.clipped_BT.sum())
        loss, wanted = derived.ppo_value(values_BT, old_BT, returns_BT, trained_BT, clip_range)
        yield from _compared(
            "ppo",
            f"critic, clip_range_value {clip_range or 'none'}, accumulation {accumulation}",
            _found(ours, values_BT, clipped=clipped),
            _found(loss, values_BT, clipped=wanted),
            clips=clip_range is not None,
        )


def _explained(losses: ModuleType) -> Iterator[Row]:
    values_N, returns_N = drawn(20, seed=20), drawn(20, seed=21)
    wanted = derived.explained_variance(values_N.tolist(), returns_N.tolist())
    measured = abs(losses.explained_variance(values_N, returns_N) - wanted)
    yield _row("ppo", "explained variance", "share", measured)
