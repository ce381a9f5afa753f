"""One fault, one finding, on its own line; everything around it is still read."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
from reading import LANGUAGE, SCHOOL, parse, recipes_of_the_manual, slugs

from harmony_grammar.lexer import scan
from harmony_grammar.rendering import render_text
from harmony_grammar.source import Source
from harmony_grammar.syntax import Broken, Field, InputDeclaration, ValueDeclaration, With

MOST_FINDINGS = 5
"""How many findings a single wrong token may cause."""

LEAST_SHARE = 0.9
"""The share of deletions whose first finding must stand on the line of the fault."""


def deletions(text: str) -> Iterator[tuple[int, str]]:
    """Every text with one token left out, with the offset of the place."""
    for token in scan(Source("a.recipe", text)).tokens:
        yield token.start, text[: token.start] + text[token.end :]


def duplications(text: str) -> Iterator[tuple[int, str]]:
    for token in scan(Source("a.recipe", text)).tokens:
        yield token.start, f"{text[: token.end]} {token.text}{text[token.end :]}"


def swaps(text: str) -> Iterator[tuple[int, str]]:
    tokens = scan(Source("a.recipe", text)).tokens
    for one, two in pairwise(tokens):
        gap = text[one.end : two.start]
        yield one.start, text[: one.start] + two.text + gap + one.text + text[two.end :]


def recipes() -> list[str]:
    return [SCHOOL, *(recipes_of_the_manual()[:1] if LANGUAGE.exists() else [])]


@pytest.mark.parametrize("mutate", [deletions, duplications, swaps])
def test_every_mutation_is_survived(mutate: Callable[[str], Iterator[tuple[int, str]]]) -> None:
    for recipe in recipes():
        for _, text in mutate(recipe):
            found = parse(text).diagnostics
            assert len(found) <= MOST_FINDINGS, render_text(found)


def test_deletions_are_blamed_on_their_line() -> None:
    share = Counter[bool]()
    for recipe in recipes():
        for offset, text in deletions(recipe):
            found = parse(text).diagnostics
            if found:
                line = Source("a.recipe", text).position(offset).line
                share[found[0].span.first.line == line] += 1
    assert share[True] / share.total() >= LEAST_SHARE


def test_several_faults_on_one_line_are_all_reported() -> None:
    text = "model base = scratch { hidden_size: 96, layers = 2; heads = 4, context = 3 kg }\n"
    assert slugs(text) == [(1, "colon-for-equals"), (1, "semicolon"), (1, "unexpected")]
    assert slugs("let a = [1 2, 3 4]\n") == [(1, "missing-comma"), (1, "missing-comma")]


def test_several_faults_are_all_reported() -> None:
    text = (
        "let a = [1 2]\n"
        "train x = sft {\n"
        "  lr: 3\n"
        "  steps =\n"
        "  seed = 3 4\n"
        "  model = base { tp = 2\n"
        "  epochs = 3x\n"
        "}\n"
        'datset z = jsonl("a")\n'
        "let q = f(1\n"
        'let r = "abc\n'
        "save x as 3\n"
    )
    assert slugs(text) == [
        (1, "missing-comma"),
        (3, "colon-for-equals"),
        (4, "missing-value"),
        (5, "unexpected"),
        (6, "unclosed-bracket"),
        (7, "unknown-unit"),
        (9, "unknown-declaration"),
        (10, "unclosed-bracket"),
        (11, "unclosed-string"),
        (12, "unexpected"),
    ]


def test_a_broken_field_keeps_its_key() -> None:
    [declaration] = parse("train t = sft {\n  lr = 1 2\n  steps = 3\n  5\n}").tree.declarations
    assert isinstance(declaration, ValueDeclaration)
    assert isinstance(declaration.value, With)
    lr, steps, broken = declaration.value.fields
    assert isinstance(lr, Field) and lr.key.text == "lr" and isinstance(lr.value, Broken)
    assert isinstance(steps, Field) and steps.key.text == "steps" and not isinstance(steps.value, Broken)
    assert isinstance(broken, Broken)


@pytest.mark.parametrize(
    "text", ["let a b c", "let a", "let a = ) b", "let a = f(1 +", "let a ! = 3", "a = 1 2"]
)
def test_a_broken_declaration_keeps_its_name(text: str) -> None:
    parsed = parse(f"{text}\nlet z = 1")
    assert parsed.diagnostics
    names = [declaration.name.text for declaration in parsed.tree.declarations]  # type: ignore[union-attr]
    assert names == ["a", "z"]
    assert parsed.tree.complete


def test_a_broken_input_keeps_what_can_be_read() -> None:
    text = "input a: in in = 3 where a > 1\ninput b: int = 3 4 where b > 1\ninput c: int = 3 where c > > 1"
    a, b, c = parse(text).tree.declarations
    for declaration in (a, b, c):
        assert isinstance(declaration, InputDeclaration)
        parts = (declaration.type, declaration.default, declaration.condition)
        assert [isinstance(part, Broken) for part in parts].count(True) == 1


def test_a_lost_declaration_is_said() -> None:
    parsed = parse('save 3\nmodel = hf("x")\nlet z = 1')
    assert not parsed.tree.complete
    assert len(parsed.tree.declarations) == 1


FAULTY = {
    "parentheses": "let a = " + "(" * 100_000,
    "closed parentheses": "let a = " + "(" * 20_000 + ")" * 20_000,
    "records": "let a = " + "[{a = " * 20_000,
    "minus": "let a = " + "-" * 50_000 + "1",
    "sum": "let a = 1" + " + 1" * 20_000,
    "attributes": "let a = b" + ".c" * 20_000,
    "ifs": "let a = " + "if a then b else " * 5_000,
    "closers": "}\n" * 20_000,
    "wrong closers": "[a}" * 10_000,
    "declarations": "x y\n" * 10_000,
    "fields": "let a = b {\n" + "  c d\n" * 10_000 + "}",
    "strings": '"a\n' * 20_000,
    "quotes in templates": '"{{"a' * 10_000,
    "openers": "{\n" * 20_000,
    "types": "input a: " + "list[" * 20_000,
    "letters": "a" * 200_000,
    "digits": "let a = " + "9" * 100_000,
    "signs": "$" * 20_000,
}


@pytest.mark.parametrize("text", FAULTY.values(), ids=FAULTY.keys())
def test_monsters_are_survived(text: str) -> None:
    assert parse(text).diagnostics


def test_long_files_take_linear_time() -> None:
    """Quadratic time would be minutes here; the bound is loose, so that a busy machine does not fail it."""
    begun = time.process_time()
    parsed = parse(SCHOOL * 140)
    assert not parsed.diagnostics
    assert len(parsed.tree.declarations) == 140 * len(parse(SCHOOL).tree.declarations)
    assert time.process_time() - begun < 10
