"""One model on several devices: matrices in parts (tensor parallelism), or layers in parts (FSDP).

`cut` is for a model whose matrices do not fit, or for speed: each process multiplies with its part of every
matrix, after the plan that comes with the model's architecture. `spread` is for training: each process keeps
a part of every tensor and of what the optimiser remembers of it; a layer is put together while it computes.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel
from transformers.distributed.parallel_utils import ALL_PARALLEL_STYLES
from transformers.distributed.tensor_parallel import apply_tensor_parallelism

from harmony_runtime.failures import RunFailed

M = TypeVar("M", bound=nn.Module)

_BETWEEN = "replicated_with_grad_allreduce"
"""transformers' name for what stands between two cuts, such as the norms of heads: each process has it whole,
and works out its own heads' part of the gradient."""


def language_model(module: nn.Module) -> PreTrainedModel:
    """The model within what holds it, such as a critic."""
    return next(part for part in module.modules() if isinstance(part, PreTrainedModel))


def refuse_without_plan(model: PreTrainedModel, place: str) -> None:
    """Refuse what transformers does not know how to cut."""
    # The head alone is no plan: it would be the only matrix that is cut.
    if not any(".layers." in f".{name}" for name in model.tp_plan or ()):
        raise RunFailed(
            f"{place}`tp` cuts a model's matrices, and transformers has no plan for cutting a "
            f"{type(model).__name__}: set `tp = 1`, or take another architecture, such as `qwen3` or `llama`"
        )


def cut(module: M, devices: DeviceMesh, place: str) -> M:
    """`module` with its matrices in parts, one a device.

    Raises:
        RunFailed: its architecture brings no plan, or one that does not fit.
    """
    model = language_model(module)
    refuse_without_plan(model, place)
    plan = model._expand_parallel_plan(dict(model.tp_plan))
    aliases, between = _aliases(model), {name for name, how in plan.items() if how == _BETWEEN}
    apply_tensor_parallelism(
        model, devices, {name: how for name, how in plan.items() if name not in {*aliases, *between}}
    )
    for name, held in model.named_parameters():
        if name in between:
            _sum_gradients(held, devices)
    for alias, name in aliases.items():
        owner, _, key = alias.rpartition(".")
        if how := plan.get(alias):
            ALL_PARALLEL_STYLES[how].shard_param(model.get_submodule(owner), key, devices)
        if not _tie(model, alias, name):
            raise RunFailed(
                f"{place}`{alias}` and `{name}` are one matrix, and the plan of a {type(model).__name__} "
                "cuts it in two ways: set `tp = 1`",
                exit_code=2,
            )
    if not any(isinstance(held, DTensor) for held in model.parameters()):
        raise RunFailed(f"{place}nothing in a {type(model).__name__} was cut: set `tp = 1`", exit_code=2)
    return module.to(devices.device_type)


def _sum_gradients(held: nn.Parameter, devices: DeviceMesh) -> None:
    """A parameter's gradient is the sum of those that the processes of a copy find."""

    # transformers sums what has accumulated, and so with the second micro-batch the first one again.
    def summed(gradient: torch.Tensor) -> torch.Tensor:
        gradient = gradient.contiguous().clone()
        torch.distributed.all_reduce(gradient, group=devices.get_group())
        return gradient

    if held.requires_grad:
        held.register_hook(summed)  # type: ignore[no-untyped-call]


def _aliases(model: nn.Module) -> dict[str, str]:
    """The further names of parameters that have several, such as a head's that is tied, by their first."""
    first = {id(held): name for name, held in model.named_parameters()}
    every = model.named_parameters(remove_duplicate=False)
    return {name: first[id(held)] for name, held in every if first[id(held)] != name}


def _tie(model: nn.Module, alias: str, name: str) -> bool:
    """Let a further name stand for the same parts as the first; gives whether it was cut in the same way."""
    owner, _, key = alias.rpartition(".")
    module, tied = model.get_submodule(owner), model.get_parameter(name)
    own = module._parameters[key]
    module._parameters[key] = tied
    return getattr(own, "placements", None) == getattr(tied, "placements", None)


def spread(module: M, devices: DeviceMesh) -> M:
    """`module` with every tensor in parts, one a device: layer by layer, and the rest as one."""
    # torch says so of every linear layer that is a group of its own, and nobody changes what it gives.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module")
    model = language_model(module)
    layers = set(model._no_split_modules or ())
    for part in list(model.modules()):
        if type(part).__name__ in layers:
            fully_shard(part, mesh=devices, reshard_after_forward=True)
    for part in [*module.children()] if module is not model else []:
        # Whatever stands beside the model may have another type of numbers, and a group has one.
        fully_shard(part, mesh=devices, reshard_after_forward=True)
    fully_shard(module, mesh=devices, reshard_after_forward=False)
    _put_together(module)  # once, so that each part is where it stays
    _take_apart(module)
    return module


@contextmanager
def together(module: nn.Module) -> Iterator[None]:
    """Within it a spread model is whole on every device, and no pass through it is a meeting."""
    groups = _groups(module)
    if not groups:
        yield
        return
    for group in groups:
        group.set_reshard_after_forward(False, recurse=False)
    _put_together(module)
    try:
        yield
    finally:
        _take_apart(module)
        for group in groups[1:]:  # the first holds the others, and stays together for the backward pass
            group.set_reshard_after_forward(True, recurse=False)


def _groups(module: nn.Module) -> list[FSDPModule]:
    return [part for part in module.modules() if isinstance(part, FSDPModule)]


def _put_together(module: nn.Module) -> None:
    for group in _groups(module):
        group.unshard()


def _take_apart(module: nn.Module) -> None:
    for group in _groups(module):
        group.reshard()


def average(module: nn.Module, group: Any, copies: int) -> None:
    """Each gradient becomes the mean over the copies of a model that is cut."""
    for held in module.parameters():
        if not held.requires_grad:
            continue
        gradient = torch.zeros_like(held) if held.grad is None else held.grad
        held.grad = gradient
        here = gradient.to_local() if isinstance(gradient, DTensor) else gradient
        torch.distributed.all_reduce(here, group=group)
        here /= copies
