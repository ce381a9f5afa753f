"""Losses and what they are made of: pure functions of tensors, no model in sight.

B rows, T tokens, V vocabulary, N tokens that count, P prompts or pairs, G completions of a prompt. A row is a
prompt with its completion, or a thread. All work in the type of their arguments, at least float32.

What a token weighs in the loss of an update is worked out from the whole update, over all micro-batches and
processes: so how it is cut changes nothing.
"""

# Names of tensors end in their shape.
# ruff: noqa: N803, N806, N815

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

# Tokens: their log-probabilities, and what each weighs.


def token_logprobs(
    logits_NV: Tensor, ids_N: Tensor, temperature: float = 1.0, *, overwrite: bool = False
) -> Tensor:
    """log p(id) under the softmax of logits / `temperature`: shape N, at least float32.

    The cross-entropy of language modelling (Radford et al., 2018, equation 1), negative. The temperature is
    that at which the tokens were drawn. With `overwrite` the backward pass puts the gradient of the logits
    where they are: nobody may look at them afterwards.
    """
    wide_NV = _wide(logits_NV)
    overwrite = overwrite or wide_NV is not logits_NV
    found_N: Tensor = _TokenLogprobs.apply(wide_NV, ids_N, temperature, overwrite)  # type: ignore[no-untyped-call]
    return found_N


class _TokenLogprobs(torch.autograd.Function):
    """Keeps nothing as large as the logits beside them, which are the largest tensor of all.

    F.cross_entropy keeps their log-softmax, and makes two more such tensors on the way back. A part of them
    is worked on at a time, small enough to stay in a processor's cache between the operations.
    """

    @staticmethod
    def forward(ctx: Any, logits_NV: Tensor, ids_N: Tensor, temperature: float, overwrite: bool) -> Tensor:
        parts = torch.split(logits_NV, _rows_at_once(logits_NV))
        normalisers_N = torch.cat([_scaled(part, temperature).logsumexp(-1) for part in parts])
        ctx.save_for_backward(logits_NV, ids_N, normalisers_N)
        ctx.temperature, ctx.overwrite = temperature, overwrite
        return _scaled(logits_NV.gather(-1, ids_N[:, None])[:, 0], temperature) - normalisers_N

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient_N: Tensor) -> tuple[Tensor, None, None, None]:
        """d log p(id) / d logit = ((logit is the id's) - p) / temperature."""
        logits_NV, ids_N, normalisers_N = ctx.saved_tensors
        size, gradient_N1 = _rows_at_once(logits_NV), _scaled(gradient_N, ctx.temperature)[:, None]
        gradient_NV = logits_NV if ctx.overwrite else torch.empty_like(logits_NV)
        held = (logits_NV, gradient_NV, normalisers_N[:, None], gradient_N1)
        for part, gradient, normaliser, factor in zip(*(torch.split(t, size) for t in held), strict=True):
            torch.sub(_scaled(part, ctx.temperature), normaliser, out=gradient).exp_().mul_(-factor)
        gradient_NV.scatter_add_(1, ids_N[:, None], gradient_N1)
        return gradient_NV, None, None, None


