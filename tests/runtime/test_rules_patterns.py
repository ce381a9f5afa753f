"""Regular expressions that may take forever go to a process that can be ended; the others need not."""

from __future__ import annotations

import re
from time import process_time

import pytest
from graders_support import COMPLETION, formula
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from rules_support import rule

from harmony_compiler.graph.graders import Matches
from harmony_runtime.graders.rules.patterns import may_hang

HARMLESS = [
    *("^[0-9]+$", "", "Paris", r"^\s*Paris$", r"(?i)^(yes|no)\W*$", r"\b[A-Z]{2}[0-9]{4}\b", "(?:abc)*"),
    *(r"(?<=\$)\d+", "^(?!.*never)", "a++b", "(?>a+)b", "^.{10,200}$", "(a){3}b", "a|b|c+", "(?P<n>a)b?"),
]
HANGING = [
    *("(a+)+b", "(a|aa)+b", "a*a*b", "(a*){3}", r"(a)\1", "(a)?(?(1)b|c)", "(a|a){30}b", "(a|b|ab)*c"),
    *("(?:a?){20}", "(?=a*)a*b", "x?y?", "(?:(?:a|a)(?:a|a)(?:a|a)(?:a|a)(?:a|a)(?:a|a)(?:a|a)(?:a|a))b"),
    *("(?:a{100}){100}", "a*" + "a{1000}b"),
]


@pytest.mark.parametrize("regex", HARMLESS)
def test_harmless(regex: str) -> None:
    assert not may_hang(regex)


@pytest.mark.parametrize("regex", HANGING)
def test_what_may_hang(regex: str) -> None:
    assert may_hang(regex)


ATOMS = st.sampled_from(["a", "b", ".", "[ab]", "[^b]", r"\w", "^", "$", r"\b", "aa", "(?=a)", "(?<=a)"])
PATTERNS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["*", "+", "?", "*?", "{2}", "{3,}", "{0,50}", "{20}"])).map(
            lambda made: f"(?:{made[0]}){made[1]}"
        ),
        st.lists(inner, min_size=2, max_size=5).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda branches: f"({'|'.join(branches)})"),
        inner.map(lambda ahead: f"(?={ahead})"),
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@example("a*" + "a" * 60 + "b")
@example("(?:a|a)(?:a|a)(?:a|a)(?:a|a)b")
@given(PATTERNS)
def test_harmless_expressions_end_soon(regex: str) -> None:
    assume(not may_hang(regex))
    found = re.compile(regex)
    started = process_time()
    for text in ("a" * 2000 + "!", "ab" * 1000 + "!", "a" * 1999 + "b"):
        found.search(text)
    assert process_time() - started < 5


def test_the_property_would_see_one_that_hangs() -> None:
    """2ⁿ steps for n letters: already 22 take longer than harmless ones take for 2,000."""
    started = process_time()
    re.search("(a+)+b", "a" * 22 + "!")
    slow = process_time() - started
    started = process_time()
    re.search("a+b", "a" * 2000 + "!")
    assert slow > process_time() - started


@pytest.mark.parametrize(
    ("node", "hangs"),
    [
        (Matches(regex="^[0-9]+$"), False),
        (Matches(regex="(a+)+b"), True),
        (formula(("matches", COMPLETION, ("constant", "^[0-9]+$"))), False),
        (
            formula(
                ("if", ("matches", COMPLETION, ("constant", "(a+)+b")), ("constant", 1), ("constant", 0))
            ),
            True,
        ),
        (formula(("matches", COMPLETION, ("read", "prompt"))), True),
        (formula(("matches", ("lower", COMPLETION), ("constant", "a"))), False),
        (formula(("==", COMPLETION, ("constant", "(a+)+b"))), False),
    ],
)
def test_which_graders_may_hang(node: Matches, hangs: bool) -> None:
    assert rule(node).may_hang is hangs
