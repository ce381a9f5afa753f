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
    INT,
    JSON,
    NONE,
    PERCENT,
    REGEX,
    SECRET,
    TEMPLATE,
    ListOf,
    LiteralText,
    RecordOf,
    Type,
    Union,
    union_of,
)
from harmony_compiler.graph.values import Duration, Percent, Ref, Secret

GraderRef = Annotated[Ref, GRADER]
GraderRefs = Annotated[tuple[Ref, ...], ListOf(GRADER)]
Expression = Annotated[FormulaTree, FORMULA]
JsonRecord = Annotated[dict[str, Any], RecordOf(JSON)]

Ignored = tuple[Literal["case", "whitespace", "punctuation", "numbers"], ...]

UNBOUNDED = (float("-inf"), float("inf"))

POLICIES = ("on_failure", "max_failure_rate", "budget", "token_budget")
"""Fields that decide what becomes of a grade, or whether there is one, and never what it is."""


class Grader(Node):
    """What every grader takes."""

    scores: ClassVar[tuple[float, float]] = (0.0, 1.0)
    """The smallest and the largest score."""
    needs: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Keys of metadata that the grader reads by itself, each with its type in words of the language."""
    reads: ClassVar[tuple[ReadWith, ...]] = (ReadWith("max_failure_rate", "on_failure", unless="stop"),)

    timeout: Duration | None = field(
        None, role="watching", doc="a try that takes longer is a failure; by default it depends"
    )
    retries: int = field(2, at_least=0, role="watching", doc="further tries where another one may help")
    concurrency: int | None = field(
        None, at_least=1, role="watching", doc="grades that run at the same time; by default it depends"
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
    ignore: Ignored = field((), doc="differences that do not count", examples=('["case"]',))


class Contains(Grader):
    """1 where the completion contains a text, else 0."""

    constructor = "contains"
    argument = "text"
    rules = (
        Rule("text", (), lambda text: text != "", "every completion contains the empty text", "name a text"),
    )

    text: Template = field(doc="template of the text to find")
    ignore: Ignored = field((), doc="differences that do not count", examples=('["case"]',))


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
    rules = (
        Rule("options", (), lambda options: options != (), "the list of texts is empty", "name at least one"),
    )

    options: Annotated[tuple[str, ...], ListOf(TEMPLATE)] = field(doc="templates of the texts")
    ignore: Ignored = field((), doc="differences that do not count", examples=('["case"]',))


class JsonValid(Grader):
    """1 where the completion is JSON, and as a schema asks for; else 0."""

    constructor = "json_valid"

    schema: JsonRecord | None = field(
        None, doc="JSON schema that the completion must satisfy", examples=('{ type = "object" }',)
    )


class Length(Grader):
    """1 where the completion is neither shorter nor longer than said, else 0."""

    constructor = "length"
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
    """1 where the final answer of the completion, a number or formula, equals the expected one; else 0."""

    constructor = "math_equals"
    argument = "expected"

    expected: Template = field(doc="template of the expected answer: bare, or as the end of a solution")


class CodePasses(Grader):
    """1 where the code in the completion passes tests, run in a sandbox; else 0."""

    constructor = "code_passes"

    tests: Template = field(doc="template of the tests: Python that fails where the code is wrong")
    before: Template | None = field(
        None,
        doc="template of what stands before the code: imports, or a prompt that the completion goes on with",
        examples=('"{{ prompt }}"',),
    )
    timeout: Duration = field(Duration(10, "s"), role="watching", doc="code that takes longer fails")
    isolation: Literal["strict", "weak"] = field(
        "strict", doc="refuse to run where the machine has no sandbox, or run with limits alone"
    )


class Instructions(Grader):
    """Whether the completion follows the row's verifiable instructions (Zhou et al., 2023)."""

    constructor = "instructions"
    needs = (("instruction_id_list", "list[str]"), ("kwargs", "list"))

    score: Literal["share", "all"] = field("share", doc="the share that it follows, or 1 only for all")


VERDICTS = ("pass", "fail", "not applicable")
"""What a judge answers that is asked for pass or fail."""


def _has_score(schema: Mapping[str, Any]) -> bool:
    properties = schema.get("properties")
    return isinstance(properties, Mapping) and "score" in properties


_EXAMPLE_HAS = {"completion", "answer"}
_EXAMPLE_MAY_HAVE = {"completion", "answer", "prompt", "reasoning"}


def _is_example(example: Mapping[str, Any]) -> bool:
    texts = (value for name, value in example.items() if name != "answer")
    named = _EXAMPLE_HAS <= example.keys() <= _EXAMPLE_MAY_HAVE
    return named and all(isinstance(text, str) for text in texts)


def _is_answer(given: Any, answer: Any, scale: tuple[int, ...]) -> bool:
    if answer == "pass_fail":
        return given in VERDICTS
    if answer == "scale":
        return isinstance(given, int) and not isinstance(given, bool) and scale[0] <= given <= scale[-1]
    return isinstance(given, Mapping)


