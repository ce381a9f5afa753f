"""`E06xx`: what the recipe as a whole asks for."""

from __future__ import annotations

from harmony_grammar.diagnostics import Diagnostic


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


class ConstantReward(Diagnostic):
    code, slug = "E0607", "constant-reward"
    message = "the reward is {value} for every completion, so nothing can be learned from it"
    label = "always {value}"
    help = "reward what tells a good completion from another of the same prompt"
    value: str


class ZeroWeights(Diagnostic):
    code, slug = "E0608", "zero-weights"
    message = "every weight of the reward is 0, so nothing can be learned from it"
    label = "only weights of 0"
    help = "give at least one grader a weight; those of weight 0 beside it are measured, not rewarded"


class BlindReward(Diagnostic):
    code, slug = "E0609", "blind-reward"
    message = "the reward never reads the completion, so all completions of a prompt get the same"
    label = "reads no `completion`"
    help = "completions of one prompt are compared with one another: reward something about `completion`"


class UnknownGrader(Diagnostic):
    code, slug = "E0610", "unknown-grader"
    message = "{what}"
    notes = ("graders: {known}",)
    help = "did you mean `{suggestion}`?"
    what: str
    known: str
    suggestion: str = ""


class NoPythonPlace(Diagnostic):
    code, slug = "E0611", "no-python-function-named"
    message = "{what}"
    label = "a Python file and a function in it"
    help = "{mend}"
    what: str
    mend: str


class BrokenPython(Diagnostic):
    code, slug = "E0612", "broken-python"
    message = "`{file}` is no valid Python: {reason}"
    label = "the file of this grader"
    file: str
    reason: str


class NoPythonFunction(Diagnostic):
    code, slug = "E0613", "no-python-function"
    message = "`{file}` defines no function `{name}`"
    label = "{cause}"
    notes = ("functions: {known}",)
    help = "{mend}"
    file: str
    name: str
    cause: str
    known: str
    mend: str = ""


class BadParameter(Diagnostic):
    code, slug = "E0614", "impossible-parameter"
    message = "`{name}` of `{file}` has a parameter `{parameter}` that {why}"
    label = "would fail at the first completion"
    notes = ("a grader is given, by name, any of: completion, prompt, turns, metadata",)
    help = "{mend}"
    name: str
    file: str
    parameter: str
    why: str
    mend: str


class UnpublishedGrader(Diagnostic):
    code, slug = "E0620", "unpublished-grader"
    message = "no grader is published as `{key}`"
    label = "not in the registry"
    notes = ("`harmonyc graders add {key} FILE` publishes one, and `harmonyc graders list` shows all",)
    help = "did you mean `{suggestion}`?"
    key: str
    suggestion: str = ""
