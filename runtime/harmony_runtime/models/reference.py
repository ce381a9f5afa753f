"""The reference of a stage: its model as it was when the stage began."""

# Names of tensors end in their shape: B rows, T tokens.
# ruff: noqa: N803

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel

from harmony_runtime.models import adapters, weights
from harmony_runtime.models.blueprint import Blueprint
from harmony_runtime.models.origins import Adapted, Fresh
from harmony_runtime.models.scorer import Scorer
from harmony_runtime.processes.mesh import Mesh


class Reference:
    """Scores tokens as the trained model would have done at the stage's start.

    Where an adapter is trained it is the same model, so it costs no second copy of the weights: a fresh
    adapter changed nothing, so it is off meanwhile; of one that was trained before, the starting values are
    kept as a second, frozen adapter. Else it is a model of its own.

    It is made before training and before a checkpoint is restored: so a stage that goes on has the same one.
    """

    def __init__(self, model: PreTrainedModel, blueprint: Blueprint, mesh: Mesh) -> None:
        self._adapter: str | None = None
        self._own = False
        match blueprint.weights:
            case Fresh():
                pass
            case Adapted():
                adapters.keep_starting_values(model)
                self._adapter = adapters.STARTING
            case _:
                model = mesh.place(weights.load(blueprint)).eval()
                self._own = True
        self._scorer = Scorer(model, mesh, blueprint.settings.dtype)

    @torch.no_grad()
    def logprobs(self, ids_BT: Tensor, counted_BT: Tensor, temperature: float = 1.0) -> Tensor:
        """What `Scorer` gives, without dropout and without gradients."""
        if self._own:
            return self._scorer.forward(ids_BT, counted_BT, temperature)
        model = self._scorer.model
        with weights.answering(model), adapters.speaking(model, self._adapter):
            return self._scorer.forward(ids_BT, counted_BT, temperature)

    def let_go(self) -> None:
        """Forget its own copy of the weights, where it has one: nobody will ask again."""
        if self._own:
            del self._scorer
