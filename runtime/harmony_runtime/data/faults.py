"""What can be wrong with a row that is JSON, as diagnostics that point into the data file.

Lines that are no JSON objects are `harmony_compiler.store.rows`' business.
"""

from __future__ import annotations

from harmony_compiler.store.rows import SHOWN
from harmony_grammar.diagnostics import Diagnostic
from harmony_runtime.failures import RunFailed


class TemplateFailed(Diagnostic):
    code, slug = "E0520", "template-failed"
    message = "the template of `{field}` fails on this row: {reason}"
    notes = ("the template stands in {template_place}",)
    field: str
    reason: str
    template_place: str


class RowTooLong(Diagnostic):
    code, slug = "E0521", "row-too-long"
    message = "this row has {tokens} tokens, and the model takes {context}"
    help = 'shorten it, or let `on_too_long = "drop"` or `"truncate"` decide'
    tokens: int
    context: int


class ThreadRefused(Diagnostic):
    code, slug = "E0522", "thread-refused"
    message = "the model's chat template {reason}"
    reason: str


class PromptTooLong(Diagnostic):
    code, slug = "E0523", "no-room-for-completion"
    message = (
        "this prompt has {tokens} tokens; with {max_tokens} of a completion that is more than the model's "
        "context of {context}"
    )
    help = 'shorten it, lower `max_tokens` of `sampling`, or let `on_too_long = "drop"` leave it out'
    tokens: int
    max_tokens: int
    context: int


class FaultyTurn(Diagnostic):
    code, slug = "E0551", "faulty-turn"
    message = "`{field}` finds no turns in this row: {reason}"
    label = "here"
    help = "{mend}"
    field: str
    reason: str
    mend: str = ""


class UnequalPrompts(Diagnostic):
    code, slug = "E0553", "unequal-prompts"
    message = "{reason}, so these are no two answers to one question"
    help = "take the row out of the file; a pair shares all turns but its answers"
    reason: str


class UnfitThread(Diagnostic):
    code, slug = "E0554", "unfit-thread"
    message = "the conversation {reason}"
    help = "{mend}"
    reason: str
    mend: str = ""


class FilterFailed(Diagnostic):
    code, slug = "E0540", "filter-failed"
    message = "`filter` has no value for this row: {reason}"
    notes = ("the filter stands in {filter_place}",)
    help = "write a condition that every row can answer; a column that may be missing is `none`"
    reason: str
    filter_place: str


class StatedOtherwise(Diagnostic):
    code, slug = "E0541", "stated-otherwise"
    message = "the column `{column}` is `{found}` in this row, not `{stated}`"
    notes = ("`columns` in {stated_place} states it",)
    help = "write there what the data holds"
    column: str
    found: str
    stated: str
    stated_place: str


class Faults:
    """Gathers the faults of one dataset, so that one run shows them together."""

    def __init__(self, dataset: str) -> None:
        self._dataset = dataset
        self._shown: list[Diagnostic | str] = []
        self._more = 0

    def add(self, fault: Diagnostic | str) -> None:
        if len(self._shown) < SHOWN:
            self._shown.append(fault)
        else:
            self._more += 1

    def raise_any(self) -> None:
        """Fail where there was a fault."""
        if self._more:
            total = len(self._shown) + self._more
            self._shown.append(f"{self._dataset}{total} rows are faulty; the first {SHOWN} are shown")
        if self._shown:
            raise RunFailed(*self._shown)
