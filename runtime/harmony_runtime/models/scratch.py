"""New, untrained models."""

from __future__ import annotations

from typing import Any

from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, PreTrainedModel, Qwen3Config

from harmony_compiler.graph.models import ScratchModel
from harmony_runtime.chance import seeded_globally


def scratch_config(node: ScratchModel, vocabulary: int) -> Any:
    """The configuration of the network; `vocabulary` is the tokenizer's size."""
    size = vocabulary if node.vocab_size is None else node.vocab_size
    # The special tokens stand in the generation config; here they would only change the initial weights
    # (a padding row of the embedding is zeroed).
    shared = {
        "vocab_size": size,
        "tie_word_embeddings": node.tied,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }
    if node.architecture == "gpt2":
        return GPT2Config(
            n_embd=node.hidden_size,
            n_layer=node.layers,
            n_head=node.heads,
            n_positions=node.context,
            n_inner=node.mlp_size,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            summary_first_dropout=0.0,
            **shared,
        )
    family = Qwen3Config if node.architecture == "qwen3" else LlamaConfig
    return family(
        hidden_size=node.hidden_size,
        num_hidden_layers=node.layers,
        num_attention_heads=node.heads,
        num_key_value_heads=node.kv_heads,
        head_dim=node.hidden_size // node.heads,
        intermediate_size=node.mlp_size,
        max_position_embeddings=node.context,
        attention_dropout=0.0,
        **shared,
    )


def initial_weights(config: Any, seed: int, **options: Any) -> PreTrainedModel:
    """The network with fresh weights in float32: the same for the same seed, whatever ran before."""
    with seeded_globally(seed, "weights"):
        return AutoModelForCausalLM.from_config(config, **options)
