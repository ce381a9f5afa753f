"""Losses: pure functions of tensors. B rows, T tokens, V vocabulary."""

# Names of tensors end in their shape.
# ruff: noqa: N803, N806

from __future__ import annotations

from typing import Literal

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
    trained_BT: Tensor, trained_tokens: int, trained_rows: int, reduce: Literal["tokens", "sequences"]
) -> Tensor:
    """What each token weighs in the loss of an optimiser step, as float32 of shape BT.

    `"tokens"` averages over the trained tokens of the whole step, `"sequences"` over the means of its rows.
    `trained_tokens` and `trained_rows` count the whole step, over all micro-batches and processes: so how the
    step is cut changes nothing. A row without a trained token has no mean and is not counted.
    """
    weights_BT = trained_BT.float()
    if reduce == "tokens":
        return weights_BT / trained_tokens
    return weights_BT / weights_BT.sum(1, keepdim=True).clamp(min=1) / trained_rows
