"""Weights: made or read after a blueprint, and written as a folder that anybody can load."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, PreTrainedModel

from harmony_compiler.store.adapters import OWN_BASE
from harmony_runtime.chance import seeded_globally
from harmony_runtime.failures import RunFailed, machine_faults
from harmony_runtime.models import adapters
from harmony_runtime.models.blueprint import Blueprint
from harmony_runtime.models.origins import (
    Adapted,
    Base,
    Fresh,
    Grown,
    Merged,
    New,
    Origin,
    Pretrained,
    address,
    merged,
)
from harmony_runtime.models.reading import refuse_missing, unreadable
from harmony_runtime.models.scratch import initial_weights
from harmony_runtime.processes import cuts


def load(blueprint: Blueprint) -> PreTrainedModel:
    """The model, in the type of weights that its settings name. Where it carries an adapter, only that is
    trained."""
    with machine_faults(f"loading a model ({blueprint.place.removesuffix(': ')})"):
        model = _made(blueprint.weights, blueprint)
    model.generation_config = blueprint.generation
    if blueprint.settings.gradient_checkpointing:
        with warnings.catch_warnings():
            # It has a newer name, which the oldest versions that we take do not know.
            warnings.simplefilter("ignore", FutureWarning)
            model.gradient_checkpointing_enable({"use_reentrant": False})
    return model


def _made(origin: Origin, blueprint: Blueprint) -> PreTrainedModel:
    match origin:
        case New():
            return _new(origin, blueprint)
        case Pretrained():
            return _pretrained(origin, blueprint)
        case Grown(of=base, embeddings=embeddings):
            model = _made(base, blueprint)
            with seeded_globally(0, "new embeddings"):
                model.resize_token_embeddings(embeddings)
            return model
        case Fresh(base=base, lora=lora):
            return adapters.fresh(_made(base, blueprint), lora)
        case Adapted(base=base, folder=folder):
            return _read_adapter(adapters.read, base, folder, blueprint)
        case Merged(of=Adapted(base=base, folder=folder)):
            return _read_adapter(adapters.merge, base, folder, blueprint)


def _new(origin: New, blueprint: Blueprint) -> PreTrainedModel:
    try:
        model = initial_weights(origin.config, origin.seed, **_attention(blueprint))
    except (ImportError, ValueError) as fault:
        raise RunFailed(f"{blueprint.place}the model cannot be made: {fault}") from fault
    return model.to(blueprint.dtype)


def _pretrained(origin: Pretrained, blueprint: Blueprint) -> PreTrainedModel:
    named: list[str] = getattr(origin.config, "architectures", None) or []
    for name in named:
        if name.endswith("ForSequenceClassification"):
            # transformers would leave its head out, and put another one on.
            raise RunFailed(
                f"{blueprint.place}{origin.name} holds a {name}, which scores texts and writes none"
            )
    return pretrained(AutoModelForCausalLM, origin, blueprint)


def pretrained(kind: Any, origin: Pretrained, blueprint: Blueprint) -> PreTrainedModel:
    """The weights as they are, in a model of a kind that transformers calls `AutoModelFor…`.

    Raises:
        RunFailed: they cannot be read, or are not all of such a model.
    """
    try:
        model, report = kind.from_pretrained(
            origin.name,
            config=origin.config,
            dtype=blueprint.dtype,
            # A pickle is code of whoever wrote it: such weights are refused.
            use_safetensors=True,
            output_loading_info=True,
            **origin.options,
            **_attention(blueprint),
        )
    except (OSError, ValueError, ImportError, SafetensorError) as fault:
        raise RunFailed(unreadable(fault, "weights (safetensors)", origin.name, blueprint.place)) from fault
    except RuntimeError as fault:
        if "mismatch" not in str(fault):
            raise
        raise RunFailed(
            f"{blueprint.place}the weights in {origin.name} have other shapes than its configuration says"
        ) from fault
    refuse_missing(report, origin.name, blueprint.place)
    loaded: PreTrainedModel = model
    return loaded


def _read_adapter(
    read: Callable[[PreTrainedModel, Path], PreTrainedModel], base: Base, folder: Path, blueprint: Blueprint
) -> PreTrainedModel:
    model = _made(base, blueprint)
    try:
        return read(model, folder)
    except (OSError, ValueError, KeyError, SafetensorError) as fault:
        reason = str(fault).strip().partition("\n")[0]
        raise RunFailed(f"{blueprint.place}the adapter in {folder} cannot be read: {reason}") from fault
    except RuntimeError as fault:
        if "mismatch" not in str(fault):
            raise
        raise RunFailed(
            f"{blueprint.place}the adapter in {folder} has other shapes than its base: they do not belong "
            "together"
        ) from fault


def _attention(blueprint: Blueprint) -> dict[str, Any]:
    named = blueprint.settings.attention
    return {} if named == "auto" else {"attn_implementation": named}


def write(
    model: PreTrainedModel,
    blueprint: Blueprint,
    folder: Path,
    place: Path | None = None,
    passing: Sequence[Path] = (),
    *,
    tensors: dict[str, torch.Tensor] | None = None,
) -> str | None:
    """Weights as safetensors, configuration, generation settings, tokenizer and chat template.

    Of a model that carries an adapter that is the adapter, and its base where that has no lasting address:
    what stands in a folder of `passing` has none. `place` is where the folder will stand. Gives the address
    of the adapter's base, "" where it stands beside; None where there is no adapter. `tensors` are the
    weights, where the model's own are in parts: see `gathered`.
    """
    blueprint.tokenizer.save_pretrained(folder)
    if not isinstance(blueprint.weights, Adapted | Fresh):
        model.save_pretrained(folder, state_dict=tensors)
        return None
    blueprint.generation.save_pretrained(folder)
    base = blueprint.weights.base
    name, revision = address(base, passing) or ("", None)
    adapters.write(model, folder, name, revision)
    if not name:
        alone = load(replace(blueprint, weights=base))
        alone.save_pretrained(folder / OWN_BASE)
        blueprint.tokenizer.save_pretrained(folder / OWN_BASE)
        adapters.settle_base(folder, place or folder)
    return name


def gathered(model: PreTrainedModel, *, keep: bool) -> dict[str, torch.Tensor] | None:
    """The weights by name, where processes hold them in parts; else None. Every process must ask, and what
    those get that do not `keep` them is of no use."""
    named = model.state_dict()
    if not any(map(cuts.is_cut, named.values())):
        return None
    # A matrix with two names is one: else it would be written twice.
    wholes = {cuts.part(held).data_ptr(): name for name, held in reversed(named.items())}
    found = cuts.gathered({name: named[name] for name in named if name in wholes.values()}, keep=keep)
    return {name: found[wholes[cuts.part(held).data_ptr()]] for name, held in named.items()}


def write_saved(
    blueprint: Blueprint, folder: Path, *, merge: bool = False, passing: Sequence[Path] = ()
) -> tuple[Literal["full", "adapter", "merged"], str]:
    """Write a model that `save` names: what kind of weights that is, and `write`'s address of a base."""
    blueprint = blueprint.settled()
    carries = isinstance(blueprint.weights, Adapted | Fresh)
    if carries and merge:
        blueprint = replace(blueprint, weights=merged(blueprint.weights))
    base = write(load(blueprint), blueprint, folder, passing=passing)
    kind: Literal["full", "merged"] = "merged" if carries else "full"
    return (kind, "") if base is None else ("adapter", base)


def trained_parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


@contextmanager
def answering(model: torch.nn.Module) -> Iterator[None]:
    """Dropout is off; afterwards each module is as it was."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
