"""Losses: pure functions of tensors. B rows, T tokens, V vocabulary, P prompts, G completions of a prompt.

A row is a prompt with its completion, or a thread. What a token weighs in the loss of an update is worked
out from the whole update, over all micro-batches and processes: so how it is cut changes nothing.
"""

# Names of tensors end in their shape.
# ruff: noqa: N803, N806, N815

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor


def weighted_nll(logits_BTV: Tensor, ids_BT: Tensor, weights_BT: Tensor) -> Tensor:
    """Weighted negative log likelihood: the sum over all tokens of -weight * log p(token | tokens before it).

    The token at position t is predicted by the logits at t - 1; the weight of a row's first token is never
    used. Only the logits of tokens with a weight are widened to float32. This is the cross-entropy of
    language modelling (Radford et al., 2018, equation 1), restricted to the trained tokens.
    """
    counted = weights_BT[:, 1:] != 0
    logits_NV = logits_BTV[:, :-1][counted].float()
    losses_N = F.cross_entropy(logits_NV, ids_BT[:, 1:][counted], reduction="none")
    return (losses_N * weights_BT[:, 1:][counted]).sum()


def token_weights(
    counts_BT: Tensor,
    all_counts: float,
    trained_rows: int,
    reduce: Literal["tokens", "sequences", "constant"],
    longest: int = 0,
) -> Tensor:
    """What each token weighs in the loss of an update, as float32 of shape BT.

    `counts_BT` says what each token counts: 0 where it is not trained on, 1 where nobody weighs turns, so
    every mean below is a weighted one. `"tokens"` averages over the trained tokens of the whole update,
    `"sequences"` over the means of its rows, `"constant"` over its rows, each row's sum divided by `longest`
    (Liu et al., 2025, *Understanding R1-Zero-like training*). `all_counts`, the sum of the counts, and
    `trained_rows` are those of the whole update. A row without a trained token has no mean and is not
    counted.
    """
    weights_BT = counts_BT.float()
    match reduce:
        case "tokens":
            return weights_BT / all_counts
        case "sequences":
            sums_B1 = weights_BT.sum(1, keepdim=True)
            return weights_BT / torch.where(sums_B1 > 0, sums_B1, 1.0) / trained_rows
        case "constant":
            return weights_BT / longest / trained_rows


def token_logprobs(
    logits_BTV: Tensor, ids_BT: Tensor, counted_BT: Tensor, temperature: float = 1.0
) -> Tensor:
    """log p(token | tokens before it) of the counted tokens, as float32 of shape BT; 0 elsewhere.

    Logits are divided by `temperature`, as they were when the tokens were drawn. A row's first token is
    never counted, since nothing predicts it.
    """
    counted = counted_BT[:, 1:]
    logits_NV = logits_BTV[:, :-1][counted].float() / temperature
    logprobs_N = -F.cross_entropy(logits_NV, ids_BT[:, 1:][counted], reduction="none")
    logprobs_BT = logprobs_N.new_zeros(ids_BT.shape)
    logprobs_BT[:, 1:][counted] = logprobs_N
    return logprobs_BT


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


class PolicyLoss(NamedTuple):
    loss: Tensor
    """The weighted sum over all tokens."""
    clipped_BT: Tensor
    """bool: tokens whose ratio was clipped, and which have no gradient."""


def clipped_policy_loss(
    new_BT: Tensor,
    old_BT: Tensor,
    advantages_B: Tensor,
    weights_BT: Tensor,
    *,
    clip_range: float,
    clip_range_high: float,
    ratio: Literal["token", "sequence"],
) -> PolicyLoss:
    """The clipped surrogate: -sum of weight * min(r * A, clip(r, 1 - clip_range, 1 + clip_range_high) * A).

    r is exp(new - old), token by token (Schulman et al., 2017, equation 7; Shao et al., 2024, equation 3), or
    with `"sequence"` its geometric mean over the completion's tokens (Zheng et al., 2025, *GSPO*,
    equations 5 and 7). `new_BT` and `old_BT` are log-probabilities. Tokens of weight 0 are no part of it.
    """
    counted_BT = weights_BT != 0
    log_ratios_BT = torch.where(counted_BT, new_BT - old_BT, 0.0)
    if ratio == "sequence":
        lengths_B1 = counted_BT.sum(1, keepdim=True).clamp(min=1)
        log_ratios_BT = (log_ratios_BT.sum(1, keepdim=True) / lengths_B1).expand_as(log_ratios_BT)
    ratios_BT = log_ratios_BT.exp()
    advantages_B1 = advantages_B.to(ratios_BT.dtype)[:, None]
    free_BT = ratios_BT * advantages_B1
    clipped_BT = ratios_BT.clamp(1 - clip_range, 1 + clip_range_high) * advantages_B1
    loss = -(torch.minimum(free_BT, clipped_BT) * weights_BT).sum()
    return PolicyLoss(loss, (clipped_BT < free_BT) & counted_BT)


def k3(new_BT: Tensor, reference_BT: Tensor) -> Tensor:
    """Each token's estimate of KL(new ‖ reference): exp(d) - d - 1 with d = reference - new.

    Never negative and, for tokens drawn from the new policy, unbiased (Schulman, 2020, *Approximating KL
    divergence*; Shao et al., 2024, equation 4).
    """
    difference_BT = reference_BT - new_BT
    return difference_BT.expm1() - difference_BT
