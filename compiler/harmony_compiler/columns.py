"""Files and columns: what the data itself says about a recipe.

Looks at every file that a recipe names, reads the head of local data files, and checks the variables and
filters of every template against the columns found there, inside the template's string.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harmony_compiler.files import HEAD, Files
from harmony_compiler.findings.data import (
    BrokenTemplate,
    EmptyFile,
    MissingFile,
    MoreFaultyRows,
    UnknownColumn,
    UnknownFilter,
    UnreadableFile,
)
from harmony_compiler.graph.datasets import JsonLines, LiteralRows, Rows
from harmony_compiler.graph.node import schema
from harmony_compiler.graph.types import PATH, TEMPLATE
from harmony_compiler.names import close_to
from harmony_compiler.store.rows import SHOWN, read_line
from harmony_compiler.typed import Made, Value
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.source import Span

_WORD = r"\{\{\s*(?!(?:[Tt]rue|[Ff]alse|[Nn]one|and|else|if|in|is|not|or)\b)([A-Za-z_]\w*)\s*\}\}"
_PLAIN_VARIABLE = re.compile(_WORD, re.ASCII)
_PLAIN_TEMPLATE = re.compile(rf"(?:[^{{}}]|{_WORD})*", re.ASCII)


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
        spec = schema(made.cls)[name]
        if not spec.names_files:
            continue
        for path in _paths(value):
            place, written = Path(path.data), _written(path)
            if not files.exists(place):
                suggestion = close_to(place.name, files.names_in(place.parent))
                yield MissingFile(span=path.span, path=written, looked=path.data, suggestion=suggestion)
            elif files.is_folder(place) != spec.folder:
                reason = "it is a file, not a folder" if spec.folder else "it is a folder"
                yield UnreadableFile(span=path.span, path=written, reason=reason)


def _written(path: Value) -> str:
    """A path as its literal has it."""
    return path.literal.value if path.literal else str(path.data)


def _shown(path: Value) -> Path:
    """A path as people can follow it: from where the recipe was named, as the recipe itself was."""
    if path.literal is None:
        return Path(path.data)
    source = path.literal.span.source
    return Path(source.name).parent / path.literal.value if source.path else Path(path.literal.value)


def _columns(made: Made, files: Files, heads: dict[str, Columns], findings: list[Diagnostic]) -> Columns:
    if issubclass(made.cls, LiteralRows) and isinstance(items := made.values["items"], tuple):
        names = dict.fromkeys(key for row in items if isinstance(row, dict) for key in row)
        return Columns(tuple(names), "the rows") if items else Columns(None)
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
    place, written, shown = Path(path.data), _written(path), _shown(path)
    if not files.exists(place) or files.is_folder(place):
        return Columns(None)
    try:
        data = files.head(place, HEAD)
    except OSError as fault:
        reason = (fault.strerror or str(fault)).lower()
        findings.append(UnreadableFile(span=path.span, path=written, reason=reason))
        return Columns(None)
    cut = len(data) >= HEAD
    names: dict[str, None] = {}
    rows = bad = 0
    lines = data.removeprefix(BOM_UTF8).split(b"\n")
    for number, line in enumerate(lines[:-1] if cut else lines, start=1):
        try:
            row = read_line(shown, number, line.decode())
        except UnicodeDecodeError:
            reason = f"line {number} is not UTF-8 text"
            findings.append(UnreadableFile(span=path.span, path=written, reason=reason))
            return Columns(None)
        if isinstance(row, Diagnostic):
            bad += 1
            if bad <= SHOWN:
                findings.append(row)
        elif row is not None:
            rows += 1
            # JSON can spell halves of characters, which nobody can print or write in a template.
            names.update(dict.fromkeys(name.encode(errors="replace").decode() for name in row))
    if bad > SHOWN:
        count, most = f"{bad - SHOWN:,}", str(SHOWN)
        findings.append(MoreFaultyRows(span=path.span, path=written, count=count, shown=most))
    if not rows and not bad and not cut:
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
    # Most templates need no jinja2, and its import is a good part of a check.
    from jinja2 import TemplateSyntaxError, meta, nodes
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment()
    environment.intercepted_binops = frozenset({"**", "*"})  # else `meta` computes `9 ** 9 ** 9`
    # Jinja makes every line end a `\n`; places are those of the text as it is.
    text = template.data.replace("\r\n", " \n").replace("\r", "\n")
    try:
        tree = environment.parse(text)
        words = list(_words(text, environment.lex(text)))
        for other in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
            yield _broken(template, "it asks for another template, and each stands alone", other.lineno)
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
    """A finding about a line of a template, without the blanks around it."""
    lines = template.data.replace("\r\n", " \n").replace("\r", "\n").split("\n")
    start = sum(len(text) + 1 for text in lines[: line - 1])
    text = "".join(lines[line - 1 : line])
    start += len(text) - len(text.lstrip())
    span = _inside(template, start, start + len(text.strip())) if text.strip() else template.span
    reason = (message[:1].lower() + message[1:]).rstrip(".").replace("'", "`")
    return BrokenTemplate(span=span, reason=reason)


@dataclass(frozen=True)
class _Word:
    """A word of a template inside its marks, with the words around it."""

    offset: int
    text: str
    before: str
    behind: str


def _words(template: str, tokens: Iterator[tuple[int, str, str]]) -> Iterator[_Word]:
    placed: list[tuple[int, str, str]] = []
    offset = 0
    for _, kind, text in tokens:
        offset = template.index(text, offset)  # `{{-` drops the blanks before it
        if kind not in ("data", "whitespace"):
            placed.append((offset, kind, text))
        offset += len(text)
    texts = ["", *(text for _, _, text in placed), ""]
    for (offset, kind, text), before, behind in zip(placed, texts, texts[2:], strict=False):
        if kind == "name":
            yield _Word(offset, text, before, behind)


def _place(template: Value, words: Sequence[_Word], name: str, after: str) -> Span:
    """Where a name stands: a filter behind `|`, a test behind `is`, a variable where it is read."""
    found = [word for word in words if word.text == name]
    if after:
        found = [word for word in found if word.before == after or (after, word.before) == ("is", "not")]
    else:
        found = [word for word in found if word.before not in (".", "|", "is")]
        read = [word for word in found if word.before not in ("for", "set") and word.behind != "="]
        found = read or found
    return _inside(template, found[0].offset, found[0].offset + len(name)) if found else template.span


def _inside(template: Value, start: int, end: int) -> Span:
    """A stretch of a template's text in the recipe; the whole value where the text is not written there."""
    return template.literal.span_of(start, end) if template.literal is not None else template.span
