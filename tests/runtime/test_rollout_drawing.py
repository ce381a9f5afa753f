"""Drawing a token: frequencies, cuts, and numbers that are hard to round."""

# Names of tensors end in their shape.
# ruff: noqa: N806

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rollout_support import engine, lively

from harmony_compiler.graph.settings import Sampling
from harmony_runtime.rollout.drawing import cut, draw

DRAWS = 6000


def chi_square(counts: torch.Tensor, expected: torch.Tensor) -> float:
    """The statistic over its degrees of freedom, in standard deviations from its mean of 1."""
    rare = expected < 5
    observed = torch.cat([counts[~rare], counts[rare].sum()[None]])
    wanted = torch.cat([expected[~rare], expected[rare].sum()[None]])
    counted = wanted > 0
    assert observed[~counted].sum() == 0
    freedom = int(counted.sum()) - 1
    statistic = float(((observed - wanted)[counted].square() / wanted[counted]).sum())
    return (statistic - freedom) / math.sqrt(2 * freedom)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(max_tokens=1),
        Sampling(max_tokens=1, temperature=2.5),
        Sampling(max_tokens=1, temperature=2.0, top_k=8),
        Sampling(max_tokens=1, temperature=2.0, top_p=0.8),
        Sampling(max_tokens=1, temperature=2.0, top_k=12, top_p=0.7),
    ],
    ids=["plain", "warm", "top_k", "top_p", "both"],
)
def test_first_tokens_come_as_often_as_softmax_says(sampling: Sampling) -> None:
    model, blueprint = lively()
    prompt = [2, 5, 30, 31, 6]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt])).logits[0, -1].double()
    expected = (logits / sampling.temperature).softmax(-1)
    order = expected.argsort(descending=True).tolist()
    kept = order[: sampling.top_k]
    if sampling.top_p is not None:
        whole, so_far = float(expected[kept].sum()), 0.0
        for place, token in enumerate(kept):
            so_far += float(expected[token]) / whole
            if so_far >= sampling.top_p:
                kept = kept[: place + 1]
                break
    outside = torch.ones(103, dtype=torch.bool)
    outside[kept] = False
    expected = expected.masked_fill(outside, 0)
    expected = expected / expected.sum() * DRAWS
    made = engine(model, blueprint).complete([prompt], DRAWS, sampling, seed=1)
    counts = torch.bincount(torch.cat([c.ids_T for c in made]), minlength=103).double()
    assert len(kept) > 3
    assert abs(chi_square(counts, expected)) < 4


@given(
    st.lists(
        st.floats(-200, 200, width=32, allow_subnormal=False) | st.just(-math.inf), min_size=1, max_size=12
    ),
    st.floats(0, 1, exclude_max=True),
    st.sampled_from([0.0, 1e-6, 0.7, 1.0, 100.0]),
    st.none() | st.integers(1, 14),
    st.none() | st.floats(0, 1, exclude_min=True),
)
def test_what_is_drawn_has_a_probability(
    logits: list[float], uniform: float, temperature: float, top_k: int | None, top_p: float | None
) -> None:
    if not any(map(math.isfinite, logits)):
        return
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
    logits_BV = torch.tensor([logits])
    uniforms_B = torch.tensor([uniform], dtype=torch.float64)
    ids_B, logprobs_B = draw(logits_BV, uniforms_B, sampling, len(logits))
    (token,), (logprob,) = ids_B.tolist(), logprobs_B.tolist()
    assert math.isfinite(logits[token])
    assert logprob <= 0
    if temperature:
        assert logprob > -104  # below, float32 says that the probability is 0
    else:
        assert logits[token] == max(logits)


def test_the_ends_of_the_interval() -> None:
    logits_BV = torch.tensor([[-math.inf, 0.0, 0.0, -math.inf]]).repeat(4, 1)
    below_1 = 1 - 2**-53
    uniforms_B = torch.tensor([0.0, 0.5 - 2**-53, 0.5, below_1], dtype=torch.float64)
    ids_B, _ = draw(logits_BV, uniforms_B, Sampling(), 4)
    assert ids_B.tolist() == [1, 1, 2, 2]


def test_cuts() -> None:
    probabilities_BV = torch.tensor([[0.1, 0.3, 0.2, 0.3, 0.1]], dtype=torch.float64)

    def kept(top_k: int | None, top_p: float | None) -> list[int]:
        return cut(probabilities_BV, top_k, top_p)[0].nonzero()[:, 0].tolist()

    assert kept(None, None) == kept(9, 1.0) == [0, 1, 2, 3, 4]
    assert kept(1, None) == kept(2, None) == [1, 3]  # equals stay together
    assert kept(3, None) == [1, 2, 3]
    assert kept(None, 0.3) == kept(None, 0.01) == [1]
    assert kept(None, 0.31) == kept(None, 0.6) == [1, 3]
    assert kept(None, 0.7) == [1, 2, 3]
    assert kept(3, 0.7) == [1, 3]  # a share of what `top_k` left
    assert kept(None, 0.85) == [0, 1, 2, 3]
