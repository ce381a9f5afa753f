"""Checkpoints: a tree of states as a folder, without pickle.

A tree is made of dicts with string keys, lists, numbers, strings, booleans, None and tensors. Tensors go to
`tensors.safetensors` under the path that leads to them, the rest to `state.json`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from harmony_runtime import cuts
from harmony_runtime.failures import RunFailed
from harmony_runtime.folders import whole

Tree = Any
_TENSOR = "tensor at"


class Remembers(Protocol):
    """A room whose state belongs into a checkpoint. Tensors that processes hold in parts stay cut in it, and
    come back whole."""

    def state(self) -> Tree: ...

    def restore(self, state: Tree) -> None: ...


class Weights:
    """A model's trained weights, as something that remembers. Tied weights are kept once; frozen ones stand
    where the model was loaded from."""

    def __init__(self, model: torch.nn.Module) -> None:
        trained = {name: held for name, held in model.named_parameters() if held.requires_grad}
        kept = set(model.state_dict())
        buffers = {name: held for name, held in model.named_buffers() if name in kept}
        self._tensors: dict[str, torch.Tensor] = trained | buffers

    def state(self) -> Tree:
        return {name: tensor.detach() for name, tensor in self._tensors.items()}

    @torch.no_grad()
    def restore(self, state: Tree) -> None:
        for name, tensor in self._tensors.items():
            cuts.part(tensor).copy_(cuts.part_of(state[name], like=tensor))


def save(tree: Tree, folder: Path) -> None:
    """Write `tree`, of whole tensors; a checkpoint that stands there gives way when the new one is
    complete."""
    tensors: dict[str, torch.Tensor] = {}
    plain = _part(tree, "", tensors)
    with whole(folder, replace=True) as growing:
        save_file(tensors, growing / "tensors.safetensors")
        (growing / "state.json").write_text(json.dumps(plain), encoding="utf-8")


def load(folder: Path) -> Tree:
    """Read what `save` wrote."""
    try:
        plain = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        return _join(plain, load_file(folder / "tensors.safetensors"))
    except (SafetensorError, ValueError, KeyError) as fault:
        raise RunFailed(
            f"the checkpoint {folder} is damaged: {fault}. Remove that folder to start its stage anew",
            exit_code=2,
        ) from fault


def _part(tree: Tree, path: str, tensors: dict[str, torch.Tensor]) -> Tree:
    match tree:
        case torch.Tensor():
            tensors[path] = tree.contiguous()
            return {_TENSOR: path}
        case dict():
            return {key: _part(value, f"{path}/{key}", tensors) for key, value in tree.items()}
        case list():
            return [_part(value, f"{path}/{number}", tensors) for number, value in enumerate(tree)]
        case _:
            return tree


def _join(plain: Tree, tensors: dict[str, torch.Tensor]) -> Tree:
    match plain:
        case {"tensor at": str(path)}:
            return tensors[path]
        case dict():
            return {key: _join(value, tensors) for key, value in plain.items()}
        case list():
            return [_join(value, tensors) for value in plain]
        case _:
            return plain
