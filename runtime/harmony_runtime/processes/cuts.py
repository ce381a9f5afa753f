"""Tensors that are cut: each process of a group holds a part of them. torch calls them DTensors.

The weights of a model are such tensors where several processes hold it together (see `mesh`). A part is a
plain tensor in the same memory, and so most rooms never see a cut; wholes are for what is written down.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor


def is_cut(tensor: Tensor) -> bool:
    """Whether this process holds a part only; a tensor that each holds whole, as a DTensor, is not cut."""
    return isinstance(tensor, DTensor) and any(placement.is_shard() for placement in tensor.placements)


def part(tensor: Tensor) -> Tensor:
    """What this process holds, in the same memory; of a plain tensor that itself."""
    return cast(DTensor, tensor.detach()).to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor. Every process of the group must ask."""
    return cast(DTensor, tensor.detach()).full_tensor() if isinstance(tensor, DTensor) else tensor


def part_of(tensor: Tensor, like: Tensor) -> Tensor:
    """Of a whole that every process has, or of a tensor cut in another way: the part that is held of
    `like`."""
    if not isinstance(like, DTensor):
        return tensor
    if isinstance(tensor, DTensor):
        return tensor.redistribute(placements=like.placements).to_local()
    here = tensor.to(like.device)
    # Each takes its part of its own: nothing is sent.
    split = torch.distributed.tensor.distribute_tensor(
        here, like.device_mesh, like.placements, src_data_rank=None
    )
    return split.to_local()


def joined(tensor: Tensor, like: Tensor) -> Tensor:
    """A part as the tensor that it is a part of, cut as `like` is."""
    if not isinstance(like, DTensor):
        return tensor
    return DTensor.from_local(
        tensor, like.device_mesh, like.placements, run_check=False, shape=like.shape, stride=like.stride()
    )


def norm(tensors: Iterable[Tensor]) -> Tensor:
    """The euclidean norm of many tensors as one, float32. The processes that hold parts must all ask."""
    tensors = list(tensors)
    cut = [tensor for tensor in tensors if is_cut(tensor)]
    plain = torch.nn.utils.get_total_norm([part(tensor) for tensor in tensors if not is_cut(tensor)])
    if not cut:
        return plain
    square = torch.nn.utils.get_total_norm([part(tensor) for tensor in cut]).square()
    # A tensor that every process holds whole counts once; of the others the squares add up.
    for group in cast(DTensor, cut[0]).device_mesh.get_all_groups():
        torch.distributed.all_reduce(square, group=group)
    return (square + plain.to(square.device).square()).sqrt()


def gathered(tree: Any, *, keep: bool) -> Any:
    """A tree of dicts, lists and tensors whose cut tensors are whole, on the CPU. Without `keep` None stands
    in their place, so that one process alone needs the room. Every process must ask."""
    match tree:
        case DTensor():
            found = whole(tree)
            return found.cpu() if keep else None
        case dict():
            return {key: gathered(value, keep=keep) for key, value in tree.items()}
        case list():
            return [gathered(value, keep=keep) for value in tree]
        case _:
            return tree


def fingerprint(tensors: Iterable[Tensor]) -> int:
    """The same for equal bits: a sum of them that no order of adding changes."""
    words = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return sum(
        int(tensor.detach().contiguous().view(words[tensor.element_size()]).sum(dtype=torch.int64))
        for tensor in tensors
    )
