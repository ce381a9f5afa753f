"""Settings: structured values inside the fields of a node."""

from __future__ import annotations

from typing import Annotated

from harmony_compiler.graph.node import Rule, Settings, field
from harmony_compiler.graph.types import STR, ListOf
from harmony_compiler.graph.values import Percent

_WARMUP = "steps, or share of all steps, in which the rate rises from 0"
_FLOOR = "share of the peak at which the rate ends"


class Recipe(Settings):
    """What holds for a whole recipe: `recipe NAME { }`."""

    constructor = "recipe"

    seed: int = field(0, at_least=0, doc="seed of every stage that names none of its own")
    edition: int = field(1, doc="edition of the language in which the recipe is written")


class Cosine(Settings):
    """Rise linearly, then fall along half a cosine."""

    constructor = "cosine"

    warmup: int | Percent = field(Percent(10), at_least=0, doc=_WARMUP)
    floor: Percent = field(Percent(10), at_least=0, at_most=100, doc=_FLOOR)


class Linear(Settings):
    """Rise linearly, then fall linearly."""

    constructor = "linear"

    warmup: int | Percent = field(Percent(0), at_least=0, doc=_WARMUP)
    floor: Percent = field(Percent(0), at_least=0, at_most=100, doc=_FLOOR)


class Constant(Settings):
    """Rise linearly, then stay."""

    constructor = "constant"

    warmup: int | Percent = field(Percent(0), at_least=0, doc=_WARMUP)


Schedule = Cosine | Linear | Constant


class AdamW(Settings):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019)."""

    constructor = "adamw"

    beta1: float = field(0.9, at_least=0, below=1, doc="decay of the mean of the gradient")
    beta2: float = field(0.999, at_least=0, below=1, doc="decay of the mean of its square")
    eps: float = field(1e-8, above=0, doc="added to the root, against division by zero")


class Sampling(Settings):
    """How completions are drawn from a model."""

    constructor = "sampling"
    rules = (
        Rule(
            "stop",
            (),
            lambda stop: "" not in stop,
            "an empty text in `stop` would end every completion at once",
            "leave it out",
        ),
    )

    max_tokens: int = field(256, at_least=1, doc="tokens of a completion, its end token included")
    temperature: float = field(1.0, at_least=0, doc="logits are divided by it; 0 takes the likeliest token")
    top_p: float | None = field(
        None, above=0, at_most=1, doc="draw from the likeliest tokens that together have this probability"
    )
    top_k: int | None = field(None, at_least=1, doc="draw from so many of the likeliest tokens")
    stop: Annotated[tuple[str, ...], ListOf(STR)] = field((), doc="texts that end a completion, kept in it")
