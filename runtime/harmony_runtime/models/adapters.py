"""Low-rank adapters, through peft: found, put into a model, read and written.

peft puts its layers into the model itself, whose class and face stay what they were; whatever trains, samples
or counts a model sees only that fewer of its parameters are trained. The folder of an adapter is peft's own.

peft is imported where an adapter is: it takes seconds to load, and most runs have none.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.pytorch_utils import Conv1D
from transformers.utils import cached_file

from harmony_compiler.graph.settings import Lora
from harmony_compiler.store.adapters import CONFIG, OWN_BASE, WEIGHTS
from harmony_runtime.chance import seeded_globally
from harmony_runtime.failures import RunFailed

TRAINED = "default"
"""What peft calls the one adapter of a folder."""
STARTING = "reference"
"""The frozen copy of a trained adapter, as it was when a stage began."""


class Found(NamedTuple):
    """A folder with an adapter, and the base that it names."""

    folder: Path
    base: str
    revision: str | None


def find(name: str, revision: str | None, where: str) -> Found | None:
    """The adapter in a folder or a repository of the hub; None where it holds none.

    Raises:
        RunFailed: it holds one that cannot be used.
    """
    config = _file(name, CONFIG, revision)
    if config is None:
        return None
    folder = config.parent
    if _file(name, WEIGHTS, revision) is None:
        pickled = folder / "adapter_model.bin"
        found = f", and `{pickled.name}` is a pickle, which is never loaded" if pickled.exists() else ""
        raise RunFailed(f"{where}{name} holds no adapter as safetensors, {WEIGHTS}{found}")
    from peft import LoraConfig, PeftConfig

    try:
        with _quiet():
            settings = PeftConfig.from_pretrained(str(folder))
    except Exception as fault:  # peft reads files of any content, and raises whatever it leads to
        reason = str(fault).strip().partition("\n")[0]
        raise RunFailed(f"{where}{CONFIG} in {name} cannot be read: {reason}") from fault
    if not isinstance(settings, LoraConfig) or settings.megatron_config is not None:
        # The second would import what the file names.
        kind = "LoRA for Megatron" if isinstance(settings, LoraConfig) else settings.peft_type
        raise RunFailed(
            f"{where}{name} holds an adapter of the kind {kind}, and only plain LoRA adapters are loaded"
        )
    if (folder / OWN_BASE).is_dir():  # first of all: the folder may have been moved
        return Found(folder, str((folder / OWN_BASE).absolute()), None)
    base = settings.base_model_name_or_path
    if not base:
        raise RunFailed(
            f"{where}the adapter in {name} does not say what its base is: put that into "
            f"`base_model_name_or_path` of its {CONFIG}"
        )
    if Path(base).is_absolute() and not Path(base).is_dir():
        raise RunFailed(
            f"{where}the adapter in {name} stands beside the base {base}, and there is no such folder: put "
            f"the base there, or mend `base_model_name_or_path` in its {CONFIG}"
        )
    return Found(folder, base, settings.revision)


def _file(name: str, file: str, revision: str | None) -> Path | None:
    if Path(name).is_absolute():
        return Path(name, file) if Path(name, file).is_file() else None
    found = cached_file(
        name,
        file,
        revision=revision,
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return None if found is None else Path(found)


# --- in a model -----------------------------------------------------------------------------------------


def fresh(model: PreTrainedModel, lora: Lora) -> PreTrainedModel:
    """The model with a new adapter: trained is only that, and what the model says is what it said."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules="all-linear" if lora.targets is None else list(lora.targets),
        task_type="CAUSAL_LM",
    )
    with _quiet(), seeded_globally(lora.seed, "adapter"):
        return _inside(get_peft_model(model, config))


