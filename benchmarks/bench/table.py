"""The arithmetic of the table, and what of it breaks a promise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.bench.cases import START_AIM, START_MUST, Case
from benchmarks.bench.floor import floor
from benchmarks.bench.pairs import Arrival, Measured

ALIKE = {"sft": 0.0, "dpo": 0.03}
"""How far the two sides' tokens of a step may lie apart, as a share. In SFT a block is the same rows;
pairs come in another order, and the first block is not counted."""
DRAWN_ALIKE = 3.0
"""Completions are drawn by chance: their tokens may lie apart by this over the root of their number, which is
three standard errors where lengths spread as widely as 0.7 of their mean."""
LOSSES_ALIKE = 0.01
"""How far the losses of SFT's first pass may lie apart: one is a mean over steps of means over tokens."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    measured: Measured
    floor: float

    @property
    def case(self) -> Case:
        return self.measured.case

    @property
    def faults(self) -> list[str]:
        """Promises that were not kept, and signs that the work was not the same."""
        return [f"{self.case.name}: {fault}" for fault in (*differences(self.measured), *self._slow())]

    def _slow(self) -> list[str]:
        ratio = self.measured.ratio
        return [f"{ratio:.2f} is below {self.case.must:g}"] if ratio < self.case.must else []


@dataclass(frozen=True)
class Start:
    """From the command to the first optimiser step."""

    algorithm: str
    peer: Sequence[Arrival]
    own: Sequence[Arrival]

    @property
    def seconds(self) -> tuple[list[float], list[float]]:
        """TRL's and ours."""
        return [one.seconds for one in self.peer], [one.seconds for one in self.own]

    @property
    def busy(self) -> tuple[float, float]:
        """Seconds of the threads' work: TRL's and ours."""
        return median(one.busy for one in self.peer), median(one.busy for one in self.own)

    @property
    def ratio(self) -> float:
        peer, own = self.seconds
        return median(peer) / median(own)

    @property
    def faults(self) -> list[str]:
        slow = self.ratio < START_MUST
        return [f"start of {self.algorithm}: {self.ratio:.2f} is below {START_MUST:g}"] if slow else []


def row(measured: Measured, rates: Mapping[str, float]) -> Row:
    own = measured.own
    counts = {what: own.a_step(what) for what in ("tokens", "trained_tokens", "completions")}
    return Row(measured, floor(measured.case, counts, rates))


def differences(measured: Measured) -> list[str]:
    """Where both sides did not do the same work."""
    peer, own = measured.peer, measured.own
    found = []
    for what, most in {
        **dict.fromkeys(("tokens", "trained_tokens"), alike(measured)),
        "completions": 0.0,
    }.items():
        theirs, ours = peer.a_step(what), own.a_step(what)
        if theirs and abs(theirs - ours) > most * ours:
            found.append(f"TRL has {theirs:.1f} {what.replace('_', ' ')} a step, harmonyc {ours:.1f}")
    # A log is a mean over steps, so rows in other steps give another one.
    if measured.case.algorithm == "sft" and "train_sampling_strategy" not in measured.case.peer:
        theirs, ours = first_losses(measured)
        if abs(theirs - ours) > LOSSES_ALIKE * abs(ours):
            found.append(f"the losses of the first pass are {theirs:.4f} and {ours:.4f}")
    return found


def alike(measured: Measured) -> float:
    """How far the two sides' tokens of a step may lie apart, as a share."""
    completions = sum(block.counts.get("completions", 0.0) for block in measured.own.blocks)
    return ALIKE.get(measured.case.algorithm) or (DRAWN_ALIKE / completions**0.5 if completions else 0.0)


def tokens(measured: Measured) -> tuple[float, float]:
    """Of a step, prompts included: TRL's and ours. TRL's trainer for GRPO says what it wrote only."""
    peer, own = measured.peer, measured.own
    more = peer.a_step("trained_tokens") - own.a_step("trained_tokens")
    return peer.a_step("tokens") or own.a_step("tokens") + more, own.a_step("tokens")


def first_losses(measured: Measured) -> tuple[float, float]:
    """TRL's and ours over the first pass over the rows, which is the same rows for both."""
    case = measured.case
    return measured.peer.loss(case.block // case.log_every), measured.own.loss(case.block)


def verdict(ratio: float, must: float, aim: float) -> str:
    """How a ratio stands against what was promised."""
    return "aim met" if ratio >= aim else "must met" if ratio >= must else "MISSED"


def start_verdict(start: Start) -> str:
    return verdict(start.ratio, START_MUST, START_AIM)
