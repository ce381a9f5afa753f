"""Values that a caller gives to inputs: on the command line, in a file, from Python.

Whatever they come from, they become settings: a name, and a value with the places at which a finding about
it points. `expression_of` turns the value into what a recipe would have written.

The text of a `--set` is taken as it stands for inputs of a `str`, a `Path`, options in quotes, a `Regex` and
a `Template`; for every other type it is an expression. Where an input may also be `none`, the text `none` is
that; there, and for a `Regex` and a `Template`, a text in quotes is an expression too. Files and Python tell
texts from numbers, so that there a text is a text wherever the type takes one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from os import PathLike, fspath
from typing import Any

from harmony_compiler.findings.fields import NoInputValue
from harmony_compiler.graph.types import (
    JSON,
    NONE,
    REGEX,
    STR,
    TEMPLATE,
    TEXTUAL,
    ListOf,
    LiteralText,
    RecordOf,
    Type,
    options_of,
    union_of,
)
from harmony_compiler.naming.names import names_of_the_language
from harmony_compiler.rewards.formula_text import quoted
from harmony_grammar import syntax
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.literals import LARGEST_INT
from harmony_grammar.parser import parse_expression
from harmony_grammar.records import Record
from harmony_grammar.source import Source, Span

Report = Callable[[Diagnostic], None]


class Given(Record):
    """A value with its places: a text, a number, true, false or None, a tuple or a dict of such."""

    value: Any
    place: Span
    """What a finding about it shows."""
    name: Span
    """What a finding about its name shows: never the value, which may be a secret in the wrong place."""
    text: Span | None = None
    """Of a text, where its characters stand, if that is not `place`."""


class Setting(Record):
    """One `--set NAME=TEXT`, or with `given` one entry of a file or of Python's `inputs`."""

    name: str
    text: str = ""
    given: Given | None = None
    within: str = ""
    """Names of the imports in which `name` is an input: `m.` of `m.lr`."""

    @property
    def whole_name(self) -> str:
        return self.within + self.name

    @property
    def data(self) -> Given:
        return self.given or _of_text(f"--set {self.whole_name}", self.whole_name, self.text, self.text)

    def inside(self) -> Setting:
        """`m.lr` as the setting of `lr` in the import `m`."""
        head, _, name = self.name.partition(".")
        return Setting(name, self.text, self.given, f"{self.within}{head}.")

    def entries(self) -> list[Setting] | None:
        """The settings of an import's inputs that are given together, as a table; None for another value."""
        if self.given is None or not isinstance(self.given.value, dict):
            return None
        within = f"{self.within}{self.name}."
        return [Setting(key, given=given, within=within) for key, given in self.given.value.items()]


def _of_text(file: str, name: str, text: str, value: Any) -> Given:
    return Given(value, Source(file, text).span(0, len(text)), Source(file, name).span(0, len(name)))


# --- from Python ----------------------------------------------------------------------------------------


def settings_of(inputs: Mapping[str, object]) -> tuple[Setting, ...]:
    """Python values as settings.

    Raises:
        TypeError: a value is of a type that no recipe has.
    """
    return tuple(Setting(name, given=_of_python(name, value)) for name, value in inputs.items())


def _of_python(name: str, value: object) -> Given:
    shown = as_text(value)

    def held(part: object) -> Given:
        data: Any = fspath(part) if isinstance(part, PathLike) else part
        if isinstance(part, Mapping):
            data = {str(key): held(item) for key, item in part.items()}
        elif isinstance(data, Sequence) and not isinstance(data, str):
            data = tuple(held(item) for item in data)
        return _of_text(f"--set {name}", name, shown, data)

    return held(value)


