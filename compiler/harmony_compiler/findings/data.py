"""`E05xx`: files, columns and templates."""

from __future__ import annotations

from harmony_grammar.diagnostics import Diagnostic


class MissingFile(Diagnostic):
    code, slug = "E0501", "missing-file"
    message = "there is no file or folder `{path}`"
    label = "looked for {looked}"
    help = "did you mean `{suggestion}`?"
    path: str
    looked: str
    suggestion: str = ""


class UnknownColumn(Diagnostic):
    code, slug = "E0502", "unknown-column"
    message = "the dataset has no column `{column}`"
    label = "not a column of {file}"
    notes = ("columns: {columns}",)
    help = "did you mean `{suggestion}`?"
    column: str
    file: str
    columns: str
    suggestion: str = ""


class BrokenTemplate(Diagnostic):
    code, slug = "E0503", "broken-template"
    message = "the template cannot be read: {reason}"
    label = "here"
    reason: str


class UnknownFilter(Diagnostic):
    code, slug = "E0504", "unknown-filter"
    message = "templates have no {kind} `{name}`"
    label = "unknown {kind}"
    help = "did you mean `{suggestion}`?"
    kind: str
    name: str
    suggestion: str = ""


class UnreadableFile(Diagnostic):
    code, slug = "E0507", "unreadable-file"
    message = "`{path}` cannot be read: {reason}"
    label = "named here"
    path: str
    reason: str


class EmptyFile(Diagnostic):
    code, slug = "E0508", "empty-file"
    message = "`{path}` holds no rows"
    label = "named here"
    path: str


class MoreFaultyRows(Diagnostic):
    code, slug = "E0510", "more-faulty-rows"
    message = "`{path}` has {count} more faulty lines"
    label = "the first {shown} are shown"
    path: str
    count: str
    shown: str


class UnreadableRecipe(Diagnostic):
    code, slug = "E0509", "unreadable-recipe"
    message = "`{path}` cannot be read: {reason}"
    path: str
    reason: str


class UnknownVariable(Diagnostic):
    code, slug = "E0511", "unknown-variable"
    message = "templates of graders have no variable `{name}`"
    label = "not a variable"
    notes = (
        "variables: completion, prompt, turns, metadata",
        "a value of the row is `metadata.NAME`, where the dataset's `metadata` has that name",
    )
    help = "did you mean `{suggestion}`?"
    name: str
    suggestion: str = ""


class UnknownMetadata(Diagnostic):
    code, slug = "E0512", "unknown-metadata"
    message = "the rows have no metadata `{key}`"
    label = "read here, for `{stage}`"
    notes = ("metadata: {known}",)
    help = "{mend}"
    key: str
    stage: str
    known: str
    mend: str


class CutPrompts(Diagnostic):
    code, slug = "E0513", "cut-prompts"
    message = (
        '`on_too_long = "truncate"` would cut prompts of `{stage}`, and a cut prompt asks another question'
    )
    label = "cuts rows"
    help = 'choose `"drop"` or `"error"`'
    stage: str
