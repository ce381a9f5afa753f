"""The reference of a stage: its model as it was when the stage began."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from transformers import PreTrainedModel

from harmony_runtime.models import adapters, weights
from harmony_runtime.models.blueprint import Blueprint
from harmony_runtime.models.origins import Adapted, Fresh


class Reference:
    """Lends a model that speaks as the trained one did at the stage's start.

    Where an adapter is trained it is the same model, so it costs no second copy of the weights: a fresh
    adapter changed nothing, so it is off meanwhile; of one that was trained before, the starting values are
    kept as a second, frozen adapter. Else it is a model of its own.

    It is made before training and before a checkpoint is restored: so a stage that goes on has the same one.
    """

    def __init__(self, model: PreTrainedModel, blueprint: Blueprint, device: torch.device) -> None:
        self._model: nn.Module = model
        self._adapter: str | None = None
        self._own = False
        match blueprint.weights:
            case Fresh():
                pass
            case Adapted():
                adapters.keep_starting_values(model)
                self._adapter = adapters.STARTING
            case _:
                self._model = weights.load(blueprint).to(device).eval()
                self._own = True

    @contextmanager
    def lent(self) -> Iterator[nn.Module]:
        """The model, without dropout and without gradients, for as long as the block lasts."""
        with torch.no_grad():
            if self._own:
                yield self._model
                return
            with weights.answering(self._model), adapters.speaking(self._model, self._adapter):
                yield self._model
