"""Grader nodes: what scores a completion.

A grader is a leaf, which looks at a completion, or a combination of graders. Templates of leaves see
`completion`, `prompt`, `turns` and `metadata`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from harmony_compiler.graph.datasets import Template
from harmony_compiler.graph.formulas import Formula as FormulaTree
from harmony_compiler.graph.node import Node, Rule, field
from harmony_compiler.graph.types import FORMULA, GRADER, REGEX, ListOf, Type
from harmony_compiler.graph.values import Percent, Ref

GraderRef = Annotated[Ref, GRADER]
Expression = Annotated[FormulaTree, FORMULA]


class Grader(Node):
    """What every grader takes."""

    on_failure: Literal["skip", "zero", "stop"] = field(
        "skip", doc="a failed grade does not apply, counts as 0, or ends the run"
    )
    max_failure_rate: Percent = field(
        Percent(10),
        at_least=0,
        at_most=100,
        doc="share of failed grades in a stage beyond which the run stops; asked from the 20th grade on",
    )

    @classmethod
    def result(cls, given: Mapping[str, Any]) -> Type:
        return GRADER


class Equals(Grader):
    """1 where the completion is the expected text, blanks at both ends aside; else 0."""

    constructor = "equals"
    argument = "expected"

    expected: Template = field(doc="template of the expected text")


class Contains(Grader):
    """1 where the completion contains a text, else 0."""

    constructor = "contains"
    argument = "text"
    rules = (
        Rule("text", (), lambda text: text != "", "every completion contains the empty text", "name a text"),
    )

    text: Template = field(doc="template of the text to find")


class Matches(Grader):
    """1 where a regular expression is found in the completion, else 0."""

    constructor = "matches"
    argument = "regex"

    regex: Annotated[str, REGEX] = field(doc="searched for anywhere: `^…$` is the whole completion")


class Formula(Grader):
    """A formula over the completion, its prompt and metadata; recipes write the formula itself."""

    constructor = "formula"

    expression: Expression = field(doc="what is computed for each completion")


class Combination(Grader):
    """Graders combined into one score; recipes write `0.8 * correct + 0.2 * brief`."""

    constructor = "combination"

    expression: Expression = field(doc="how the scores are combined")
    graders: Annotated[tuple[Ref, ...], ListOf(GRADER)] = field(doc="the graders that it combines")
