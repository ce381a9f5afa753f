"""The losses once more, from the papers: loops over single tokens in float64, nothing of ours used.

Gradients come from torch's automatic differentiation of these loops. Rows are lists of tokens.
"""

from __future__ import annotations

import math
from statistics import fmean, stdev

import torch
from torch import Tensor

Terms = list[list[tuple[Tensor, float]]]
"""Of each row, its trained tokens: a term of the loss, and what the token counts."""


def log_probability(logits_V: Tensor, token: int, temperature: float = 1.0) -> Tensor:  # noqa: N803
    """log softmax(logits / temperature)[token], as it is defined."""
    powers = torch.exp(logits_V / temperature)
    return torch.log(powers[token] / powers.sum())


def averaged(terms: Terms, reduce: str, longest: int) -> Tensor:
    trained = [row for row in terms if row]
    sums = [sum(term * count for term, count in row) for row in trained]
    counts = [sum(count for _, count in row) for row in trained]
    match reduce:
        case "tokens":  # Yu et al., 2025, DAPO, equation 12
            return torch.stack(sums).sum() / sum(counts)
        case "sequences":  # Shao et al., 2024, equation 3
            return torch.stack([s / c for s, c in zip(sums, counts, strict=True)]).mean()
        case "constant":  # Liu et al., 2025, Dr. GRPO
            return torch.stack([s / longest for s in sums]).mean()
    raise ValueError(reduce)


def sft(logits: Tensor, ids: Tensor, counts: Tensor, reduce: str, longest: int) -> Tensor:
    """-log p of each token that counts, given those before it."""
    terms: Terms = []
    for b, row in enumerate(ids.tolist()):
        counted = [t for t in range(1, len(row)) if counts[b, t] > 0]
        terms.append([(-log_probability(logits[b, t - 1], row[t]), counts[b, t].item()) for t in counted])
    return averaged(terms, reduce, longest)


