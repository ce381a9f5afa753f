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


class BrokenChatTemplate(Diagnostic):
    code, slug = "E0560", "broken-chat-template"
    message = "the chat template cannot be read: {reason}"
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


class MetadataOfAnotherType(Diagnostic):
    code, slug = "E0514", "metadata-of-another-type"
    message = "the metadata `{key}` is `{found}`, and the grader needs {wanted}"
    label = "read here, for `{stage}`"
    help = "{mend}"
    key: str
    stage: str
    found: str
    wanted: str
    mend: str = ""


class NotInFilter(Diagnostic):
    code, slug = "E0515", "not-in-filter"
    message = "`{name}` is not known where rows are filtered"
    label = "not a column"
    notes = (
        "rows are filtered before they are mapped and answered: a filter reads columns",
        "columns: {columns}",
    )
    help = "{mend}"
    name: str
    columns: str = ""
    mend: str = ""


class UnknownColumnType(Diagnostic):
    code, slug = "E0516", "unknown-column-type"
    message = "`{text}` is no type of a column"
    label = "not a type"
    notes = ("types: {known}",)
    help = "did you mean `{suggestion}`?"
    text: str
    known: str
    suggestion: str = ""


class ColumnOfAnotherType(Diagnostic):
    code, slug = "E0517", "column-of-another-type"
    message = "the column `{column}` is `{found}`, not `{stated}`"
    label = "stated here"
    notes = ("{file} was looked at",)
    help = "write `{found}`, or leave `columns` out where the file is at hand"
    column: str
    stated: str
    found: str
    file: str


class NothingTaken(Diagnostic):
    code, slug = "E0518", "nothing-taken"
    message = "`split` takes none of the {count} rows"
    label = "these rows are not there"
    help = "take a slice of the {count} rows that there are"
    count: str


class StarvedPart(Diagnostic):
    code, slug = "E0519", "starved-part"
    message = "the `weights` leave dataset {number} of {whole} without a row"
    label = "this share comes to no row"
    notes = ("the mixture ends when dataset {first} has given all its rows: it has {rows}",)
    help = "give dataset {number} a larger share, or leave it out"
    number: str
    whole: str
    first: str
    rows: str


class UnreadableLock(Diagnostic):
    code, slug = "E0535", "unreadable-lock"
    message = "the lock `{path}` cannot be read: {reason}"
    help = "restore it, or write it anew with `harmonyc lock`"
    path: str
    reason: str


class NoTurns(Diagnostic):
    code, slug = "E0536", "no-turns"
    message = "the column `{column}` holds {found}, not {wanted}"
    label = "read here"
    help = "{mend}"
    column: str
    found: str
    wanted: str
    mend: str = ""


class AnswersToNothing(Diagnostic):
    code, slug = "E0575", "answers-to-nothing"
    message = "the pairs have two answers and no question"
    label = "one turn, with nothing before it"
    help = 'add `prompt = "…"`; what holds whole conversations is read by `column(…)`'


class UnknownDataset(Diagnostic):
    code, slug = "E0542", "unknown-dataset"
    message = "no dataset is registered as `{key}`"
    label = "not in the registry"
    notes = ("`harmonyc datasets add {key} FILE` registers one, and `harmonyc datasets list` shows all",)
    help = "did you mean `{suggestion}`?"
    key: str
    suggestion: str = ""


class OverlappingRows(Diagnostic):
    code, slug = "W0501", "overlapping-rows"
    message = "{rows} {use} {how} as well"
    label = "{how} here"
    notes = ("a model that has seen the answers scores better than it is",)
    help = "keep rows aside: train on `train[:90%]`, and take `train[90%:]` here"
    rows: str
    use: str
    how: str


class NotLookedAt(Diagnostic):
    code, slug = "N0501", "not-looked-at"
    message = "could not look at {what}: {why}"
    label = "its columns are not known here"
    help = '`columns = {{ question = "str" }}` states the columns, with which templates are checked'
    what: str
    why: str


class RecognisedLayout(Diagnostic):
    code, slug = "N0502", "recognised-layout"
    message = "{these} recognised as {layout}"
    label = "nothing is mapped here"
    notes = ("the same as writing {mapping}", "other columns: {unread}")
    help = "a mapping of your own takes its place"
    these: str
    layout: str
    mapping: str
    unread: str = ""


class NotInLock(Diagnostic):
    code, slug = "W0502", "not-in-lock"
    message = "the lock of the recipe does not have `{what}`"
    label = "named here"
    notes = ("a run takes it as it is that day",)
    help = "`harmonyc lock {recipe}` looks it up"
    what: str
    recipe: str


class ChangedSinceLock(Diagnostic):
    code, slug = "W0503", "changed-since-lock"
    message = "`{what}` is not as the lock of the recipe has it: {how}"
    label = "named here"
    notes = ("a run refuses what no longer matches the lock",)
    help = "put back what was there, or accept this with `harmonyc lock {recipe}`"
    what: str
    how: str
    recipe: str
