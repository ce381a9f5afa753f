r"""`math_equals`: where an answer is looked for, and when two are the same."""

from __future__ import annotations

import json
from time import process_time
from typing import Any

import pytest
from rules_support import answer, rule
from runtime_support import ROOT

from harmony_compiler.graph.graders import MathEquals
from harmony_runtime.failures import RunFailed
from harmony_runtime.graders.protocol import Failure, Sample, Score
from harmony_runtime.graders.rules import mathematics
from harmony_runtime.graders.rules.final_answer import final_answer

SOLUTIONS = ROOT.parent / "shared" / "data" / "gsm8k" / "model_solutions_200.jsonl"
MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        # a box goes before `####`, that before `A:`, that before what comes last
        ("A: 4\n#### 3\nIt is \\boxed{2}. So 5 it is: 1", "2"),
        ("A: 4\n#### 3\nSo 5 it is: 1", "3"),
        ("A: 4\nSo 5 it is: 1", "4"),
        ("So 5 it is: 1", "1"),
        # of each kind the last one counts
        ("\\boxed{1} and \\boxed{2}", "2"),
        ("#### 1\n#### 2", "2"),
        ("A: 1\nA: 2", "2"),
        ("the answer is 1. No, the answer is 2", "2"),
        # boxes
        ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("\\boxed{\\left\\{1, 2\\right.}", "\\left\\{1, 2\\right."),
        ("\\fbox{3} and \\boxed{4", "3"),
        ("\\boxed{} or 3 of them", "3"),
        ("\\boxed{" * 20_000 + "7 of them", "7"),
        # `####`
        ("#### 72 clips in all", "72"),
        ("#### $1,000", "$1,000"),
        ("#### Step 2\nso 3 are left, of 4", "4"),
        # marks of an answer
        ("**Answer:** 18 eggs", "18"),
        ("**Final answer: 18**\nI hope that helps with all 3", "18"),
        ("Answer:\n\n18 eggs", "18"),
        ("The correct answer to this question is 18.", "18"),
        ("The answer is 18, since 16 - 3 - 4 = 9 and 9 * 2 = 18 for 7 days", "18"),
        ("A: 9 eggs * $2 = $18 a day", "$18"),
        ("The answer is 3 + 4 = 7 in all.", "7"),
        ("The answer is x = 5", "x = 5"),
        ("The answer is $x = 5$, as 2 < 5", "$x = 5$"),
        ("The answer is, of course, 18", "18"),
        ("The answer is 19. 18", "19"),
        ("So 3.\nThe answer is clear", "3"),
        ("An answer: none.\nAll 3 of them", "3"),
        # the last line, and what is last
        ("x^2 - 1\n\nx^2 + 1\n", "x^2 + 1"),
        ("- 18", "18"),
        ("**18**", "18"),
        ("it costs $5 and $13, in sum $18", "$18"),
        ("so $\\frac{1}{2}$ of all", "$\\frac{1}{2}$"),
        ("so \\(3\\), or \\[4\\] of all", "\\[4\\]"),
        ("so it is \\frac{3}{4}.", "\\frac{3}{4}"),
        ("half of 3 1/2 cups", "3 1/2"),
        ("x2, H2O and 3rd", "3"),
        ("we have 2*3 = <<2*3=6>>6 of them", "6"),
        ("共18元", "18"),
        ("no idea", None),
        ("", None),
    ],
)
def test_where_an_answer_is_found(text: str, found: str | None) -> None:
    assert final_answer(text) == found


def score(expected: str, completion: str) -> float:
    found = answer(MathEquals(expected="{{ metadata.a }}"), completion, a=expected)
    assert isinstance(found, Score), found
    return found.value


@pytest.mark.parametrize(
    ("expected", "completion"),
    [
        ("18", "18.0"),
        ("1000", "$1,000"),
        ("18", "18 dollars"),
        ("$18.50", "18.5"),
        ("18", "\\$18"),
        ("€18", "18 €"),
        ("18 m/s", "18 km per hour"),
        ("18", "\\boxed{18\\text{ cm}^2}"),
        ("45", "\\boxed{45^\\circ}"),
        ("1000", "\\boxed{1{,}000}"),
        ("-5", "−5"),
        ("3 1/2", "3.5"),
        ("3.5", "$3\\frac{1}{2}$"),
        ("\\frac{1}{2}", "0.5"),
        ("1/2", "\\boxed{\\dfrac{2}{4}}"),
        ("0.5", "\\boxed{\\dfrac12}"),
        ("50%", "0.5"),
        ("50", "50\\%"),
        ("50 percent", "50%"),
        ("5000000", "5 million"),
        ("6.02e23", "$6.02 \\times 10^{23}$"),
        ("1/3", "0.333333"),
        ("18", "9 * 2 = 18"),
        ("18", "$x = 18$"),
        ("she sells 9 * 2 = 18\n#### 18", "18"),
        ("she sells 9 * 2 = 18\nA: 18", "18"),
    ],
)
def test_the_same_number(expected: str, completion: str) -> None:
    assert score(expected, completion) == 1


