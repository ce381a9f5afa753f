"""What can be wrong with the form of a recipe: the findings `E01xx` about brackets, lines and words."""

from __future__ import annotations

from typing import Self

from harmony_grammar.diagnostics import Diagnostic, Label, change, meant
from harmony_grammar.source import Span


class SyntaxFinding(Diagnostic):
    """A finding about the form of the text."""

    @classmethod
    def at(cls, span: Span) -> Self:
        return cls(span=span)


# --- brackets -------------------------------------------------------------------------------------------


class UnclosedBracket(SyntaxFinding):
    code, slug = "E0112", "unclosed-bracket"
    message = "this `{bracket}` is never closed"
    label = "opened here"
    help = "add `{closer}`"
    bracket: str
    closer: str

    @classmethod
    def of(cls, opener: Span, closer: str, place: Span, text: str, *, safe: bool) -> Self:
        fixes = change(f"add `{closer}`", place, text, safe=safe)
        return cls(span=opener, bracket=opener.text, closer=closer, fixes=fixes)


class UnmatchedCloser(SyntaxFinding):
    code, slug = "E0113", "unmatched-closer"
    message = "this `{bracket}` closes nothing"
    label = "no bracket is open here that it could close"
    help = "remove it, or add the `{opener}` that it belongs to"
    bracket: str
    opener: str

    @classmethod
    def of(cls, span: Span, opener: str) -> Self:
        fixes = change("remove it", span, "")
        return cls(span=span, bracket=span.text, opener=opener, fixes=fixes)


class WrongCloser(SyntaxFinding):
    code, slug = "E0114", "wrong-closer"
    message = "`{bracket}` does not close `{opener}`"
    label = "expected `{closer}`"
    bracket: str
    opener: str
    closer: str

    @classmethod
    def of(cls, opener: Span, bracket: Span, closer: str) -> Self:
        return cls(
            span=bracket,
            bracket=bracket.text,
            opener=opener.text,
            closer=closer,
            labels=(Label(opener, "opened here"),),
            fixes=meant(bracket, closer),
        )


class MissingOpener(SyntaxFinding):
    code, slug = "E0115", "missing-opener"
    message = "a `{bracket}` is missing here"
    label = "expected `{bracket}`"
    bracket: str

    @classmethod
    def of(cls, place: Span, closer: Span, bracket: str) -> Self:
        fixes = change(f"add the `{bracket}`", place, f" {bracket}")
        return cls(span=place, bracket=bracket, labels=(Label(closer, "closed here"),), fixes=fixes)


class TooDeep(SyntaxFinding):
    code, slug = "E0116", "too-deep"
    message = "this is nested too deeply"
    label = "more than {limit} levels"
    help = "give parts of it names with `let`"
    limit: int


# --- lines ----------------------------------------------------------------------------------------------


class BracketOnNextLine(SyntaxFinding):
    code, slug = "E0117", "bracket-on-next-line"
    message = "a line cannot begin with `{bracket}`"
    label = "`{bracket}` belongs to the end of the line before"
    help = "move the `{bracket}` up, behind what it belongs to"
    bracket: str

    @classmethod
    def at(cls, gap: Span, bracket: str = "{") -> Self:
        """`gap` is what stands between the bracket and the line before."""
        span = Span(gap.source, gap.end, gap.end + 1)
        text = " " if bracket == "{" else ""
        fixes = () if gap.text.strip() else change("move it up", gap, text, safe=bracket == "{")
        return cls(span=span, bracket=bracket, fixes=fixes)


class Semicolon(SyntaxFinding):
    code, slug = "E0118", "semicolon"
    message = "the language has no `;`"
    label = "a line ends without a sign"
    help = "{mend}"
    mend: str


class DeclarationsOnOneLine(SyntaxFinding):
    code, slug = "E0119", "declarations-on-one-line"
    message = "a declaration begins on a line of its own"
    label = "a second declaration on this line"
    help = "begin a new line before `{word}`"
    word: str

    @classmethod
    def behind(cls, gap: Span, span: Span) -> Self:
        """`gap` is what stands between the two declarations."""
        return cls(span=span, word=span.text, fixes=change("begin a new line", gap, "\n", safe=True))


class MissingComma(SyntaxFinding):
    code, slug = "E0120", "missing-comma"
    message = "a comma is missing"
    label = "expected `,` {where}"
    where: str

    @classmethod
    def before(cls, span: Span, place: Span, *, safe: bool) -> Self:
        where = "here" if span == place else "before this"
        return cls(span=span, where=where, fixes=change("add the comma", place, ",", safe=safe))


# --- values and names -----------------------------------------------------------------------------------


class MissingValue(SyntaxFinding):
    code, slug = "E0121", "missing-value"
    message = "{subject} has no {lacks}"
    label = "expected {expected}"
    subject: str
    lacks: str
    expected: str

    @classmethod
    def of(cls, span: Span, subject: str, lacks: str, expected: str) -> Self:
        return cls(span=span, subject=subject, lacks=lacks, expected=expected)


class MissingEquals(SyntaxFinding):
    code, slug = "E0122", "missing-equals"
    message = "a `=` is missing between `{key}` and its value"
    label = "expected `=` before this"
    key: str

    @classmethod
    def between(cls, key: Span, value: Span, *, safe: bool) -> Self:
        place = Span(key.source, key.end, key.end)
        return cls(span=value, key=key.text, fixes=change("add the `=`", place, " =", safe=safe))


