"""Files and columns: what the data itself says about a recipe.

Looks at every file that a recipe names, reads the head of local data files, and checks the variables and
filters of every template against the columns found there, inside the template's string.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.source import Span

from harmony_compiler.files import HEAD, Files
from harmony_compiler.findings.data import (
    BrokenTemplate,
    EmptyFile,
    MissingFile,
    UnknownColumn,
    UnknownFilter,
    UnreadableFile,
)
from harmony_compiler.graph.datasets import JsonLines, LiteralRows, Rows
from harmony_compiler.graph.node import schema
from harmony_compiler.graph.types import PATH, TEMPLATE
from harmony_compiler.names import close_to
from harmony_compiler.store.rows import read_line
from harmony_compiler.typed import Made, Value

MOST_FAULTS = 10
"""Bad lines of one file that are shown."""

_PLAIN_TEMPLATE = re.compile(r"(?:[^{}]|\{\{\s*[A-Za-z_]\w*\s*\}\})*")
_PLAIN_VARIABLE = re.compile(r"\{\{\s*([A-Za-z_]\w*)\s*\}\}")


@dataclass(frozen=True)
class Columns:
    """The columns of a dataset and where they were read; `names` is None where nobody could look."""

    names: tuple[str, ...] | None
    origin: str = ""


def inspect(made: Sequence[Made], files: Files) -> tuple[Diagnostic, ...]:
    """What is wrong with the files, rows and templates of a recipe's constructors."""
    findings: list[Diagnostic] = []
    heads: dict[str, Columns] = {}
    for item in made:
        findings.extend(_missing_files(item, files))
        if issubclass(item.cls, Rows):
            columns = _columns(item, files, heads, findings)
            for template in _templates(item):
                findings.extend(_check_template(template, columns))
    return tuple(findings)


# --- files ----------------------------------------------------------------------------------------------


def _paths(value: Value) -> Iterator[Value]:
    if isinstance(value.data, tuple):
        for item in value.data:
            yield from _paths(item)
    elif value.type == PATH:
        yield value


def _missing_files(made: Made, files: Files) -> Iterator[Diagnostic]:
    for name, value in made.given.items():
        if not schema(made.cls)[name].names_files:
            continue
        for path in _paths(value):
            place = Path(path.data)
            if not files.exists(place):
                suggestion = close_to(place.name, _siblings(place))
                written = path.literal.value if path.literal else path.data
                yield MissingFile(span=path.span, path=written, looked=path.data, suggestion=suggestion)
            elif issubclass(made.cls, Rows) and files.is_folder(place):
                yield UnreadableFile(span=path.span, path=path.data, reason="it is a folder")


def _siblings(place: Path) -> list[str]:
    try:
        return [entry.name for entry in place.parent.iterdir()]
    except OSError:
        return []


def _columns(made: Made, files: Files, heads: dict[str, Columns], findings: list[Diagnostic]) -> Columns:
    if issubclass(made.cls, LiteralRows) and isinstance(items := made.values["items"], tuple):
        names = dict.fromkeys(key for row in items if isinstance(row, dict) for key in row)
        return Columns(tuple(names), "the rows")
    if not issubclass(made.cls, JsonLines) or "path" not in made.given:
        return Columns(None)
    read: dict[str, None] = {}
    origins: list[str] = []
    for path in _paths(made.given["path"]):
        if path.data not in heads:
            heads[path.data] = _head(path, files, findings)
        columns = heads[path.data]
        if columns.names is None:
            return columns
        read.update(dict.fromkeys(columns.names))
        origins.append(columns.origin)
    return Columns(tuple(read), " and ".join(origins)) if origins else Columns(None)


