"""`harmonyc check`: all findings of one or more recipes."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harmony_dsl.cli.output import counted, say
from harmony_dsl.cli.parser import Parser, add_recipe_options, read_recipe_options
from harmony_dsl.cli.recipes import compile_path, show

if TYPE_CHECKING:
    from harmony_grammar.diagnostics import Diagnostic, Severity

SUMMARY = "find what is wrong in recipes, before anything is loaded"


def configure(parser: Parser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="+", help="a recipe")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: text")
    parser.add_argument("--deny-warnings", action="store_true", help="exit with 1 on a warning too")
    add_recipe_options(parser)


def execute(parser: Parser, arguments: Sequence[str]) -> int:
    options = parser.read(arguments)
    request = read_recipe_options(parser, options)
    findings = [found for path in options.files for found in compile_path(path, request).diagnostics]
    if options.format == "json":
        from harmony_grammar.rendering import to_json

        say(json.dumps(to_json(findings), indent=2))
    else:
        show(findings, sys.stdout)
        say(closing_line(options.files, findings))
    faults = {"error", "warning"} if options.deny_warnings else {"error"}
    return int(any(finding.severity in faults for finding in findings))


def closing_line(files: Sequence[str], findings: Sequence[Diagnostic]) -> str:
    """`2 errors, 1 warning`, or `gsm8k.recipe: no problems found`."""
    counts = Counter(finding.severity for finding in findings)
    if counts:
        order: tuple[Severity, ...] = ("error", "warning", "note")
        return ", ".join(counted(counts[severity], severity) for severity in order if counts[severity])
    return f"{files[0] if len(files) == 1 else counted(len(files), 'file')}: no problems found"