def read(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """The model with a trained adapter, which is what further training changes."""
    from peft import PeftModel

    with _quiet(), seeded_globally(0, "adapter"):  # peft fills it with random numbers before it reads
        return _inside(PeftModel.from_pretrained(model, str(folder), is_trainable=True))


def merge(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """The model with a trained adapter added to its weights."""
    from peft import PeftModel

    with _quiet(), seeded_globally(0, "adapter"):
        merged: PreTrainedModel = PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
    merged.requires_grad_(True)
    return merged


def _inside(wrapped: Any) -> PreTrainedModel:
    """The model itself, without peft's own one around it."""
    model: PreTrainedModel = wrapped.get_base_model()
    return model


def keep_starting_values(model: PreTrainedModel) -> None:
    """Put a second, frozen adapter beside the trained one, with its values of this moment."""
    from peft.functional import (
        get_peft_model_state_dict,
        inject_adapter_in_model,
        set_adapter,
        set_peft_model_state_dict,
    )

    with _quiet(), seeded_globally(0, "adapter"):
        inject_adapter_in_model(copy(model.peft_config[TRAINED]), model, STARTING)
    values = get_peft_model_state_dict(model, adapter_name=TRAINED, save_embedding_layers=False)
    set_peft_model_state_dict(model, {name: value.clone() for name, value in values.items()}, STARTING)
    set_adapter(model, TRAINED)


@contextmanager
def speaking(model: nn.Module, name: str | None) -> Iterator[None]:
    """Within it the model speaks with the adapter `name`, or with none."""
    from peft.functional import set_adapter

    set_adapter(model, [] if name is None else name, inference_mode=True)
    try:
        yield
    finally:
        set_adapter(model, TRAINED)


def refuse_unknown_targets(lora: Lora, config: Any, where: str, trust_remote_code: bool = False) -> None:
    """Refuse targets that a model of this configuration does not have.

    Raises:
        RunFailed: an adapter would go nowhere, or into a matrix that is also the embedding.
    """
    if lora.targets is None:
        return
    with torch.device("meta"):  # names and shapes, without weights
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    head = model.get_output_embeddings() if config.get_text_config().tie_word_embeddings else None
    there = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head
    ]
    unknown = [
        target
        for target in lora.targets
        if not any(name == target or name.endswith(f".{target}") for name in there)
    ]
    if unknown:
        names = dict.fromkeys(name.rpartition(".")[2] for name in there)
        raise RunFailed(
            f"{where}no module of the model that an adapter can stand beside is called "
            f"{' or '.join(f'`{name}`' for name in unknown)}: `targets` may name "
            f"{', '.join(f'`{name}`' for name in names)}"
        )


# --- as a folder ----------------------------------------------------------------------------------------


def write(model: PreTrainedModel, folder: Path, base: str, revision: str | None) -> None:
    """The trained adapter of a model as peft reads it, with the name of its base."""
    from peft.functional import get_peft_model_state_dict

    config = copy(model.peft_config[TRAINED])
    config.base_model_name_or_path, config.revision = base, revision
    config.inference_mode = True
    if isinstance(config.target_modules, set):  # sets have no order, and equal runs write equal files
        config.target_modules = sorted(config.target_modules)
    config.save_pretrained(str(folder))
    values = get_peft_model_state_dict(model, adapter_name=TRAINED, save_embedding_layers=False)
    tensors = {f"base_model.model.{name}": value.contiguous() for name, value in values.items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def settle_base(folder: Path, place: Path) -> list[str]:
    """Let an adapter in `folder` that brings its base name it where it will stand once the folder is `place`.
    Gives the files that say so.

    peft takes a relative path for one from the working directory.
    """
    if not (folder / OWN_BASE).is_dir():
        return []
    config = folder / CONFIG
    data = json.loads(config.read_text(encoding="utf-8"))
    data["base_model_name_or_path"] = str(place.absolute() / OWN_BASE)
    config.write_text(json.dumps(data, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return [CONFIG]


@contextmanager
def _quiet() -> Iterator[None]:
    """peft warns of what is meant: a second adapter, layers that are stored transposed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
