"""Rules over the text of a completion, each by example."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from graders_support import formula, grade, metadata
from rules_support import answer

from harmony_compiler.graph.graders import Contains, Equals, Length, Matches, OneOf
from harmony_compiler.graph.graders import Grader as Node
from harmony_runtime.graders.protocol import DoesNotApply, Failure, Grade, Sample, Score

ROW = Sample(
    "  Paris\n",
    "capital?",
    turns=({"role": "user", "content": "capital?"},),
    metadata={"a": "Paris ", "n": None},
)


@pytest.mark.parametrize(
    ("node", "expected"),
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
        (Contains(text="{{ '' }}"), Failure("`text` is empty here: every completion contains it")),
        (OneOf(options=("London", "{{ metadata.a }}")), Score(1.0)),
        (OneOf(options=("London", "paris")), Score(0.0, 'expected one of "London", "paris"')),
        (
            OneOf(options=("Paris", "{{ metadata.b }}")),
            Failure("the template of `options[1]` fails: there is no key `b`"),
        ),
        (Matches(regex="a.i"), Score(1.0)),
        (Matches(regex="^Paris$"), Score(0.0)),
        (Matches(regex=r"^\s*Paris\s*$"), Score(1.0)),
        (formula(("==", metadata("a"), ("constant", "Paris "))), Score(1.0)),
        (formula(metadata("b")), Failure("the metadata has no key `b`")),
        (formula(metadata("n")), DoesNotApply("the formula is none")),
    ],
)
def test_rules_by_example(node: Node, expected: Grade) -> None:
    assert grade(node, ROW) == [expected]


def test_a_key_of_the_metadata_goes_before_a_method_of_a_dict() -> None:
    sample = Sample("yes", metadata={"items": "yes", "values": "no"})
    assert grade(Equals(expected="{{ metadata.items }}"), sample) == [Score(1.0)]
    assert grade(Equals(expected="{{ metadata.values }}"), sample) == [Score(0.0, 'expected "no"')]


def test_templates_run_in_a_sandbox() -> None:
    (found,) = grade(Equals(expected="{{ ''.__class__.__mro__ }}"), Sample("x"))
    assert isinstance(found, Failure)
    assert "unsafe" in found.reason


def test_long_texts_are_cut_in_what_a_grader_says() -> None:
    (found,) = grade(Contains(text="ab\n" * 50), Sample("x"))
    assert found == Score(0.0, f'"{("ab " * 20)}…" is not in it')


@pytest.mark.parametrize(
    ("ignore", "one", "other"),
    [
        ("case", "Straße", "STRASSE"),
        ("whitespace", " a  b\n\nc", "a b c"),
        ("punctuation", '"Yes", he said…', "Yes he said"),
        ("punctuation", "don't", "dont"),
        ("numbers", "1,050.50 g", "1050.5 g"),
        ("numbers", "+007 and -0.0", "7 and 0"),
        ("numbers", "3.", "3."),
    ],
)
def test_what_is_ignored(ignore: Any, one: str, other: str) -> None:
    for completion, expected in ((one, other), (other, one)):
        assert answer(Equals(expected=expected, ignore=(ignore,)), completion) == Score(1.0)
        assert answer(OneOf(options=("?!x", expected), ignore=(ignore,)), completion) == Score(1.0)
        assert answer(Contains(text=expected, ignore=(ignore,)), f"so {completion}") == Score(1.0)
    if one != other:
        assert answer(Equals(expected=other), one) == Score(0.0, f'expected "{other}"')


@pytest.mark.parametrize(
    ("ignore", "one", "other"),
    [
        (("punctuation",), "2.5", "25"),
        (("punctuation",), "-3", "3"),
        (("punctuation",), "$3", "3"),
        (("punctuation",), "well-known", "well known"),
        (("numbers",), "1,05", "105"),
        (("numbers",), "x01", "x1"),
        (("numbers",), "1.2.30", "1.2.3"),
        (("numbers",), "-3", "3"),
        (("whitespace",), "ab", "a b"),
        (("case", "punctuation"), "a  b", "a b"),
    ],
)
def test_what_is_not_ignored(ignore: Any, one: str, other: str) -> None:
    for completion, expected in ((one, other), (other, one)):
        found = answer(Equals(expected=expected, ignore=ignore), completion)
        assert isinstance(found, Score)
        assert found.value == 0


def test_ignoring_everything_at_once() -> None:
    node = Equals(expected="The sum: 1,000.0 Euros!", ignore=("case", "whitespace", "punctuation", "numbers"))
    assert answer(node, "the SUM -- 1000   euros") == Score(1.0)
    assert answer(node, "the SUM -- 1001   euros") == Score(0.0, 'expected "the sum 1000 euros"')


def test_blanks_at_the_ends_of_a_contained_text_count() -> None:
    assert answer(Contains(text=" no "), "know") == Score(0.0, '"no" is not in it')
    assert answer(Contains(text=" no ", ignore=("whitespace",)), "there is\nno way") == Score(1.0)
    assert answer(Contains(text=" no ", ignore=("whitespace",)), "know") == Score(0.0, '"no" is not in it')


def test_a_text_of_which_nothing_is_left_is_a_failure() -> None:
    nothing = Failure("`expected` is punctuation alone here, and that is ignored: nothing is left")
    assert answer(Equals(expected="?!", ignore=("punctuation",)), "...") == nothing
    assert answer(Equals(expected=" ", ignore=("punctuation",)), "...") == Score(1.0)


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (Length(max=3), Score(1.0)),
        (Length(max=2), Score(0.0, "it has 3 words, and at most 2 are asked for")),
        (Length(min=3), Score(1.0)),
        (Length(min=4), Score(0.0, "it has 3 words, and at least 4 are asked for")),
        (Length(min=1200, unit="chars"), Score(0.0, "it has 14 chars, and at least 1,200 are asked for")),
        (Length(min=14, max=14, unit="chars"), Score(1.0)),
        (Length(max=6, unit="tokens"), Score(0.0, "it has 7 tokens, and at most 6 are asked for")),
        (Length(min=7, unit="tokens"), Score(1.0)),
    ],
)
def test_lengths(node: Length, expected: Grade) -> None:
    assert answer(node, " one two\nthree", tokens=7) == expected


def test_tokens_that_nobody_counted_are_a_failure() -> None:
    found = answer(Length(max=6, unit="tokens"), "one")
    assert found == Failure("how many tokens the completion has is known in a run alone")


def test_what_makes_graders_loads_nothing_heavy() -> None:
    heavy = ["torch", "sympy", "jsonschema", "math_verify"]
    probe = f"import sys, harmony_runtime.graders.making; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
