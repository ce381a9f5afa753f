"""Where a newline ends a field or a declaration: section 2 of the language, case by case."""

from __future__ import annotations

import pytest

from harmony_grammar.brackets import balance
from harmony_grammar.lexer import end_lines, scan
from harmony_grammar.source import Source

ENDS = {
    "after a value": "let a = b\nlet c = d",
    "after a closed bracket": "let a = f(b)\nlet c = d",
    "a field": "x = 1\ny = 2",
    "before a key, whatever the line ends in": "x = 1 +\ny = 2",
    "before a key after `=`": "x =\ny = 2",
    "before a string as key": 'x =\n"y" = 2',
    "before a reserved word as key": "x =\nor = 2",
    "before `not` alone": "x = 1\nnot y",
    "before a short form": "x = 1\ny { z = 2 }",
    "before `if`": "x = 1\nif y",
    "behind a comment": "x = 1 # +\ny = 2",
    "over empty lines": "x = 1\n\n # note\n\ny = 2",
    "carriage returns": "x = 1\r\ny = 2",
}

GOES_ON = {
    "after a comma": "x = 1,\ny = 2",
    "after `=`": "x =\n1",
    "after `.`": "x = a.\nb",
    "after an operator": "x = 1 +\n2",
    "after `//`": "x = 1 //\n2",
    "after `<=`": "x = 1 <=\n2",
    "after `and`": "x = a and\nb",
    "after `or`": "x = a or\nb",
    "after `not`": "x = not\nb",
    "after `in`": "x = a in\nb",
    "after `if`": "x = if\na",
    "after `then`": "x = if a then\nb",
    "after `else`": "x = if a then b else\nc",
    "after `|`": "x |\ny",
    "before an operator": "x = 1\n+ 2",
    "before a minus": "x = 1\n- 2",
    "before `==`": "x = 1\n== 2",
    "before `.`": "x = a\n.b",
    "before `then`": "x = if a\nthen b",
    "before `else`": "x = if a then b\nelse c",
    "before `where`": "x = a\nwhere b",
    "before `as`": "x\nas y",
    "before `in`": "x = a\nin b",
    "before `not in`": "x = a\nnot in b",
    "before `and`": "x = a\nand b",
    "before `or`": "x = a\nor b",
    "inside `(`": "x = f(\na\nb\n)",
    "inside `[`": "x = [a\nb]",
    "inside `[` before a key": "x = [a\nb = 1]",
    "before `}`": "x = {a = 1\n}",
    "after `{`": "x = {\na = 1}",
    "over a comment": "x = 1 + # plus\n2",
}

TOP_LEVEL = {
    "a declaration word and a name end all": ("let a =\nlet b = 1", 1),
    "a declaration word and a string, too": ('let a =\nimport "b"', 1),
    "a declaration word alone does not": ("let a =\nmodel", 0),
    "a key does not": ("let a =\nb = 1", 0),
    "after a comma nothing ends": ("let a = b,\nlet c = d", 0),
    "a bracket at the beginning continues nothing": ("let a = b\n(c)", 0),
}


def newlines(text: str) -> int:
    source = Source("a.recipe", text)
    balanced, _ = balance(scan(source).tokens, source)
    tokens, _ = end_lines(balanced, source)
    return [token.kind for token in tokens].count("NEWLINE")


@pytest.mark.parametrize("text", ENDS.values(), ids=ENDS.keys())
def test_ends(text: str) -> None:
    inside = text if text.startswith("let") else f"let r = {{\n{text}\n}}"
    assert newlines(inside) == 1


@pytest.mark.parametrize("text", GOES_ON.values(), ids=GOES_ON.keys())
def test_goes_on(text: str) -> None:
    assert newlines(f"let r = {{\n{text}\n}}") == 0


@pytest.mark.parametrize(("text", "count"), TOP_LEVEL.values(), ids=TOP_LEVEL.keys())
def test_top_level(text: str, count: int) -> None:
    assert newlines(text) == count


def test_nothing_ends_at_the_edges() -> None:
    assert newlines("\n\nlet a = {\n\n}\n\n") == 0


def test_blocks_inside_parentheses_have_lines_again() -> None:
    assert newlines("let a = f(b {\nx = 1\ny = 2\n},\nc)") == 1
