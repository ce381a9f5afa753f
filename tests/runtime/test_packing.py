"""Rows in one: the same numbers as rows side by side, and no token twice."""

# Names of tensors end in their shape.
# ruff: noqa: N806

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, MistralConfig, Qwen3Config

from harmony_compiler.graph.graph import ONE_DEVICE
from harmony_runtime.models.heads import Critic, Scalar
from harmony_runtime.models.packing import pack, packs
from harmony_runtime.models.scorer import Scorer
from harmony_runtime.processes.context import Context
from harmony_runtime.processes.mesh import Mesh

SHAPE = {"vocab_size": 60, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
LAYERS = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
SIZES = {"hidden_size": 32, "intermediate_size": 64, "max_position_embeddings": 64, **LAYERS, **SHAPE}
CONFIGS = {
    "qwen3": Qwen3Config(head_dim=8, **SIZES),
    "llama": LlamaConfig(**SIZES),
    "gpt2": GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=64, **SHAPE),
}


def model_of(config: Any) -> Any:
    torch.manual_seed(5)
    return AutoModelForCausalLM.from_config(config).double().eval()


def some_rows() -> tuple[Tensor, Tensor]:
    """Groups that share a prompt, equal rows, a row of which nothing counts, gaps between what counts."""
    ids_BT = torch.randint(3, 60, (9, 20), generator=torch.Generator().manual_seed(3))
    ids_BT[1:4, :12] = ids_BT[0, :12]
    ids_BT[5:7, :8] = ids_BT[4, :8]
    ids_BT[8] = ids_BT[7]
    counted_BT = torch.zeros(9, 20, dtype=torch.bool)
    spans = [(12, 20), (12, 15), (12, 19), (1, 1), (8, 20), (8, 10), (3, 6), (1, 20), (5, 9)]
    for row, (first, end) in enumerate(spans):
        counted_BT[row, first:end] = True
    counted_BT[7, 4:9] = False
    return ids_BT, counted_BT


@pytest.mark.parametrize("name", CONFIGS)
def test_packed_rows_say_what_rows_side_by_side_say(name: str) -> None:
    model, (ids_BT, counted_BT) = model_of(CONFIGS[name]), some_rows()
    found = []
    for packed in (True, False):
        scorer = Scorer(model, Mesh(Context(ONE_DEVICE)), "auto")
        assert scorer._packs
        scorer._packs = packed
        model.zero_grad()
        logprobs_BT = scorer(ids_BT, counted_BT, 0.7)
        (logprobs_BT * torch.linspace(-1, 1, 180).view(9, 20)).sum().backward()
        found.append((logprobs_BT.detach(), torch.cat([held.grad.flatten() for held in model.parameters()])))
    (logprobs_BT, gradient), (expected_BT, expected) = found
    torch.testing.assert_close(logprobs_BT, expected_BT, rtol=0, atol=1e-12)
    # Rotary angles are worked out in float32, whatever the weights are.
    assert ((gradient - expected).norm() / expected.norm()).item() < 1e-6
    assert model.config._attn_implementation == "sdpa"


def test_a_critic_says_the_same_of_packed_rows() -> None:
    model, (ids_BT, counted_BT) = model_of(CONFIGS["qwen3"]), some_rows()
    critic = Critic(Scalar(model.model.float(), torch.nn.Linear(32, 1)), Mesh(Context(ONE_DEVICE)), "auto")
    values_BT = critic(ids_BT, counted_BT)
    assert critic._packs
    critic._packs = False
    torch.testing.assert_close(values_BT, critic(ids_BT, counted_BT), rtol=0, atol=1e-5)
    assert (values_BT != 0).sum() == counted_BT.sum()


ROWS = st.lists(st.lists(st.integers(1, 2), min_size=2, max_size=7), min_size=1, max_size=6)


@settings(deadline=None)
@given(ROWS)
def test_every_beginning_is_read_once(rows: list[list[int]]) -> None:
    ids_BT = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    counted_BT = torch.arange(ids_BT.shape[1]) == torch.tensor([[len(row) - 1] for row in rows])
    packing = pack(ids_BT, counted_BT)
    beginnings = {tuple(row[:end]) for row in rows for end in range(1, len(row))}
    assert packing.ids_1N.shape[1] == len(beginnings)
    assert packing.before_M.shape == (len(rows),)
    # What stands before a row's last token is its own beginning.
    found = {}
    for row_T in packing.rows_BT.tolist():
        for place, token in enumerate(row_T):
            found.setdefault(token, tuple(packing.ids_1N[0, row_T[: place + 1]].tolist()))
    for row, before in zip(rows, packing.before_M.tolist(), strict=True):
        place = int(packing.positions_1N[0, before])
        assert place == len(row) - 2
        assert any(
            packing.ids_1N[0, other[: place + 1]].tolist() == row[:-1] and other[place] == before
            for other in packing.rows_BT.tolist()
            if len(other) > place
        )


def test_a_model_that_looks_back_through_a_window_is_not_packed() -> None:
    assert not packs(model_of(MistralConfig(sliding_window=4, **SIZES)))
    eager = model_of(CONFIGS["llama"])
    eager.set_attn_implementation("eager")
    assert not packs(eager)
    checkpointing = model_of(CONFIGS["llama"])
    checkpointing.gradient_checkpointing_enable()
    assert not packs(checkpointing)
