"""The catalogue: every constructor of the language, and what is named in it but not built yet."""

from __future__ import annotations

from functools import cache

from harmony_compiler.graph.algorithms import Grpo, Sft
from harmony_compiler.graph.datasets import JsonLines, LiteralRows
from harmony_compiler.graph.evaluations import Compare
from harmony_compiler.graph.graders import Combination, Contains, Equals, Formula, Matches
from harmony_compiler.graph.models import HubModel, LocalModel, RegistryModel, Reloaded, ScratchModel
from harmony_compiler.graph.node import Constructor, schema
from harmony_compiler.graph.outputs import Save
from harmony_compiler.graph.settings import AdamW, Constant, Cosine, Linear, Recipe, Sampling

CONSTRUCTORS: tuple[type[Constructor], ...] = (
    HubModel,
    LocalModel,
    RegistryModel,
    ScratchModel,
    JsonLines,
    LiteralRows,
    Cosine,
    Linear,
    Constant,
    AdamW,
    Sampling,
    Equals,
    Contains,
    Matches,
    Sft,
    Grpo,
    Compare,
)
"""What recipes construct by name."""

INTERNAL: tuple[type[Constructor], ...] = (Recipe, Reloaded, Formula, Combination, Save)
"""What recipes make by other syntax: `recipe NAME { }`, `warm { tp = 2 }`, `save … as …`."""

LATER = frozenset(
    {
        *("endpoint", "csv", "parquet", "json", "mix", "column", "columns", "lora"),
        *("one_of", "json_valid", "length", "math_equals", "code_passes"),
        *("instructions", "judge", "reward_model", "remote", "python"),
        *("dpo", "ppo", "validation", "checkpoint", "early_stop"),
    }
)
"""Constructors of the language without a node class yet."""

LATER_DATASETS = frozenset({"hf", "registry"})
"""Constructors that make a model today, and later a dataset where one is asked for."""

_LATER_FIELDS = {
    "model": "adapter template_args generation_prompt",
    "dataset": "messages chosen rejected filter columns",
    "algorithm": "validation checkpoint early_stop metrics log_samples trackers",
    "grader": "timeout retries concurrency",
    "save": "merge",
}


@cache
def constructors_named(name: str) -> tuple[type[Constructor], ...]:
    """Every constructor of this name: `hf` and `registry` make a model or a dataset by their place."""
    return tuple(cls for cls in CONSTRUCTORS if cls.constructor == name)


@cache
def constructor_names() -> frozenset[str]:
    return frozenset(cls.constructor for cls in CONSTRUCTORS)


@cache
def class_of(constructor: str) -> type[Constructor]:
    """The class that a graph names."""
    return {cls.constructor: cls for cls in (*CONSTRUCTORS, *INTERNAL)}[constructor]


def later_fields(cls: type[Constructor]) -> frozenset[str]:
    """Fields of the language that `cls` will take and does not yet."""
    known = schema(cls)
    family = (
        "model" if "tp" in known
        else "dataset" if "on_too_long" in known
        else "algorithm" if "max_grad_norm" in known
        else "grader" if "on_failure" in known
        else "save" if "if_exists" in known
        else ""
    )  # fmt: skip
    return frozenset(_LATER_FIELDS.get(family, "").split())