class ColonForEquals(SyntaxFinding):
    code, slug = "E0123", "colon-for-equals"
    message = "a value is given with `=`, not with `:`"
    label = "expected `=`"
    help = "write `=`"

    @classmethod
    def at(cls, span: Span) -> Self:
        tight = span.source.text[span.start - 1 : span.start] not in (" ", "\t")
        wide = span.source.text[span.end : span.end + 1].isspace()
        text = " =" if tight else "="
        return cls(span=span, fixes=change("write `=`", span, text if wide else f"{text} ", safe=True))


class EqualsForComparison(SyntaxFinding):
    code, slug = "E0124", "equals-for-comparison"
    message = "`=` gives a value; it does not compare"
    label = "expected `==`"
    help = "write `==` to compare"

    @classmethod
    def at(cls, span: Span, *, safe: bool = False) -> Self:
        return cls(span=span, fixes=meant(span, "==", safe=safe))


class UnknownOperator(SyntaxFinding):
    code, slug = "E0136", "unknown-operator"
    message = "there is no operator `{sign}`"
    label = "not an operator"
    help = "{mend}"
    sign: str
    mend: str

    @classmethod
    def of(cls, span: Span) -> Self:
        sign = span.text
        mend, instead = OPERATORS_ELSEWHERE[sign]
        fixes = meant(span, instead, safe=True)
        return cls(span=span, sign=sign, mend=mend or f"write `{instead}`", fixes=fixes)


OPERATORS_ELSEWHERE = {
    # help, or "" where the mend says it all; and what to write in its place
    "=<": ("", "<="),
    "=>": ("", ">="),
    "<>": ("", "!="),
    "===": ("", "=="),
    "!==": ("", "!="),
    "||": ("", "or"),
    "**": ("there are no powers: multiply, or write the number itself", ""),
    "++": ("values never change: give a new one a name", ""),
    "+=": ("values never change: give a new one a name", ""),
    "-=": ("values never change: give a new one a name", ""),
    "*=": ("values never change: give a new one a name", ""),
    "/=": ("values never change: give a new one a name", ""),
    "<-": ("a value is given with `=`", ""),
}
"""Signs of other languages that consist of signs of this one."""


class ReservedWord(SyntaxFinding):
    code, slug = "E0125", "reserved-word"
    message = "`{word}` is a reserved word and cannot name anything"
    label = "expected a name"
    help = "choose another name, such as `{word}_`"
    word: str

    @classmethod
    def at(cls, span: Span) -> Self:
        return cls(span=span, word=span.text, fixes=meant(span, f"{span.text}_"))


class ThenWithoutIf(SyntaxFinding):
    code, slug = "E0126", "then-without-if"
    message = "`{word}` without `if`"
    label = "belongs to no `if`"
    notes = ("the form is `if condition then value else value`; inside an operator it stands in `( )`",)
    word: str

    @classmethod
    def at(cls, span: Span) -> Self:
        return cls(span=span, word=span.text)


class IfWithoutBranch(SyntaxFinding):
    code, slug = "E0127", "if-without-branch"
    message = "`if` without `{word}`"
    label = "expected `{word}`"
    notes = ("the form is `if condition then value else value`",)
    word: str


class BareIf(SyntaxFinding):
    code, slug = "E0132", "bare-if"
    message = "`if` behind `{operator}` needs parentheses"
    label = "expected `(` before this"
    help = "write `(if … then … else …)`"
    operator: str


class UnknownDeclaration(SyntaxFinding):
    code, slug = "E0128", "unknown-declaration"
    message = "no declaration begins with `{word}`"
    label = "unknown word"
    notes = ("declarations begin with {known}",)
    help = "did you mean `{suggestion}`?"
    word: str
    known: str
    suggestion: str = ""


class MissingName(SyntaxFinding):
    code, slug = "E0129", "missing-name"
    message = "this {word} has no name"
    label = "expected a name behind `{word}`"
    notes = ("the form is `{form}`",)
    word: str
    form: str


class IncompleteDeclaration(SyntaxFinding):
    code, slug = "E0133", "incomplete-declaration"
    message = "this {word} has no `=`"
    label = "expected `=` before the `{bracket}`"
    notes = ("the form is `{word} NAME = value`",)
    help = "if `{name}` is the value, write `{word} NAME = {head} …`"
    word: str
    name: str
    bracket: str
    head: str


class OutsideOfBlock(SyntaxFinding):
    code, slug = "E0130", "outside-of-block"
    message = "`{key}` stands outside of any block and is not declared"
    label = "no block is open here"
    help = "move the line into a block, or begin it with a word that declares: `{word} {key} …`"
    key: str
    word: str

    @classmethod
    def of(cls, span: Span, word: str) -> Self:
        place = Span(span.source, span.start, span.start)
        fixes = change(f"declare it with `{word}`", place, f"{word} ")
        return cls(span=span, key=span.text, word=word, fixes=fixes)


class Unexpected(SyntaxFinding):
    code, slug = "E0131", "unexpected"
    message = "expected {expected}, found {found}"
    label = "expected {expected}"
    notes = ("the form is `{form}`",)
    help = "{advice}"
    expected: str
    found: str
    form: str = ""
    advice: str = ""
