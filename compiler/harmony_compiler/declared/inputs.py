"""Inputs: their types, the values that a caller gives them, and their conditions.

What is given on the command line beats what a file gives, which beats what an `import` gives, which beats
the default. Findings point into what was given; in it, the recipe's names are not known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache

from harmony_compiler.checking.checker import Checker, secret_name
from harmony_compiler.declared.given import Setting, expression_of
from harmony_compiler.declared.imports import Library
from harmony_compiler.findings.fields import (
    ConditionFails,
    MissingImportInput,
    MissingInput,
    SecretAsText,
    SetTwice,
    UnknownInput,
)
from harmony_compiler.findings.types import UnknownType
from harmony_compiler.graph.types import (
    BOOL,
    DURATION,
    ENDPOINT,
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
    SettingsType,
    Type,
    options_of,
    union_of,
)
from harmony_compiler.naming.names import Names, close_to
from harmony_compiler.naming.near import Near, nearest
from harmony_compiler.rewards.formula_text import quoted
from harmony_compiler.typed import Value, in_one_line, unknown
from harmony_grammar import syntax
from harmony_grammar.diagnostics import Diagnostic, Label
from harmony_grammar.records import Record
from harmony_grammar.source import Source

Report = Callable[[Diagnostic], None]

# --- types ----------------------------------------------------------------------------------------------

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
        ENDPOINT,
        GRADER,
    )
}
_ROW_KINDS: dict[str, RowKind] = {
    "Prompt": "Prompt",
    "Thread": "Thread",
    "Preference": "Preference",
    "Table": "Table",
}
_SHORT_NAMES = {"string": "str", "integer": "int", "boolean": "bool", "number": "float", "path": "Path"}


@cache
def _settings_types() -> dict[str, Type]:
    """Types of structured values: that of the field `early_stop` is called `EarlyStop`."""
    from harmony_compiler.graph.algorithms import Algorithm
    from harmony_compiler.graph.catalogue import CONSTRUCTORS
    from harmony_compiler.graph.models import LoadSettings
    from harmony_compiler.graph.node import schema

    found: dict[str, Type] = {}
    for cls in (*CONSTRUCTORS, LoadSettings):
        if not issubclass(cls, Algorithm | LoadSettings):
            continue
        for name, spec in schema(cls).items():
            options = [option for option in options_of(spec.type) if option != NONE]
            if options and all(isinstance(option, SettingsType) for option in options):
                found[name.title().replace("_", "")] = spec.type
    return found


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
        case syntax.NamedType(name=name, arguments=(), fields=None) if name.text in _settings_types():
            return _settings_types()[name.text]
    name = expression.name
    words = [*_PLAIN_TYPES, "list", "Dataset", *_settings_types()]
    if name.text in words:
        report(UnknownType(span=expression.span, name=expression.span.text, known=_known_types()))
    else:
        elsewhere = _SHORT_NAMES.get(name.text.lower(), "")
        near = Near(name.text, elsewhere, certain=True) if elsewhere else nearest(name.text, words)
        listed = "" if near.name else _known_types()
        fixes = near.fixes(name.span, closed=True)
        finding = UnknownType(span=name.span, name=name.text, known=listed, suggestion=near.name, fixes=fixes)
        report(finding)
    return UNKNOWN


def _known_types() -> str:
    rows = (f"Dataset[{kind}]" for kind in _ROW_KINDS)
    return ", ".join([*_PLAIN_TYPES, "list[T]", "Dataset", *rows, *_settings_types()])


def _rows(expression: syntax.TypeExpression, report: Report) -> Type:
    if isinstance(expression, syntax.NamedType) and not expression.arguments:
        metadata = tuple((key.text, read_type(type_, report)) for key, type_ in expression.fields or ())
        if any(type_ == UNKNOWN for _, type_ in metadata):
            return UNKNOWN
        if kind := _ROW_KINDS.get(expression.name.text):
            return DatasetType(kind, tuple(dict(metadata).items()))
    if not isinstance(expression, syntax.Broken):
        known = ", ".join(f"Dataset[{kind}]" for kind in _ROW_KINDS)
        report(UnknownType(span=expression.span, name=f"Dataset[{expression.span.text}]", known=known))
    return UNKNOWN


# --- settings -------------------------------------------------------------------------------------------


def inputs_of(names: Names) -> list[str]:
    return [n for n, declared in names.declared.items() if isinstance(declared, syntax.InputDeclaration)]


def sorted_settings(
    settings: Sequence[Setting], names: Names, libraries: Mapping[str, Library], report: Report
) -> tuple[dict[str, Setting], dict[str, list[Setting]]]:
    """The settings under the inputs they set, and those of imports' inputs under the imports.

    Unknown and doubled ones are reported. Nothing is known of an import that could not be read.
    """
    inputs = inputs_of(names)
    own: dict[str, Setting] = {}
    inner: dict[str, list[Setting]] = {}
    for setting in settings:
        head, dot, _ = setting.name.partition(".")
        at_import = isinstance(names.declared.get(head), syntax.ImportDeclaration)
        entries = [setting.inside()] if dot else setting.entries()
        if at_import and entries is not None:
            inner.setdefault(head, []).extend(entries)
        elif setting.name in inputs:
            _settle_rivals(own, setting, report)
        elif names.file.complete:
            _unknown_input(setting, names, libraries, report, at_import=at_import)
    return own, inner


def _settle_rivals(own: dict[str, Setting], setting: Setting, report: Report) -> None:
    """Of two settings of one input, that of the command line counts; two of one kind are one too many."""
    earlier = own.get(setting.name)
    if earlier is not None and (earlier.given is None) == (setting.given is None):
        report(SetTwice(span=setting.data.name, name=setting.whole_name))
    elif earlier is None or setting.given is None:
        own[setting.name] = setting


def _unknown_input(
    setting: Setting, names: Names, libraries: Mapping[str, Library], report: Report, *, at_import: bool
) -> None:
    known = [setting.within + name for name in _every_input(names, libraries)]
    if at_import:
        known = [name for name in known if name.startswith(f"{setting.whole_name}.")]
    report(
        UnknownInput(
            span=setting.data.name,
            name=setting.whole_name,
            known=", ".join(known) or "none",
            suggestion="" if at_import else close_to(setting.whole_name, known),
            found="an import, whose inputs are set one by one" if at_import else "not an input",
        )
    )


def _every_input(names: Names, libraries: Mapping[str, Library]) -> Iterator[str]:
    yield from inputs_of(names)
    for name, library in libraries.items():
        yield from (f"{name}.{inner}" for inner in _every_input(library.names, library.libraries))


# --- values ---------------------------------------------------------------------------------------------


class Entry(Record):
    """What the `{ }` of an import gives to an input, in the words of the file that imports."""

    value: syntax.Expression
    checker: Checker


def input_value(
    checker: Checker,
    declaration: syntax.InputDeclaration,
    given: Setting | Entry | None,
    entrance: syntax.ImportDeclaration | None,
) -> Value:
    """The value of an input. `entrance` is the import through which its file was entered, if it was."""
    name = declaration.name
    type_ = read_type(declaration.type, checker.report)
    default = declaration.default
    if type_ == UNKNOWN:
        if default is not None and given is None:
            checker.value(default)
        return unknown(name.span)
    if isinstance(given, Setting):
        value = _set(checker, given, type_)
    elif isinstance(given, Entry):
        label = Label(name.span, f"declared here: `{type_}`")
        value = given.checker.expect(given.value, type_, f"`{name.text}`", (label,))
    elif default is not None:
        value = checker.expect(default, type_, f"`{name.text}`")
    else:
        checker.report(_missing(name, entrance))
        value = unknown(name.span)
    # An input is no literal any more: its type was stated, and decides where it fits.
    return Value(value.type, value.data, value.span, by=value.by | {name.text})


def _missing(name: syntax.Identifier, entrance: syntax.ImportDeclaration | None) -> Diagnostic:
    if entrance is None:
        return MissingInput(span=name.span, name=name.text)
    return MissingImportInput(
        span=entrance.name.span,
        file=entrance.path.value,
        module=entrance.name.text,
        name=name.text,
        labels=(Label(name.span, "without a default"),),
    )


def _set(checker: Checker, setting: Setting, type_: Type) -> Value:
    """The value of an input that is set from outside, where no name of the recipe is known."""
    place = f"`{setting.whole_name}`"
    before = len(checker.findings)
    expression = expression_of(setting, type_, checker.report)
    if _holds_secret(type_) and not _names_secrets(expression):
        # What was given may be the secret itself, and must not be shown.
        del checker.findings[before:]
        span = setting.data.place
        hidden = Source(span.source.name, "…", first_line=span.source.first_line).span(0, 1)
        checker.report(SecretAsText(span=hidden, place=place))
        return unknown(span)
    if len(checker.findings) > before:
        return unknown(setting.data.place)
    checker.closed = True
    value = checker.expect(expression, type_, place)
    checker.closed = False
    return value


def _holds_secret(type_: Type) -> bool:
    return any(
        option == SECRET or (isinstance(option, ListOf) and _holds_secret(option.item))
        for option in options_of(type_)
    )


def _names_secrets(expression: syntax.Expression) -> bool:
    """Whether an expression is `env("NAME")`, nothing, or a list of such."""
    if isinstance(expression, syntax.List):
        return all(_names_secrets(item) for item in expression.items)
    nothing = isinstance(expression, syntax.Constant) and expression.value is None
    return nothing or secret_name(expression) is not None


def ask_condition(checker: Checker, name: str, condition: syntax.Expression) -> None:
    """Ask the condition of an input; a value that breaks it was reported, and absorbs what follows."""
    value = checker.values[name]
    place = "the condition of an input"
    holds = checker.fitted(checker.condition(condition, place), BOOL, place)
    if not holds.unknown and not value.unknown and not holds.data:
        span = condition.span
        label = () if value.span.source is span.source else (Label(span, "the condition"),)
        checker.report(
            ConditionFails(span=value.span, name=name, value=_shown(value), condition=span.text, labels=label)
        )
        checker.values[name] = unknown(value.span)


def _shown(value: Value) -> str:
    if value.type in (INT, FLOAT, PERCENT):
        return f"{value.data:g}" if value.type == FLOAT else f"{value.data}"
    return quoted(value.data) if isinstance(value.data, str) else in_one_line(value.span)
