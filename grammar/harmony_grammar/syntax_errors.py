"""What can be wrong with the form of a recipe: the findings `E01xx`."""

from __future__ import annotations

from typing import Self

from harmony_grammar.diagnostics import Diagnostic, Edit, Fix, Label
from harmony_grammar.source import Span


class SyntaxFinding(Diagnostic):
    """A finding about the form of the text."""

    @classmethod
    def at(cls, span: Span) -> Self:
        return cls(span=span)


def _replace(words: str, span: Span, text: str, *, safe: bool = True) -> tuple[Fix, ...]:
    return (Fix(words, (Edit(span, text),), "safe" if safe else "unsafe"),)


# --- signs ----------------------------------------------------------------------------------------------

_INSTEAD = {
    "&": "write `and`",
    "!": "write `not`",
    "?": "write `if … then … else …`",
    "\\": "no sign is needed at the end of a line: it goes on behind an operator and inside brackets",
    "%": "there is no modulo; a percent is written without a space: `3%`",
    "“": 'write `"`',
    "”": 'write `"`',
    "„": 'write `"`',
    "–": "write `-`",
    "—": "write `-`",
    "−": "write `-`",
    "×": "write `*`",
    "≤": "write `<=`",
    "≥": "write `>=`",
    "≠": "write `!=`",
    "`": 'strings stand in `"`',
    "\xa0": "this is a no-break space: write a plain one",
}


class StrayCharacter(SyntaxFinding):
    code, slug = "E0101", "stray-character"
    message = "the character {character} means nothing here"
    label = "not part of the language"
    help = "{instead}"
    character: str
    instead: str

    @classmethod
    def at(cls, span: Span) -> Self:
        character = span.text
        shown = f"`{character}`" if character.isprintable() else f"U+{ord(character):04X}"
        return cls(span=span, character=shown, instead=_INSTEAD.get(character, ""))


class ForeignLetters(SyntaxFinding):
    code, slug = "E0102", "foreign-letters"
    message = "`{name}` cannot be a name"
    label = "has letters other than `a` to `z`"
    help = 'names are made of the letters a to z, digits and `_`; other text stands in `"`'
    name: str

    @classmethod
    def at(cls, span: Span) -> Self:
        return cls(span=span, name=span.text)


class UnclosedString(SyntaxFinding):
    code, slug = "E0103", "unclosed-string"
    message = "this string is never closed"
    label = "opened here"
    help = "close it with `{quotes}` {where}"
    quotes: str
    where: str


class SingleQuotes(SyntaxFinding):
    code, slug = "E0104", "single-quotes"
    message = "strings stand in `\"`, not in `'`"
    label = "single quotes"
    help = 'write `"` at both ends'

    @classmethod
    def at(cls, span: Span) -> Self:
        inner = span.text[1:-1]
        mendable = '"' not in inner and "\\" not in inner
        return cls(span=span, fixes=_replace("use double quotes", span, f'"{inner}"') if mendable else ())


class QuoteInTemplate(SyntaxFinding):
    code, slug = "E0105", "quote-in-template"
    message = 'a `"` inside `{{{{ }}}}` ends the string'
    label = "this string ends too early"
    help = "inside `{{{{ }}}}` write `'`, or make the whole string a long one, with three quotes at both ends"

    @classmethod
    def at(cls, span: Span) -> Self:
        quoted = span.text
        opening = quoted.index("{{")
        mended = quoted[:opening] + quoted[opening:-1].replace('"', "'") + '"'
        mendable = "'" not in quoted and quoted[:opening].count('"') == 1
        fixes = _replace("use single quotes inside the template", span, mended, safe=False)
        return cls(span=span, fixes=fixes if mendable else ())


class BadEscape(SyntaxFinding):
    """Said by the checker, from `Text.bad_escapes`: where a `Regex` belongs, a backslash is just that."""

    code, slug = "E0106", "bad-escape"
    message = "`{escape}` means nothing in a string"
    label = "unknown escape"
    notes = (r"known are `\n`, `\t`, `\r`, `\"`, `\\` and `\u{{1F600}}`",)
    help = 'write `\\\\` for a backslash, or make it a raw string: `r"…"`'
    escape: str

    @classmethod
    def at(cls, span: Span) -> Self:
        fixes = _replace(
            "double the backslash", Span(span.source, span.start, span.start + 1), "\\\\", safe=False
        )
        return cls(span=span, escape=span.text, fixes=fixes)


# --- numbers --------------------------------------------------------------------------------------------


