"""Small models with a will of their own, for the tests of rollouts."""

# Names of tensors end in their shape.
# ruff: noqa: N806

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from runtime_support import MODEL, graph_of, tiny

from harmony_compiler.graph.graph import ONE_DEVICE
from harmony_compiler.graph.models import ScratchModel
from harmony_compiler.graph.settings import Sampling
from harmony_runtime.models import weights
from harmony_runtime.models.blueprint import Blueprint, Blueprints
from harmony_runtime.processes.context import Context
from harmony_runtime.processes.mesh import Mesh
from harmony_runtime.rollout.engine import Completion
from harmony_runtime.rollout.local import LocalEngine

GREEDY = Sampling(temperature=0.0, max_tokens=12)
DRAWN = Sampling(max_tokens=12)

ENDS = [3, 20, 40, 60]
"""More than one, so that some completions end early."""


def blueprint_of(node: ScratchModel) -> Blueprint:
    blueprint = Blueprints(graph_of({MODEL: node}, ()), {}, Path("no registry")).of(MODEL)
    blueprint.generation.eos_token_id = ENDS
    return blueprint


def lively(architecture: str = "qwen3", **changes: Any) -> tuple[Any, Blueprint]:
    """A model whose weights are so large that it says many things, with its blueprint."""
    shape = {"architecture": architecture, "hidden_size": 32, "layers": 2, "heads": 4, "kv_heads": 2}
    if architecture == "gpt2":
        shape["kv_heads"] = None
    blueprint = blueprint_of(tiny(**(shape | changes)))
    model = weights.load(blueprint)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.mul_(20.0 if "wpe" in name or "embed" in name or "wte" in name else 8.0)
    return model, blueprint


def engine(model: Any, blueprint: Blueprint, **options: Any) -> LocalEngine:
    return LocalEngine(model, blueprint, Mesh(Context(ONE_DEVICE)), **options)


def mixed_prompts(count: int, longest: int = 20) -> list[list[int]]:
    generator = torch.Generator().manual_seed(5)
    lengths = torch.randint(1, longest + 1, (count,), generator=generator).tolist()
    return [torch.randint(0, 103, (length,), generator=generator).tolist() for length in lengths]


def tokens(completions: list[Completion]) -> list[list[int]]:
    return [completion.ids_T.tolist() for completion in completions]


def fresh_logprobs(model: Any, prompt: list[int], completion: Completion, temperature: float) -> torch.Tensor:
    """The log-probabilities of a completion by one forward of all of it, without a cache."""
    row = torch.tensor([prompt + completion.ids_T.tolist()])
    with torch.no_grad():
        logits_TV = model(input_ids=row, use_cache=False).logits[0].float() / temperature
    steps = torch.arange(len(prompt), row.shape[1])
    return logits_TV.log_softmax(-1)[steps - 1, row[0, steps]]
