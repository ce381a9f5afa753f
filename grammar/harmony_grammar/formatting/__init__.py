"""The one layout of recipes: text to the same text, laid out.

`words` are the tokens with the comments before them; `shaping` turns the syntax tree into `shapes`, which say
where lines may be broken; `printing` breaks those that must be. Nothing is written that says something else:
what came out is read again, and compared.
"""

from __future__ import annotations

from harmony_grammar.brackets import balance
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.formatting.printing import print_file
from harmony_grammar.formatting.shaping import Shaper
from harmony_grammar.lexer import Token, end_lines, scan
from harmony_grammar.parser import parse_expression, parse_file
from harmony_grammar.records import Record, replace
from harmony_grammar.source import Source, Span
from harmony_grammar.syntax import File


class ChangedError(Exception):
    """The formatted text would say something else: a fault of the formatter."""


class Formatted(Record):
    """The formatted text, or why the text could not be read: one with faults has no layout."""

    text: str | None
    diagnostics: tuple[Diagnostic, ...] = ()


def format_source(source: Source) -> Formatted:
    """The text of a recipe in the one layout.

    Raises:
        ChangedError: what came out would not be the same recipe.
    """
    parsed = parse_file(source)
    if parsed.diagnostics:
        return Formatted(None, parsed.diagnostics)
    shaper = Shaper(source, parsed.tree.declarations)
    declarations = [shaper.declaration(one) for one in parsed.tree.declarations]
    text = print_file(declarations, shaper.words.take())
    if text != source.text:
        again = parse_file(replace(source, text=text))
        if again.diagnostics:
            raise ChangedError("the formatted text could not be read again")
        if said := difference(parsed.tree, again.tree):
            raise ChangedError(f"the formatted text would have other {said}")
    return Formatted(text)


def difference(one: File, other: File) -> str:
    """What two files differ in beside their layout; empty where they do not."""
    if one.declarations != other.declarations:
        return "declarations"
    docs, others = ([declaration.doc for declaration in file.declarations] for file in (one, other))
    if docs != others:
        return "documentation"
    return "" if comments(one) == comments(other) else "comments"


def comments(tree: File) -> list[str]:
    """The comments of a file in their order; blanks at their ends are no part of them."""
    return [comment.text.rstrip() for comment in tree.comments]


def in_one_line(span: Span) -> str:
    """The expression at a place as it would be written on one line, whatever its layout; without comments."""
    inside = Source("", f"({span.text}\n)")
    balanced, _ = balance(scan(inside).tokens, inside, declarations=False)
    tokens, _ = end_lines(balanced, inside)
    source = Source("", " ".join(_in_one_line(token) for token in tokens[1:-1]))
    expression, faults = parse_expression(source)
    flat = None if faults else Shaper(source).expression(expression).flat
    return source.text if flat is None else flat


def _in_one_line(token: Token) -> str:
    match token.kind:
        case "NEWLINE":
            return ","
        case "LONG":
            return " ".join(token.text.split())
    return token.text
