"""Keys and values of what a model has read, in buffers that are made once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer


class Buffered(DynamicLayer):  # type: ignore[misc]
    """A full-attention layer with room for `length` tokens.

    It takes the prompts as they are; `reorder_cache` gives each completion a copy of its prompt's part in a
    buffer of the whole length, into which each step writes its token. Read is only what was written.
    """

    def __init__(self, length: int) -> None:
        super().__init__()
        self._length = length
        self._buffers: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        if self._buffers is None:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = key_states, value_states
        else:
            start = self.get_seq_length()
            self._write(self._buffers, start, key_states, value_states)
        return self.keys, self.values

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """The rows of these numbers, each as often as it is named."""
        keys, values = self.keys[beam_idx], self.values[beam_idx]
        shape = (*keys.shape[:2], self._length)
        self._buffers = (
            keys.new_empty(*shape, keys.shape[-1]),
            values.new_empty(*shape, values.shape[-1]),
        )
        self._write(self._buffers, 0, keys, values)

    def _write(self, buffers: tuple[Tensor, Tensor], start: int, keys: Tensor, values: Tensor) -> None:
        end = start + keys.shape[-2]
        self.keys, self.values = (buffer[:, :, :end] for buffer in buffers)
        self.keys[:, :, start:] = keys
        self.values[:, :, start:] = values


def cache_for(config: Any, length: int) -> Cache:
    """A cache for sequences of at most `length` tokens; layers that are no plain full attention grow as
    transformers lets them."""
    layers = DynamicCache(config=config).layers
    return Cache(layers=[Buffered(length) if type(layer) is DynamicLayer else layer for layer in layers])


def bytes_a_token(model: PreTrainedModel) -> int:
    """What one token of one sequence takes in the cache, by the model's configuration."""
    config = model.config.get_text_config(decoder=True)
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    itemsize: int = torch.empty((), dtype=model.dtype).element_size()
    return int(2 * config.num_hidden_layers * heads * size * itemsize)
