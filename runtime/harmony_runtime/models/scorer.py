"""What a language model thinks of given tokens."""

# Names of tensors end in their shape: B rows, T tokens, N tokens that count, D hidden units, V vocabulary.
# ruff: noqa: N803, N806

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from harmony_runtime.losses import token_logprobs
from harmony_runtime.models.packing import pack, packed, packs
from harmony_runtime.processes.mesh import Mesh


class Scorer(nn.Module):
    """A language model that gives log-probabilities, and works them out where they are asked for only.

    The output head is the largest part of a small model, and its logits the largest tensor of any: both are
    made for the tokens that count. Rows are padded on the right, where a causal model never looks back from,
    so there is no attention mask; and where the model allows it they are packed, so that there is no padding.
    """

    def __init__(self, model: PreTrainedModel, mesh: Mesh, dtype: str) -> None:
        super().__init__()
        self.model = model
        self._mesh = mesh
        self._dtype = dtype
        self._packs = mesh.whole and packs(model)

    @property
    def exact(self) -> bool:
        """Whether it computes in float32 or more."""
        return self.model.dtype in (torch.float32, torch.float64) and not self._mesh.computes_in_fewer_bits(
            self._dtype
        )

    def forward(self, ids_BT: Tensor, counted_BT: Tensor, temperature: float = 1.0) -> Tensor:
        """log p(token | tokens before it) of the counted tokens, of shape BT, at least float32; 0 elsewhere.

        Logits are divided by `temperature`, as they were when the tokens were drawn. A row's first token is
        never counted, since nothing predicts it.
        """
        counted = counted_BT[:, 1:]
        with self._mesh.arithmetic(self._dtype):
            logits_NV = self._logits(ids_BT, counted_BT)
        # They are nobody else's.
        logprobs_N = token_logprobs(logits_NV, ids_BT[:, 1:][counted], temperature, overwrite=True)
        logprobs_BT = logprobs_N.new_zeros(ids_BT.shape)
        logprobs_BT[:, 1:][counted] = logprobs_N
        return logprobs_BT

    def _logits(self, ids_BT: Tensor, counted_BT: Tensor) -> Tensor:
        """What predicts the counted tokens, row by row: of shape NV."""
        if not self._packs:
            with _head_for(self.model, lambda hidden_BTD: hidden_BTD[:, :-1][counted_BT[:, 1:]]):
                logits_1NV: Tensor = self.model(input_ids=ids_BT, use_cache=False).logits
            return logits_1NV.squeeze(0)
        packing = pack(ids_BT, counted_BT)
        with packed(self.model, packing), _head_for(self.model, packing.predicting):
            logits_1NV = self.model(
                input_ids=packing.ids_1N, position_ids=packing.positions_1N, use_cache=False
            ).logits
        return logits_1NV.squeeze(0)


@contextmanager
def _head_for(model: PreTrainedModel, chosen: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within it the output head sees the hidden states that `chosen` takes out and no others, as one row.

    By a hook, so that what some models do to their logits (caps, scales) stays theirs.
    """

    def choose(_: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden_BTD, *others = arguments
        return (chosen(hidden_BTD)[None], *others)

    hook = model.get_output_embeddings().register_forward_pre_hook(choose)
    try:
        yield
    finally:
        hook.remove()
