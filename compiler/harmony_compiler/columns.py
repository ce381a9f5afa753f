"""Files and columns: what the data itself says about a recipe.

Looks at every file that a recipe names, and checks the variables and filters of every template, inside the
template's string: those of a dataset against the columns in the head of its file, those of a grader against
what graders see.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from harmony_compiler.files import Files
from harmony_compiler.findings.data import MissingFile, UnknownColumn, UnknownVariable, UnreadableFile
from harmony_compiler.graph.datasets import Rows
from harmony_compiler.graph.graders import Grader
from harmony_compiler.graph.node import schema
from harmony_compiler.heads import Head, Heads, as_written, paths
from harmony_compiler.names import GRADED, close_to
from harmony_compiler.templates import Variable, read_template, templates_of
from harmony_compiler.typed import Made, Read
from harmony_grammar.diagnostics import Diagnostic


class Inspected(NamedTuple):
    """The data of a recipe, as far as it was looked at."""

    heads: Heads
    needs: dict[int, tuple[Read, ...]]
    """By the id of a grader's `Made`, the keys of metadata that its templates read."""
    diagnostics: tuple[Diagnostic, ...]


def inspect(made: Sequence[Made], files: Files) -> Inspected:
    """What is wrong with the files, rows and templates of a recipe's constructors."""
    heads = Heads(files)
    needs: dict[int, tuple[Read, ...]] = {}
    findings = heads.findings
    for item in made:
        findings.extend(_missing_files(item, files))
        if issubclass(item.cls, Rows):
            head = heads.of(item)
            for template in templates_of(item):
                findings.extend(_unknown_columns(read_template(template, findings), head))
        elif issubclass(item.cls, Grader):
            read = [variable for value in templates_of(item) for variable in read_template(value, findings)]
            findings.extend(_unknown_variables(read))
            needs[id(item)] = tuple(key for v in read if v.name == "metadata" for key in v.keys)
    return Inspected(heads, needs, tuple(findings))


def _missing_files(made: Made, files: Files) -> Iterator[Diagnostic]:
    for name, value in made.given.items():
        spec = schema(made.cls)[name]
        if not spec.names_files:
            continue
        for path in paths(value):
            place, written = Path(path.data), as_written(path)
            if not files.exists(place):
                suggestion = close_to(place.name, files.names_in(place.parent))
                yield MissingFile(span=path.span, path=written, looked=path.data, suggestion=suggestion)
            elif files.is_folder(place) != spec.folder:
                reason = "it is a file, not a folder" if spec.folder else "it is a folder"
                yield UnreadableFile(span=path.span, path=written, reason=reason)


def _unknown_columns(variables: Sequence[Variable], head: Head) -> Iterator[Diagnostic]:
    for variable in variables:
        if head.names is not None and variable.name not in head.names:
            yield UnknownColumn(
                span=variable.span,
                column=variable.name,
                file=head.origin,
                columns=", ".join(head.names),
                suggestion=close_to(variable.name, head.names),
            )


def _unknown_variables(variables: Sequence[Variable]) -> Iterator[Diagnostic]:
    for variable in variables:
        if variable.name not in GRADED:
            yield UnknownVariable(
                span=variable.span, name=variable.name, suggestion=close_to(variable.name, GRADED)
            )
