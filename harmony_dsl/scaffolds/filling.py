"""Filling: a recipe's text with other values in it, in the one layout; everything else is as it was."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from harmony_grammar import syntax
from harmony_grammar._tables import RESERVED
from harmony_grammar.formatting import format_source
from harmony_grammar.parser import parse_file
from harmony_grammar.source import Source, Span

HERE = Path(__file__).parent

ROWS = "numbers.jsonl"
"""The file beside the scaffolds that all of them read."""


def scaffold(algorithm: str) -> str:
    return (HERE / f"{algorithm}.recipe").read_text(encoding="utf-8")


def filled(text: str, name: str, values: Mapping[str, str]) -> str:
    """A recipe under another name. `values` are expressions, by the declared names that stand for them from
    now on: of an input it is the default."""
    edits: list[tuple[Span, str]] = []
    for declaration in parse_file(Source("scaffold", text)).tree.declarations:
        match declaration:
            case syntax.RecipeDeclaration(name=syntax.Identifier() as old):
                edits.append((old.span, name))
            case (
                syntax.InputDeclaration(name=called, default=value)
                | syntax.ValueDeclaration(name=called, value=value)
            ) if value is not None and called.text in values:
                edits.append((value.span, values[called.text]))
    for span, new in reversed(edits):
        text = text[: span.start] + new + text[span.end :]
    return format_source(Source("scaffold", text)).text or text


def recipe_name(stem: str) -> str:
    """A name of the language that is like a file's."""
    name = re.sub(r"[^A-Za-z0-9_]", "_", stem)
    return f"_{name}" if not name or name[0].isdigit() or name in RESERVED else name


def quoted(text: str) -> str:
    """A text as a recipe writes it."""
    for plain, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        text = text.replace(plain, escaped)
    return f'"{text}"'
