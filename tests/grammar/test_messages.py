"""What people read when the form of a recipe is wrong: `golden/*.txt`, reviewed as prose.

Each case has a title behind `===`, the recipe, and behind `--- says` the message. `UPDATE_GOLDEN=1` writes
the messages anew.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from reading import HERE, parse

from harmony_grammar import literal_errors, syntax_errors
from harmony_grammar.diagnostics import LEDGER, Diagnostic
from harmony_grammar.rendering import render_text

OWN = (literal_errors.__name__, syntax_errors.__name__)
GOLDEN = sorted((HERE / "golden").glob("*.txt"))


def cases(path: Path) -> list[tuple[str, str, str]]:
    """Title, recipe and message of each case of a file."""
    text = path.read_text(encoding="utf-8")
    found = re.findall(r"^=== (.*)\n((?:.*\n)*?)--- says\n((?:.*\n)*?)(?=\n*=== |\n*\Z)", text, re.MULTILINE)
    return [(title, recipe.removesuffix("\n"), message) for title, recipe, message in found]


def said(recipe: str) -> str:
    return render_text(parse(recipe).diagnostics)


@pytest.mark.parametrize("path", GOLDEN, ids=[path.stem for path in GOLDEN])
def test_messages(path: Path) -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        written = [f"=== {title}\n{recipe}\n--- says\n{said(recipe)}" for title, recipe, _ in cases(path)]
        path.write_text("\n".join(written), encoding="utf-8")
    for title, recipe, message in cases(path):
        assert said(recipe) == message, title


def test_every_finding_has_a_case() -> None:
    raised: set[str] = set()
    for path in GOLDEN:
        for _, recipe, _ in cases(path):
            raised |= {finding.code for finding in parse(recipe).diagnostics}
    family = {code for code, finding in LEDGER.items() if finding.__module__ in OWN}
    assert family
    assert family <= raised


def test_findings_stand_alone() -> None:
    """No message, label or help names a terminal of the grammar or begins with a capital letter."""
    for path in GOLDEN:
        for _, recipe, _ in cases(path):
            for finding in parse(recipe).diagnostics:
                for words in _words(finding):
                    assert not re.search(r"NEWLINE|BROKEN|\bEND\b|STRING|NUMBER|\{[a-z_]+\}", words), words
                    assert not words[:1].isupper(), words


def _words(finding: Diagnostic) -> list[str]:
    words = finding.words
    return [words.message, words.label, words.help, *(label.message for label in finding.labels)]


def mended(recipe: str, applicability: tuple[str, ...]) -> str:
    """The recipe with the first fix of every finding applied."""
    fixes = [finding.fixes[0] for finding in parse(recipe).diagnostics if finding.fixes]
    edits = [edit for fix in fixes if fix.applicability in applicability for edit in fix.edits]
    for edit in sorted(edits, key=lambda edit: -edit.span.start):
        recipe = recipe[: edit.span.start] + edit.text + recipe[edit.span.end :]
    return recipe


@pytest.mark.parametrize("applicability", [("safe",), ("safe", "unsafe")], ids=["safe", "all"])
def test_fixes_mend(applicability: tuple[str, ...]) -> None:
    """Applied until none is left, they add no finding, and most recipes are without one then."""
    changed = clean = 0
    for path in GOLDEN:
        for title, recipe, _ in cases(path):
            after = recipe
            for _ in range(4):
                after = mended(after, applicability)
            assert mended(after, applicability) == after, title
            left = {finding.slug for finding in parse(after).diagnostics}
            assert left <= {finding.slug for finding in parse(recipe).diagnostics}, f"{title}: {after}"
            changed += after != recipe
            clean += after != recipe and not left
    assert changed > 5
    assert clean >= 0.8 * changed
