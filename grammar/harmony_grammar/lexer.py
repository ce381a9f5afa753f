"""Text to tokens: balanced brackets, and a NEWLINE wherever a field or a declaration ends.

Three passes, each linear. `scan` cuts the text into tokens and comments; it never fails, for what belongs
to no rule is a token too, and becomes a finding. `brackets.balance` makes every bracket closed. `end_lines`
holds the newline rule. What could not be read is a BROKEN token from here on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from harmony_grammar import literal_errors
from harmony_grammar import syntax_errors as errors
from harmony_grammar._tables import RESERVED, SCANNER
from harmony_grammar.diagnostics import Diagnostic, Edit, Fix
from harmony_grammar.source import Source
from harmony_grammar.syntax import Comment

DECLARATION_WORDS = {
    "recipe": "RECIPE",
    "import": "IMPORT",
    "input": "INPUT",
    "let": "VALUE",
    "model": "VALUE",
    "dataset": "VALUE",
    "grader": "VALUE",
    "train": "VALUE",
    "evaluate": "VALUE",
    "save": "SAVE",
}
"""The words that begin a declaration, with the kind of token they are there; elsewhere they are names."""

STRINGS = frozenset(("STRING", "RAW", "LONG"))
WORDS = frozenset(("NAME", *RESERVED))
OPERATORS = frozenset(("+", "-", "*", "/", "//", "==", "!=", "<", "<=", ">", ">=", "|"))
CLOSERS = {"(": ")", "[": "]", "{": "}"}


class Token(NamedTuple):
    """`indent` is the column, from 0, of a token that is the first of its line; else -1."""

    kind: str
    text: str
    start: int
    end: int
    indent: int = -1


class Scan(NamedTuple):
    tokens: list[Token]
    comments: list[Comment]
    findings: list[Diagnostic]


# --- signs ----------------------------------------------------------------------------------------------

_match = re.compile(SCANNER).match
_reserved = frozenset(RESERVED)


def scan(source: Source) -> Scan:
    """Tokens and comments as they stand; between them there are blanks only."""
    text = source.text
    tokens: list[Token] = []
    comments: list[Comment] = []
    findings: list[Diagnostic] = []
    position = line_start = 1 if text.startswith("\ufeff") else 0
    fresh = True
    while found := _match(text, position):
        kind, word = found.lastgroup or "", found.group()
        start, position = position, found.end()
        if kind == "BLANK":
            if "\n" in word:
                line_start = start + word.rindex("\n") + 1
                fresh = True
            continue
        if kind == "COMMENT":
            word = word.rstrip("\r")
            comments.append(Comment(source.span(start, start + len(word)), word))
            continue
        if kind == "SIGN" or (kind == "NAME" and word in _reserved):
            kind = word
        elif kind == "UNCLOSED":
            word = _without_closers(word)
            position = start + len(word)
        token = Token(kind, word, start, position, start - line_start if fresh else -1)
        fresh = False
        if kind in _FAULTS:
            token, finding = _faulty(token, tokens, source)
            findings.extend(finding)
        tokens.append(token)
    return Scan(tokens, comments, findings)


_FAULTS: dict[str, type[errors.SyntaxFinding]] = {
    "UNCLOSED_LONG": literal_errors.UnclosedString,
    "UNCLOSED": literal_errors.UnclosedString,
    "QUOTE_IN_TEMPLATE": literal_errors.QuoteInTemplate,
    "SINGLE_QUOTED": literal_errors.SingleQuotes,
    "LEADING_POINT": literal_errors.LeadingPoint,
    "FOREIGN_WORD": literal_errors.ForeignLetters,
    "STRAY": literal_errors.StrayCharacter,
}


def _faulty(token: Token, tokens: list[Token], source: Source) -> tuple[Token, list[Diagnostic]]:
    """The token to go on with in place of a faulty one, and what to say."""
    span = source.span(token.start, token.end)
    if token.text == ";":
        return token._replace(kind=";"), []  # `end_lines` knows what should stand there instead
    broken = token._replace(kind="BROKEN")
    if token.text == "%" and tokens and tokens[-1].kind == "NUMBER":
        number = tokens[-1]
        tokens[-1] = number._replace(kind="BROKEN")
        return broken, [literal_errors.DetachedPercent.between(source.span(number.start, number.end), span)]
    if token.kind in ("UNCLOSED", "UNCLOSED_LONG"):
        quotes = 3 if token.kind == "UNCLOSED_LONG" else 1
        opening = source.span(token.start, token.start + token.text.index('"') + quotes)
        return broken, [literal_errors.UnclosedString.of(opening, span)]
    if token.kind == "LEADING_POINT" and tokens and tokens[-1].kind == "NUMBER":
        number = tokens[-1]
        if number.end == token.start:  # `1.2.3`
            tokens.pop()
            whole = source.span(number.start, token.end)
            return broken._replace(start=number.start), [literal_errors.MalformedNumber.at(whole)]
    return broken, [_FAULTS[token.kind].at(span)]


def _without_closers(word: str) -> str:
    """An unclosed string without the brackets at its end that close something before it."""
    open_brackets: list[str] = []
    for index, character in enumerate(word):
        if character in CLOSERS:
            open_brackets.append(CLOSERS[character])
        elif open_brackets and character == open_brackets[-1]:
            open_brackets.pop()
        elif character in ")]}" and not word[index:].strip(")]} \t\r,"):
            return word[:index].rstrip()
    return word.rstrip()


# --- lines ----------------------------------------------------------------------------------------------

_GOES_ON_BEHIND = OPERATORS | {"=", ".", "and", "or", "not", "in", "if", "then", "else", "where", "as"}
_GOES_ON_BEFORE = OPERATORS | {".", "where", "then", "else", "and", "or", "in", "as"}


def _line_ends(before: Token, line: Sequence[Token], bracket: str) -> bool:
    """The newline rule: does the newline between `before` and `line`, inside `bracket`, end something?

    `line` is the beginning of the next line, `bracket` the innermost open one, "" at the top level.
    """
    if bracket in ("(", "["):
        return False
    if before.kind == ",":
        return False
    if begins_field(line) if bracket else begins_declaration(line):
        return True
    if before.kind in _GOES_ON_BEHIND:
        return False
    if line[0].kind in _GOES_ON_BEFORE:
        return False
    return [token.kind for token in line[:2]] != ["not", "in"]


def begins_field(line: Sequence[Token]) -> bool:
    return len(line) > 1 and (line[0].kind in WORDS or line[0].kind in STRINGS) and line[1].kind == "="


def begins_declaration(line: Sequence[Token]) -> bool:
    return len(line) > 1 and line[0].text in DECLARATION_WORDS and line[1].kind in ("NAME", "STRING")


def end_lines(tokens: Sequence[Token], source: Source) -> tuple[list[Token], list[Diagnostic]]:
    """Balanced tokens with a NEWLINE behind each field and declaration that a newline ends.

    There is none where no field or declaration can end: behind `{`, before `}`, at both ends of the text.
    """
    result: list[Token] = []
    findings: list[Diagnostic] = []
    brackets = [""]
    for index, token in enumerate(tokens):
        before = result[-1] if result else None
        if token.kind == ";":
            findings.append(_semicolon(tokens, index, brackets[-1], source))
            if brackets[-1] in ("(", "["):
                result.append(token._replace(kind=","))
            elif before and before.kind not in ("{", ",", "NEWLINE"):
                result.append(token._replace(kind="NEWLINE"))
            continue
        inside = before is not None and before.kind not in ("{", "NEWLINE") and token.kind != "}"
        if (
            before
            and inside
            and token.indent >= 0
            and _line_ends(before, tokens[index : index + 2], brackets[-1])
        ):
            if token.kind in CLOSERS:
                gap = source.span(before.end, token.start)
                findings.append(errors.BracketOnNextLine.at(gap, token.kind))
            else:
                result.append(Token("NEWLINE", "", before.end, before.end))
        if token.kind == "}" and before and before.kind == "NEWLINE":
            result.pop()
        if token.kind in CLOSERS:
            brackets.append(token.kind)
        elif token.kind in (")", "]", "}"):
            brackets.pop()
        result.append(token)
    if result and result[-1].kind == "NEWLINE":
        result.pop()
    return result, findings


def _semicolon(tokens: Sequence[Token], index: int, bracket: str, source: Source) -> Diagnostic:
    token = tokens[index]
    after = tokens[index + 1] if index + 1 < len(tokens) else None
    needless = after is None or after.indent >= 0 or after.kind in (")", "]", "}")
    text = "" if needless else "," if bracket else "\n"
    span = source.span(token.start, token.end)
    words = "leave out the `;`" if needless else "write a comma" if bracket else "begin a new line"
    return errors.Semicolon(span=span, mend=words, fixes=(Fix(words, (Edit(span, text),), "safe"),))