def _head(path: Value, files: Files, findings: list[Diagnostic]) -> Columns:
    """The columns in the first megabytes of a file, with a finding for each bad line there."""
    place = Path(path.data)
    written = path.literal.value if path.literal else path.data
    if not files.exists(place) or files.is_folder(place):
        return Columns(None)
    try:
        data = files.head(place, HEAD)
        text = data.decode("utf-8-sig")
    except OSError as fault:
        findings.append(UnreadableFile(span=path.span, path=written, reason=fault.strerror or str(fault)))
        return Columns(None)
    except UnicodeDecodeError as fault:
        if fault.start < len(data) - 4 or len(data) < HEAD:
            findings.append(UnreadableFile(span=path.span, path=written, reason="it is not UTF-8 text"))
            return Columns(None)
        text = data[: fault.start].decode("utf-8-sig")
    lines = text.split("\n")
    if len(data) >= HEAD:
        lines.pop()  # cut off by the limit
    names: dict[str, None] = {}
    rows = bad = 0
    for number, line in enumerate(lines, start=1):
        row = read_line(Path(written), number, line)
        if isinstance(row, Diagnostic):
            bad += 1
            if bad <= MOST_FAULTS:
                findings.append(row)
        elif row is not None:
            rows += 1
            names.update(dict.fromkeys(row))
    if not rows and not bad:
        findings.append(EmptyFile(span=path.span, path=written))
    return Columns(tuple(names), written) if rows else Columns(None)


# --- templates ------------------------------------------------------------------------------------------


def _templates(made: Made) -> Iterator[Value]:
    for value in made.given.values():
        if value.type == TEMPLATE:
            yield value
        elif isinstance(value.data, dict):
            yield from (part for part in value.data.values() if part.type == TEMPLATE)


def _check_template(template: Value, columns: Columns) -> Iterator[Diagnostic]:
    text: str = template.data
    if _PLAIN_TEMPLATE.fullmatch(text):
        for match in _PLAIN_VARIABLE.finditer(text):
            yield from _check_variable(match[1], _inside(template, match.start(1), match.end(1)), columns)
        return
    yield from _check_jinja(template, columns)


def _check_variable(name: str, span: Span, columns: Columns) -> Iterator[Diagnostic]:
    if columns.names is not None and name not in columns.names:
        yield UnknownColumn(
            span=span,
            column=name,
            file=columns.origin,
            columns=", ".join(columns.names),
            suggestion=close_to(name, columns.names),
        )


def _check_jinja(template: Value, columns: Columns) -> Iterator[Diagnostic]:
    # jinja2 is only imported for templates that need it: the import costs as much as the rest of a check.
    from jinja2 import TemplateSyntaxError, meta, nodes
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment()
    text: str = template.data
    try:
        tree = environment.parse(text)
        words = list(_words(environment.lex(text)))
        for node in (*tree.find_all(nodes.Filter), *tree.find_all(nodes.Test)):
            is_filter = isinstance(node, nodes.Filter)
            kind = "filter" if is_filter else "test"
            known: dict[str, Any] = environment.filters if is_filter else environment.tests
            if node.name not in known:
                span = _place(template, words, node.name, after="|" if is_filter else "is")
                suggestion = close_to(node.name, known)
                yield UnknownFilter(span=span, kind=kind, name=node.name, suggestion=suggestion)
                known[node.name] = str  # said once; the variables are looked for all the same
        undeclared = meta.find_undeclared_variables(tree) - set(environment.globals)
    except TemplateSyntaxError as fault:
        yield _broken(template, fault.message or "it makes no sense", fault.lineno)
        return
    except RecursionError:
        yield BrokenTemplate(span=template.span, reason="it is nested too deeply")
        return
    for name in sorted(undeclared):
        yield from _check_variable(name, _place(template, words, name, after=""), columns)


def _broken(template: Value, message: str, line: int) -> Diagnostic:
    lines = template.data.split("\n")
    start = sum(len(text) + 1 for text in lines[: line - 1])
    span = _inside(template, start, start + len(lines[line - 1]))
    return BrokenTemplate(span=span, reason=(message[:1].lower() + message[1:]).rstrip("."))


def _words(tokens: Iterator[tuple[int, str, str]]) -> Iterator[tuple[int, str, str]]:
    """The words of a template inside its marks: offset, text, and the word before."""
    offset, before = 0, ""
    for _, kind, text in tokens:
        if kind not in ("data", "whitespace"):
            if kind == "name":
                yield offset, text, before
            before = text
        offset += len(text)


def _place(template: Value, words: Sequence[tuple[int, str, str]], name: str, after: str) -> Span:
    """Where a name stands: a filter behind `|`, a test behind `is`, a variable not behind `.` or `|`."""
    for offset, text, before in words:
        if text == name and (before == after if after else before not in (".", "|")):
            return _inside(template, offset, offset + len(name))
    return template.span


def _inside(template: Value, start: int, end: int) -> Span:
    """A stretch of a template's text in the recipe; the whole value where the text is not written there."""
    return template.literal.span_of(start, end) if template.literal is not None else template.span