def dpo(
    chosen: Tensor,
    rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    *,
    beta: float,
    loss: str,
    label_smoothing: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Losses, and the implicit rewards of both answers."""
    losses, better, worse = [], [], []
    for c, r, rc, rr in zip(chosen, rejected, ref_chosen, ref_rejected, strict=True):
        margin = (c - rc) - (r - rr)
        match loss:
            case "sigmoid":  # Rafailov et al., 2023, equation 7; Mitchell, 2023, equation 3
                right, wrong = 1 / (1 + torch.exp(-beta * margin)), 1 / (1 + torch.exp(beta * margin))
                term = -(1 - label_smoothing) * torch.log(right) - label_smoothing * torch.log(wrong)
            case "ipo":  # Azar et al., 2023, equation 17
                term = (margin - 1 / (2 * beta)) ** 2
            case "hinge":  # Zhao et al., 2023, SLiC-HF, equation 2
                term = 1 - beta * margin if 1 - beta * margin > 0 else 0 * margin
            case _:
                raise ValueError(loss)
        losses.append(term)
        better.append(beta * (c - rc))
        worse.append(beta * (r - rr))
    return torch.stack(losses), torch.stack(better).detach(), torch.stack(worse).detach()


def group_advantages(rewards: list[list[float | None]], kind: str) -> list[list[float]]:
    """Shao et al., 2024, section 4.1.2 ("mean_std"); Liu et al., 2025 ("mean"). None: nobody graded."""
    found = []
    for group in rewards:
        known = [reward for reward in group if reward is not None]
        if len(known) < 2:
            found.append([0.0] * len(group))
            continue
        mean, divisor = fmean(known), stdev(known) + 1e-4 if kind == "mean_std" else 1.0
        found.append([0.0 if reward is None else (reward - mean) / divisor for reward in group])
    return found


def k1(new: Tensor, reference: Tensor) -> Tensor:
    """Schulman, 2020, with x drawn from q: log q(x) / p(x)."""
    return torch.stack([torch.log(torch.exp(q) / torch.exp(p)) for q, p in zip(new, reference, strict=True)])


def k3(new: Tensor, reference: Tensor) -> Tensor:
    """Schulman, 2020: (r - 1) - log r with r = p(x) / q(x)."""
    found = []
    for q, p in zip(new, reference, strict=True):
        r = torch.exp(p) / torch.exp(q)
        found.append((r - 1) - torch.log(r))
    return torch.stack(found)


def clipped(ratio: Tensor, advantage: float, low: float, high: float) -> tuple[Tensor, bool]:
    """Schulman et al., 2017, equation 7: the smaller of both, and whether that is the clipped one."""
    held = min(max(ratio.item(), 1 - low), 1 + high) * advantage
    free = ratio * advantage
    return (torch.full_like(free, held), True) if held < free.item() else (free, False)


def grpo(
    new: Tensor,
    old: Tensor,
    reference: Tensor | None,
    advantages: list[float],
    trained: Tensor,
    *,
    low: float,
    high: float,
    ratio: str,
    kl_beta: float,
    reduce: str,
    longest: int,
) -> tuple[Tensor, int]:
    """Shao et al., 2024, equations 3 and 4; `ratio` "sequence": Zheng et al., 2025, GSPO, equations 5 and 7.

    Log-probabilities and `trained` by row and token. The loss, and how many tokens are clipped."""
    terms: Terms = []
    number = 0
    for b, advantage in enumerate(advantages):
        tokens = [t for t in range(new.shape[1]) if trained[b, t]]
        ratios = [torch.exp(new[b, t]) / torch.exp(old[b, t]) for t in tokens]
        if ratio == "sequence" and ratios:
            ratios = [torch.stack(ratios).prod() ** (1 / len(ratios))] * len(ratios)
        row = []
        for t, r in zip(tokens, ratios, strict=True):
            gain, is_clipped = clipped(r, advantage, low, high)
            number += is_clipped
            distance = k3(new[b, t][None], reference[b, t][None])[0] if reference is not None else 0.0
            row.append((-(gain - kl_beta * distance), 1.0))
        terms.append(row)
    return averaged(terms, reduce, longest), number


def gae(
    rewards: list[float], values: list[float], *, gamma: float, lambda_: float
) -> tuple[list[float], list[float]]:
    """Schulman et al., 2016, equation 16, as the sum that it is; a row's tokens alone. Advantages, and what
    the critic should have said."""
    after = [*values, 0.0][1:]
    deltas = [r + gamma * later - v for r, v, later in zip(rewards, values, after, strict=True)]
    advantages = [
        sum((gamma * lambda_) ** (k - t) * deltas[k] for k in range(t, len(deltas)))
        for t in range(len(deltas))
    ]
    return advantages, [a + v for a, v in zip(advantages, values, strict=True)]


def whitened(values: list[float]) -> list[float]:
    """Mean 0 and variance 1 over all of them."""
    mean = fmean(values)
    variance = stdev(values) ** 2 if len(values) > 1 else 0.0
    return [(value - mean) / math.sqrt(variance + 1e-8) for value in values]


def ppo_policy(
    new: Tensor, old: Tensor, advantages: Tensor, trained: Tensor, clip_range: float
) -> tuple[Tensor, int]:
    """Schulman et al., 2017, equation 7, its mean over all trained tokens."""
    terms, number = [], 0
    for b, t in trained.nonzero().tolist():
        ratio = torch.exp(new[b, t]) / torch.exp(old[b, t])
        gain, is_clipped = clipped(ratio, advantages[b, t].item(), clip_range, clip_range)
        terms.append(-gain)
        number += is_clipped
    return torch.stack(terms).mean(), number


def ppo_value(
    values: Tensor, old: Tensor, returns: Tensor, trained: Tensor, clip_range: float | None
) -> tuple[Tensor, int]:
    """Huang et al., 2022, detail 9, halved, its mean over all trained tokens."""
    terms, number = [], 0
    for b, t in trained.nonzero().tolist():
        value, was, target = values[b, t], old[b, t].item(), returns[b, t].item()
        error = (value - target) ** 2
        if clip_range is not None:
            held = min(max(value.item(), was - clip_range), was + clip_range)
            if (held - target) ** 2 > error.item():
                # Only a value that was held can be worse, and a held one has no gradient.
                error, number = torch.full_like(error, (held - target) ** 2), number + 1
        terms.append(error / 2)
    return torch.stack(terms).mean(), number


def explained_variance(values: list[float], returns: list[float]) -> float:
    errors = [r - v for r, v in zip(returns, values, strict=True)]

    def variance(numbers: list[float]) -> float:
        mean = fmean(numbers)
        return fmean((number - mean) ** 2 for number in numbers)

    return 1 - variance(errors) / variance(returns)
