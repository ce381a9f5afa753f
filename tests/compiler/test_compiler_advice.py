"""What findings advise: the mend is named, at the place of the fault and nowhere else."""

from __future__ import annotations

import pytest
from compiler_support import COMPARED, REINFORCED, check_text, replaced

ADVICE = [
    # what is wrong in a recipe that reinforces and compares, and the help that its one finding gives
    ("grader = right", "grader = [right, right]", "each with its weight"),
    ("grader = right", "grader = { right = 0.8 }", "each with its weight"),
    ("grader = right", 'grader = "right"', "without quotes: `right`"),
    ("grader = right", "grader = not right", "a grader stands for its score"),
    ("grader = right", "grader = if right then 1 else 0", "a grader stands for its score"),
    ("grader = right", "grader = mean([right, right])", "one by one: `mean(…, …)`"),
    ("grader = right", "grader = words", "`words(str) -> int`"),
    ("grader = right", "grader = words(completion.strip())", "`strip(str) -> str`"),
    ("grader = right", "grader = matches(completion, metadata.answer)", "`contains(text, part)`"),
    ("grader = right", "grader = right, temperature = 0.5", "write `sampling { temperature = … }`"),
    ("grader = right", "grader = right, beta1 = 0.5", "write `optimizer = adamw { beta1 = … }`"),
    ("grader = right", "grader = right, advantage = mean", 'in quotes: `"mean"`'),
    ("grader = right", "grader = right, reduce = tokens", 'did you mean `"tokens"`?'),
    ("[tiny, adder]", "tiny", "in brackets: `[…]`"),
    ("[right, words(completion)]", "words(completion)", "in brackets: `[…]`"),
]


@pytest.mark.parametrize(("good", "bad", "advice"), ADVICE, ids=[bad for _, bad, _ in ADVICE])
def test_the_mend_is_named(good: str, bad: str, advice: str) -> None:
    (finding,) = check_text(replaced(REINFORCED + COMPARED, (good, bad))).diagnostics
    assert finding.severity == "error"
    assert advice in finding.words.help


def test_a_field_of_settings_in_the_wrong_place_is_all_that_is_said() -> None:
    """The default of `max_tokens` would leave no room, but the recipe wants another one."""
    outside = replaced(REINFORCED, ("sampling { max_tokens = 8 }", "max_tokens = 8"))
    assert [finding.code for finding in check_text(outside).diagnostics] == ["E0401"]
