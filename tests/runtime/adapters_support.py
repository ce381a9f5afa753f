"""What the tests of adapters share: a small adapter, two stages, and how to look at both."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from reinforcement_support import GRADERS, PROMPTS, grpo
from runtime_support import (
    DATA,
    MODEL,
    SAVE,
    STAGE,
    Ref,
    graph_of,
    sft,
    sums,
)
from safetensors.torch import load_file

from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.models import LoadSettings
from harmony_compiler.graph.node import Node
from harmony_compiler.graph.outputs import Save
from harmony_compiler.graph.settings import Lora
from harmony_runtime.models import adapters
from harmony_runtime.models.blueprint import Blueprint, Blueprints

LORA = Lora(rank=4, alpha=8.0, seed=7)
IDS = torch.arange(8, 40)[None]

SECOND, OTHER = Ref("second"), Ref("other")


def adapter_in(folder: Path) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = load_file(folder / adapters.WEIGHTS)
    return tensors


def equal(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(IDS).logits
    return found


def stage_of(summary: Any, number: int, out: Path) -> Path:
    return out / "stages" / summary.stages[number].identity


def blueprint_of(node: LoadSettings, registry: Path | None = None) -> Blueprint:
    return Blueprints(graph_of({MODEL: node}, (MODEL,)), {}, registry or Path("/nowhere")).of(MODEL)


def chain(first: LoadSettings, second: LoadSettings | None, **saved: Any) -> Graph:
    """Two stages, the second from the first, loaded as `second` says."""
    nodes: dict[Ref, Node] = {MODEL: first, DATA: sums(), STAGE: sft(steps=3)}
    if second is not None:
        nodes[OTHER] = second
    nodes[SECOND] = sft(model=STAGE if second is None else OTHER, steps=3)
    nodes[SAVE] = Save(**({"model": SECOND, "key": "small"} | saved))
    return graph_of(nodes, (SAVE,))


def reinforced(model: LoadSettings, between: LoadSettings | None = None, **changes: Any) -> Graph:
    """`sft`, then `grpo` against the weights at its own start."""
    prompts = sums(completion=None, metadata={"answer": "{{ a }}"})
    nodes: dict[Ref, Node] = {MODEL: model, DATA: sums(), STAGE: sft(steps=3), PROMPTS: prompts, **GRADERS}
    if between is not None:
        nodes[OTHER] = between
    settings = {"model": STAGE if between is None else OTHER, "kl_beta": 0.1, "steps": 3}
    nodes[SECOND] = grpo(**(settings | changes))
    return graph_of(nodes, (SECOND,))
