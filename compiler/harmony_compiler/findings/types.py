"""`E03xx`: values of the wrong type, and expressions that have no value."""

from __future__ import annotations

from harmony_grammar.diagnostics import Diagnostic


class WrongType(Diagnostic):
    code, slug = "E0301", "wrong-type"
    message = "{place} takes {expected}, not {found}"
    label = "this is {found}"
    notes = ("{fact}",)
    help = "{mend}"
    place: str
    expected: str
    found: str
    fact: str = ""
    mend: str = ""


class WrongDeclaration(Diagnostic):
    code, slug = "E0302", "wrong-declaration"
    message = "`{word} {name}` declares {expected}, but its value is {found}"
    label = "this is {found}"
    help = "{mend}"
    word: str
    name: str
    expected: str
    found: str
    mend: str = ""


class BareShare(Diagnostic):
    code, slug = "E0303", "bare-share"
    message = "{place} takes {expected}, not a bare fraction"
    label = "{question}"
    help = "for a share write `{percent}`"
    place: str
    expected: str
    question: str
    percent: str


class UnknownOption(Diagnostic):
    code, slug = "E0304", "unknown-option"
    message = "{place} cannot be `{given}`"
    label = "not one of its options"
    notes = ("options: {options}",)
    help = "did you mean `{suggestion}`?"
    place: str
    given: str
    options: str
    suggestion: str = ""


class UnknownType(Diagnostic):
    code, slug = "E0305", "unknown-type"
    message = "there is no type `{name}`"
    label = "not a type"
    notes = ("types: {known}",)
    help = "did you mean `{suggestion}`?"
    name: str
    known: str
    suggestion: str = ""


class WrongOperand(Diagnostic):
    code, slug = "E0306", "wrong-operand"
    message = "`{operator}` does not work on {operands}"
    label = "this has no value"
    help = "{mend}"
    operator: str
    operands: str
    mend: str = ""


class NotCallable(Diagnostic):
    code, slug = "E0307", "not-callable"
    message = "{what} cannot be called"
    label = "not a constructor or function"
    help = "{mend}"
    what: str
    mend: str = ""


class NoSuchMember(Diagnostic):
    code, slug = "E0308", "no-such-member"
    message = "{what} has no `{key}`"
    label = "not there"
    notes = ("it has: {known}",)
    help = "did you mean `{suggestion}`?"
    what: str
    key: str
    known: str = ""
    suggestion: str = ""


class Impossible(Diagnostic):
    code, slug = "E0309", "impossible-arithmetic"
    message = "{what}"
    label = "this has no value"
    what: str


class NotACondition(Diagnostic):
    code, slug = "E0310", "not-a-condition"
    message = "{place} must be true or false, not {found}"
    label = "this is {found}"
    help = "{mend}"
    place: str
    found: str
    mend: str = ""


class NoValueByItself(Diagnostic):
    code, slug = "E0311", "no-value-by-itself"
    message = "`{name}` is no value by itself"
    label = "{meaning}"
    help = "{mend}"
    name: str
    meaning: str
    mend: str = ""


class OnlyWhenGraded(Diagnostic):
    code, slug = "E0312", "only-when-graded"
    message = "{place} needs a value now, and this one is known only when a completion is graded"
    label = "differs from completion to completion"
    help = "{mend}"
    place: str
    mend: str = "only graders are computed from `completion`, `prompt`, `turns` and `metadata`"


class WrongArguments(Diagnostic):
    code, slug = "E0313", "wrong-arguments"
    message = "`{name}` takes {takes}, not {found}"
    label = "{found} here"
    notes = ("`{signature}`: {doc}",)
    name: str
    takes: str
    found: str
    signature: str
    doc: str


class NotSaidWhich(Diagnostic):
    code, slug = "E0315", "not-said-which"
    message = "`{name}` stands for {kinds}, and nothing here says which"
    label = "of which type?"
    help = "declare it by its own word, such as `model NAME = …`, `dataset NAME = …` or `grader NAME = …`"
    name: str
    kinds: str


class BrokenRegex(Diagnostic):
    code, slug = "E0314", "broken-regex"
    message = "the regular expression cannot be read: {reason}"
    label = "here"
    reason: str


class WrongValidation(Diagnostic):
    code, slug = "E0316", "wrong-validation"
    message = "{asks} takes `{wanted}`, not {found}"
    label = "this is {found}"
    notes = ("{fact}",)
    help = "{mend}"
    asks: str
    wanted: str
    found: str
    fact: str
    mend: str = ""


class MixedRows(Diagnostic):
    code, slug = "E0317", "mixed-rows"
    message = "a mixture has rows of one kind, and this one has {others} and {found}"
    label = "this is {found}"
    help = "map the columns of all of them alike"
    found: str
    others: str
