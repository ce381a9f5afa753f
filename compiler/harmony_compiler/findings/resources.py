"""`E07xx`: what does not fit into a model or a machine."""

from __future__ import annotations

from harmony_grammar.diagnostics import Diagnostic


class NoRoomForPrompts(Diagnostic):
    code, slug = "E0701", "no-room-for-prompts"
    message = "`max_tokens` = {max_tokens} leaves no room for a prompt in the context of {context} tokens"
    label = "{cause}"
    help = "a prompt and its completion share the context: {mend}"
    max_tokens: str
    context: str
    cause: str
    mend: str


class PromptTooLong(Diagnostic):
    code, slug = "E0702", "prompt-too-long"
    message = (
        "the longest prompt has {tokens} tokens, which with `max_tokens` = {max_tokens} is more than the "
        "context of {context}"
    )
    label = "{cause}"
    notes = ("{count}",)
    help = "{mend}"
    tokens: str
    max_tokens: str
    context: str
    cause: str
    count: str
    mend: str


class UnevenHeads(Diagnostic):
    code, slug = "E0703", "uneven-heads"
    message = "`tp` = {tp} does not divide the {count} {name} of the model"
    label = "each device takes the same number of heads"
    notes = ("{fact}",)
    help = "what fits the model and the launch: {fits}"
    tp: str
    count: str
    name: str
    fits: str
    fact: str = ""


class NoPlanToCut(Diagnostic):
    code, slug = "E0704", "no-plan-to-cut"
    message = "`tp` = {tp} cuts the matrices of a model, and there is no plan for cutting a `{architecture}`"
    label = "cannot be done"
    notes = ("{fact}",)
    help = "leave `tp` at 1, or take another architecture: `qwen3` and `llama` can be cut"
    tp: str
    architecture: str
    fact: str = ""


class AdapterOnParts(Diagnostic):
    code, slug = "E0705", "adapter-on-parts"
    message = "an adapter stands beside whole weights, and {how} cuts them"
    label = "{cause}"
    help = "{mend}, or train all weights"
    how: str
    cause: str
    mend: str


class CutTwice(Diagnostic):
    code, slug = "E0706", "cut-twice"
    message = "`tp` = {tp} cuts the weights over devices, and so does `--shard`"
    label = "the launch already cuts them"
    help = "leave out `--shard`, or `tp`"
    tp: str


class UnknownTarget(Diagnostic):
    code, slug = "E0576", "unknown-target"
    message = "a `{architecture}` model has no linear layer `{name}` that an adapter can stand beside"
    label = "no such layer"
    notes = ("its layers: {known}",)
    help = "did you mean `{suggestion}`?"
    architecture: str
    name: str
    known: str
    suggestion: str = ""


class NothingToMerge(Diagnostic):
    code, slug = "E0711", "nothing-to-merge"
    message = "`merge = true` merges an adapter into its base, and this model carries none"
    label = "there is nothing to merge"
    help = "leave `merge` out: all weights of this model are trained and written"


class DeviceOverflow(Diagnostic):
    code, slug = "E0712", "device-overflow"
    message = "`{stage}` needs {needed} of memory in each device, which has {limit}"
    label = "most of it: {largest}"
    notes = ("the rest: {rest}",)
    help = "{mend}"
    stage: str
    needed: str
    limit: str
    largest: str
    rest: str
    mend: str
