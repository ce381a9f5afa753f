"""What can be wrong with signs, strings and numbers: the findings `E01xx` about one token."""

from __future__ import annotations

import re

from harmony_grammar.diagnostics import Edit, Fix, change, enclose, meant
from harmony_grammar.source import Span
from harmony_grammar.syntax_errors import SyntaxFinding

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
    "^": "there are no powers: multiply, or write the number itself",
    "$": "an environment variable is read by `env`, which gives a secret; other values are inputs",
    "`": 'strings stand in `"`',
    "\xa0": "this is a no-break space: write a plain one",
}

_SIGNS = [
    # what stands there, and what is written in its place
    (r"&&?", "and"),
    (r"!\s*", "not "),
    (r"\\(?=[ \t\r]*(?:\n|$))", ""),
    (r"[–—−]", "-"),
    (r"×", "*"),
    (r"≤", "<="),
    (r"≥", ">="),
    (r"≠", "!="),
    (r"\xa0", " "),
]
_QUOTED = r"([“”„`])([^“”„`\"\\\n]*)[“”`]"


class StrayCharacter(SyntaxFinding):
    code, slug = "E0101", "stray-character"
    message = "the character {character} means nothing here"
    label = "not part of the language"
    help = "{instead}"
    character: str
    instead: str

    @classmethod
    def at(cls, span: Span) -> StrayCharacter:
        character = span.text
        shown = f"`{character}`" if character.isprintable() else f"U+{ord(character):04X}"
        fixes = _in_its_place(span)
        return cls(span=span, character=shown, instead=_INSTEAD.get(character, ""), fixes=fixes)


def _in_its_place(span: Span) -> tuple[Fix, ...]:
    text = span.source.text
    if quoted := re.compile(_QUOTED).match(text, span.start):
        whole = Span(span.source, span.start, quoted.end())
        return (enclose('use `"` at both ends', whole, '"', '"', off=1, safe=True),)
    for pattern, instead in _SIGNS:
        if found := re.compile(pattern).match(text, span.start):
            whole = Span(span.source, span.start, found.end())
            words = f"write `{instead.strip()}`" if instead.strip() else "leave it out"
            return change(words, whole, instead, safe=True)
    return ()


class ForeignLetters(SyntaxFinding):
    code, slug = "E0102", "foreign-letters"
    message = "`{name}` cannot be a name"
    label = "has letters other than `a` to `z`"
    help = 'names are made of the letters a to z, digits and `_`; other text stands in `"`'
    name: str

    @classmethod
    def at(cls, span: Span) -> ForeignLetters:
        return cls(span=span, name=span.text)


# --- strings --------------------------------------------------------------------------------------------


class UnclosedString(SyntaxFinding):
    code, slug = "E0103", "unclosed-string"
    message = "this string is never closed"
    label = "opened here"
    help = "close it with `{quotes}` {where}"
    quotes: str
    where: str

    @classmethod
    def of(cls, opening: Span, whole: Span) -> UnclosedString:
        """`whole` is what was read as the string: to the end of its line, or of the text."""
        long = opening.text.endswith('"' * 3)
        end = Span(whole.source, whole.end, whole.end)
        # What follows a comma or a `=` on the line may have been meant to stand behind the string.
        certain = not long and re.search(r'[,=#"\\]', whole.text[len(opening.text) :]) is None
        # What touches it may be a word between two strings that lost a quote.
        certain = certain and not whole.source.text[: whole.start][-1:].isalnum()
        fixes = () if long else change('add the `"`', end, '"', safe=certain)
        where = "where the text ends" if long else "on the same line"
        return cls(span=opening, quotes='"' * 3 if long else '"', where=where, fixes=fixes)


class SingleQuotes(SyntaxFinding):
    code, slug = "E0104", "single-quotes"
    message = "strings stand in `\"`, not in `'`"
    label = "single quotes"
    help = 'write `"` at both ends'

    @classmethod
    def at(cls, span: Span) -> SingleQuotes:
        inner = span.text[1:-1]
        mendable = '"' not in inner and "\\" not in inner
        fix = enclose("use double quotes", span, '"', '"', off=1, safe=True)
        return cls(span=span, fixes=(fix,) if mendable else ())


class StringPrefix(SyntaxFinding):
    code, slug = "E0134", "string-prefix"
    message = "a string has no prefix `{prefix}`"
    label = "belongs to no string of this language"
    help = "{mend}"
    prefix: str
    mend: str

    @classmethod
    def at(cls, span: Span) -> StringPrefix:
        prefix = span.text
        template = "f" in prefix.lower()
        mend = "a template takes values of a row as `{{ name }}`, and needs no prefix"
        raw = "r" in prefix.lower()
        instead = "r" if raw else ""
        fixes = change(f"write `{instead}`" if raw else "leave it out", span, instead, safe=not template)
        return cls(span=span, prefix=prefix, mend=mend if template else "", fixes=fixes)


class QuoteInTemplate(SyntaxFinding):
    code, slug = "E0105", "quote-in-template"
    message = 'a `"` inside `{marks}` ends the string'
    label = "this string ends too early"
    help = "inside `{marks}` write `'`, or make the whole string a long one, with three quotes at both ends"
    marks: str = "{{ }}"

    @classmethod
    def at(cls, span: Span) -> QuoteInTemplate:
        inside = span.text[1:-1]
        mended = re.sub(r"\{\{.*?(?:\}\}|$)", lambda part: _with_single_quotes(part[0]), inside)
        quotes = [span.start + 1 + at for at, character in enumerate(inside) if mended[at] != character]
        edits = tuple(Edit(Span(span.source, at, at + 1), "'") for at in quotes)
        fix = Fix("use single quotes inside the template", edits, "safe")
        mendable = edits and '"' not in mended.replace('\\"', "")
        return cls(span=span, fixes=(fix,) if mendable else ())


