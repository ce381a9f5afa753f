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
    help = "{mend}"
    what: str
    mend: str = ""


class EntryTwice(Diagnostic):
    code, slug = "E0412", "entry-twice"
    message = "`{entry}` stands twice in `{key}`"
    label = "the second one"
    help = "remove one of the two: a column is named by what is written here"
    entry: str
    key: str


class UnreadField(Diagnostic):
    code, slug = "E0413", "unread-field"
    message = "`{key}` is {when}"
    label = "{cause}"
    notes = ("{fact}",)
    help = "{mend}"
    key: str
    when: str
    cause: str
    mend: str
    fact: str = ""


class NeedsField(Diagnostic):
    code, slug = "E0414", "needs-another-field"
    message = "`{key}` needs `{other}` beside it"
    label = "{why}"
    help = "add `{other}`, or remove `{key}`"
    key: str
    other: str
    why: str


class UnknownMetric(Diagnostic):
    code, slug = "E0416", "unknown-metric"
    message = "`{stage}` has no metric `{name}` that can become better"
    label = "{cause}"
    notes = ("metrics: {known}",)
    help = "did you mean `{suggestion}`?"
    stage: str
    name: str
    cause: str
    known: str
    suggestion: str = ""


class UnusualRate(Diagnostic):
    code, slug = "W0402", "unusual-rate"
    message = "`{key}` = {rate} is far {way} what pretrained models are tuned with"
    label = "usual is {usual}"
    notes = ("{effect}",)
    key: str
    rate: str
    way: str
    usual: str
    effect: str


class BadAddress(Diagnostic):
    code, slug = "E0415", "bad-address"
    message = "`url` must be the address of a server"
    label = "{cause}"
    help = "{mend}"
    cause: str
    mend: str


class CredentialInAddress(Diagnostic):
    code, slug = "E0417", "credential-in-address"
    message = "an address must not hold a credential"
    label = "whoever sees the recipe would know it"
    help = 'take it out; a field that takes a secret is given its name, `env("NAME")`'
    secret = True


class UnknownInput(Diagnostic):
    code, slug = "E0420", "unknown-input"
    message = "{what} has no input `{name}`"
    label = "{found}"
    notes = ("inputs: {known}",)
    help = "did you mean `{suggestion}`?"
    name: str
    known: str
    suggestion: str = ""
    what: str = "the recipe"
    found: str = "not an input"


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


class MissingImportInput(Diagnostic):
    code, slug = "E0425", "missing-input-of-import"
    message = "`{file}` has an input `{name}` without a default, and `{module}` was not given it"
    label = "needs `{name}`"
    help = "give it here, `{{ {name} = … }}`, or with `--set {module}.{name}=…`"
    file: str
    module: str
    name: str


class UnreadableInputs(Diagnostic):
    code, slug = "E0426", "unreadable-inputs"
    message = "`{path}` cannot be read: {reason}"
    path: str
    reason: str


class BrokenInputs(Diagnostic):
    code, slug = "E0427", "broken-inputs"
    message = "`{path}` is not {format} with inputs: {reason}"
    label = "{here}"
    path: str
    format: str
    reason: str
    here: str = ""


class NoInputValue(Diagnostic):
    code, slug = "E0428", "no-input-value"
    message = "{place} cannot be {found}, which no recipe can write"
    label = "this is {found}"
    help = "{mend}"
    place: str
    found: str
    mend: str = "inputs are numbers, texts, true, false, nothing, and lists and tables of these"


class SecretAsText(Diagnostic):
    code, slug = "E0424", "secret-as-text"
    message = "{place} takes a secret by its name, not the secret itself"
    label = "a value in a file or command line is no secret"
    help = 'write `env("NAME")`, and set the variable NAME'
    secret = True
    place: str
