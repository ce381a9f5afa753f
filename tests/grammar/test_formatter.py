"""The one layout, pair by pair: what was written, and what `fmt` makes of it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from reading import HERE, tree

from harmony_grammar import formatting
from harmony_grammar.formatting import ChangedError, difference, format_source, in_one_line
from harmony_grammar.source import Source

ROOT = HERE.parents[1]
GOLDEN = sorted((HERE / "golden_fmt").glob("*.txt"))
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("compiler/**/explain/pages/*.md")]
RECIPES = [
    path for folder in ("examples", "tests", "harmony_dsl") for path in ROOT.glob(f"{folder}/**/*.recipe")
]
BREAK = "-" * 110 + "\n"


def fmt(text: str) -> str:
    formatted = format_source(Source("a.recipe", text)).text
    assert formatted is not None
    return formatted


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_layout_reads_as_it_was_reviewed(path: Path) -> None:
    """The line between the two parts is as wide as a line may be."""
    before, _, after = path.read_text(encoding="utf-8").partition(BREAK)
    formatted = fmt(before)
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(before + BREAK + formatted, encoding="utf-8")
        return
    assert formatted == after
    assert fmt(formatted) == formatted
    assert difference(tree(before), tree(formatted)) == ""


@pytest.mark.parametrize("path", sorted(RECIPES), ids=lambda path: path.name)
def test_recipes_of_the_tree_are_formatted(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert fmt(text) == text


@pytest.mark.parametrize("page", sorted(PAGES), ids=lambda page: page.stem)
def test_recipes_of_the_pages_are_formatted(page: Path) -> None:
    blocks = re.findall(r"^```recipe[^\n]*\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    for text in blocks:
        # Pages of `explain` show mistakes, some of them of the syntax.
        formatted = format_source(Source(page.name, text)).text
        assert formatted in (None, text)


def test_a_ladder_of_many_arms_does_not_walk_to_the_right() -> None:
    arms = " else ".join(f"if words(completion) > {1000 - number} then {number}" for number in range(60))
    first, *lines = fmt(f"grader g = {arms} else 60\n").splitlines()
    assert first == "grader g = if words(completion) > 1000 then 0"
    assert len(lines) == 60
    assert {len(line) - len(line.lstrip()) for line in lines} == {2}
    assert all(line.lstrip().startswith("else ") for line in lines)


def test_many_numbers_fill_their_lines() -> None:
    formatted = fmt(f"let a = [{', '.join(str(number) for number in range(1000, 1040))}]\n")
    _, *lines, _ = formatted.splitlines()
    assert [len(line.split()) for line in lines] == [18, 18, 4]
    assert max(map(len, lines)) <= 110
    assert fmt(formatted) == formatted


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_mark_go(mark: str) -> None:
    text = '## d\r\nlet a = """\r\n  b\r\n  c\r\n"""\r\n\r\n\r\n\r\nlet d = "e" # f\r\n\r\n'
    assert fmt(mark + text) == '## d\nlet a = """\n  b\n  c\n"""\n\nlet d = "e"  # f\n'
    assert tree(fmt(mark + text)) == tree(text)


@pytest.mark.parametrize(
    ("text", "formatted"), [("", ""), ("\n\n", ""), ("# a", "# a\n"), ("\n\n# a\n\n", "# a\n")]
)
def test_texts_without_declarations(text: str, formatted: str) -> None:
    assert fmt(text) == formatted


def test_what_is_no_documentation_does_not_become_one() -> None:
    """Behind a form feed, `##` stands on a line that is not empty."""
    formatted = fmt("let a = 1\n\f## no\nlet b = 2\n")
    assert formatted == "let a = 1\n## no\n\nlet b = 2\n"
    assert tree(formatted).declarations[1].doc == ""


def test_a_text_with_faults_has_no_layout() -> None:
    found = format_source(Source("a.recipe", "let a =\nlet b = (\n"))
    assert found.text is None
    assert [finding.code for finding in found.diagnostics] == ["E0121", "E0112"]


@pytest.mark.parametrize(
    ("wrong", "other"),
    [
        ("## d\nlet a = 2\n# c\n", "declarations"),
        ("# d\nlet a = 1\n# c\n", "documentation"),
        ("## d\nlet a = 1\n", "comments"),
        ("let a = (", "read again"),
    ],
)
def test_what_says_something_else_is_refused(wrong: str, other: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formatting, "print_file", lambda *_: wrong)
    with pytest.raises(ChangedError, match=other):
        fmt("## d\nlet a=1\n# c\n")


@pytest.mark.parametrize(
    "text",
    [
        'f { a = 1, b = [2], c = """x y""" } + g(1)',
        'f{a=1,b=[2,],c="""x y"""}+g(1,)',
        'f { # one\n  a = 1\n  # two\n  b = [\n    2, # three\n  ]\n  c = """x\n    y"""\n}\n  + g(1)',
    ],
)
def test_an_expression_in_one_line(text: str) -> None:
    """What an evaluation calls its columns: no layout makes another name."""
    span = tree(f"let a = {text}").declarations[0].value.span  # type: ignore[union-attr]
    assert in_one_line(span) == 'f { a = 1, b = [2], c = """x y""" } + g(1)'