def _rows_at_once(logits_NV: Tensor) -> int:
    at_once = 2**19 if logits_NV.device.type == "cpu" else 2**25
    return max(1, at_once // logits_NV.shape[-1])


def _scaled(tensor: Tensor, temperature: float) -> Tensor:
    return tensor if temperature == 1.0 else tensor / temperature


def token_weights(
    counts_BT: Tensor,
    all_counts: float,
    trained_rows: int,
    reduce: Literal["tokens", "sequences", "constant"],
    longest: int = 0,
) -> Tensor:
    """What each token weighs in the loss of an update, of shape BT, at least float32.

    `counts_BT` says what each token counts: 0 where it is not trained on, 1 where nobody weighs turns, so
    every mean below is a weighted one. `"tokens"` averages over the trained tokens of the whole update,
    `"sequences"` over the means of its rows, `"constant"` over its rows, each row's sum divided by `longest`
    (Liu et al., 2025, *Understanding R1-Zero-like training*). `all_counts`, the sum of the counts, and
    `trained_rows` are those of the whole update. A row without a trained token has no mean and is not
    counted.
    """
    weights_BT = _wide(counts_BT)
    match reduce:
        case "tokens":
            return weights_BT / all_counts
        case "sequences":
            sums_B1 = weights_BT.sum(1, keepdim=True)
            return weights_BT / torch.where(sums_B1 > 0, sums_B1, 1.0) / trained_rows
        case "constant":
            return weights_BT / longest / trained_rows


def whiten(values_BT: Tensor, counted_BT: Tensor) -> Tensor:
    """The counted values moved and scaled to mean 0 and variance 1, of shape BT; 0 elsewhere.

    Divided is by the root of the variance (n - 1 in its denominator) + 1e-8; a single value becomes 0.
    """
    counted_N = values_BT[counted_BT]
    if counted_N.numel() == 0:
        return torch.zeros_like(values_BT)
    centred_BT = torch.where(counted_BT, values_BT - counted_N.mean(), 0.0)
    variance = centred_BT.square().sum() / max(counted_N.numel() - 1, 1)
    return centred_BT * (variance + 1e-8).rsqrt()


# Distances between two policies, by the log-probabilities that they give to the same tokens.


def k1(new_BT: Tensor, reference_BT: Tensor) -> Tensor:
    """Each token's estimate of KL(new ‖ reference): new - reference. For tokens drawn from the new policy
    unbiased, but of either sign (Schulman, 2020, *Approximating KL divergence*)."""
    return new_BT - reference_BT


def k3(new_BT: Tensor, reference_BT: Tensor) -> Tensor:
    """Each token's estimate of KL(new ‖ reference): exp(d) - d - 1 with d = reference - new.

    Never negative and, for tokens drawn from the new policy, unbiased (Schulman, 2020, *Approximating KL
    divergence*; Shao et al., 2024, equation 4).
    """
    difference_BT = reference_BT - new_BT
    return difference_BT.expm1() - difference_BT


# Advantages: how much better than expected a completion, or a token, is.


def group_advantages(rewards_PG: Tensor, kind: Literal["mean", "mean_std"]) -> Tensor:
    """How much better than its group each completion is, in float64 of shape PG.

    `"mean"`: the reward minus the mean of its group (Liu et al., 2025). `"mean_std"`: this divided by the
    group's standard deviation + 1e-4, with n - 1 in its denominator (Shao et al., 2024, *DeepSeekMath*,
    section 4.1.2). A completion without a reward (NaN) is left out of its group's mean and has advantage 0;
    so has the only one of its group with a reward.
    """
    rewards_PG = rewards_PG.double()
    has_PG = ~rewards_PG.isnan()
    counts_P1 = has_PG.sum(1, keepdim=True)
    known_PG = rewards_PG.nan_to_num(0.0)
    means_P1 = known_PG.sum(1, keepdim=True) / counts_P1.clamp(min=1)
    centred_PG = torch.where(has_PG, known_PG - means_P1, 0.0)
    if kind == "mean":
        return centred_PG
    variances_P1 = centred_PG.square().sum(1, keepdim=True) / (counts_P1 - 1).clamp(min=1)
    return centred_PG / (variances_P1.sqrt() + 1e-4)


class Gae(NamedTuple):
    advantages_BT: Tensor
    returns_BT: Tensor
    """What the critic should have said: advantage + value."""


def gae(rewards_BT: Tensor, values_BT: Tensor, counted_BT: Tensor, *, gamma: float, lambda_: float) -> Gae:
    """Generalised advantage estimates (Schulman et al., 2016, equations 11 and 16), of shape BT; 0 where not
    counted.

    `values_BT[b, t]` is the critic's word before token t is written, `rewards_BT[b, t]` what t brought. A
    row's counted tokens stand together, and nothing comes after the last one: its successor has the value 0.

        delta_t = r_t + gamma * V_{t+1} - V_t        A_t = delta_t + gamma * lambda * A_{t+1}
    """
    advantages_BT = torch.zeros_like(values_BT)
    after_B = next_value_B = torch.zeros_like(values_BT[:, 0])
    for t in range(values_BT.shape[1] - 1, -1, -1):
        delta_B = rewards_BT[:, t] + gamma * next_value_B - values_BT[:, t]
        counted_B = counted_BT[:, t]
        after_B = torch.where(counted_B, delta_B + gamma * lambda_ * after_B, 0.0)
        next_value_B = torch.where(counted_B, values_BT[:, t], 0.0)
        advantages_BT[:, t] = after_B
    return Gae(advantages_BT, torch.where(counted_BT, advantages_BT + values_BT, 0.0))


# The losses.


def sft_loss(logprobs_BT: Tensor, weights_BT: Tensor) -> Tensor:
    """The negative log likelihood: -sum of weight * log p over all tokens."""
    return -(logprobs_BT * weights_BT).sum()


class DpoLoss(NamedTuple):
    losses_P: Tensor
    chosen_P: Tensor
    """The implicit reward of the better answer: beta * (log p - log p of the reference)."""
    rejected_P: Tensor


def dpo_loss(
    chosen_P: Tensor,
    rejected_P: Tensor,
    reference_chosen_P: Tensor,
    reference_rejected_P: Tensor,
    *,
    beta: float,
    loss: Literal["sigmoid", "ipo", "hinge"],
    label_smoothing: float = 0.0,
) -> DpoLoss:
    """The loss of each pair by the log-probabilities of its answers: sums over their tokens.

    With m the margin (chosen - rejected) - (reference chosen - reference rejected):

    - `"sigmoid"`: -log sigmoid(beta * m) (Rafailov et al., 2023, equation 7); with `label_smoothing` s,
      -(1 - s) * log sigmoid(beta * m) - s * log sigmoid(-beta * m), *conservative DPO* (Mitchell, 2023)
    - `"ipo"`: (m - 1 / (2 * beta))² (Azar et al., 2023, equation 17)
    - `"hinge"`: max(0, 1 - beta * m) (Zhao et al., 2023, *SLiC-HF*, with the reference of DPO)
    """
    better_P, worse_P = chosen_P - reference_chosen_P, rejected_P - reference_rejected_P
    margins_P = better_P - worse_P
    match loss:
        case "sigmoid":
            right_P, wrong_P = F.logsigmoid(beta * margins_P), F.logsigmoid(-beta * margins_P)
            losses_P = -(1 - label_smoothing) * right_P - label_smoothing * wrong_P
        case "ipo":
            losses_P = (margins_P - 1 / (2 * beta)).square()
        case "hinge":
            losses_P = (1 - beta * margins_P).clamp(min=0)
    return DpoLoss(losses_P, beta * better_P.detach(), beta * worse_P.detach())


class PolicyLoss(NamedTuple):
    loss: Tensor
    """The weighted sum over all tokens."""
    clipped_BT: Tensor
    """bool: tokens whose ratio was clipped, and which have no gradient through it."""
    kl_BT: Tensor | None = None
    """Each token's distance from the reference, where one is asked for; detached."""


def grpo_loss(
    new_BT: Tensor,
    old_BT: Tensor,
    advantages_B: Tensor,
    weights_BT: Tensor,
    *,
    clip_range: float,
    clip_range_high: float,
    ratio: Literal["token", "sequence"] = "token",
    reference_BT: Tensor | None = None,
    kl_beta: float = 0.0,
) -> PolicyLoss:
    """The clipped surrogate plus the distance from the reference: with r = exp(new - old),

        sum of weight * (-min(r * A, clip(r, 1 - clip_range, 1 + clip_range_high) * A) + kl_beta * k3)

    (Shao et al., 2024, equations 3 and 4; two ranges: Yu et al., 2025, *DAPO*, equation 10). With the ratio
    `"sequence"`, r is the geometric mean over the completion's tokens (Zheng et al., 2025, *GSPO*, equations
    5 and 7). Tokens of weight 0 are no part of it.
    """
    surrogate = _clipped_surrogate(
        new_BT,
        old_BT,
        advantages_B[:, None],
        weights_BT,
        within=(1 - clip_range, 1 + clip_range_high),
        ratio=ratio,
    )
    if reference_BT is None:
        return surrogate
    kl_BT = torch.where(weights_BT != 0, k3(new_BT, reference_BT), 0.0)
    loss = surrogate.loss + kl_beta * (kl_BT * weights_BT).sum()
    return PolicyLoss(loss, surrogate.clipped_BT, kl_BT.detach())


def ppo_policy_loss(
    new_BT: Tensor, old_BT: Tensor, advantages_BT: Tensor, weights_BT: Tensor, *, clip_range: float
) -> PolicyLoss:
    """The clipped surrogate, with an advantage for each token (Schulman et al., 2017, equation 7)."""
    return _clipped_surrogate(
        new_BT, old_BT, advantages_BT, weights_BT, within=(1 - clip_range, 1 + clip_range), ratio="token"
    )


class ValueLoss(NamedTuple):
    loss: Tensor
    clipped_BT: Tensor
    """bool: tokens whose loss is the clipped one, and which have no gradient."""


def ppo_value_loss(
    values_BT: Tensor,
    old_BT: Tensor,
    returns_BT: Tensor,
    weights_BT: Tensor,
    *,
    clip_range: float | None = None,
) -> ValueLoss:
    """Half the squared error of the critic: the sum of weight * (V - R)² / 2.

    With `clip_range` c, the larger one of this and the error of V held within c of what it was (`old_BT`):
    the critic's counterpart of the clipped surrogate (Schulman et al., 2016, in the authors' code; Huang et
    al., 2022, *The 37 implementation details of PPO*, detail 9).
    """
    errors_BT = (values_BT - returns_BT).square()
    clipped_BT = torch.zeros_like(errors_BT, dtype=torch.bool)
    if clip_range is not None:
        held_BT = old_BT + (values_BT - old_BT).clamp(-clip_range, clip_range)
        held_errors_BT = (held_BT - returns_BT).square()
        clipped_BT = (held_errors_BT > errors_BT) & (weights_BT != 0)
        errors_BT = torch.maximum(errors_BT, held_errors_BT)
    return ValueLoss((errors_BT * weights_BT).sum() / 2, clipped_BT)


def explained_variance(values_N: Tensor, returns_N: Tensor) -> float | None:
    """1 - Var(returns - values) / Var(returns): 1 for a perfect critic, 0 for one that knows the mean alone.
    None where all returns are the same."""
    variance = float(returns_N.double().var(correction=0)) if returns_N.numel() else 0.0
    if not variance > 0 or math.isnan(variance):
        return None
    return 1 - float((returns_N - values_N).double().var(correction=0)) / variance


def _clipped_surrogate(
    new_BT: Tensor,
    old_BT: Tensor,
    advantages_BT: Tensor,
    weights_BT: Tensor,
    *,
    within: tuple[float, float],
    ratio: Literal["token", "sequence"],
) -> PolicyLoss:
    """`advantages_BT` may be of shape B1."""
    counted_BT = weights_BT != 0
    log_ratios_BT = torch.where(counted_BT, new_BT - old_BT, 0.0)
    if ratio == "sequence":
        lengths_B1 = counted_BT.sum(1, keepdim=True).clamp(min=1)
        log_ratios_BT = (log_ratios_BT.sum(1, keepdim=True) / lengths_B1).expand_as(log_ratios_BT)
    ratios_BT = log_ratios_BT.exp()
    advantages_BT = advantages_BT.to(ratios_BT.dtype)
    free_BT = ratios_BT * advantages_BT
    clipped_BT = ratios_BT.clamp(*within) * advantages_BT
    loss = -(torch.minimum(free_BT, clipped_BT) * weights_BT).sum()
    return PolicyLoss(loss, (clipped_BT < free_BT) & counted_BT)


def _wide(tensor: Tensor) -> Tensor:
    """At least float32."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
