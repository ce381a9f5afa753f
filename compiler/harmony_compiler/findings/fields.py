"""`E04xx`: fields of constructors and inputs of recipes."""

from __future__ import annotations

from harmony_grammar.diagnostics import Diagnostic


class UnknownField(Diagnostic):
    code, slug = "E0401", "unknown-field"
    message = "{what} has no field `{key}`"
    label = "not a field of {what}"
    notes = ("fields: {known}",)
    help = "{mend}"
    what: str
    key: str
    known: str = ""
    mend: str = ""


class DuplicateField(Diagnostic):
    code, slug = "E0402", "duplicate-field"
    message = "`{key}` is given twice"
    label = "given here again"
    help = "remove one of the two"
    key: str


class MissingField(Diagnostic):
    code, slug = "E0403", "missing-field"
    message = "`{constructor}` needs `{key}`"
    label = "`{key}` is missing"
    notes = ("`{key}`: {doc}",)
    constructor: str
    key: str
    doc: str


class OutOfRange(Diagnostic):
    code, slug = "E0404", "out-of-range"
    message = "`{key}` {bound}, not {value}"
    label = "{bound}"
    key: str
    bound: str
    value: str


class FixedField(Diagnostic):
    code, slug = "E0405", "fixed-field"
    message = "`{key}` cannot be changed on {what}"
    label = "fixed when the model was made"
    notes = ("what can be changed: {known}",)
    help = "{mend}"
    key: str
    what: str
    known: str
    mend: str


class RuleBroken(Diagnostic):
    code, slug = "E0406", "rule-broken"
    message = "{rule}"
    label = "{cause}"
    help = "{mend}"
    rule: str
    cause: str
    mend: str = ""


class DoubtfulFields(Diagnostic):
    code, slug = "W0401", "doubtful-fields"
    message = "{rule}"
    label = "{cause}"
    help = "{mend}"
    rule: str
    cause: str
    mend: str = ""


class TooMany(Diagnostic):
    code, slug = "E0407", "one-too-many"
    message = "`{constructor}` takes either {options}, not both"
    label = "given as well"
    help = "remove one of the two"
    constructor: str
    options: str


class NeitherGiven(Diagnostic):
    code, slug = "E0408", "neither-given"
    message = "`{constructor}` needs one of {options}"
    label = "neither is given"
    constructor: str
    options: str


class TooManyArguments(Diagnostic):
    code, slug = "E0409", "too-many-arguments"
    message = "`{constructor}` takes {allowed} without a name"
    label = "one too many"
    help = "write `field = value`"
    constructor: str
    allowed: str


class BadKey(Diagnostic):
    code, slug = "E0410", "bad-key"
    message = "`{key}` cannot be the key of a saved model"
    label = "not a name for a folder"
    help = "use at most 128 letters, digits, `.`, `_` and `-`, beginning with a letter or digit"
    key: str


class NotCopyable(Diagnostic):
    code, slug = "E0411", "not-copyable"
    message = "{what} has no fields to change"
    label = "this is {what}"
    what: str


class EntryTwice(Diagnostic):
    code, slug = "E0412", "entry-twice"
    message = "`{entry}` stands twice in `{key}`"
    label = "the second one"
    help = "remove one of the two: a column is named by what is written here"
    entry: str
    key: str


class UnknownInput(Diagnostic):
    code, slug = "E0420", "unknown-input"
    message = "the recipe has no input `{name}`"
    label = "not an input"
    notes = ("inputs: {known}",)
    help = "did you mean `{suggestion}`?"
    name: str
    known: str
    suggestion: str = ""


class MissingInput(Diagnostic):
    code, slug = "E0421", "missing-input"
    message = "the input `{name}` has no default and was not given"
    label = "needs a value"
    help = "give it with `--set {name}=…`"
    name: str


class ConditionFails(Diagnostic):
    code, slug = "E0422", "condition-fails"
    message = "`{name}` = {value} breaks the condition of the input"
    label = "must hold: {condition}"
    name: str
    value: str
    condition: str


class SetTwice(Diagnostic):
    code, slug = "E0423", "set-twice"
    message = "the input `{name}` is set twice"
    label = "set again"
    help = "keep one of the two"
    name: str


class SecretAsText(Diagnostic):
    code, slug = "E0424", "secret-as-text"
    message = "{place} takes a secret by its name, not the secret itself"
    label = "a value in a file or command line is no secret"
    help = 'write `env("NAME")`, and set the variable NAME'
    place: str