class LeadingPoint(SyntaxFinding):
    code, slug = "E0107", "leading-point"
    message = "a number does not begin with a point"
    label = "no digit before the point"
    help = "write `0{number}`"
    number: str

    @classmethod
    def at(cls, span: Span) -> Self:
        zero = Span(span.source, span.start, span.start)
        return cls(span=span, number=span.text, fixes=_replace("write a 0 before the point", zero, "0"))


class UnknownUnit(SyntaxFinding):
    code, slug = "E0108", "unknown-unit"
    message = "unknown unit `{unit}`"
    label = "a number followed by letters is a duration"
    notes = ("units are `ms`, `s`, `min`, `h`, `d` and, without a space, `%`",)
    help = "did you mean `{suggestion}`?"
    unit: str
    suggestion: str = ""


class MalformedNumber(SyntaxFinding):
    code, slug = "E0109", "malformed-number"
    message = "`{number}` is not a number"
    label = "underscores stand singly, between digits"
    number: str


class NumberTooLarge(SyntaxFinding):
    code, slug = "E0110", "number-too-large"
    message = "this number is too large"
    label = "beyond {limit}"
    limit: str


class DetachedPercent(SyntaxFinding):
    code, slug = "E0111", "detached-percent"
    message = "a percent is written without a space before the `%`"
    label = "percent or modulo?"
    notes = ("the language has no modulo",)
    help = "write `{number}%`"
    number: str

    @classmethod
    def between(cls, number: Span, sign: Span) -> Self:
        gap = Span(number.source, number.end, sign.start)
        return cls(
            span=number.to(sign), number=number.text, fixes=_replace("close the gap", gap, "", safe=False)
        )


# --- brackets -------------------------------------------------------------------------------------------


class UnclosedBracket(SyntaxFinding):
    code, slug = "E0112", "unclosed-bracket"
    message = "this `{bracket}` is never closed"
    label = "opened here"
    help = "add `{closer}`"
    bracket: str
    closer: str

    @classmethod
    def of(cls, opener: Span, closer: str, place: Span, text: str) -> Self:
        fixes = _replace(f"add `{closer}`", place, text, safe=False)
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
        fixes = _replace("remove it", span, "", safe=False)
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
            fixes=_replace(f"write `{closer}`", bracket, closer, safe=False),
        )


class MissingOpener(SyntaxFinding):
    code, slug = "E0115", "missing-opener"
    message = "a `{bracket}` is missing here"
    label = "expected `{bracket}`"
    bracket: str

    @classmethod
    def of(cls, place: Span, closer: Span, bracket: str) -> Self:
        fixes = _replace(f"add the `{bracket}`", place, f" {bracket}", safe=False)
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
        fixes = _replace("move it up", gap, " " if bracket == "{" else "") if not gap.text.strip() else ()
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
    def at(cls, span: Span) -> Self:
        place = Span(span.source, span.start, span.start)
        return cls(span=span, word=span.text, fixes=_replace("begin a new line", place, "\n"))


class MissingComma(SyntaxFinding):
    code, slug = "E0120", "missing-comma"
    message = "a comma is missing"
    label = "expected `,` {where}"
    where: str

    @classmethod
    def before(cls, span: Span, place: Span) -> Self:
        where = "here" if span == place else "before this"
        return cls(span=span, where=where, fixes=_replace("add the comma", place, ",", safe=False))


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
    def between(cls, key: Span, value: Span) -> Self:
        place = Span(key.source, key.end, key.end)
        return cls(span=value, key=key.text, fixes=_replace("add the `=`", place, " =", safe=False))


class ColonForEquals(SyntaxFinding):
    code, slug = "E0123", "colon-for-equals"
    message = "a value is given with `=`, not with `:`"
    label = "expected `=`"
    help = "write `=`"

    @classmethod
    def at(cls, span: Span) -> Self:
        tight = span.source.text[span.start - 1 : span.start] not in (" ", "\t")
        return cls(span=span, fixes=_replace("write `=`", span, " =" if tight else "="))


class EqualsForComparison(SyntaxFinding):
    code, slug = "E0124", "equals-for-comparison"
    message = "`=` gives a value; it does not compare"
    label = "expected `==`"
    help = "write `==` to compare"

    @classmethod
    def at(cls, span: Span) -> Self:
        return cls(span=span, fixes=_replace("write `==`", span, "==", safe=False))


class ReservedWord(SyntaxFinding):
    code, slug = "E0125", "reserved-word"
    message = "`{word}` is a reserved word and cannot name anything"
    label = "expected a name"
    help = "choose another name, such as `{word}_`"
    word: str

    @classmethod
    def at(cls, span: Span) -> Self:
        return cls(span=span, word=span.text)


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
        fixes = _replace(f"declare it with `{word}`", place, f"{word} ", safe=False)
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
