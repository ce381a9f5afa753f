"""Findings as a SARIF 2.1.0 log, which code scanning and editors read.

A log is one run of one tool, with the rules that were broken and a result a finding. It holds no time and no
path of this machine for what lies in the working folder, so that an equal check gives an equal log.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from harmony_compiler.explain.pages import page, page_text

if TYPE_CHECKING:
    from harmony_grammar.diagnostics import Diagnostic, Edit, Fix
    from harmony_grammar.source import Source, Span

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

ROOT = "%SRCROOT%"
"""What relative addresses are relative to: the folder in which the command was called."""

FINGERPRINT = "harmonyFinding/v1"

LONGEST_DESCRIPTION = 1024
MOST_RESULTS = 25_000
"""What GitHub's code scanning takes."""

_ORDER = ("error", "warning", "note")


def sarif_log(files: Sequence[str], findings: Sequence[Diagnostic], exit_code: int) -> dict[str, Any]:
    """The log of a check of `files`; it is as JSON has it."""
    from harmony_dsl import __version__

    kept = _kept(findings)
    rules = {finding.code: finding for finding in sorted(kept, key=lambda finding: finding.code)}
    writer = _Writer(files, tuple(rules))
    run = {
        "tool": {
            "driver": {
                "name": "harmonyc",
                "version": __version__,
                "language": "en-GB",
                "rules": [_rule(finding) for finding in rules.values()],
            }
        },
        "invocations": [_invocation(exit_code, len(findings) - len(kept))],
        "originalUriBaseIds": {ROOT: {"description": {"text": "the folder in which harmonyc was called"}}},
        "columnKind": "unicodeCodePoints",
        "results": [writer.result(finding) for finding in kept],
        "artifacts": writer.artifacts,
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _kept(findings: Sequence[Diagnostic]) -> Sequence[Diagnostic]:
    """As many findings as a log may have, those that matter least left out."""
    if len(findings) <= MOST_RESULTS:
        return findings
    places = sorted(range(len(findings)), key=lambda at: _ORDER.index(findings[at].severity))
    return [findings[at] for at in sorted(places[:MOST_RESULTS])]


def _invocation(exit_code: int, left_out: int) -> dict[str, Any]:
    invocation: dict[str, Any] = {"executionSuccessful": True, "exitCode": exit_code}
    if left_out:
        text = f"{left_out:,} findings are left out: a log has at most {MOST_RESULTS:,}"
        invocation["toolExecutionNotifications"] = [{"level": "warning", "message": {"text": text}}]
    return invocation


def _rule(finding: Diagnostic) -> dict[str, Any]:
    """The rule of a finding, told by its page.

    Nothing is ever put in for `{0}` in these texts, and readers show them as they are: the braces of their
    recipes stand as people write them.
    """
    rule: dict[str, Any] = {
        "id": finding.code,
        "name": finding.slug,
        "defaultConfiguration": {"level": finding.severity},
    }
    told = page(finding.code)
    if told is not None:
        # A sample keeps its lines or means nothing; it stands in the help.
        prose = " ".join(told.prose.partition("\n```")[0].split())
        rule |= {
            "shortDescription": {"text": _cut(told.first_sentence)},
            "fullDescription": {"text": _cut(prose), "markdown": _cut(prose)},
            "help": {"text": page_text(told), "markdown": told.text},
        }
    return rule


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_DESCRIPTION else f"{text[: LONGEST_DESCRIPTION - 1]}…"


class _Writer:
    """What the results of one log share: the artifacts in which they stand, and the prints given so far."""

    def __init__(self, files: Sequence[str], codes: tuple[str, ...]) -> None:
        self.artifacts: list[dict[str, Any]] = []
        self._indices: dict[str, int] = {}
        self._codes = codes
        self._files = frozenset(files)
        self._prints: Counter[str] = Counter()
        for file in files:
            self._listed(_of_file(Path(file)), {"roles": ["analysisTarget"]})

    def result(self, finding: Diagnostic) -> dict[str, Any]:
        result: dict[str, Any] = {
            "ruleId": finding.code,
            "ruleIndex": self._codes.index(finding.code),
            "level": finding.severity,
            "message": _message(_words(finding)),
            "locations": [self._place(finding.span)],
            "partialFingerprints": {FINGERPRINT: self._fingerprint(finding)},
        }
        if finding.labels:
            result["relatedLocations"] = [
                {"id": number, "message": _message(label.message), **self._place(label.span)}
                for number, label in enumerate(finding.labels, 1)
            ]
        if finding.fixes:
            result["fixes"] = [self._fix(fix) for fix in finding.fixes]
        return result

    def _place(self, span: Span) -> dict[str, Any]:
        where = {"artifactLocation": self._artifact(span.source), "region": self._region(span)}
        return {"physicalLocation": where}

    def _artifact(self, source: Source) -> dict[str, Any]:
        """Where a text stands: in a file, or in an argument of the command, which has an address too."""
        if source.path is not None:
            return self._listed(_of_file(source.path), {})
        told = {"description": {"text": f"no file: `{source.name}`, an argument of the command"}}
        return self._listed({"uri": quote(source.name)}, told)

    def _listed(self, location: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
        """The location with its number among the artifacts."""
        key = f"{location.get('uriBaseId', '')}/{location['uri']}"
        if key not in self._indices:
            self._indices[key] = len(self.artifacts)
            self.artifacts.append({"location": location, **told})
        return {**location, "index": self._indices[key]}

    def _region(self, span: Span) -> dict[str, int]:
        first, last = span.first, span.last
        region = {
            "startLine": first.line,
            "startColumn": first.column,
            "endLine": last.line,
            "endColumn": last.column,
        }
        # Other sources may be excerpts of their files, in which offsets count from another place.
        if span.source.name in self._files and span.source.first_line == 1:
            region |= {"charOffset": span.start, "charLength": span.end - span.start}
        return region

    def _fix(self, fix: Fix) -> dict[str, Any]:
        by_source: dict[Source, list[Edit]] = {}
        for edit in fix.edits:
            by_source.setdefault(edit.span.source, []).append(edit)
        changes = [
            {
                "artifactLocation": self._artifact(source),
                "replacements": [self._replacement(edit) for edit in edits],
            }
            for source, edits in by_source.items()
        ]
        return {
            "description": _message(fix.message),
            "artifactChanges": changes,
            "properties": {"applicability": fix.applicability},
        }

    def _replacement(self, edit: Edit) -> dict[str, Any]:
        replacement: dict[str, Any] = {"deletedRegion": self._region(edit.span)}
        if edit.text:
            newline = "\r\n" if "\r\n" in edit.span.source.text else "\n"
            replacement["insertedContent"] = {"text": edit.text.replace("\n", newline)}
        return replacement

    def _fingerprint(self, finding: Diagnostic) -> str:
        """What stays the same when lines move: rule, file and the text of the line, not its number.

        A text that may be a secret has no part in it. Findings that are alike are counted.
        """
        from hashlib import sha256

        source, place = finding.span.source, self._artifact(finding.span.source)["uri"]
        open_ = source.path is not None and not (finding.secret or finding.hides or source.hidden)
        line = " ".join(source.line(finding.span.first.line).split()) if open_ else ""
        print_ = sha256("\0".join((finding.code, place, line)).encode()).hexdigest()[:16]
        self._prints[print_] += 1
        return f"{print_}:{self._prints[print_]}"


def _of_file(path: Path) -> dict[str, Any]:
    """The address of a file: relative where it lies below the working folder."""
    place = Path(os.path.normpath(Path.cwd() / path))
    if place.is_relative_to(Path.cwd()):
        return {"uri": quote(place.relative_to(Path.cwd()).as_posix()), "uriBaseId": ROOT}
    return {"uri": place.as_uri()}


def _words(finding: Diagnostic) -> str:
    words = finding.words
    helps = (f"help: {words.help}",) if words.help else ()
    return "\n".join((words.message, *((words.label,) if words.label else ()), *words.notes, *helps))


def _message(text: str) -> dict[str, str]:
    """A text as a message that stands for itself: no `{0}` in it is filled in, and no `[a](b)` is a link."""
    text = text.replace("{", "{{").replace("}", "}}")
    return {"text": re.sub(r"\[(?=[^\[\]]*\]\()", r"\\[", text)}
