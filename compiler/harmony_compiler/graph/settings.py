"""Settings: structured values inside the fields of a node."""

from __future__ import annotations

from dataclasses import dataclass

from harmony_compiler.graph.node import Settings, field
from harmony_compiler.graph.values import Percent

_WARMUP = "steps, or share of all steps, in which the rate rises from 0"
_FLOOR = "share of the peak at which the rate ends"


@dataclass(frozen=True, kw_only=True)
class Recipe(Settings):
    """What holds for a whole recipe: `recipe NAME { }`."""

    constructor = "recipe"

    seed: int = field(0, at_least=0, doc="seed of every stage that names none of its own")
    edition: int = field(1, doc="edition of the language in which the recipe is written")


@dataclass(frozen=True, kw_only=True)
class Cosine(Settings):
    """Rise linearly, then fall along half a cosine."""

    constructor = "cosine"

    warmup: int | Percent = field(Percent(10), at_least=0, doc=_WARMUP)
    floor: Percent = field(Percent(10), at_least=0, at_most=100, doc=_FLOOR)


@dataclass(frozen=True, kw_only=True)
class Linear(Settings):
    """Rise linearly, then fall linearly."""

    constructor = "linear"

    warmup: int | Percent = field(Percent(0), at_least=0, doc=_WARMUP)
    floor: Percent = field(Percent(0), at_least=0, at_most=100, doc=_FLOOR)


@dataclass(frozen=True, kw_only=True)
class Constant(Settings):
    """Rise linearly, then stay."""

    constructor = "constant"

    warmup: int | Percent = field(Percent(0), at_least=0, doc=_WARMUP)


Schedule = Cosine | Linear | Constant


@dataclass(frozen=True, kw_only=True)
class AdamW(Settings):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019)."""

    constructor = "adamw"

    beta1: float = field(0.9, at_least=0, below=1, doc="decay of the mean of the gradient")
    beta2: float = field(0.999, at_least=0, below=1, doc="decay of the mean of its square")
    eps: float = field(1e-8, above=0, doc="added to the root, against division by zero")
