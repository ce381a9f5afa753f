"""The mathematics of reinforcement against plain loops over Python floats, written from the papers."""

# Names of tensors end in their shape.
# ruff: noqa: N806

from __future__ import annotations

import math
from typing import Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy

from harmony_runtime.losses import (
    group_advantages,
    grpo_loss,
    k3,
    token_logprobs,
    token_weights,
)

NAN = math.nan
REDUCES: tuple[Literal["tokens", "sequences", "constant"], ...] = ("tokens", "sequences", "constant")
LONGEST = 9


def numbers(*shape: int, seed: int = 3, scale: float = 1.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale


# --- advantages -----------------------------------------------------------------------------------------


def advantages_by_hand(group: list[float], kind: str) -> list[float]:
    known = [reward for reward in group if not math.isnan(reward)]
    if len(known) < 2:
        return [0.0] * len(group)
    mean = sum(known) / len(known)
    spread = math.sqrt(sum((reward - mean) ** 2 for reward in known) / (len(known) - 1))
    divisor = spread + 1e-4 if kind == "mean_std" else 1.0
    return [0.0 if math.isnan(reward) else (reward - mean) / divisor for reward in group]


REWARDS = st.one_of(st.just(NAN), st.integers(-8, 8).map(lambda n: n / 4))


@settings(deadline=None)
@given(
    st.integers(2, 5).flatmap(
        lambda n: st.lists(st.lists(REWARDS, min_size=n, max_size=n), min_size=1, max_size=4)
    ),
    st.sampled_from(["mean", "mean_std"]),
)
def test_advantages_are_those_of_the_paper(groups: list[list[float]], kind: Any) -> None:
    found = group_advantages(torch.tensor(groups, dtype=torch.float64), kind)
    expected = torch.tensor([advantages_by_hand(group, kind) for group in groups], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_a_group_whose_rewards_are_equal_has_no_advantage_at_all() -> None:
    rewards = torch.full((2, 8), 0.1)
    assert group_advantages(rewards, "mean_std").abs().max() < 1e-12


# --- log-probabilities ----------------------------------------------------------------------------------


def test_log_probabilities_are_at_the_temperature() -> None:
    logits_NV, ids_N = numbers(3, 5), torch.tensor([4, 0, 2])
    found = token_logprobs(logits_NV, ids_N, temperature=0.7)
    for n in range(3):
        scaled = [x / 0.7 for x in logits_NV[n].tolist()]
        expected = scaled[ids_N[n]] - math.log(sum(math.exp(x) for x in scaled))
        assert found[n].item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("overwrite", [False, True], ids=["kept", "overwritten"])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_gradient_of_log_probabilities_is_that_of_the_cross_entropy(
    temperature: float, overwrite: bool
) -> None:
    # Wide enough to be worked on in several parts.
    logits_NV, ids_N, weights_N = numbers(5, 300_000), torch.tensor([4, 0, 299_999, 0, 7]), numbers(5)
    logits_NV.requires_grad_()
    asked_NV = logits_NV * 1 if overwrite else logits_NV
    before = logits_NV.detach().clone()
    (token_logprobs(asked_NV, ids_N, temperature, overwrite=overwrite) * weights_N).sum().backward()
    found_NV, logits_NV.grad = logits_NV.grad, None
    (-cross_entropy(logits_NV / temperature, ids_N, reduction="none") * weights_N).sum().backward()
    torch.testing.assert_close(found_NV, logits_NV.grad, rtol=1e-9, atol=1e-12)
    assert torch.equal(logits_NV, before)


# --- the surrogate --------------------------------------------------------------------------------------

TRAINED_BT = torch.tensor(
    [
        [False, True, True, True, False],
        [False, False, True, False, False],
        [False, False, False, False, False],
        [False, True, True, True, True],
    ]
)
ADVANTAGES_B = torch.tensor([1.5, -0.5, 1.0, -2.0], dtype=torch.float64)
LOW, HIGH = 0.1, 0.25


def weights_by_hand(reduce: str) -> list[list[float]]:
    lengths = TRAINED_BT.sum(1).tolist()
    rows = sum(length > 0 for length in lengths)
    return [
        [
            0.0
            if not trained
            else 1 / sum(lengths)
            if reduce == "tokens"
            else 1 / length / rows
            if reduce == "sequences"
            else 1 / LONGEST / rows
            for trained in row
        ]
        for row, length in zip(TRAINED_BT.tolist(), lengths, strict=True)
    ]


def weights(reduce: Literal["tokens", "sequences", "constant"]) -> Tensor:
    trained_B = TRAINED_BT.sum(1)
    return token_weights(TRAINED_BT, int(trained_B.sum()), int((trained_B > 0).sum()), reduce, LONGEST)


@pytest.mark.parametrize("reduce", REDUCES)
def test_weights_average_as_their_name_says(reduce: Literal["tokens", "sequences", "constant"]) -> None:
    torch.testing.assert_close(weights(reduce), torch.tensor(weights_by_hand(reduce)))


@pytest.mark.parametrize("reduce", REDUCES)
def test_turns_that_count_less_make_weighted_means(
    reduce: Literal["tokens", "sequences", "constant"],
) -> None:
    """Halving everything changes no mean over tokens; within a row, a token counts by its share."""
    counts_BT = torch.tensor([[0.0, 0.5, 0.25, 0.0], [0.0, 0.0, 0.125, 0.0], [0.0, 0.0, 0.0, 0.0]])
    losses_BT = numbers(3, 4).float()
    sums = [
        [c * loss for c, loss in zip(*row, strict=True)]
        for row in zip(counts_BT.tolist(), losses_BT.tolist(), strict=True)
    ]
    wanted = {
        "tokens": sum(map(sum, sums)) / 0.875,
        "sequences": (sum(sums[0]) / 0.75 + sum(sums[1]) / 0.125) / 2,
        "constant": sum(map(sum, sums)) / LONGEST / 2,
    }[reduce]
    weights_BT = token_weights(counts_BT, 0.875, 2, reduce, LONGEST)
    assert (weights_BT * losses_BT).sum().item() == pytest.approx(wanted, rel=1e-6)


def loss_by_hand(new: list[list[float]], old: list[list[float]], reduce: str, ratio: str) -> float:
    total = 0.0
    for b, row in enumerate(weights_by_hand(reduce)):
        counted = [t for t, weight in enumerate(row) if weight]
        differences = {t: new[b][t] - old[b][t] for t in counted}
        if ratio == "sequence" and counted:
            mean = sum(differences.values()) / len(counted)
            differences = dict.fromkeys(counted, mean)
        for t in counted:
            r, a = math.exp(differences[t]), ADVANTAGES_B[b].item()
            total -= row[t] * min(r * a, min(max(r, 1 - LOW), 1 + HIGH) * a)
    return total


@pytest.mark.parametrize("reduce", REDUCES)
@pytest.mark.parametrize("ratio", ["token", "sequence"])
def test_the_surrogate_is_that_of_the_papers(reduce: Any, ratio: Any) -> None:
    new_BT, old_BT = numbers(4, 5, scale=0.3), numbers(4, 5, seed=4, scale=0.3)
    weights_BT = torch.tensor(weights_by_hand(reduce), dtype=torch.float64)

    def loss(new: Tensor) -> Tensor:
        found = grpo_loss(
            new, old_BT, ADVANTAGES_B, weights_BT, clip_range=LOW, clip_range_high=HIGH, ratio=ratio
        )
        return found.loss

    expected = loss_by_hand(new_BT.tolist(), old_BT.tolist(), reduce, ratio)
    assert loss(new_BT).item() == pytest.approx(expected, abs=1e-12)
    assert torch.autograd.gradcheck(loss, new_BT.clone().requires_grad_())


def test_what_is_clipped_has_no_gradient_and_is_counted() -> None:
    """Above the range a good completion is not pushed further, below it a bad one is not; nothing else."""
    differences = torch.tensor([[1.0, 1.0], [1.0, 1.0], [-1.0, -1.0], [-1.0, -1.0]], dtype=torch.float64)
    new_BT = differences.requires_grad_()
    advantages_B = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
    weights_BT = torch.full((4, 2), 1 / 8, dtype=torch.float64)
    weights_BT[0, 1] = 0.0
    loss, clipped_BT, _ = grpo_loss(
        new_BT,
        torch.zeros(4, 2, dtype=torch.float64),
        advantages_B,
        weights_BT,
        clip_range=LOW,
        clip_range_high=HIGH,
        ratio="token",
    )
    loss.backward()  # type: ignore[no-untyped-call]
    assert clipped_BT.tolist() == [[True, False], [False, False], [False, False], [True, True]]
    assert new_BT.grad is not None
    assert (new_BT.grad == 0).tolist() == [[True, True], [False, False], [False, False], [True, True]]
    assert (new_BT.grad[1] > 0).all()
    assert (new_BT.grad[2] < 0).all()


# --- the distance from the start ------------------------------------------------------------------------


def test_k3_is_its_formula_and_its_mean_is_the_divergence() -> None:
    new, reference = numbers(6, scale=0.5).log_softmax(0), numbers(6, seed=8, scale=0.5).log_softmax(0)
    estimates = k3(new, reference)
    for estimate, p, q in zip(estimates.tolist(), new.tolist(), reference.tolist(), strict=True):
        assert estimate == pytest.approx(math.exp(q - p) - (q - p) - 1, abs=1e-12)
        assert estimate >= 0
    divergence = sum(math.exp(p) * (p - q) for p, q in zip(new.tolist(), reference.tolist(), strict=True))
    assert (new.exp() * estimates).sum().item() == pytest.approx(divergence, abs=1e-12)
    assert torch.autograd.gradcheck(lambda x: k3(x, reference), new.clone().requires_grad_())