class Judge(Grader):
    """A model's opinion of the completion, by criteria."""

    constructor = "judge"
    reads = (
        *Grader.reads,
        ReadWith("scale", "answer", ("scale",)),
        ReadWith("raw", "answer", ("scale",)),
        ReadWith("weighted", "answer", ("scale",)),
    )
    rules = (
        Rule(
            "scale",
            (),
            lambda scale: len(scale) == 2 and scale[0] < scale[1],
            "`scale` has a lowest and a highest answer, such as `[1, 5]`",
            "the lowest one first",
        ),
        Rule(
            "weighted",
            ("scale",),
            lambda weighted, scale: not weighted or (scale[0] >= 0 and scale[1] <= 9),
            "`weighted` needs answers of one digit: of others a server does not tell how likely they are",
            "take a scale within `[0, 9]`, or leave out `weighted`",
        ),
        Rule(
            "answer",
            (),
            lambda answer: isinstance(answer, str) or _has_score(answer),
            "the schema of `answer` has no property `score`, which is the score",
            'add it: `properties = {{ score = {{ type = "number" }} }}, required = ["score"]`',
        ),
        Rule(
            "examples",
            (),
            lambda examples: all(map(_is_example, examples)),
            "each of `examples` has `completion` and `answer`, and beside them only `prompt` and `reasoning`",
            'such as `{{ completion = "4", answer = "pass" }}`: all but the answer are texts',
        ),
        Rule(
            "examples",
            ("answer", "scale"),
            lambda examples, answer, scale: all(_is_answer(e["answer"], answer, scale) for e in examples),
            "one of `examples` has an answer that the judge cannot give",
            'an answer is "pass", "fail" or "not applicable"; with a scale, a number on it; else a record',
        ),
    )

    model: AnsweringRef = field(doc="the model that judges: an `endpoint`, or a model of the recipe")
    criteria: Template = field(doc="template of what makes a good completion")
    answer: Annotated[Any, Union((LiteralText("pass_fail"), LiteralText("scale"), RecordOf(JSON)))] = field(
        "pass_fail", doc="what the judge answers: pass or fail, a number, or JSON with a `score`, by a schema"
    )
    scale: tuple[int, ...] = field((1, 5), doc="the lowest and the highest answer", examples=("[1, 5]",))
    raw: bool = field(False, doc="keep the answer as it is, which otherwise is mapped to 0…1")
    examples: Annotated[tuple[dict[str, Any], ...], ListOf(RecordOf(JSON))] = field(
        (),
        doc="judged completions that the judge is shown",
        examples=('[{ completion = "4", answer = "pass" }]',),
    )
    weighted: bool = field(
        False, doc="the mean of all answers by their probabilities, where the server tells them"
    )
    template: Template | None = field(
        None, doc="template of the question, in place of the conversation and the completion"
    )
    temperature: float = field(0.0, at_least=0, doc="0: the likeliest answer")
    max_tokens: int = field(1024, at_least=1, doc="the longest answer")
    budget: int | None = field(
        None, at_least=1, doc="completions that it judges in a stage; the others do not apply"
    )
    token_budget: int | None = field(
        None, at_least=1, doc="tokens of questions and answers in a stage, asked before each step"
    )
    cache: bool = field(True, role="watching", doc="an equal completion is not judged twice")


class RewardModel(Grader):
    """The score of a model with a scalar head."""

    constructor = "reward_model"
    argument = "model"
    scores = UNBOUNDED

    model: ModelRef = field(doc="the model that scores")


class Remote(Grader):
    """The score of a reward server."""

    constructor = "remote"
    argument = "url"
    scores = UNBOUNDED

    url: str = field(doc="where the server stands", examples=('"http://localhost:9000"',))
    key: Annotated[Secret, SECRET] | None = field(
        None, role="watching", doc="what the server asks for as a bearer token, by name"
    )
    cache: bool = field(True, role="watching", doc="an equal completion is not scored twice")


class PythonGrader(Grader):
    """The score of a Python function, which takes any of `completion prompt turns metadata` by name.

    It may also be a class that derives from `harmony_dsl.Grader`.
    """

    constructor = "python"
    argument = "function"
    scores = UNBOUNDED

    function: str = field(
        doc="file and function or class, such as `graders.py:score`", examples=('"graders.py:score"',)
    )
    cache: bool = field(
        False,
        role="watching",
        doc="an equal completion is not graded twice, in no run, until the file or its imports change",
    )


class RegistryGrader(Grader):
    """A grader that was published under a key."""

    constructor = "registry"
    tag = "registry_grader"
    argument = "key"
    scores = UNBOUNDED

    key: str = field(doc="key of the grader", examples=('"politeness"',))
    # What the recipe leaves open is as it was published, which only the registry knows.
    retries: Annotated[Any, union_of((INT, NONE))] = field(
        None, at_least=0, role="watching", doc="further tries; by default as published"
    )
    on_failure: Annotated[Any, union_of((*map(LiteralText, ("skip", "zero", "stop")), NONE))] = field(
        None, doc="what a failed grade does; by default as published"
    )
    max_failure_rate: Annotated[Any, union_of((PERCENT, NONE))] = field(
        None, at_least=0, at_most=100, doc="share of failed grades; by default as published"
    )


class Formula(Grader):
    """A formula over the completion, its prompt and metadata; recipes write the formula itself."""

    constructor = "formula"

    expression: Expression = field(doc="what is computed for each completion")


class Combination(Grader):
    """Graders combined into one score; recipes write `0.8 * correct + 0.2 * brief`."""

    constructor = "combination"

    expression: Expression = field(doc="how the scores are combined")
    graders: GraderRefs = field(doc="the graders that it combines")
