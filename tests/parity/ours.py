"""Our side of a recorded case: the recorded weights, scored and trained by the runtime's own rooms."""

# Names of tensors end in their shape.

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, PreTrainedModel, Qwen3Config, Qwen3ForSequenceClassification

from harmony_compiler.graph.graph import ONE_DEVICE
from harmony_runtime.algorithms.gradients import Gradients
from harmony_runtime.algorithms.table import TRAININGS
from harmony_runtime.models.heads import Critic, Scalar
from harmony_runtime.models.scorer import Scorer
from harmony_runtime.processes.context import Context
from harmony_runtime.processes.mesh import Mesh

RECORDED = Path(__file__).parent / "recorded"
LOSSES = "harmony_runtime.losses"


class Recording:
    """One file of recorded/: facts and tensors."""

    def __init__(self, name: str) -> None:
        self.facts: dict[str, Any] = json.loads((RECORDED / f"{name}.json").read_text())
        self.reference = f"trl {self.facts['made_with']['trl']}"
        self._tensors: dict[str, Tensor] = load_file(RECORDED / f"{name}.safetensors")

    def tensors(self, folder: str) -> dict[str, Tensor]:
        """Those whose name begins with `folder/`, without that."""
        prefix = f"{folder}/"
        return {name[len(prefix) :]: held for name, held in self._tensors.items() if name.startswith(prefix)}


@cache
def recording(name: str) -> Recording:
    return Recording(name)


@cache
def mesh() -> Mesh:
    return Mesh(Context(ONE_DEVICE))


def language_model(name: str = "policy") -> PreTrainedModel:
    """`policy` or `reference`, in float32."""
    start = recording("start")
    model = AutoModelForCausalLM.from_config(Qwen3Config(**start.facts["config"]), dtype=torch.float32)
    missing, unknown = model.load_state_dict(start.tensors(name), strict=False)
    assert (missing, unknown) == (["lm_head.weight"], []), "the head is the embedding"
    return model.train()


def scorer(name: str = "policy") -> Scorer:
    return Scorer(language_model(name), mesh(), "float32")


def critic() -> Critic:
    start = recording("start")
    model = Qwen3ForSequenceClassification(Qwen3Config(**start.facts["config"], num_labels=1))
    model.load_state_dict(start.tensors("critic"))
    return Critic(Scalar(model.model, model.score), mesh(), "float32")


def padded(rows: Sequence[Sequence[Any]], dtype: torch.dtype | None = None) -> Tensor:
    """On the right, with zeros."""
    return pad_sequence([torch.tensor(row, dtype=dtype) for row in rows], batch_first=True)


def in_parts(rows: int, accumulation: int) -> Iterator[list[int]]:
    """The rows of each micro-batch: all as large."""
    size = rows // accumulation
    yield from (list(range(start, start + size)) for start in range(0, rows, size))


def updated(
    module: nn.Module, rows: int, accumulation: int, loss: Callable[[list[int]], Tensor]
) -> tuple[float, dict[str, Tensor]]:
    """The loss of an update and its gradients, added up over micro-batches as training does it; names of
    weights are those of transformers."""
    gradients = Gradients(mesh(), module)
    for part in gradients.over(list(in_parts(rows, accumulation))):
        gradients.add(loss(part))
    found = {name: held.grad for name, held in module.named_parameters() if held.grad is not None}
    return gradients.sums()["loss"], {_recorded_name(name): held for name, held in found.items()}


def _recorded_name(name: str) -> str:
    if name.startswith("scalar."):
        return name.replace("scalar.backbone.", "model.").replace("scalar.head.", "score.")
    return name.removeprefix("model.")


@contextmanager
def installed(losses: ModuleType) -> Iterator[None]:
    """Within it the whole runtime computes by `losses`, a mutation of our module."""
    assert TRAININGS, "every algorithm's module is loaded"
    with ExitStack() as patched:
        for place, module in list(sys.modules.items()):
            if not place.startswith("harmony_runtime.") or place == LOSSES:
                continue
            for name, held in list(vars(module).items()):
                if callable(held) and getattr(held, "__module__", None) == LOSSES:
                    patched.enter_context(mock.patch.object(module, name, getattr(losses, name)))
        yield
