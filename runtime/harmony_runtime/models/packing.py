"""Rows in one: no padding, and what rows begin with in common is computed once.

A causal model says the same about a beginning wherever it stands, so the completions of one prompt, or both
answers of a pair, need it once; and where nothing is predicted any more, nothing is read. Everything that
looks at one token at a time (most of a model) works on the packed tokens; attention alone puts the rows
beside one another.
"""

# Names of tensors end in their shape: B rows, T tokens, N packed tokens, M that count; H heads, D units.
# ruff: noqa: N803, N806, N815

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward


class Packing(NamedTuple):
    """All int64. Rows are in an order of their own here."""

    ids_1N: Tensor
    positions_1N: Tensor
    """Each token's place in its row."""
    rows_BT: Tensor
    """Which of the N stands where; any where a row is over, which nothing looks back at."""
    owned_N: Tensor
    """Where in `rows_BT`, flattened, each of the N stands first."""
    before_M: Tensor
    """Which of the N stands before each counted token, row by row in the order they were given."""

    def apart(self, values_1HND: Tensor) -> Tensor:
        """Of shape BHTD: rows beside one another."""
        _, heads, _, size = values_1HND.shape
        values_NX = values_1HND.transpose(1, 2).reshape(-1, heads * size)
        return F.embedding(self.rows_BT, values_NX).view(*self.rows_BT.shape, heads, size).transpose(1, 2)

    def joined(self, values_BTHD: Tensor) -> Tensor:
        """Of shape 1NHD: each token once."""
        *_, heads, size = values_BTHD.shape
        return F.embedding(self.owned_N, values_BTHD.reshape(-1, heads * size)).view(1, -1, heads, size)

    def predicting(self, hidden_1ND: Tensor) -> Tensor:
        """Of shape MD: the hidden states that the counted tokens are predicted from."""
        return F.embedding(self.before_M, hidden_1ND[0])


def pack(ids_BT: Tensor, counted_BT: Tensor) -> Packing:
    """Rows that are padded on the right, of which some tokens count; a row's first never does."""
    device, ids_BT, counted_BT = ids_BT.device, ids_BT.cpu(), counted_BT.cpu()
    places_T = torch.arange(ids_BT.shape[1])
    # What is read of a row: all before the last token that counts.
    read_B = (counted_BT * places_T).amax(1).clamp(min=1)
    read_BT = places_T < read_B[:, None]
    known_BT = torch.where(read_BT, ids_BT, -1)
    # In the order of a dictionary, a row has most in common with the one before it.
    order_B = _in_order(known_BT)
    known_BT, read_B, read_BT = known_BT[order_B], read_B[order_B], read_BT[order_B]
    equal_BT = (known_BT[1:] == known_BT[:-1]) & read_BT[1:]
    shared_B = F.pad(equal_BT.long().cumprod(1).sum(1), (1, 0))

    own_BT = places_T >= shared_B[:, None]
    owners_BT = torch.where(own_BT, torch.arange(len(own_BT))[:, None], 0).cummax(0).values
    starts_B = (read_B - shared_B).cumsum(0) - read_B
    rows_BT = (starts_B[owners_BT] + places_T).where(read_BT, 0)
    own_BT = own_BT & read_BT

    width = int(read_B.max())
    rows_BT, own_BT = rows_BT[:, :width], own_BT[:, :width]
    back_B = order_B.argsort()
    before_M = rows_BT[back_B][counted_BT[:, 1 : width + 1]]
    packing = (
        known_BT[:, :width][own_BT][None],
        places_T[:width].expand_as(own_BT)[own_BT][None],
        rows_BT,
        own_BT.flatten().nonzero().squeeze(1),
        before_M,
    )
    return Packing(*(held.to(device) for held in packing))


def _in_order(ids_BT: Tensor) -> Tensor:
    """The numbers of the rows in the order of a dictionary."""
    rows = numpy.ascontiguousarray((ids_BT + 1).numpy(), dtype=">i8")
    texts = rows.view(f"V{rows.dtype.itemsize * rows.shape[1]}").ravel()
    return torch.tensor(sorted(range(len(texts)), key=lambda row: texts[row].tobytes()))


def packs(model: PreTrainedModel) -> bool:
    """Whether rows of this model can be packed: its attention is full, causal, and may be taken over."""
    config = model.config.get_text_config(decoder=True)
    layers = getattr(config, "layer_types", None)
    full = all(kind == "full_attention" for kind in layers) if layers else not _has_window(config)
    return (
        full
        and config._attn_implementation == "sdpa"
        and bool(model._supports_attention_backend)
        and "position_ids" in inspect.signature(model.forward).parameters
        # What is computed again in the backward pass would find no packing.
        and not any(getattr(part, "gradient_checkpointing", False) for part in model.modules())
    )


def _has_window(config: Any) -> bool:
    return any(getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size"))


_PACKING: ContextVar[Packing] = ContextVar("packing")
_NAME = "rows_apart"


def _attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, _: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    packing = _PACKING.get()
    rows = (packing.apart(held) for held in (query, key, value))
    found_BTHD, _ = sdpa_attention_forward(module, *rows, None, **options)
    return packing.joined(found_BTHD), None


AttentionInterface.register(_NAME, _attend)


@contextmanager
def packed(model: PreTrainedModel, packing: Packing) -> Iterator[None]:
    """Within it the model reads packed tokens."""
    config = model.config.get_text_config(decoder=True)
    # transformers makes no mask for a kind of attention that it does not know.
    config._attn_implementation = _NAME
    held = _PACKING.set(packing)
    try:
        yield
    finally:
        _PACKING.reset(held)
        config._attn_implementation = "sdpa"
