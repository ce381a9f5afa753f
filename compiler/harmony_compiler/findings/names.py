"""`E02xx`: names that clash, are missing or go round in a circle."""

from __future__ import annotations

from harmony_grammar.diagnostics import Diagnostic


class DuplicateName(Diagnostic):
    code, slug = "E0201", "duplicate-name"
    message = "`{name}` is declared twice"
    label = "declared here again"
    help = "give one of the two another name"
    name: str


class NameOfTheLanguage(Diagnostic):
    code, slug = "E0202", "name-of-the-language"
    message = "`{name}` is a name of the language and cannot be declared"
    label = "this already means something"
    help = "choose another name, such as `my_{name}`"
    name: str


class SecondRecipe(Diagnostic):
    code, slug = "E0203", "second-recipe"
    message = "a file has at most one `recipe` declaration"
    label = "a second one"
    help = "merge the two"


class UnknownName(Diagnostic):
    code, slug = "E0204", "unknown-name"
    message = "there is nothing called `{name}`"
    label = "not declared in this recipe"
    help = "did you mean `{suggestion}`?"
    name: str
    suggestion: str = ""


class Cycle(Diagnostic):
    code, slug = "E0205", "cycle"
    message = "`{name}` needs itself: {way}"
    label = "the circle starts here"
    help = "a value can only be made from values that exist without it"
    name: str
    way: str


class NameOutOfReach(Diagnostic):
    code, slug = "E0206", "name-out-of-reach"
    message = "`{name}` cannot be used in the value of an input"
    label = "names of the recipe are not known here"
    help = "write the value itself"
    name: str


class ImportCycle(Diagnostic):
    code, slug = "E0207", "import-cycle"
    message = "{what}"
    label = "the circle starts here"
    help = "{mend}"
    what: str
    mend: str


class DeepImport(Diagnostic):
    code, slug = "E0208", "deep-import"
    message = "imports go more than {most} files deep"
    label = "the file named here is not read"
    help = "import what is needed where it is needed"
    most: str


class UnusedValue(Diagnostic):
    code, slug = "W0201", "unused-value"
    message = "nothing uses `{name}`"
    label = "declared here"
    notes = ("dropped with it, for nothing else uses them: {dropped}",)
    help = "remove it, or use it"
    name: str
    dropped: str = ""
