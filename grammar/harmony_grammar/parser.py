"""Source to syntax tree: `parse_file` for a recipe, `parse_expression` for the argument of a `--set`.

A file is cut into declarations at the newlines between them, and each is read by itself. Where one cannot be
read, `mistakes` says what is wrong and hands back tokens with the fault mended, or with one BROKEN token in
place of the smallest part that holds it; then the declaration is read again. So one run shows all faults, a
broken field keeps its key and a broken declaration its name.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Any

from harmony_grammar import automaton
from harmony_grammar.brackets import balance
from harmony_grammar.builder import Builder
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.lexer import Token, end_lines, scan
from harmony_grammar.mending import Mend
from harmony_grammar.mistakes import begin_declaration, explain
from harmony_grammar.records import Record
from harmony_grammar.regions import skeleton
from harmony_grammar.source import Source
from harmony_grammar.syntax import AnyDeclaration, Broken, Comment, Expression, File
from harmony_grammar.syntax_errors import Unexpected

MAX_MENDS = 40
"""How often one declaration is mended and read again before its value is given up."""


class Parsed(Record):
    tree: File
    diagnostics: tuple[Diagnostic, ...]


def parse_file(source: Source) -> Parsed:
    scanned = scan(source)
    balanced, unbalanced = balance(scanned.tokens, source)
    tokens, misplaced = end_lines(balanced, source)
    findings = [*scanned.findings, *unbalanced, *misplaced]
    reader = _Reader(source, scanned.comments, findings)
    declarations = tuple(reader.read_all(tokens))
    tree = File(source, declarations, tuple(scanned.comments), reader.complete)
    return Parsed(tree, _one_an_item(findings, reader.certain, scanned.tokens))


def parse_expression(source: Source) -> tuple[Expression, tuple[Diagnostic, ...]]:
    """Newlines are mere blanks here."""
    scanned = scan(source)
    tokens, unbalanced = balance(scanned.tokens, source, declarations=False)
    findings = [*scanned.findings, *unbalanced]
    reader = _Reader(source, scanned.comments, findings)
    expression = reader.read(tokens, "expression")
    if expression is None:
        expression = Broken(source.span(0, len(source.text)))
    return expression, _one_an_item(findings, reader.certain, scanned.tokens)


class _Reader:
    """Reads declarations one by one; says in `complete` whether none was lost."""

    def __init__(self, source: Source, comments: list[Comment], findings: list[Diagnostic]) -> None:
        self.source = source
        self.comments = comments
        self.findings = findings
        self.certain: list[Diagnostic] = []
        """Findings about single literals, each a fault of its own."""
        self.complete = True

    def read_all(self, tokens: list[Token]) -> Iterator[AnyDeclaration]:
        waiting = list(_declarations(tokens))
        waiting.reverse()
        faulty = False
        while waiting:
            begun = begin_declaration(waiting.pop(), self.source)
            known = len(self.findings)
            # What begins like nothing known, behind a faulty declaration, is likely to be the rest of it.
            if begun.finding and not (faulty and isinstance(begun.finding, Unexpected)):
                self.findings.append(begun.finding)
            if begun.lost:
                self.complete = False
            declaration = self.read(begun.tokens, "declaration", waiting) if begun.tokens else None
            faulty = len(self.findings) > known
            if declaration is None:
                self.complete = False
            else:
                yield declaration

    def read(self, tokens: list[Token], start: str, waiting: list[list[Token]] | None = None) -> Any:
        """What `tokens` say; `None` if that cannot be found out. A rest that is a declaration is put back."""
        doc = self._doc(tokens[0].start) if waiting is not None else ""
        for attempt in range(MAX_MENDS + 2):
            builder = Builder(self.source, doc)
            at = tokens[-1].end if tokens else len(self.source.text)
            end = Token(automaton.END, "", at, at)
            result = automaton.run([*tokens, end], start, automaton.methods(builder))
            if not isinstance(result, automaton.Fault):
                self.certain.extend(builder.findings)
                return result
            if attempt == MAX_MENDS:
                mend = Mend(None, skeleton(tokens))
            else:
                mend = explain(tokens, result, self.source)
            if mend.finding:
                self.findings.append(mend.finding)
            if mend.lost:
                self.complete = False
            if mend.rest and waiting is not None:
                waiting.append(mend.rest)
            if mend.tokens is None:
                return None
            tokens = mend.tokens
        return None

    def _doc(self, start: int) -> str:
        """The `##` comments directly above `start`."""
        text = self.source.text
        lines: list[str] = []
        index = bisect_left(self.comments, start, key=lambda comment: comment.span.start)
        while index:
            comment = self.comments[index - 1]
            gap = text[comment.span.end : start]
            line = text[text.rfind("\n", 0, comment.span.start) + 1 : comment.span.start]
            if (
                not comment.text.startswith("##")
                or gap.strip()
                or gap.count("\n") != 1
                or line.strip("\ufeff \t")
            ):
                break
            lines.append(comment.text[2:].removeprefix(" ").rstrip())
            start = comment.span.start
            index -= 1
        return "\n".join(reversed(lines))


def _declarations(tokens: Iterable[Token]) -> Iterator[list[Token]]:
    """The tokens between the newlines outside of all brackets."""
    depth = 0
    declaration: list[Token] = []
    for token in tokens:
        if token.kind == "NEWLINE" and not depth:
            yield declaration
            declaration = []
            continue
        depth += (token.kind in ("(", "[", "{")) - (token.kind in (")", "]", "}"))
        declaration.append(token)
    if declaration:
        yield declaration


def _one_an_item(
    findings: list[Diagnostic], certain: list[Diagnostic], tokens: list[Token]
) -> tuple[Diagnostic, ...]:
    """The findings in the order of the text; of several about one item, the first one found: it is the cause.

    An item is what stands on one line between two commas: a field, an argument, most often the whole line.
    """
    separators = [token.start for token in tokens if token.kind in (",", ";")]
    causes: dict[tuple[int, int], Diagnostic] = {}
    for finding in findings:
        item = finding.span.first.line, bisect_left(separators, finding.span.start)
        causes.setdefault(item, finding)
    return tuple(sorted([*causes.values(), *certain], key=lambda finding: finding.span.start))
