"""Values that no output needs: said once for each chain of them, with what goes along."""

from __future__ import annotations

import pytest
from compiler_support import GOOD, MODEL, check_text, codes, places, replaced

CHAINS: list[tuple[str, list[tuple[str, str]]]] = [
    # declarations beside a recipe that needs none of them, and the names that are blamed with what goes along
    ("let a = 1\n", [("a", "")]),
    ("let a = 1\nlet b = a + 1\nlet c = b + 1\n", [("c", "`a`, `b`")]),
    ("let c = b + 1\nlet b = a + 1\nlet a = 1\n", [("c", "`b`, `a`")]),
    ("let a = 1\nlet b = a\nlet c = a\n", [("b", "`a`"), ("c", "`a`")]),
    ("input a: int = 1 where a < b\nlet b = 2\n", [("a", "`b`")]),
    ("dataset few = sums { limit = 1 }\n", [("few", "")]),
    ("model big = tiny { tp = 1 }\nlet size = [big]\n", [("size", "`big`")]),
    ("grader a = words(completion)\ngrader b = 0.5 * a\n", [("b", "`a`")]),
]


@pytest.mark.parametrize(("text", "said"), CHAINS)
def test_only_the_last_of_a_chain_is_blamed(text: str, said: list[tuple[str, str]]) -> None:
    found = check_text(GOOD + text).diagnostics
    assert [(finding.code, finding.span.text) for finding in found] == [("W0201", name) for name, _ in said]
    for finding, (_, along) in zip(found, said, strict=True):
        assert finding.words.notes == (
            (f"dropped with it, for nothing else uses them: {along}",) if along else ()
        )


USED = [
    ("let rate = 1e-2\n", ("lr = 1e-2", "lr = rate")),
    ("let rate = 1e-2\nlet half = rate / 2\n", ("lr = 1e-2", "lr = half")),
    ('input key: str = "a"\n', ('as "adder"', "as key")),
    ("recipe r { seed = start }\nlet start = 3\n", ("lr = 1e-2", "lr = 2e-2")),
    ("input rate: float = 1e-2 where rate < most\nlet most = 1\n", ("lr = 1e-2", "lr = rate")),
    ("let on = false\nlet rate = 1e-3\n", ("lr = 1e-2", "lr = if on then rate else 1e-2")),
]


@pytest.mark.parametrize(("text", "change"), USED)
def test_what_an_output_needs_is_used(text: str, change: tuple[str, str]) -> None:
    assert codes(check_text(text + replaced(GOOD, change))) == []


def test_a_stage_that_nothing_saves_is_another_matter() -> None:
    extra = "train second = sft { model = tiny, dataset = sums, samples_per_batch = 4, steps = 1 }\n"
    assert codes(check_text(GOOD + extra)) == ["W0601"]
    assert codes(check_text(GOOD + extra.replace("train second", "let second"))) == ["W0601"]


def test_a_file_without_outputs_warns_about_nothing() -> None:
    assert codes(check_text("let a = 1\nlet b = a\ninput c: int = 2\n" + MODEL)) == []


def test_a_mistake_may_have_been_the_use() -> None:
    assert codes(check_text("let rate = 1e-2\n" + replaced(GOOD, ("lr = 1e-2", "lr = raet")))) == ["E0204"]
    assert places(check_text("let rate = 1e-2\n" + replaced(GOOD, ("lr = 1e-2", "lr =")))) != []
