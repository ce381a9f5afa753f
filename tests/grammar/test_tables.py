"""The tables in the package are those of the grammar, and Lark reads the same language with them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from reading import SCHOOL

import harmony_grammar
from harmony_grammar import automaton
from harmony_grammar._tables import RESERVED, SIGNS
from harmony_grammar.brackets import balance
from harmony_grammar.build import STARTS, build
from harmony_grammar.builder import Builder
from harmony_grammar.lexer import CLOSERS, DECLARATION_WORDS, OPERATORS, Token, end_lines, scan
from harmony_grammar.source import Source

PACKAGE = Path(harmony_grammar.__file__).parent


def test_tables_are_those_of_the_grammar() -> None:
    """Building is strict: it fails on a conflict of rules, and on two terminals that match the same text."""
    pytest.importorskip("interegular")
    assert build() == (PACKAGE / "_tables.py").read_text(encoding="utf-8")


def test_tables_do_not_depend_on_the_order_of_hashes() -> None:
    pytest.importorskip("interegular")
    code = "from harmony_grammar.build import build; print(build(), end='')"
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "7",
        "PYTHONPATH": str(PACKAGE.parent),
        "PYTHONIOENCODING": "utf-8",
    }
    built = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
    assert built.stdout.decode() == (PACKAGE / "_tables.py").read_text(encoding="utf-8")


def test_reserved_words() -> None:
    words = ("true", "false", "none", "and", "or", "not", "in", "if", "then", "else", "where", "as")
    assert set(RESERVED) == set(words)
    assert not set(RESERVED) & set(DECLARATION_WORDS)


def test_operators_are_signs_of_the_grammar() -> None:
    assert set(SIGNS) >= OPERATORS


def test_every_rule_has_its_method() -> None:
    assert all(
        call is not None or size == 1
        for call, (_, size, _) in zip(automaton.methods(Builder(None)), automaton.RULES, strict=True)  # type: ignore[arg-type]
    )
    assert set(automaton.STARTS) == set(STARTS)


def test_reading_a_recipe_does_not_import_lark() -> None:
    code = "import sys, harmony_grammar.parser; print('lark' in sys.modules, 'pickle' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["False", "False"]


def test_lark_reads_the_same_language() -> None:
    """Lark's own parser and the automaton accept and refuse the same texts."""
    lark = pytest.importorskip("lark")
    pytest.importorskip("interegular")
    grammar = (PACKAGE / "recipe.lark").read_text(encoding="utf-8")
    parser = lark.Lark(grammar, parser="lalr", lexer="basic", start=list(STARTS))
    names = {t.pattern.value: t.name for t in parser.terminals if t.pattern.type == "str"}
    calls = automaton.methods(Builder(Source("a.recipe", SCHOOL)))
    verdicts = set()
    for declaration in declarations_of(SCHOOL):
        for left_out in range(-1, len(declaration)):
            tokens = [token for index, token in enumerate(declaration) if index != left_out]
            interactive = parser.parse_interactive(start="declaration")
            try:
                for token in tokens:
                    interactive.feed_token(lark.Token(names.get(token.kind, token.kind), token.text))
                interactive.feed_eof()
                accepted = True
            except lark.UnexpectedToken:
                accepted = False
            end = Token(automaton.END, "", len(SCHOOL), len(SCHOOL))
            result = automaton.run([*tokens, end], "declaration", calls)
            assert isinstance(result, automaton.Fault) is not accepted
            verdicts.add(accepted)
    assert verdicts == {True, False}


def declarations_of(text: str) -> list[list[Token]]:
    source = Source("a.recipe", text)
    tokens, _ = end_lines(balance(scan(source).tokens, source)[0], source)
    cut: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        depth += (token.kind in CLOSERS) - (token.kind in CLOSERS.values())
        if token.kind == "NEWLINE" and not depth:
            cut.append([])
        else:
            cut[-1].append(token if cut[-1] else token._replace(kind=DECLARATION_WORDS[token.text]))
    return cut
