"""Grader nodes: what scores a completion.

A grader is a leaf, which looks at a completion, or a combination of graders. Templates of leaves see
`completion`, `prompt`, `turns` and `metadata`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from harmony_compiler.graph.datasets import Template
from harmony_compiler.graph.formulas import Formula as FormulaTree
from harmony_compiler.graph.models import AnsweringRef, ModelRef
from harmony_compiler.graph.node import Node, ReadWith, Rule, field
from harmony_compiler.graph.types import (
    FORMULA,
    GRADER,
    JSON,
    REGEX,
    TEMPLATE,
    ListOf,
    LiteralText,
    RecordOf,
    Type,
    Union,
)
from harmony_compiler.graph.values import Duration, Percent, Ref

GraderRef = Annotated[Ref, GRADER]
GraderRefs = Annotated[tuple[Ref, ...], ListOf(GRADER)]
Expression = Annotated[FormulaTree, FORMULA]
JsonRecord = Annotated[dict[str, Any], RecordOf(JSON)]

UNBOUNDED = (float("-inf"), float("inf"))


class Grader(Node):
    """What every grader takes."""

    scores: ClassVar[tuple[float, float]] = (0.0, 1.0)
    """The smallest and the largest score."""
    needs: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Keys of metadata that the grader reads by itself, each with its type in words of the language."""
    reads: ClassVar[tuple[ReadWith, ...]] = (ReadWith("max_failure_rate", "on_failure", unless="stop"),)

    timeout: Duration | None = field(
        None, later=True, role="watching", doc="a grade that takes longer is a failure; by default it depends"
    )
    retries: int = field(2, at_least=0, later=True, role="watching", doc="further tries after a failure")
    concurrency: int | None = field(
        None, at_least=1, later=True, role="watching", doc="grades that run at the same time"
    )
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

    regex: Annotated[str, REGEX] = field(
        doc="searched for anywhere: `^…$` is the whole completion", examples=('"^[0-9]+$"', 'r"\\d"')
    )


class OneOf(Grader):
    """1 where the completion is one of some texts, blanks at both ends aside; else 0."""

    constructor = "one_of"
    argument = "options"
    later = True
    rules = (
        Rule("options", (), lambda options: options != (), "the list of texts is empty", "name at least one"),
    )

    options: Annotated[tuple[str, ...], ListOf(TEMPLATE)] = field(doc="templates of the texts")


class JsonValid(Grader):
    """1 where the completion is JSON, and as a schema asks for; else 0."""

    constructor = "json_valid"
    later = True

    schema: JsonRecord | None = field(
        None, doc="JSON schema that the completion must satisfy", examples=('{ type = "object" }',)
    )


class Length(Grader):
    """1 where the completion is neither shorter nor longer than said, else 0."""

    constructor = "length"
    later = True
    at_least_one = (("min", "max"),)
    rules = (
        Rule(
            "min",
            ("max",),
            lambda least, most: least <= most,
            "`min` = {min} is more than `max` = {max}: no completion has such a length",
            "swap the two",
        ),
    )

    min: int | None = field(None, at_least=1, doc="the shortest length")
    max: int | None = field(None, at_least=1, doc="the longest length")
    unit: Literal["words", "chars", "tokens"] = field("words", doc="what is counted")


class MathEquals(Grader):
    """1 where the last number or formula of the completion equals the expected one, else 0."""

    constructor = "math_equals"
    argument = "expected"
    later = True

    expected: Template = field(doc="template of the expected answer")


class CodePasses(Grader):
    """1 where the code in the completion passes tests, run in a sandbox; else 0."""

    constructor = "code_passes"
    later = True

    tests: Template = field(doc="template of the tests: Python that fails where the code is wrong")
    timeout: Duration = field(Duration(10, "s"), role="watching", doc="the tests fail where they take longer")
    isolation: Literal["strict", "weak"] = field(
        "strict", doc="refuse to run where the machine has no sandbox, or run with limits alone"
    )


class Instructions(Grader):
    """Share of the row's verifiable instructions that the completion follows (Zhou et al., 2023)."""

    constructor = "instructions"
    later = True
    needs = (("instruction_id_list", "list[str]"), ("kwargs", "list"))


class Judge(Grader):
    """A model's opinion of the completion, by criteria."""

    constructor = "judge"
    later = True
    reads = (
        *Grader.reads,
        ReadWith("scale", "answer", ("scale",)),
        ReadWith("raw", "answer", ("scale",)),
    )
    rules = (
        Rule(
            "scale",
            (),
            lambda scale: len(scale) == 2 and scale[0] < scale[1],
            "`scale` has a lowest and a highest answer, such as `[1, 5]`",
            "the lowest one first",
        ),
    )

    model: AnsweringRef = field(doc="the model that judges: an `endpoint`, or a model of the recipe")
    criteria: Template = field(doc="template of what makes a good completion")
    answer: Annotated[Any, Union((LiteralText("pass_fail"), LiteralText("scale"), RecordOf(JSON)))] = field(
        "pass_fail", doc="what the judge answers: pass or fail, a number, or JSON by a schema"
    )
    scale: tuple[int, ...] = field((1, 5), doc="the lowest and the highest answer", examples=("[1, 5]",))
    raw: bool = field(False, doc="keep the answer as it is, which otherwise is mapped to 0…1")
    examples: Annotated[tuple[dict[str, Any], ...], ListOf(RecordOf(JSON))] = field(
        (),
        doc="judged completions that the judge is shown",
        examples=('[{ completion = "4", answer = "pass" }]',),
    )
    template: Template | None = field(None, doc="template of the whole question, in place of the usual one")
    budget: int | None = field(None, at_least=1, doc="calls in a run; what exceeds them does not apply")


class RewardModel(Grader):
    """The score of a model with a scalar head."""

    constructor = "reward_model"
    argument = "model"
    later = True
    scores = UNBOUNDED

    model: ModelRef = field(doc="the model that scores")


class Remote(Grader):
    """The score of a reward server."""

    constructor = "remote"
    argument = "url"
    later = True
    scores = UNBOUNDED

    url: str = field(doc="where the server stands", examples=('"http://localhost:9000"',))


class PythonGrader(Grader):
    """The score of a Python function; it takes any of `completion prompt turns metadata` by name."""

    constructor = "python"
    argument = "function"
    later = True
    scores = UNBOUNDED

    function: str = field(
        doc="file and function, such as `graders.py:score`", examples=('"graders.py:score"',)
    )


class RegistryGrader(Grader):
    """A grader that was published under a key."""

    constructor = "registry"
    tag = "registry_grader"
    argument = "key"
    later = True
    scores = UNBOUNDED

    key: str = field(doc="key of the grader", examples=('"politeness"',))


class Formula(Grader):
    """A formula over the completion, its prompt and metadata; recipes write the formula itself."""

    constructor = "formula"

    expression: Expression = field(doc="what is computed for each completion")


class Combination(Grader):
    """Graders combined into one score; recipes write `0.8 * correct + 0.2 * brief`."""

    constructor = "combination"

    expression: Expression = field(doc="how the scores are combined")
    graders: GraderRefs = field(doc="the graders that it combines")
