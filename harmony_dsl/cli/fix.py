"""`harmonyc check --fix`: apply the safe fixes of findings to the files that the command line names.

A file is checked and mended in turns until no safe fix is left, and is written only if what came out has no
error: whoever asks for a repair gets a recipe that checks, or the file as it was. What is imported, data and
`--set` are never changed. What a fix leaves alone stays byte for byte, line ends and a byte order mark
included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from harmony_dsl.cli.output import counted
from harmony_dsl.cli.writing import rewrite
from harmony_grammar.records import Record, replace

if TYPE_CHECKING:
    from harmony_grammar.diagnostics import Diagnostic, Edit, Fix
    from harmony_grammar.source import Source

Check = Callable[["Source"], Sequence["Diagnostic"]]

MOST_ROUNDS = 50
"""How often a file is checked and mended; a fix that does not mend would be applied for ever."""


class Applied(Record):
    """A fix that was applied: the finding, and where it stood in the text of that round."""

    finding: Diagnostic
    fix: Fix

    @property
    def told(self) -> str:
        """`gsm8k.recipe:14: `sft` has no field `lrr`: write `lr``."""
        span = self.finding.span
        return f"{span.source.name}:{span.first.line}: {self.finding.words.message}: {self.fix.message}"


class Mended(Record):
    """What became of one file: the findings in it now, and those that would be left in the mended text."""

    applied: tuple[Applied, ...]
    written: bool
    now: tuple[Diagnostic, ...]
    left: tuple[Diagnostic, ...]

    @property
    def told(self) -> list[str]:
        """What was done, line by line."""
        if not self.applied:
            return []
        name, number = self.applied[0].finding.span.source.name, counted(len(self.applied), "fix", "fixes")
        if self.written:
            return [*(applied.told for applied in self.applied), f"{name}: {number} written"]
        lines = [f"{applied.told} (not written)" for applied in self.applied]
        return [*lines, f"{name}: left as it is, since it would still have errors with {number}"]

    def to_json(self) -> list[dict[str, Any]]:
        """The fixes for programs. Those of a file that was left as it is are not `written`."""
        return [
            {
                "file": applied.finding.span.source.name,
                "line": applied.finding.span.first.line,
                "code": applied.finding.code,
                "message": applied.fix.message,
                "written": self.written,
            }
            for applied in self.applied
        ]


def mend_file(source: Source, check: Check) -> Mended:
    """Mend the file that `source` was read from.

    Raises:
        Refused: it cannot be written.
    """
    found = tuple(check(source))
    mended, applied, left = _mended(source, found, check)
    written = bool(applied) and not any(finding.severity == "error" for finding in left)
    if written:
        assert source.path is not None
        rewrite(source.path, source.text, mended.text)
    return Mended(applied, written, left if written else found, left)


def _mended(
    source: Source, findings: tuple[Diagnostic, ...], check: Check
) -> tuple[Source, tuple[Applied, ...], tuple[Diagnostic, ...]]:
    """The text with every safe fix applied, what was done, and the findings that are left."""
    applied: list[Applied] = []
    seen = {source.text}
    for _ in range(MOST_ROUNDS):
        chosen, edits = _compatible(findings, source)
        text = _edited(source.text, edits)
        if text in seen:
            break
        seen.add(text)
        applied += chosen
        source = replace(source, text=text)
        findings = tuple(check(source))
    return source, tuple(applied), findings


def _compatible(findings: Sequence[Diagnostic], source: Source) -> tuple[list[Applied], list[Edit]]:
    """Safe fixes of this text that do not touch one another; the others have their turn in the next round."""
    chosen: list[Applied] = []
    edits: list[Edit] = []
    for finding in findings:
        fix = next((fix for fix in finding.fixes if fix.applicability == "safe"), None)
        if fix is None or any(edit.span.source is not source for edit in fix.edits):
            continue
        if not any(_touch(edit, other) for edit in fix.edits for other in edits):
            chosen.append(Applied(finding, fix))
            edits += fix.edits
    return chosen, edits


def _touch(one: Edit, other: Edit) -> bool:
    return one.span.start <= other.span.end and other.span.start <= one.span.end


def _edited(text: str, edits: Sequence[Edit]) -> str:
    newline = "\r\n" if "\r\n" in text else "\n"
    for edit in sorted(edits, key=lambda edit: (edit.span.start, edit.span.end), reverse=True):
        text = text[: edit.span.start] + edit.text.replace("\n", newline) + text[edit.span.end :]
    return text
