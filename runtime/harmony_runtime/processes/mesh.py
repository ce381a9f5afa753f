"""How the processes of a run share a model: copies of it, each on its own part of every batch.

A mesh has `ranks` copies, and this process works for copy number `rank`. A model's `tp` says how many
neighbouring processes hold one copy together, each a part of its matrices. Of six processes:

    process   0   1   2   3   4   5
    copy      0   1   2   3   4   5     tp = 1   each its own
    copy      0   0   1   1   2   2     tp = 2   matrices in halves

The processes of a copy see the same rows, draw the same tokens and take the same steps; the first of them,
which `leads`, speaks for the copy.

With `--shard` each process works for a copy of its own, and yet no process holds one: of every tensor each
keeps a part, and a layer is put together where and while it is computed. So each pass through a model is a
meeting of all (`in_step`), except where the model is put together for longer (`together`).

Everything under "What copies tell one another" must be called by all processes, in the same order.
"""

# Names of tensors end in their shape.
# ruff: noqa: N803, N806

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

from harmony_runtime.failures import RunFailed
from harmony_runtime.processes import cuts

if TYPE_CHECKING:
    from harmony_runtime.models.blueprint import Blueprint
    from harmony_runtime.processes.context import Context
    from harmony_runtime.processes.pulse import Pulse

T = TypeVar("T")
M = TypeVar("M", bound=nn.Module)


