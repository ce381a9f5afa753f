"""Checkpoints: trees of states as folders, without pickle.

A tree is made of dicts with string keys, lists, numbers, strings, booleans, None and tensors. Tensors go to
`tensors.safetensors` under the path that leads to them, the rest to `state.json`; `SHA256SUMS` is written
last. The folder is called by the position: `12` after twelve steps, `12.3` inside the thirteenth, where three
parts of it were done.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from harmony_runtime.disk.background import Background
from harmony_runtime.disk.folders import faults_of, growing, seal, whole
from harmony_runtime.failures import RunFailed
from harmony_runtime.processes import cuts

Tree = Any
_TENSOR = "tensor at"

LARGEST_STATE = 2**31
"""Bytes of a `state.json` that is read: it holds a step's completions at most."""


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


class Position(NamedTuple):
    """Where in a stage: so many steps are done, and so many parts of the next one."""

    step: int
    part: int = 0

    def __str__(self) -> str:
        return f"{self.step}.{self.part}" if self.part else str(self.step)

    @staticmethod
    def of(name: str) -> Position | None:
        """The position that a folder is called by; None where it is another folder."""
        numbers = name.split(".")
        if len(numbers) > 2 or not all(number.isdecimal() for number in numbers):
            return None
        return Position(*map(int, numbers))


class Series:
    """The checkpoints of a stage. One process alone writes.

    `torch.distributed.checkpoint` writes beside the training, too; its index is a pickle.
    """

    def __init__(self, folder: Path, keep: int, background: Background) -> None:
        """`keep` is how many are kept, the newest."""
        self._folder = folder
        self._keep = keep
        self._background = background

    def save(self, at: Position, tree: Tree) -> None:
        """Write a checkpoint beside the training, which may change its tensors at once.

        Raises:
            RunFailed: the one before could not be written.
        """
        self._background.wait()  # or there would be two copies of everything
        self._background.start("writing a checkpoint", partial(self._write, at, _snapshot(tree)))

    def newest(self) -> tuple[Tree | None, list[str]]:
        """The newest whole checkpoint; and what is wrong with newer ones, in words.

        Raises:
            RunFailed: there are checkpoints, and none is whole.
        """
        damaged: list[str] = []
        for _, folder in reversed(_in_order(self._folder)):
            if fault := faults_of(folder):
                damaged.append(f"{folder}: {fault}")
                continue
            return load(folder), damaged
        if damaged:
            raise RunFailed(
                f"no checkpoint is whole: {'; '.join(damaged)}. Remove {self._folder} to start that "
                "stage anew",
                exit_code=2,
            )
        return None, []

    def forget_after(self, at: Position) -> None:
        """Remove the checkpoints of later positions."""
        for position, folder in _in_order(self._folder):
            if position > at:
                _remove(folder)

    def _write(self, at: Position, tree: Tree) -> None:
        save(tree, self._folder / str(at))
        for _, folder in _in_order(self._folder)[: -self._keep]:
            _remove(folder)


def described(folder: Path) -> Tree | None:
    """The plain part of the newest checkpoint among a stage's that is whole; None where none is."""
    for _, place in reversed(_in_order(folder)):
        if not faults_of(place):
            return _plain(place)
    return None


def save(tree: Tree, folder: Path) -> None:
    """Write `tree`, of whole tensors; a checkpoint that stands there gives way when the new one is
    complete."""
    tensors: dict[str, torch.Tensor] = {}
    plain = _part(tree, "", tensors)
    with whole(folder, replace=True) as fresh:
        save_file(tensors, fresh / "tensors.safetensors")
        (fresh / "state.json").write_text(json.dumps(plain), encoding="utf-8")
        seal(fresh)


def load(folder: Path) -> Tree:
    """Read what `save` wrote."""
    try:
        return _join(_plain(folder), load_file(folder / "tensors.safetensors"))
    except (SafetensorError, ValueError, KeyError) as fault:
        raise RunFailed(
            f"the checkpoint {folder} cannot be read: {fault}. Remove that folder to go on from the one "
            "before, or to start its stage anew",
            exit_code=2,
        ) from fault


def _plain(folder: Path) -> Tree:
    with (folder / "state.json").open(encoding="utf-8") as file:
        return json.loads(file.read(LARGEST_STATE))


def _in_order(folder: Path) -> list[tuple[Position, Path]]:
    """A stage's checkpoints, the newest last."""
    places = folder.iterdir() if folder.is_dir() else ()
    return sorted((at, place) for place in places if (at := Position.of(place.name)) is not None)


def _remove(folder: Path) -> None:
    """At once for whoever looks, then file by file."""
    with growing(folder.parent) as gone:
        folder.rename(gone / folder.name)


def _snapshot(tree: Tree) -> Tree:
    """A tree that shares no memory with the training."""
    match tree:
        case torch.Tensor():
            return tree.detach().to("cpu", copy=True)
        case dict():
            return {key: _snapshot(value) for key, value in tree.items()}
        case list():
            return [_snapshot(value) for value in tree]
        case _:
            return tree


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
