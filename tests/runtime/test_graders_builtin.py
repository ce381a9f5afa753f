"""The graders that come with the language, each by example."""

from __future__ import annotations

import pytest
from graders_support import formula, grade, metadata

from harmony_compiler.graph.graders import Contains, Equals, Matches
from harmony_compiler.graph.graders import Grader as Node
from harmony_runtime.graders.protocol import DoesNotApply, Failure, Grade, Sample, Score

ROW = Sample(
    "  Paris\n",
    "capital?",
    turns=({"role": "user", "content": "capital?"},),
    metadata={"a": "Paris ", "n": None},
)


@pytest.mark.parametrize(
    ("node", "answer"),
    [
        (Equals(expected="{{ metadata.a }}"), Score(1.0)),
        (Equals(expected="paris"), Score(0.0, 'expected "paris"')),
        (Equals(expected="{{ turns[0].content }}"), Score(0.0, 'expected "capital?"')),
        (
            Equals(expected="{{ metadata.b }}"),
            Failure("the template of `expected` fails: there is no key `b`"),
        ),
        (
            Equals(expected="{{ metadata.n }}"),
            Failure("the template of `expected` fails: it prints a value that is null"),
        ),
        (
            Equals(expected="{{ 1 / 0 }}"),
            Failure("the template of `expected` fails: division by zero"),
        ),
        (Contains(text="ari"), Score(1.0)),
        (Contains(text="a.i"), Score(0.0, '"a.i" is not in it')),
        (Contains(text="{{ prompt }}"), Score(0.0, '"capital?" is not in it')),
        (Contains(text="{{ completion }}"), Score(1.0)),
        (Matches(regex="a.i"), Score(1.0)),
        (Matches(regex="^Paris$"), Score(0.0)),
        (Matches(regex=r"^\s*Paris\s*$"), Score(1.0)),
        (formula(("==", metadata("a"), ("constant", "Paris "))), Score(1.0)),
        (formula(metadata("b")), Failure("the metadata has no key `b`")),
        (formula(metadata("n")), DoesNotApply("the formula is none")),
    ],
)
def test_graders_of_the_language(node: Node, answer: Grade) -> None:
    assert grade(node, ROW) == [answer]


def test_a_key_of_the_metadata_goes_before_a_method_of_a_dict() -> None:
    sample = Sample("yes", metadata={"items": "yes", "values": "no"})
    assert grade(Equals(expected="{{ metadata.items }}"), sample) == [Score(1.0)]
    assert grade(Equals(expected="{{ metadata.values }}"), sample) == [Score(0.0, 'expected "no"')]


def test_templates_run_in_a_sandbox() -> None:
    (answer,) = grade(Equals(expected="{{ ''.__class__.__mro__ }}"), Sample("x"))
    assert isinstance(answer, Failure)
    assert "unsafe" in answer.reason


def test_long_texts_are_cut_in_what_a_grader_says() -> None:
    (answer,) = grade(Contains(text="ab\n" * 50), Sample("x"))
    assert answer == Score(0.0, f'"{("ab " * 20)}…" is not in it')