class Mesh:
    def __init__(self, context: Context, blueprint: Blueprint | None = None) -> None:
        """For a model and all others of its stage.

        Raises:
            RunFailed: the model cannot be shared as its settings and the launch say.
        """
        self._context = context
        self._place = blueprint.place if blueprint else ""
        self._tp = blueprint.settings.tp if blueprint else 1
        self._spread = context.shard
        _refuse(context, blueprint)
        self.device: torch.device = context.device
        self.ranks, self.rank = context.world_size // self._tp, context.rank // self._tp
        self.leads = context.rank % self._tp == 0
        """Whether this process is the first of its copy."""

    @property
    def pulse(self) -> Pulse:
        """That of this process."""
        return self._context.pulse

    @property
    def whole(self) -> bool:
        """Whether this process alone holds a copy."""
        return self._tp == 1

    def place(self, module: M) -> M:
        """A model as it was loaded, or what holds one, on the devices of its copy."""
        if self._tp == 1 and not self._spread:
            return module.to(self.device)
        self._assert_equal(module)
        from harmony_runtime.models import spreading

        if self._spread:
            return spreading.spread(module, self._context.devices(1)["copies"])
        return spreading.cut(module, self._context.devices(self._tp)["parts"], self._place)

    def prepare(self, module: nn.Module) -> nn.Module:
        """`module`, which holds a placed model, so that its copies share their gradients.

        Raises:
            RunFailed: they would not.
        """
        if self._tp > 1 or self._spread:
            return module
        prepared = self._context.prepare(module)
        if self.ranks > 1:
            self._arrange(prepared)
        return prepared

    def _arrange(self, prepared: nn.Module) -> None:
        """Let torch put the gradients into the order in which it will add them up over the copies.

        It does so after the first backward pass, and sums in another order are rounded in another way: a run
        that goes on would begin with the order that the run before left with its first step. So both begin
        with a pass over two tokens, of which nothing is kept.
        """
        ids_BT = torch.zeros(1, 2, dtype=torch.long, device=self.device)
        counted_BT = torch.tensor([[False, True]], device=self.device)
        with self.seeded(0, "arranging"):
            prepared(ids_BT, counted_BT).sum().backward()
        prepared.zero_grad(set_to_none=True)

    def accumulating(self, module: nn.Module, *, last: bool) -> AbstractContextManager[object]:
        """Around a micro-batch: gradients are averaged over the copies with an update's last one only."""
        if self._spread:
            return nullcontext()  # they are with each, so that nobody ever holds all of them
        if self._tp > 1:
            return self._averaging(module) if last else nullcontext()
        return self._context.accumulating(module, last=last)

    @contextmanager
    def _averaging(self, module: nn.Module) -> Iterator[None]:
        yield
        if self.ranks > 1:
            from harmony_runtime.models import spreading

            group = self._context.devices(self._tp)["copies"].get_group()
            spreading.average(module, group, self.ranks)

    def in_step(self, parts: Sequence[T]) -> list[tuple[T, bool]]:
        """This copy's parts of some work, and whether they count.

        Where a pass through a model is a meeting of all copies, one with fewer parts than another goes
        through its last one again, and that does not count.
        """
        found = [(part, True) for part in parts]
        if self._spread:
            found += [(parts[-1], False)] * (max(self.gather([len(parts)])) - len(parts))
        return found

    def together(self, module: nn.Module) -> AbstractContextManager[None]:
        """Within it this process may use the weights alone, and must not train them. All enter and leave it
        at the same time."""
        if not self._spread:
            return nullcontext()
        from harmony_runtime.models import spreading

        return spreading.together(module)

    def arithmetic(self, dtype: str) -> AbstractContextManager[object]:
        """Around a forward pass: see `Context.arithmetic`."""
        return self._context.arithmetic(dtype)

    def computes_in_fewer_bits(self, dtype: str) -> bool:
        """Whether `arithmetic` goes below float32."""
        return self._context.autocasts(dtype)

    def seeded(self, seed: int, purpose: str, step: int = 0) -> AbstractContextManager[None]:
        """torch's global generator is the named stream of this copy: for dropout."""
        return self._context.seeded(seed, f"{purpose} {self.rank}", step)

    def own(self, rows_B: Tensor) -> Tensor:
        """This copy's part of some rows."""
        return rows_B[self.rank :: self.ranks]

    # What copies tell one another.

    def sum(self, values: Mapping[str, float | Tensor]) -> dict[str, float]:
        """Each number summed over the copies."""
        if not values:
            return {}
        here = torch.stack([torch.as_tensor(value, dtype=torch.float64).cpu() for value in values.values()])
        return dict(zip(values, self.total(here).tolist(), strict=True))

    def total(self, tensor: Tensor) -> Tensor:
        """A tensor on the CPU summed over the copies."""
        return self._context.total(tensor if self.leads else torch.zeros_like(tensor))

    def gather(self, items: list[T]) -> list[T]:
        """The items of all copies, those of copy 0 first. They may be any Python objects."""
        return self._context.gather(items if self.leads else [])

    def _assert_equal(self, module: nn.Module) -> None:
        """Parts of different models make no model. (Of whole copies all take what the main process has.)"""
        found = self._context.gather([cuts.fingerprint(module.parameters())])
        if len(set(found)) > 1:
            raise RunFailed(
                f"{self._place}the processes of this run have loaded different weights: give all of them the "
                "same files, on machines of one kind",
                exit_code=2,
            )


def _refuse(context: Context, blueprint: Blueprint | None) -> None:
    """What `check` refuses where it knows the model, for the others."""
    if blueprint is None:
        return
    tp, place = blueprint.settings.tp, blueprint.place
    if context.world_size % tp:
        raise RunFailed(
            f"{place}`tp` = {tp} does not divide the world size of {context.world_size}: start more "
            "processes with `--num-processes`, or lower `tp`"
        )
    if context.shard and tp > 1:
        raise RunFailed(
            f"{place}`tp` = {tp} cuts the weights over devices, and so does `--shard`: leave one of them out"
        )
    if blueprint.carries_adapter and (tp > 1 or context.shard):
        how, mend = (f"`tp` = {tp}", "set `tp = 1`") if tp > 1 else ("`--shard`", "leave it out")
        raise RunFailed(
            f"{place}the model carries an adapter, which stands beside whole weights, and {how} cuts them: "
            f"{mend}, or merge the adapter with `adapter = none`"
        )
