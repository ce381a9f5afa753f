"""`E06xx`: what the recipe as a whole asks for."""

from __future__ import annotations

from harmony_grammar.diagnostics import Diagnostic


class NotSupportedYet(Diagnostic):
    code, slug = "E0601", "not-supported-yet"
    message = "{what} is part of the language, but not supported yet"
    label = "not supported yet"
    what: str


class KeyTaken(Diagnostic):
    code, slug = "E0603", "key-taken"
    message = "the registry already holds another model under `{key}`"
    label = "this key is taken"
    notes = ("saved by recipe `{recipe}`, stage `{stage}`, at {created}",)
    help = 'choose another key, or say `if_exists = "rename"` or `"overwrite"`'
    key: str
    recipe: str
    stage: str
    created: str


class KeyTwice(Diagnostic):
    code, slug = "E0604", "key-twice"
    message = "two models are saved under `{key}`"
    label = "the second one"
    help = 'give each its own key, or say `if_exists = "rename"`'
    key: str


class UnknownKey(Diagnostic):
    code, slug = "E0606", "unknown-key"
    message = "the registry holds no model under `{key}`"
    label = "nothing was saved under this key"
    help = "did you mean `{suggestion}`?"
    key: str
    suggestion: str = ""


class LaunchDecidesNodes(Diagnostic):
    code, slug = "E0605", "launch-decides-nodes"
    message = "`ctx` may decide values of fields, not which {what} is used"
    label = "depends on the launch"
    help = "use an input for the choice"
    what: str


class UnsavedModel(Diagnostic):
    code, slug = "W0601", "unsaved-model"
    message = "nothing saves `{name}`"
    label = "trained, and kept in the run folder only"
    help = 'add `save {name} as "KEY"`'
    name: str