def as_text(value: object, *, within: bool = False) -> str:
    """A Python value as a recipe writes it; a text stands as it is unless it is within a list or record.

    Raises:
        TypeError: no recipe has a value of this type.
    """
    match value:
        case bool():
            return "true" if value else "false"
        case None:
            return "none"
        case int() | float():
            return repr(value)
        case PathLike():
            return as_text(fspath(value), within=within)
        case str():
            return quoted(value) if within else value
        case Mapping():
            fields = (f"{quoted(str(key))} = {as_text(item, within=True)}" for key, item in value.items())
            return "{ " + ", ".join(fields) + " }"
        case Sequence() if not isinstance(value, bytes):
            return "[" + ", ".join(as_text(item, within=True) for item in value) + "]"
    raise TypeError(f"a recipe has no value of the Python type {type(value).__name__}")


# --- as expressions -------------------------------------------------------------------------------------


def expression_of(setting: Setting, type_: Type, report: Report) -> syntax.Expression:
    """What a recipe would have written for a setting of an input of type `type_`."""
    typed = setting.given is not None

    def written(given: Given, wanted: Type) -> syntax.Expression:
        place, value = given.place, given.value
        match value:
            case str() if _stands_as_text(value, wanted, typed):
                return syntax.Text(given.text or place, value)
            case str():
                text = given.text or place
                expression, findings = _parsed(value, text)
                if typed and _is_mere_text(expression):
                    return syntax.Text(text, value)
                for finding in findings:
                    report(finding)
                return expression
            case bool() | None:
                return syntax.Constant(place, value)
            case int() if abs(value) > LARGEST_INT:
                from harmony_grammar.literal_errors import NumberTooLarge  # only a mistake pays for it

                report(NumberTooLarge(span=place, limit=f"{LARGEST_INT}, the largest int"))
                return syntax.Broken(place)
            case int() | float() if isfinite(value):
                return syntax.Number(place, value)
            case tuple():
                item = union_of([o.item for o in options_of(wanted) if isinstance(o, ListOf)] or [JSON])
                return syntax.List(place, tuple(written(part, item) for part in value))
            case dict():
                item = union_of([o.item for o in options_of(wanted) if isinstance(o, RecordOf)] or [JSON])
                fields = (
                    syntax.Field(part.name, syntax.Identifier(part.name, key), written(part, item))
                    for key, part in value.items()
                )
                return syntax.Record(place, tuple(fields))
        number = isinstance(value, float)
        found = f"`{value}`" if number else f"a {type(value).__name__}"
        mend = "" if number else NoInputValue.mend
        report(NoInputValue(span=place, place=f"`{setting.whole_name}`", found=found, mend=mend))
        return syntax.Broken(place)

    return written(setting.data, type_)


def _stands_as_text(text: str, type_: Type, typed: bool) -> bool:
    """Whether a text is a value of the type as it stands, and no expression."""
    options = options_of(type_)
    if LiteralText(text) in options:
        return True
    free = any(option in (STR, JSON, *TEXTUAL) for option in options)
    other = any(o not in (STR, JSON, NONE, *TEXTUAL) and not isinstance(o, LiteralText) for o in options)
    if other and not (typed and free):
        return False
    if NONE in options and (text == "none" or len(options) == 1):
        return False
    in_quotes = len(text) > 1 and text.startswith(('"', 'r"')) and text.endswith('"')
    return not (in_quotes and any(option in options for option in (NONE, REGEX, TEMPLATE)))


def _is_mere_text(expression: syntax.Expression) -> bool:
    """Whether what was read as an expression is words, such as `Qwen/Qwen3`: the wrong type, and no names."""
    match expression:
        case syntax.Name(text=name):
            return name not in names_of_the_language()
        case syntax.Unary(operand=operand):
            return _is_mere_text(operand)
        case syntax.Binary(left=left, right=right):
            return _is_mere_text(left) or _is_mere_text(right)
        case syntax.Attribute(value=value):
            return _is_mere_text(value)
    return False


def _parsed(text: str, place: Span) -> tuple[syntax.Expression, tuple[Diagnostic, ...]]:
    """A text as an expression, in the columns in which it stands."""
    of = place.source
    # Alone on its line: what stands beside it may be a secret.
    source = Source(of.name, " " * place.start + text, of.path, of.first_line)
    return parse_expression(source)
