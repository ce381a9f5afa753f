"""The table that `make parity` prints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass

import torch
from torch import Tensor

HEAD = ("algorithm", "case", "reference", "what", "measured", "tolerance", "")


@dataclass(frozen=True)
class Row:
    algorithm: str
    case: str
    reference: str
    what: str
    measured: float
    tolerance: float

    @property
    def ok(self) -> bool:
        """A measure that is no number is never within tolerance."""
        return self.measured <= self.tolerance

    def __str__(self) -> str:
        return f"{self.algorithm} · {self.case} · {self.reference} · {self.what}"


def largest(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference of two tensors; infinite where their shapes differ."""
    if ours.shape != theirs.shape:
        return float("inf")
    return (ours.double() - theirs.double()).abs().max().item() if ours.numel() else 0.0


def relative(ours: float, theirs: float) -> float:
    return abs(ours - theirs) / abs(theirs)


def farthest(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> float:
    """‖ours - theirs‖ / ‖theirs‖ of the tensor where that is largest; every tensor must have a norm."""
    if ours.keys() != theirs.keys():
        return float("inf")
    norms = {name: torch.linalg.vector_norm(held.double()) for name, held in theirs.items()}
    gaps = [torch.linalg.vector_norm(ours[name].double() - theirs[name].double()) for name in norms]
    return max((gap / norm).item() for gap, norm in zip(gaps, norms.values(), strict=True))


def printed(rows: Sequence[Row]) -> str:
    cells = [HEAD, *((*astuple(row)[:4], f"{row.measured:.1e}", f"{row.tolerance:.0e}",
                      "ok" if row.ok else "OUTSIDE") for row in rows)]  # fmt: skip
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEAD))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )


def summary(rows: Iterable[Row]) -> str:
    """For each algorithm, reference and tolerance, the largest measure."""
    groups: dict[tuple[str, str, float], list[float]] = {}
    for row in rows:
        groups.setdefault((row.algorithm, row.reference, row.tolerance), []).append(row.measured)
    return "\n".join(
        f"{algorithm:<5} against {reference:<12} {len(measures):3} rows, at most {max(measures):.1e} "
        f"of {tolerance:.0e}"
        for (algorithm, reference, tolerance), measures in groups.items()
    )
