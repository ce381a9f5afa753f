"""An update's gradients, micro-batch by micro-batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from torch import Tensor, nn

from harmony_runtime.processes.mesh import Mesh

Part = TypeVar("Part")


class Gradients:
    """Adds up what the micro-batches of an update say, those of this copy and of the others.

    gradients = Gradients(mesh, module)
    for part in gradients.over(parts):
        …
        gradients.add(loss, clipped=…)
    sums = gradients.sums()
    """

    def __init__(self, mesh: Mesh, module: nn.Module) -> None:
        """`module` is what `mesh.prepare` gave, and what computes the losses."""
        self._mesh = mesh
        self._module = module
        self._sums: dict[str, Tensor] = {}
        self._counts = True

    def over(self, parts: Sequence[Part]) -> Iterator[Part]:
        """This copy's micro-batches; with the last one the copies share their gradients."""
        rounds = self._mesh.in_step(parts)
        for number, (part, self._counts) in enumerate(rounds, 1):
            last = number == len(rounds)
            shared = ", to be shared with the other processes" if last and self._mesh.ranks > 1 else ""
            at = self._mesh.pulse.doing(f"gradients of micro-batch {number} of {len(rounds)}{shared}")
            with at, self._mesh.accumulating(self._module, last=last):
                yield part

    def add(self, loss: Tensor, **others: Tensor) -> None:
        """A micro-batch's loss, weighted so that all of them add up to the update's; and other scalars that
        add up."""
        # Copies average their gradients, and the weights have divided already.
        (loss * (self._mesh.ranks * self._counts)).backward()  # type: ignore[no-untyped-call]
        if not self._counts:
            return
        for name, scalar in {"loss": loss, **others}.items():
            held = scalar.detach().double()
            self._sums[name] = self._sums[name] + held if name in self._sums else held

    def sums(self) -> dict[str, float]:
        """Of all micro-batches of all copies. Every process must ask."""
        return self._mesh.sum(self._sums)