class QuoteInString(SyntaxFinding):
    code, slug = "E0137", "quote-in-string"
    message = 'a `"` inside a string ends it'
    label = "this string ends too early"
    help = 'inside a string write `\\"`'


def _with_single_quotes(part: str) -> str:
    return part if "'" in part else part.replace('"', "'")


_ELSEWHERE = {"'": "'", "/": "/", "`": "`"}
"""What other languages escape without need."""
_OF_REGEX = frozenset("dDwWsS.()[]+*?$^|-")
_OTHER_CODE = r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|x([0-9A-Fa-f]{2}))"


class BadEscape(SyntaxFinding):
    """Said by the checker, from `Text.bad_escapes`: where a `Regex` belongs, a backslash is just that."""

    code, slug = "E0106", "bad-escape"
    message = "`{escape}` means nothing in a string"
    label = "unknown escape"
    notes = (r"known are `\n`, `\t`, `\r`, `\"`, `\\` and `\u{{1F600}}`",)
    help = 'write `\\\\` for a backslash, or make it a raw string: `r"…"`'
    escape: str

    @classmethod
    def at(cls, span: Span) -> BadEscape:
        return cls(span=span, escape=span.text, fixes=_unescaped(span))


def _unescaped(span: Span) -> tuple[Fix, ...]:
    escaped = span.text[1:]
    if escaped in _ELSEWHERE:
        return change("leave out the backslash", span, escaped, safe=True)
    if code := re.compile(_OTHER_CODE).match(span.source.text, span.start):
        number = (code[1] or code[2] or code[3]).lstrip("0") or "0"
        if 0xD800 <= int(number, 16) <= 0xDFFF or int(number, 16) > 0x10FFFF:
            return ()
        return meant(Span(span.source, span.start, code.end()), rf"\u{{{number}}}", safe=True)
    backslash = Span(span.source, span.start, span.start + 1)
    return change("double the backslash", backslash, "\\\\", safe=escaped in _OF_REGEX)


# --- numbers --------------------------------------------------------------------------------------------


class LeadingPoint(SyntaxFinding):
    code, slug = "E0107", "leading-point"
    message = "a number does not begin with a point"
    label = "no digit before the point"
    help = "write `0{number}`"
    number: str

    @classmethod
    def at(cls, span: Span) -> LeadingPoint:
        zero = Span(span.source, span.start, span.start)
        fixes = change("write a 0 before the point", zero, "0", safe=True)
        return cls(span=span, number=span.text, fixes=fixes)


UNITS = ("ms", "s", "min", "h", "d")

_LIKELY_UNITS = {
    **{"sec": "s", "secs": "s", "second": "s", "seconds": "s", "msec": "ms"},
    **{"mins": "min", "minute": "min", "minutes": "min"},
    **{"hr": "h", "hrs": "h", "hour": "h", "hours": "h", "day": "d", "days": "d"},
    "m": "min",
}


def likely_unit(word: str) -> str:
    """The unit that a word was probably meant to be, or nothing."""
    return word.lower() if word.lower() in UNITS else _LIKELY_UNITS.get(word.lower(), "")


class UnknownUnit(SyntaxFinding):
    code, slug = "E0108", "unknown-unit"
    message = "unknown unit `{unit}`"
    label = "a number followed by letters is a duration"
    notes = ("units are `ms`, `s`, `min`, `h`, `d` and, without a space, `%`",)
    help = "did you mean `{suggestion}`?"
    unit: str
    suggestion: str = ""

    @classmethod
    def of(cls, number: str, unit: Span) -> UnknownUnit:
        likely = likely_unit(unit.text)
        fixes = meant(unit, likely, safe=unit.text != "m")  # an `m` may be a million
        return cls(span=unit, unit=unit.text, suggestion=f"{number}{likely}" if likely else "", fixes=fixes)


class DetachedUnit(SyntaxFinding):
    code, slug = "E0135", "detached-unit"
    message = "a duration is written without a space before its unit"
    label = "belongs to the number"
    help = "write `{number}{unit}`"
    number: str
    unit: str

    @classmethod
    def between(cls, number: Span, unit: Span) -> DetachedUnit:
        likely = likely_unit(unit.text)
        place = Span(number.source, number.end, unit.end)
        fixes = meant(place, likely, safe=unit.text != "m")
        return cls(span=unit, number=number.text, unit=likely, fixes=fixes)


class MalformedNumber(SyntaxFinding):
    code, slug = "E0109", "malformed-number"
    message = "`{number}` is not a number"
    label = "{why}"
    number: str
    why: str

    @classmethod
    def at(cls, span: Span) -> MalformedNumber:
        number = span.text
        if number.endswith("."):
            fixes = change("add the digit", Span(span.source, span.end, span.end), "0", safe=True)
            return cls(span=span, number=number, why="no digit behind the point", fixes=fixes)
        if "," in number:
            why, mended = "groups of digits are separated by `_`", number.replace(",", "_")
        elif number.count(".") > 1:
            return cls(span=span, number=number, why="more than one point")
        else:
            why = "underscores stand singly, between digits"
            mended = re.sub(r"_*([.eE])_*", r"\1", re.sub(r"_+", "_", number).strip("_"))
        return cls(span=span, number=number, why=why, fixes=meant(span, mended, safe=True))


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
    def between(cls, number: Span, sign: Span) -> DetachedPercent:
        gap = Span(number.source, number.end, sign.start)
        ends = re.compile(r"[ \t\r]*(?:[,)\]}#\n]|$)").match(sign.source.text, sign.end) is not None
        fixes = change("close the gap", gap, "", safe=ends)
        return cls(span=number.to(sign), number=number.text, fixes=fixes)
