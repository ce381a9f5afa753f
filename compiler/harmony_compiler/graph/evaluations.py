"""Evaluation nodes: what measures models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from harmony_compiler.graph.datasets import PromptRows
from harmony_compiler.graph.models import Endpoint
from harmony_compiler.graph.node import RECIPE_SEED, Node, ReadWith, Rule, field
from harmony_compiler.graph.settings import Sampling
from harmony_compiler.graph.types import ENDPOINT, EVALUATION, GRADER, MODEL, ListOf, Type, Union
from harmony_compiler.graph.values import Ref


class Compare(Node):
    """Scores of several models by several graders on the same rows."""

    constructor = "compare"
    reads = tuple(
        ReadWith(f"sampling.{name}", "sampling.temperature", unless=0.0) for name in ("top_p", "top_k")
    )
    rules = (
        Rule("models", (), lambda models: models != (), "the list of models is empty", "name at least one"),
        Rule(
            "graders", (), lambda graders: graders != (), "the list of graders is empty", "name at least one"
        ),
        Rule(
            "samples",
            ("sampling.temperature",),
            lambda samples, temperature: samples == 1 or temperature > 0,
            "`samples` = {samples} takes the same completion again and again at temperature 0",
            "set `sampling {{ temperature = … }}` above 0, or leave `samples` out",
        ),
        Rule(
            "samples",
            ("sampling.top_k",),
            lambda samples, top_k: samples == 1 or top_k > 1,
            "`samples` = {samples} takes the same completion again and again with `top_k` = 1",
            "leave one of the two out",
        ),
        Rule(
            "sampling.top_k",
            ("models",),
            lambda top_k, models: not any(getattr(model, "cls", None) is Endpoint for model in models),
            "an endpoint is asked over an API that has no `top_k`",
            "leave it out, or compare the endpoint in an evaluation of its own",
        ),
    )

    models: Annotated[tuple[Ref, ...], ListOf(Union((MODEL, ENDPOINT)))] = field(doc="the models to compare")
    dataset: PromptRows = field(doc="the rows to answer")
    graders: Annotated[tuple[Ref, ...], ListOf(GRADER)] = field(doc="what is measured")
    sampling: Sampling = field(Sampling(temperature=0.0), doc="how completions are drawn; greedy by default")
    samples: int = field(1, at_least=1, doc="completions a row")
    limit: int | None = field(None, at_least=1, doc="answer the first rows only")
    seed: int = field(RECIPE_SEED, at_least=0, doc="seed of the sampling")

    @classmethod
    def result(cls, given: Mapping[str, Any]) -> Type:
        return EVALUATION