@pytest.mark.parametrize(
    ("expected", "completion"),
    [
        ("18", "19"),
        ("18", "-18"),
        ("50%", "0.5%"),
        ("50", "0.5"),
        ("1/3", "0.3333"),
        ("1.6e-19", "9.1e-31"),
        ("1000000", "1000001"),
        ("18", "5 / 0"),
        ("18", "9" * 900),
        ("18", "\\boxed{1e999999999}"),
        ("18", "\\boxed{\\text{no}}"),
        ("5", "x = 3, x = 5"),
        ("5", "\\boxed{x = 3 \\text{ or } x = 5}"),
    ],
)
def test_another_number(expected: str, completion: str) -> None:
    assert score(expected, completion) == 0


@pytest.mark.parametrize(
    ("expected", "completion", "same"),
    [
        ("x^2 + 2x + 1", "The answer is $(x+1)^2$.", True),
        ("x^2 + 1", "$x^2 - 1$", False),
        ("\\sqrt{8}", "$2\\sqrt{2}$", True),
        ("2\\pi", "so 2π", True),
        ("1024", "2^10", True),
        ("\\{1, 2\\}", "\\boxed{\\{2, 1\\}}", True),
        ("(1, 2)", "(2, 1)", False),
        ("y = 2x + 3", "Answer: y = 3 + 2x", True),
        ("x < 3", "$3 > x$", True),
        ("[0, \\infty)", "$[0, \\infty)$", True),
        ("\\text{B}", "\\boxed{B}", True),
        ("6", "$\\sum_{k=1}^{3} k$", True),
        ("0", "$\\sqrt{2}^2 - 2$", True),
        ("1", "$\\frac{1}{0}$", False),
    ],
)
def test_formulas(expected: str, completion: str, same: bool) -> None:
    assert score(expected, completion) == same


def test_what_a_wrong_answer_is_told() -> None:
    node = MathEquals(expected="#### 18")
    assert answer(node, "A: 19 eggs") == Score(0.0, 'it answers "19", expected "18"')
    assert answer(node, "no idea") == Score(0.0, "no number or formula is in it")
    assert answer(node, "1 + " * 1000 + "1") == Score(0.0, "its answer is longer than 1,000 characters")


@pytest.mark.parametrize("expected", ["Monday", "", "\\frac{"])
def test_an_expected_answer_that_is_none_is_a_failure(expected: str) -> None:
    found = answer(MathEquals(expected="{{ metadata.a }}"), "18", a=expected)
    assert found == Failure(f'`expected` holds no number or formula: "{expected}"')


def test_it_is_computed_in_a_process_that_can_be_ended() -> None:
    assert rule(MathEquals(expected="1")).may_hang


def test_a_missing_library_is_the_machines_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mathematics, "find_spec", lambda name: None)
    with pytest.raises(RunFailed, match=r"needs math-verify: install `harmony-dsl\[graders\]`") as failed:
        rule(MathEquals(expected="1"))
    assert failed.value.exit_code == 2


@pytest.mark.parametrize(
    "part", ["answer is ", "#### x ", "\\boxed{", "1,111,", "1 ", "\\[", "$", "{", "*", "`a"]
)
def test_a_model_that_repeats_itself_is_read_soon(part: str) -> None:
    started = process_time()
    final_answer(part * (100_000 // len(part)) + "\nthe end")
    assert process_time() - started < 5


@pytest.mark.skipif(not SOLUTIONS.exists(), reason="the real data is not here")
def test_it_agrees_with_the_recorded_verdicts_on_gsm8k() -> None:
    graded: list[tuple[Any, bool]] = []
    grader = rule(MathEquals(expected="{{ metadata.ground_truth }}"))
    for line in SOLUTIONS.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        for model in MODELS:
            verdict = grader.apply(Sample(row[model]["solution"], metadata=row))
            graded.append((verdict, row[model]["is_correct"]))
    assert len(graded) == 800
    apart = [pair for pair in graded if not (isinstance(pair[0], Score) and pair[0].value == pair[1])]
    assert len(apart) <= 4, apart
