"""Scalar heads: one number a token, on the hidden states of a language model.

A critic is a language model with a new head; a reward model is a checkpoint that was trained with one.
"""

# Names of tensors end in their shape: B rows, T tokens, D hidden units.
# ruff: noqa: N803, N806

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from harmony_runtime.chance import seeded_globally
from harmony_runtime.failures import RunFailed, machine_faults
from harmony_runtime.models import weights
from harmony_runtime.models.blueprint import Blueprint
from harmony_runtime.models.origins import Adapted, Fresh, Grown, Merged, New, Pretrained
from harmony_runtime.models.packing import pack, packed, packs
from harmony_runtime.processes.mesh import Mesh

FILE = "scalar_head.safetensors"


class Scalar(nn.Module):
    """A language model without its output head, and a linear layer that gives one number a token.

    The layer is kept and computed in float32, whatever the type of the weights below: values are regressed
    on, and 8 bits would not hold them apart.
    """

    def __init__(self, backbone: PreTrainedModel, head: nn.Linear) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head.float()

    def forward(self, input_ids: Tensor, **options: Tensor) -> Tensor:
        """float32 of shape BT. Rows that are padded on the right need no mask."""
        hidden_BTD = self.backbone(input_ids=input_ids, use_cache=False, **options).last_hidden_state
        with torch.autocast(hidden_BTD.device.type, enabled=False):
            values_BT: Tensor = self.head(hidden_BTD.float()).squeeze(-1)
        return values_BT

    def save_head(self, folder: Path) -> None:
        """The layer alone: what stands below it is a model like any other."""
        save_file({name: held.contiguous() for name, held in self.head.state_dict().items()}, folder / FILE)

    def load_head(self, folder: Path) -> None:
        """Read what `save_head` wrote."""
        try:
            self.head.load_state_dict(load_file(folder / FILE))
        except (OSError, RuntimeError, SafetensorError) as fault:
            reason = str(fault).strip().partition("\n")[0]
            raise RunFailed(f"the scalar head in {folder} cannot be read: {reason}") from fault


class Critic(nn.Module):
    """A scalar model that says of each token what is still to come, before that token is written.

    The counterpart of `Scorer`: rows are padded on the right, and packed where the model allows it.
    """

    def __init__(self, scalar: Scalar, mesh: Mesh, dtype: str) -> None:
        super().__init__()
        self.scalar = scalar
        self._mesh = mesh
        self._dtype = dtype
        self._packs = mesh.whole and packs(scalar.backbone)

    def forward(self, ids_BT: Tensor, counted_BT: Tensor) -> Tensor:
        """The values of the counted tokens, float32 of shape BT; 0 elsewhere.

        The value of a token is the number at the token before it. A row's first token has none, and is never
        counted; nobody asks for the number at the last one.
        """
        with self._mesh.arithmetic(self._dtype):
            if not self._packs:
                after_BT = self.scalar(ids_BT[:, :-1])
                return torch.where(counted_BT, F.pad(after_BT, (1, 0)), 0.0)
            packing = pack(ids_BT, counted_BT)
            with packed(self.scalar.backbone, packing):
                after_1N = self.scalar(packing.ids_1N, position_ids=packing.positions_1N)
        values_BT: Tensor = after_1N.new_zeros(ids_BT.shape)
        values_BT[counted_BT] = packing.predicting(after_1N[..., None]).squeeze(-1)
        return values_BT


def critic(blueprint: Blueprint, seed: int) -> Scalar:
    """A model with a new head: small random weights, the same for the same seed.

    Where the model carries an adapter, that and the head are trained.
    """
    model = weights.load(blueprint)
    size = model.config.get_text_config().hidden_size
    head = nn.Linear(size, 1)
    with seeded_globally(seed, "scalar head"):
        # Small, so that values begin at about 1 and not further off.
        nn.init.normal_(head.weight, std=1 / math.sqrt(size + 1))
    nn.init.zeros_(head.bias)
    return Scalar(_backbone(model), head)


def reward_model(blueprint: Blueprint) -> Scalar:
    """A checkpoint for the classification of sequences that has one label, which is the reward.

    Raises:
        RunFailed: it is something else, or cannot be read.
    """
    refuse_other(blueprint)
    assert isinstance(blueprint.weights, Pretrained)
    with machine_faults(f"loading a model ({blueprint.place.removesuffix(': ')})"):
        model = weights.pretrained(AutoModelForSequenceClassification, blueprint.weights, blueprint)
    head = getattr(model, "score", None)
    if not isinstance(head, nn.Linear):
        raise RunFailed(
            f"{blueprint.place}{type(model).__name__} keeps its head in a way that this version does not "
            "know",
            exit_code=2,
        )
    return Scalar(_backbone(model), head)


def refuse_other(blueprint: Blueprint) -> None:
    """Refuse what is no reward model, as far as that is known without weights."""
    where = blueprint.place
    match blueprint.weights:
        case New():
            raise RunFailed(
                f"{where}a new model's reward would be made of random numbers: name a trained reward model, "
                "with `hf(…)` or `local(…)`"
            )
        case Grown():
            raise RunFailed(
                f"{where}the tokenizer has more tokens than the reward model has embeddings: they do not "
                "belong together"
            )
        case Adapted() | Fresh() | Merged():
            raise RunFailed(
                f"{where}a reward model takes no adapter: merge it into the model (`merge_and_unload` of "
                "peft), and name the folder where that is saved"
            )
        case Pretrained(config=config) if not is_reward_model(config):
            raise RunFailed(
                f"{where}this is no reward model: its `config.json` must name a model for the classification "
                "of sequences with one label (`num_labels = 1`)"
            )


def is_reward_model(config: Any) -> bool:
    named = getattr(config, "architectures", None) or ()
    return any(name.endswith("ForSequenceClassification") for name in named) and config.num_labels == 1


def _backbone(model: PreTrainedModel) -> PreTrainedModel:
    """The network below the head."""
    backbone = getattr(model, model.base_model_prefix)
    assert isinstance(backbone, PreTrainedModel)
    return backbone
