"""What the checker says of the layers of new models is what they have."""

from __future__ import annotations

import pytest
from runtime_support import tiny
from torch import nn
from transformers.pytorch_utils import Conv1D

from harmony_compiler.graph.models import CHARS_VOCABULARY, LINEAR_LAYERS
from harmony_runtime.models.scratch import initial_weights, scratch_config


@pytest.mark.parametrize("architecture", LINEAR_LAYERS)
def test_the_linear_layers_of_new_models(architecture: str) -> None:
    heads = {} if architecture == "gpt2" else {"kv_heads": 2}
    node = tiny(**{"kv_heads": None, **heads}, architecture=architecture)
    model = initial_weights(scratch_config(node, CHARS_VOCABULARY), 7)
    head = model.get_output_embeddings()
    found = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head
    }
    assert found == set(LINEAR_LAYERS[architecture])
