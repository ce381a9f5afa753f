"""Settings: structured values inside the fields of a node."""

from __future__ import annotations

from typing import Annotated, Literal

from harmony_compiler.graph import equations
from harmony_compiler.graph.node import RECIPE_SEED, ReadWith, Rule, Settings, field
from harmony_compiler.graph.types import STR, ListOf
from harmony_compiler.graph.values import Duration, Percent

_WARMUP = "steps, or share of all steps, in which the rate rises from 0"
_FLOOR = "share of the peak at which the rate ends"


class Recipe(Settings):
    """What holds for a whole recipe: `recipe NAME { }`."""

    constructor = "recipe"

    seed: int = field(0, at_least=0, doc="seed of every stage that names none of its own")
    edition: int = field(1, doc="edition of the language in which the recipe is written", examples=("1",))


class Cosine(Settings):
    """Rise linearly, then fall along half a cosine."""

    constructor = "cosine"
    formula = equations.COSINE

    warmup: int | Percent = field(Percent(10), at_least=0, doc=_WARMUP)
    floor: Percent = field(Percent(10), at_least=0, at_most=100, doc=_FLOOR)


class Linear(Settings):
    """Rise linearly, then fall linearly."""

    constructor = "linear"
    formula = equations.LINEAR

    warmup: int | Percent = field(Percent(0), at_least=0, doc=_WARMUP)
    floor: Percent = field(Percent(0), at_least=0, at_most=100, doc=_FLOOR)


class Constant(Settings):
    """Rise linearly, then stay."""

    constructor = "constant"
    formula = equations.CONSTANT

    warmup: int | Percent = field(Percent(0), at_least=0, doc=_WARMUP)


Schedule = Cosine | Linear | Constant


class AdamW(Settings):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019)."""

    constructor = "adamw"

    beta1: float = field(0.9, at_least=0, below=1, doc="decay of the mean of the gradient")
    beta2: float = field(0.999, at_least=0, below=1, doc="decay of the mean of its square")
    eps: float = field(1e-8, above=0, doc="added to the root, against division by zero")


class Lora(Settings):
    """Low-rank adapters (Hu et al., 2021): two thin matrices beside each chosen one are trained."""

    constructor = "lora"

    rank: int = field(16, at_least=1, doc="width of the thin matrices")
    alpha: float = field(32.0, above=0, doc="the adapter counts `alpha / rank` times")
    dropout: float = field(0.0, at_least=0, below=1, doc="share of inputs left out while training")
    targets: Annotated[tuple[str, ...], ListOf(STR)] | None = field(
        None,
        doc="names of the modules that get one; by default every linear layer of the blocks",
        examples=('["q_proj", "v_proj"]',),
    )
    seed: int = field(RECIPE_SEED, at_least=0, doc="seed of the initial values")


class Column(Settings):
    """A column of the data as it is: any JSON value, or a list of turns."""

    constructor = "column"
    argument = "name"
    reads = tuple(ReadWith(key, "transcript", (False,)) for key in ("role", "content", "roles"))

    name: str = field(doc="name of the column", examples=('"question"',))
    role: str = field("role", doc="in a list of turns: key of a turn's role", examples=('"role"',))
    content: str = field("content", doc="in a list of turns: key of a turn's text", examples=('"content"',))
    roles: dict[str, Literal["system", "user", "assistant", "tool"]] | None = field(
        None, doc="in a list of turns: what the data calls roles, each with its role"
    )
    transcript: bool = field(False, doc="the text is turns behind `Human:` and `Assistant:`")


class AllColumns(Settings):
    """Every column of the row."""

    constructor = "columns"


class Checkpoint(Settings):
    """When the state of a stage is kept, so that a killed run can go on."""

    constructor = "checkpoint"

    every: int | Percent | Duration = field(at_least=1, doc="steps, share of all steps, or time between two")
    keep: int = field(3, at_least=1, doc="how many are kept, the newest")


class EarlyStop(Settings):
    """End a stage when a metric has not become better for a while."""

    constructor = "early_stop"

    metric: str = field(doc="name of a metric, such as `validation_loss`", examples=('"grad_norm"',))
    patience: int = field(at_least=1, doc="validations without a better value before the stage ends")


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

    max_tokens: int = field(
        256, at_least=1, doc="tokens of a completion, its end token included", examples=("16", "256")
    )
    temperature: float = field(1.0, at_least=0, doc="logits are divided by it; 0 takes the likeliest token")
    top_p: float | None = field(
        None, above=0, at_most=1, doc="draw from the likeliest tokens that together have this probability"
    )
    top_k: int | None = field(None, at_least=1, doc="draw from so many of the likeliest tokens")
    stop: Annotated[tuple[str, ...], ListOf(STR)] = field((), doc="texts that end a completion, kept in it")
