"""Values that a field can hold beyond Python's own: shares, durations, names of secrets, references."""

from __future__ import annotations

import math
from typing import NewType

from harmony_grammar.records import Record

Ref = NewType("Ref", str)
"""The id of another node of the same graph."""

SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


class Percent(Record):
    """A share as written: `Percent(10)` is 10 %."""

    value: int | float

    @property
    def share(self) -> float:
        return self.value / 100

    def of(self, whole: int) -> int:
        """This share of `whole` steps, rounded up."""
        return math.ceil(whole * self.value / 100)

    def __str__(self) -> str:
        return f"{self.value:g}%"


class Duration(Record):
    """A duration as written: `Duration(5, "min")`."""

    value: int | float
    unit: str

    @property
    def seconds(self) -> float:
        return self.value * SECONDS[self.unit]

    def __str__(self) -> str:
        return f"{self.value:g}{self.unit}"


class Secret(Record):
    """The name of an environment variable. The graph never holds what it contains."""

    name: str

    def __str__(self) -> str:
        return f'env("{self.name}")'
