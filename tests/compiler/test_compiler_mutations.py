"""One wrong token, anywhere in a real recipe: the whole compiler survives it, and says only a handful."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from harmony_compiler.compile import compile_recipe
from harmony_grammar.lexer import Token, scan
from harmony_grammar.rendering import render_text, to_json
from harmony_grammar.source import Source

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.recipe"))
MANUAL = ROOT.parent / "shared" / "design" / "LANGUAGE.md"
MOST_FINDINGS = {"deletion": 5, "duplication": 5, "swap": 6}
"""How many findings one wrong token may cause; a swap makes two of them."""

LEAST_SINGLE = 0.7
"""The share of faults that are one finding."""


def deletion(text: str, one: Token, _: Token) -> str:
    return text[: one.start] + text[one.end :]


def duplication(text: str, one: Token, _: Token) -> str:
    return f"{text[: one.end]} {one.text}{text[one.end :]}"


def swap(text: str, one: Token, two: Token) -> str:
    return text[: one.start] + two.text + text[one.end : two.start] + one.text + text[two.end :]


Mutation = Callable[[str, Token, Token], str]


def recipes() -> Iterator[tuple[str, str]]:
    for path in EXAMPLES:
        yield path.name, path.read_text(encoding="utf-8")
    if MANUAL.exists():
        blocks = re.findall(r"```recipe\n(.*?)```", MANUAL.read_text(encoding="utf-8"), re.DOTALL)
        yield "the manual's", blocks[0]


@pytest.fixture
def data(folder: Path) -> None:
    """What the recipes read."""
    shutil.copytree(ROOT / "examples" / "data", folder / "data")
    for path in EXAMPLES:  # one may import another
        shutil.copy(path, folder)
    row = '{"question": "What is 1 + 1?", "answer": "2 #### 2"}\n'
    (folder / "data" / "gsm8k.jsonl").write_text(row * 20, encoding="utf-8")


@pytest.mark.parametrize("mutate", [deletion, duplication, swap])
@pytest.mark.parametrize(("name", "text"), list(recipes()), ids=[name for name, _ in recipes()])
def test_one_wrong_token_is_survived(name: str, text: str, mutate: Mutation, data: None) -> None:
    counts = Counter[int]()
    for one, two in pairwise(scan(Source(name, text)).tokens):
        wrong = mutate(text, one, two)
        found = compile_recipe(Source("a.recipe", wrong, Path.cwd() / "a.recipe")).diagnostics
        errors = [finding for finding in found if finding.severity == "error"]
        assert len(errors) <= MOST_FINDINGS[mutate.__name__], render_text(found)
        to_json(found)
        counts[len(errors)] += 1
    assert counts[1] >= LEAST_SINGLE * counts.total()
