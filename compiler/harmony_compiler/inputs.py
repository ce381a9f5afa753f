"""Inputs: their types, and the values that a caller gives them.

The text of a `--set` is taken as it stands for `str`, `Path` and literal unions; for a `Secret` only
`env("NAME")` is taken; for every other type it is an expression in which the recipe's names are not known.
Findings about it point into the text itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harmony_compiler.findings.fields import SetTwice, UnknownInput
from harmony_compiler.findings.graph import NotSupportedYet
from harmony_compiler.findings.types import UnknownType
from harmony_compiler.graph.types import (
    BOOL,
    DURATION,
    FLOAT,
    GRADER,
    INT,
    MODEL,
    NONE,
    PATH,
    PERCENT,
    REGEX,
    SECRET,
    STR,
    TEMPLATE,
    UNKNOWN,
    DatasetType,
    ListOf,
    LiteralText,
    RowKind,
    Type,
    options_of,
    union_of,
)
from harmony_compiler.names import close_to
from harmony_grammar import syntax
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.records import Record
from harmony_grammar.source import Source

Report = Callable[[Diagnostic], None]


class Setting(Record):
    """One `--set NAME=TEXT`."""

    name: str
    text: str

    @property
    def source(self) -> Source:
        return Source(f"--set {self.name}", self.text)


_PLAIN_TYPES: dict[str, Type] = {
    str(type_): type_
    for type_ in (
        BOOL,
        INT,
        FLOAT,
        PERCENT,
        STR,
        DURATION,
        NONE,
        PATH,
        REGEX,
        SECRET,
        TEMPLATE,
        MODEL,
        GRADER,
    )
}
_ROW_KINDS: dict[str, RowKind] = {
    "Prompt": "Prompt",
    "Thread": "Thread",
    "Preference": "Preference",
    "Table": "Table",
}
_LATER_TYPES = frozenset({"Endpoint"})
_SHORT_NAMES = {"string": "str", "integer": "int", "boolean": "bool", "number": "float", "path": "Path"}


def read_type(expression: syntax.TypeExpression, report: Report) -> Type:
    """The type that a type expression names; unknown, and reported, where there is none."""
    match expression:
        case syntax.Broken():
            return UNKNOWN
        case syntax.LiteralType(text=text):
            return LiteralText(text.value)
        case syntax.UnionType(options=options):
            read = [read_type(option, report) for option in options]
            return UNKNOWN if UNKNOWN in read else union_of(read)
        case syntax.NamedType(name=name, arguments=(), fields=None) if name.text in _PLAIN_TYPES:
            return _PLAIN_TYPES[name.text]
        case syntax.NamedType(name=syntax.Identifier(text="Dataset"), arguments=(), fields=None):
            return DatasetType()
        case syntax.NamedType(name=syntax.Identifier(text="Dataset"), arguments=(rows,), fields=None):
            return _rows(rows, report)
        case syntax.NamedType(name=syntax.Identifier(text="list"), arguments=(item,), fields=None):
            item_type = read_type(item, report)
            return UNKNOWN if item_type == UNKNOWN else ListOf(item_type)
    name = expression.name
    words = [*_PLAIN_TYPES, "list", "Dataset"]
    known = ", ".join([*_PLAIN_TYPES, "list[T]", "Dataset", *(f"Dataset[{kind}]" for kind in _ROW_KINDS)])
    if name.text in _LATER_TYPES:
        report(NotSupportedYet(span=name.span, what=f"the type `{name.text}`"))
    elif name.text in words:
        report(UnknownType(span=expression.span, name=expression.span.text, known=known))
    else:
        suggestion = _SHORT_NAMES.get(name.text.lower(), close_to(name.text, words))
        listed = "" if suggestion else known
        report(UnknownType(span=name.span, name=name.text, known=listed, suggestion=suggestion))
    return UNKNOWN


def _rows(expression: syntax.TypeExpression, report: Report) -> Type:
    if isinstance(expression, syntax.NamedType) and not expression.arguments:
        fields = expression.fields or ()
        read = {key.text: (type_, read_type(type_, report)) for key, type_ in fields}
        if UNKNOWN in (found for _, found in read.values()):
            return UNKNOWN
        for written, found in read.values():
            if found != STR:
                report(NotSupportedYet(span=written.span, what=f"metadata of the type `{found}`"))
                return UNKNOWN
        if kind := _ROW_KINDS.get(expression.name.text):
            return DatasetType(kind, tuple(read))
    if not isinstance(expression, syntax.Broken):
        known = ", ".join(f"Dataset[{kind}]" for kind in _ROW_KINDS)
        report(UnknownType(span=expression.span, name=f"Dataset[{expression.span.text}]", known=known))
    return UNKNOWN


def taken_as_text(type_: Type) -> bool:
    """Whether a `--set` of this type is its text as it stands."""
    return all(option in (STR, PATH) or isinstance(option, LiteralText) for option in options_of(type_))


def settings_by_name(
    settings: Sequence[Setting], inputs: Sequence[str], report: Report
) -> dict[str, Setting]:
    """The settings under the inputs they set; unknown and doubled ones are reported."""
    found: dict[str, Setting] = {}
    for setting in settings:
        source = Source(f"--set {setting.name}", f"{setting.name}={setting.text}")
        name = source.span(0, len(setting.name))
        if setting.name not in inputs:
            finding = UnknownInput(
                span=name,
                name=setting.name,
                known=", ".join(inputs) or "none",
                suggestion=close_to(setting.name, inputs),
            )
            report(finding)
        elif setting.name in found:
            report(SetTwice(span=name, name=setting.name))
        else:
            found[setting.name] = setting
    return found
