"""Parameters after 20 steps of a stage as the runtime runs it, against those that TRL's trainer ends with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from harmony_compiler.graph.algorithms import Dpo, Sft
from harmony_compiler.graph.datasets import LiteralRows
from harmony_compiler.graph.graph import Graph, Origin
from harmony_compiler.graph.models import LocalModel
from harmony_compiler.graph.node import Node
from harmony_compiler.graph.outputs import Save
from harmony_compiler.graph.settings import Constant
from harmony_compiler.graph.values import Ref
from harmony_runtime.executor import run
from harmony_runtime.models.chars import chars_tokenizer
from harmony_runtime.quiet import silence_libraries
from harmony_runtime.watch import Silent
from parity.ours import installed, language_model, recording
from parity.table import Row

TOLERANCE = 1e-3
FEW_TOKENS = 80  # the longest pair of answers, each with its prompt, has fewer
MODEL, DATA, STAGE, SAVE = Ref("start"), Ref("data"), Ref("trained"), Ref("save")
COLUMNS = {"sft": ("prompt", "completion"), "dpo": ("prompt", "chosen", "rejected")}


def rows(losses: ModuleType) -> Iterator[Row]:
    """`losses` is our module, or a mutation of it."""
    for algorithm in COLUMNS:
        held = recording(algorithm)
        steps = held.facts["steps"]
        before, theirs = recording("start").tensors("policy"), held.tensors("after")
        for max_batch_tokens in (None, FEW_TOKENS):
            with TemporaryDirectory() as folder, installed(losses):
                ours = _trained(Path(folder), algorithm, steps, max_batch_tokens)
            case = f"{steps['steps']} steps{', in micro-batches' if max_batch_tokens else ''}"
            names = sorted(theirs)
            gap, way = (_norm(one, other, names) for one, other in ((ours, theirs), (theirs, before)))
            yield Row(algorithm, case, held.reference, "parameters", gap / way, TOLERANCE)
            each = max(_norm(ours, theirs, [name]) / _norm(theirs, before, [name]) for name in names)
            yield Row(algorithm, case, held.reference, "parameters, worst", each, TOLERANCE)


def _norm(one: dict[str, Tensor], other: dict[str, Tensor], names: list[str]) -> float:
    """‖one - other‖ over the tensors of these names."""
    return torch.cat([(one[name] - other[name]).double().flatten() for name in names]).norm().item()


def _trained(
    folder: Path, algorithm: str, steps: dict[str, Any], max_batch_tokens: int | None
) -> dict[str, Tensor]:
    silence_libraries()
    language_model().save_pretrained(folder / "start")
    chars_tokenizer().save_pretrained(folder / "start")
    columns = COLUMNS[algorithm]
    nodes: dict[Ref, Node] = {
        MODEL: LocalModel(path=str(folder / "start"), max_batch_tokens=max_batch_tokens),
        DATA: LiteralRows(
            items=tuple(dict(zip(columns, row, strict=True)) for row in steps["rows"]),
            seed=7,
            **{column: f"{{{{ {column} }}}}" for column in columns},
        ),
        STAGE: _stage(algorithm, steps),
        SAVE: Save(model=STAGE, key="trained"),
    }
    origins = {ref: Origin(str(ref), "parity.recipe", line) for line, ref in enumerate(nodes, 1)}
    run(
        Graph("parity", 7, nodes, (SAVE,), origins),
        folder / "out",
        watcher=Silent(),
        registry=folder / "home" / "models",
    )
    tensors: dict[str, Tensor] = load_file(folder / "home" / "models" / "trained" / "model.safetensors")
    return tensors


def _stage(algorithm: str, steps: dict[str, Any]) -> Node:
    """All rows in every step, so that no order matters."""
    shared = {
        "model": MODEL,
        "dataset": DATA,
        "seed": 7,
        "steps": steps["steps"],
        "lr": steps["lr"],
        "samples_per_batch": len(steps["rows"]),
        "schedule": Constant(),
        "max_grad_norm": 1.0,
        "weight_decay": 0.0,
    }
    return Sft(**shared) if algorithm == "sft" else Dpo(**shared, beta=steps["beta"])
