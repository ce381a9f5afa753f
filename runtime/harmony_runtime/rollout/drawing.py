"""Drawing: from logits to tokens. Pure functions. B rows, V vocabulary."""

# Names of tensors end in their shape.
# ruff: noqa: N803, N806

from __future__ import annotations

import torch
from torch import Tensor

from harmony_compiler.graph.settings import Sampling

_LOGITS_AT_ONCE = 2**18


def draw(logits_BV: Tensor, uniforms_B: Tensor, sampling: Sampling, vocabulary: int) -> tuple[Tensor, Tensor]:
    """One token a row, int64 of shape B, and its log-probability, float32 of shape B.

    The token is where the cumulated probabilities, in the order of ids, pass the row's number of
    `uniforms_B` (float64, in [0, 1)); at temperature 0 it is the likeliest one. Ids from `vocabulary` on are
    rows of the embedding for which the tokenizer has no token: they have a probability and are not drawn.
    """
    # A processor is several times faster with few rows at a time: what it makes of them stays in its cache.
    rows = (
        max(1, _LOGITS_AT_ONCE // logits_BV.shape[-1]) if logits_BV.device.type == "cpu" else len(logits_BV)
    )
    drawn = [
        _draw(some_BV, uniforms, sampling, vocabulary)
        for some_BV, uniforms in zip(torch.split(logits_BV, rows), torch.split(uniforms_B, rows), strict=True)
    ]
    return torch.cat([ids for ids, _ in drawn]), torch.cat([logprobs for _, logprobs in drawn])


def _draw(
    logits_BV: Tensor, uniforms_B: Tensor, sampling: Sampling, vocabulary: int
) -> tuple[Tensor, Tensor]:
    # From the largest, so that a small temperature makes no infinity.
    logits_BV = logits_BV.float()
    logits_BV = (logits_BV - logits_BV.amax(-1, keepdim=True)) / (sampling.temperature or 1.0)
    odds_BV = logits_BV.exp()
    if sampling.temperature:
        probabilities_BV = cut(odds_BV[:, :vocabulary], sampling.top_k, sampling.top_p)
        # Where the probability is 0 the sum is set to 0, which no number is below: such an id is never drawn,
        # however a device rounds its sums. The largest sum lies above u times itself: some id always is.
        sums_BV = probabilities_BV.cumsum(-1, dtype=torch.float64).masked_fill_(probabilities_BV == 0, 0)
        passed_BV = sums_BV > uniforms_B[:, None] * sums_BV.amax(-1, keepdim=True)
        ids_B = passed_BV.view(torch.uint8).argmax(-1)
    else:
        ids_B = logits_BV[:, :vocabulary].argmax(-1)
    return ids_B, logits_BV.gather(-1, ids_B[:, None])[:, 0] - odds_BV.sum(-1).log()


def cut(probabilities_BV: Tensor, top_k: int | None, top_p: float | None) -> Tensor:
    """Probabilities with 0 outside of the likeliest tokens; they need not sum to 1, before or after.

    First `top_k`: all tokens as likely as the k-th stay. Then `top_p`: the fewest that together have this
    share of what is left, of equals those with the lower ids (Holtzman et al., 2020).
    """
    if top_k is not None and top_k < probabilities_BV.shape[-1]:
        kth_B1 = probabilities_BV.topk(top_k).values[:, -1:]
        probabilities_BV = probabilities_BV.masked_fill(probabilities_BV < kth_B1, 0)
    if top_p is not None and top_p < 1:
        ordered_BV, ids_BV = probabilities_BV.double().sort(dim=-1, descending=True, stable=True)
        before_BV = ordered_BV.cumsum(-1) - ordered_BV
        enough_BV = before_BV >= top_p * ordered_BV.sum(-1, keepdim=True)
        enough_BV[:, 0] = False
        probabilities_BV = probabilities_BV.masked_fill(enough_BV.scatter(-1, ids_BV, enough_BV), 0)
    return probabilities_BV
