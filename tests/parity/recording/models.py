"""The small models whose losses are recorded. Every process and version makes the same ones."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel, Qwen3Config, Qwen3ForCausalLM, Qwen3ForSequenceClassification

SHAPE: dict[str, Any] = {
    "vocab_size": 103,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
    "attention_dropout": 0.0,
    # The built-in tokenizer's.
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
}


def language_model() -> PreTrainedModel:
    return _lively(Qwen3ForCausalLM(Qwen3Config(**SHAPE)), seed=1)


def critic() -> PreTrainedModel:
    return _lively(Qwen3ForSequenceClassification(Qwen3Config(**SHAPE, num_labels=1)), seed=2)


def moved(model: PreTrainedModel, seed: int, far: float) -> PreTrainedModel:
    """Each weight a little away: a reference, or the policy that drew."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=far)
    return model


def weights(model: torch.nn.Module, prefix: str = "") -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": parameter.detach().clone() for name, parameter in model.named_parameters()}


def gradients(model: torch.nn.Module, prefix: str = "") -> dict[str, torch.Tensor]:
    found = {}
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        found[f"{prefix}{name}"] = parameter.grad.detach().clone()
    return found


def _lively(model: PreTrainedModel, seed: int) -> PreTrainedModel:
    """With weights large enough that it is sure of some tokens and not of others."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            drawn = torch.randn(parameter.shape, generator=generator)
            if "norm" in name:
                parameter.copy_(1 + 0.1 * drawn)
            else:
                parameter.copy_(drawn * (0.4 if "embed" in name else 0.3))
    return model
