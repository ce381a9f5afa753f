"""What the tests of this folder share: the recipes they read and short ways to read them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harmony_grammar.parser import Parsed, parse_file
from harmony_grammar.rendering import render_text
from harmony_grammar.source import Source
from harmony_grammar.syntax import File

HERE = Path(__file__).parent
LANGUAGE = HERE.parents[2] / "shared" / "design" / "LANGUAGE.md"
SCHOOL = (HERE / "school.recipe").read_text(encoding="utf-8")


def parse(text: str) -> Parsed:
    return parse_file(Source("a.recipe", text))


def tree(text: str) -> File:
    """The tree of a text without faults."""
    parsed = parse(text)
    assert not parsed.diagnostics, render_text(parsed.diagnostics)
    return parsed.tree


def slugs(text: str) -> list[tuple[int, str]]:
    """Line and slug of every finding."""
    return [(finding.span.first.line, finding.slug) for finding in parse(text).diagnostics]


def recipes_of_the_manual() -> list[str]:
    if not LANGUAGE.exists():
        pytest.skip(f"the language's manual is not at hand ({LANGUAGE.name})")
    return re.findall(r"```recipe\n(.*?)```", LANGUAGE.read_text(encoding="utf-8"), re.DOTALL)
