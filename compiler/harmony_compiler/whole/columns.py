"""Files and columns: what the data itself says about a recipe.

Looks at every file that a recipe names, and checks the variables and filters of every template, inside the
template's string: those of a dataset against the columns in the head of its file, those of a grader against
what graders see.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from harmony_compiler.data.heads import Head, Heads, as_written, paths
from harmony_compiler.data.layouts import not_turns
from harmony_compiler.data.rows import maps_nothing
from harmony_compiler.data.templates import Variable, read_template, templates_of
from harmony_compiler.files import Files
from harmony_compiler.findings.data import (
    AnswersToNothing,
    ColumnOfAnotherType,
    MissingFile,
    NotLookedAt,
    UnknownColumn,
    UnknownColumnType,
    UnknownVariable,
    UnreadableFile,
)
from harmony_compiler.graph.column_types import ELSEWHERE, KNOWN, TYPES, fits, read_type_text, type_text
from harmony_compiler.graph.datasets import Rows
from harmony_compiler.graph.graders import Grader, PythonGrader
from harmony_compiler.graph.models import LoadSettings
from harmony_compiler.graph.node import schema
from harmony_compiler.graph.settings import Column
from harmony_compiler.naming.names import GRADED
from harmony_compiler.naming.near import nearest
from harmony_compiler.typed import Graded, Made, Read
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.records import Record, replace


class Inspected(Record):
    """The data of a recipe, as far as it was looked at."""

    needs: dict[int, tuple[Read, ...]]
    """By the id of a grader's `Made`, the keys of metadata that its templates read."""
    diagnostics: tuple[Diagnostic, ...]


def inspect(made: Sequence[Made], heads: Heads, files: Files) -> Inspected:
    """What is wrong with the files, rows and templates of a recipe's constructors."""
    needs: dict[int, tuple[Read, ...]] = {}
    findings = heads.findings
    for item in made:
        findings.extend(_missing_files(item, files))
        if issubclass(item.cls, LoadSettings) and "chat_template" in item.given:
            from harmony_compiler.data.chat_templates import broken_templates  # few recipes pay for jinja2

            findings.extend(broken_templates(item.given["chat_template"], files))
        if issubclass(item.cls, Rows):
            findings.extend(_of_rows(item, heads, findings))
        elif issubclass(item.cls, Grader):
            read = [variable for value in templates_of(item) for variable in read_template(value, findings)]
            findings.extend(_unknown_variables(read))
            needs[id(item)] = tuple(key for v in read if v.name == "metadata" for key in v.keys)
            if issubclass(item.cls, PythonGrader):
                from harmony_compiler.rewards.python_graders import read_function  # few recipes pay for `ast`

                needs[id(item)] += read_function(item, files, findings)
    return Inspected(needs, tuple(findings))


def _of_rows(item: Made, heads: Heads, findings: list[Diagnostic]) -> Iterator[Diagnostic]:
    """What is wrong with the columns that a dataset names, and with what it says about them."""
    head = heads.of(item)
    read = [variable for template in templates_of(item) for variable in read_template(template, findings)]
    read += _columns_read(item)
    yield from _unknown_columns(read, head)
    for name in ("messages", "prompt", "completion", "chosen", "rejected"):
        column = item.written[name].data if name in item.written else None
        if isinstance(column, Made):
            chosen = item.values["filter"] is not None  # rows with other turns may be left out
            yield from not_turns(column, head, one=name != "messages", all_rows=not chosen)
    yield from answers_to_nothing(item)
    yield from _stated(item, heads)
    if head.names is None and not head.faulty and "path" not in item.given and (read or maps_nothing(item)):
        source = item.values.get("repo") or item.values.get("key")
        if heads.first_time(head, f"not looked at {source}"):
            why = "it is no file here, and no lock has its columns"
            yield NotLookedAt(span=item.head, what=f"`{source}`", why=why)


def answers_to_nothing(item: Made) -> Iterator[Diagnostic]:
    """Two answers of one turn each, with no question beside them."""
    asked = [item.values[name] for name in ("messages", "prompt")]
    if asked == [None, None] and isinstance(item.values["chosen"], str) and "chosen" in item.written:
        yield AnswersToNothing(span=item.written["chosen"].span)


def _columns_read(item: Made) -> Iterator[Variable]:
    """The columns that a dataset reads as they are: in `column(…)` and in its filter."""
    values = list(item.written.values())
    while values:
        value = values.pop(0)
        if isinstance(value.data, dict):
            values.extend(value.data.values())
        elif isinstance(value.data, Graded):
            yield from (Variable(read.key, read.span) for read in value.data.reads)
        elif isinstance(value.data, Made) and value.data.cls is Column and "name" in value.data.given:
            name = value.data.given["name"]
            if isinstance(name.data, str):
                place = name.literal.span_of(0, len(name.data)) if name.literal else name.span
                yield Variable(name.data, place)


def _stated(item: Made, heads: Heads) -> Iterator[Diagnostic]:
    """What `columns` says, held against the types that there are, and against a file at hand."""
    given = item.given.get("columns")
    head = heads.of(item)
    for name, text in given.data.items() if given is not None and isinstance(given.data, dict) else ():
        stated = read_type_text(text.data)
        at_hand = head.names if head.origin != "`columns`" else None
        if stated is None:
            near = nearest(text.data, TYPES)
            if text.data in ELSEWHERE:
                near = replace(near, name=ELSEWHERE[text.data])
            fixes = near.quoted().fixes(text.span)
            yield UnknownColumnType(
                span=text.span, text=text.data, known=KNOWN, suggestion=near.name, fixes=fixes
            )
        elif at_hand is not None and name not in at_hand:
            yield from _unknown_columns([Variable(name, text.span)], head)
        elif at_hand is not None and not fits(head.type_of(name), stated):
            found = type_text(head.type_of(name))
            yield ColumnOfAnotherType(
                span=text.span, column=name, stated=text.data, found=found, file=head.origin
            )


def _missing_files(made: Made, files: Files) -> Iterator[Diagnostic]:
    for name, value in made.given.items():
        spec = schema(made.cls)[name]
        if not spec.names_files:
            continue
        for path in paths(value):
            place, written = Path(path.data), as_written(path)
            if not files.exists(place):
                near = nearest(place.name, files.names_in(place.parent))
                start = len(written) - len(place.name)
                end = path.literal.span_of(start, len(written)) if path.literal else path.span
                yield MissingFile(
                    span=path.span,
                    path=written,
                    looked=path.data,
                    suggestion=near.name,
                    fixes=near.fixes(end) if written.endswith(place.name) else (),
                )
            elif files.is_folder(place) != spec.folder:
                reason = "it is a file, not a folder" if spec.folder else "it is a folder"
                yield UnreadableFile(span=path.span, path=written, reason=reason)


def _unknown_columns(variables: Sequence[Variable], head: Head) -> Iterator[Diagnostic]:
    for variable in variables:
        if head.names is not None and variable.name not in head.names:
            near = nearest(variable.name, head.names)
            yield UnknownColumn(
                span=variable.span,
                column=variable.name,
                file=head.origin,
                columns=", ".join(head.names),
                suggestion=near.name,
                fixes=near.fixes(variable.span),
            )


def _unknown_variables(variables: Sequence[Variable]) -> Iterator[Diagnostic]:
    for variable in variables:
        if variable.name not in GRADED:
            near = nearest(variable.name, GRADED)
            fixes = near.fixes(variable.span, closed=True)
            yield UnknownVariable(span=variable.span, name=variable.name, suggestion=near.name, fixes=fixes)
