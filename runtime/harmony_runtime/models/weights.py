"""Weights: made or read after a blueprint, and written as a folder that anybody can load."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, PreTrainedModel

from harmony_compiler.graph.models import ScratchModel
from harmony_runtime.context import DTYPES
from harmony_runtime.failures import RunFailed, machine_faults
from harmony_runtime.models.blueprint import Blueprint, unreadable
from harmony_runtime.models.scratch import initial_weights


def load(blueprint: Blueprint) -> PreTrainedModel:
    """The model, in the type of weights that its settings name."""
    settings, weights = blueprint.settings, blueprint.weights
    dtype = DTYPES[settings.dtype]
    options = {} if settings.attention == "auto" else {"attn_implementation": settings.attention}
    with machine_faults(f"loading a model ({blueprint.place.removesuffix(': ')})"):
        if isinstance(weights, ScratchModel):
            try:
                model = initial_weights(blueprint.config, weights.seed, **options).to(dtype)
            except (ImportError, ValueError) as fault:
                raise RunFailed(f"{blueprint.place}the model cannot be made: {fault}") from fault
        else:
            try:
                model, report = AutoModelForCausalLM.from_pretrained(
                    weights.name,
                    config=blueprint.config,
                    dtype=dtype,
                    # A pickle is code of whoever wrote it: such weights are refused.
                    use_safetensors=True,
                    output_loading_info=True,
                    **weights.options,
                    **options,
                )
            except (OSError, ValueError, ImportError, SafetensorError) as fault:
                raise RunFailed(
                    unreadable(fault, "weights (safetensors)", weights.name, blueprint.place)
                ) from fault
            except RuntimeError as fault:
                if "mismatch" not in str(fault):
                    raise
                raise RunFailed(
                    f"{blueprint.place}the weights in {weights.name} have other shapes than its "
                    "configuration says"
                ) from fault
            if missing := sorted(report["missing_keys"]):
                # transformers would fill them with random numbers and go on.
                raise RunFailed(
                    f"{blueprint.place}the weights in {weights.name} lack {len(missing)} tensors that the "
                    f"configuration asks for, such as `{missing[0]}`"
                )
    model.generation_config = blueprint.generation
    if settings.gradient_checkpointing:
        with warnings.catch_warnings():
            # It has a newer name, which the oldest versions that we take do not know.
            warnings.simplefilter("ignore", FutureWarning)
            model.gradient_checkpointing_enable({"use_reentrant": False})
    return model


def write(model: PreTrainedModel, blueprint: Blueprint, folder: Path) -> None:
    """Weights as safetensors, configuration, generation settings, tokenizer and chat template."""
    model.save_pretrained(folder)
    blueprint.tokenizer.save_pretrained(folder)


def trained_parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
