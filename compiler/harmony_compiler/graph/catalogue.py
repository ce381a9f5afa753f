"""The catalogue: every constructor of the language."""

from __future__ import annotations

from functools import cache

from harmony_compiler.graph.algorithms import Dpo, Grpo, Ppo, Sft
from harmony_compiler.graph.datasets import (
    Csv,
    HubRows,
    Json,
    JsonLines,
    LiteralRows,
    Mix,
    Parquet,
    RegistryRows,
)
from harmony_compiler.graph.evaluations import Compare
from harmony_compiler.graph.graders import (
    CodePasses,
    Combination,
    Contains,
    Equals,
    Formula,
    Instructions,
    JsonValid,
    Judge,
    Length,
    Matches,
    MathEquals,
    OneOf,
    PythonGrader,
    RegistryGrader,
    Remote,
    RewardModel,
)
from harmony_compiler.graph.measures import Validation
from harmony_compiler.graph.models import (
    Endpoint,
    HubModel,
    LocalModel,
    RegistryModel,
    Reloaded,
    ScratchModel,
)
from harmony_compiler.graph.node import Constructor, tag_of
from harmony_compiler.graph.outputs import Save
from harmony_compiler.graph.settings import (
    AdamW,
    AllColumns,
    Checkpoint,
    Column,
    Constant,
    Cosine,
    EarlyStop,
    Linear,
    Lora,
    Recipe,
    Sampling,
)

MODELS = (HubModel, LocalModel, RegistryModel, ScratchModel, Endpoint)
DATASETS = (JsonLines, Json, Csv, Parquet, LiteralRows, HubRows, RegistryRows, Mix)
GRADERS = (
    *(Equals, Contains, Matches, OneOf, JsonValid, Length, MathEquals, CodePasses, Instructions),
    *(Judge, RewardModel, Remote, PythonGrader, RegistryGrader),
)
ALGORITHMS = (Sft, Dpo, Grpo, Ppo)
SETTINGS = (
    *(Lora, Column, AllColumns, Cosine, Linear, Constant, AdamW, Sampling),
    *(Validation, Checkpoint, EarlyStop),
)

CONSTRUCTORS: tuple[type[Constructor], ...] = (
    *MODELS,
    *DATASETS,
    *GRADERS,
    *ALGORITHMS,
    Compare,
    *SETTINGS,
)
"""What recipes construct by name."""

INTERNAL: tuple[type[Constructor], ...] = (Recipe, Reloaded, Formula, Combination, Save)
"""What recipes make by other syntax: `recipe NAME { }`, `warm { tp = 2 }`, `save … as …`."""


@cache
def constructors_named(name: str) -> tuple[type[Constructor], ...]:
    """Every constructor of this name: `hf` and `registry` make different things by their place."""
    return tuple(cls for cls in CONSTRUCTORS if cls.constructor == name)


@cache
def constructor_names() -> frozenset[str]:
    return frozenset(cls.constructor for cls in CONSTRUCTORS)


@cache
def class_of(tag: str) -> type[Constructor]:
    """The class that a graph names."""
    return {tag_of(cls): cls for cls in (*CONSTRUCTORS, *INTERNAL)}[tag]
