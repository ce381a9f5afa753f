"""`harmonyc check`: all findings of one or more recipes."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harmony_dsl.cli.output import counted, say
from harmony_dsl.cli.parser import Parser, Request, add_recipe_options, read_recipe_options
from harmony_dsl.cli.recipes import compile_path, compile_source, show

if TYPE_CHECKING:
    from argparse import Namespace

    from harmony_grammar.diagnostics import Diagnostic, Severity

SUMMARY = "find what is wrong in recipes, before anything is loaded"


def configure(parser: Parser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="+", help="a recipe")
    parser.add_argument("--format", choices=("text", "json", "sarif"), default="text", help="default: text")
    parser.add_argument("--deny-warnings", action="store_true", help="exit with 1 on a warning too")
    parser.add_argument(
        "--fix",
        action="store_true",
        help="apply the fixes that are safe; a file is written only if no error is left in it then, and what "
        "it imports is never changed",
    )
    add_recipe_options(parser)


def execute(parser: Parser, arguments: Sequence[str]) -> int:
    options = parser.read(arguments)
    request = read_recipe_options(parser, options)
    if options.fix and not request.faults:
        return _fix(options, request)
    # Of a file with inputs that cannot be read, every recipe would say the same.
    found = [finding for path in options.files for finding in compile_path(path, request).diagnostics]
    findings = list(dict.fromkeys(found))
    if options.format == "json":
        from harmony_grammar.rendering import to_json

        say(json.dumps(to_json(findings), indent=2))
    elif options.format == "sarif":
        _say_sarif(options, findings)
    else:
        show(findings, sys.stdout)
        say(closing_line(options.files, findings))
    return _exit_code(options, findings)


def _say_sarif(options: Namespace, findings: Sequence[Diagnostic]) -> None:
    from harmony_dsl.cli.sarif import sarif_log

    say(json.dumps(sarif_log(options.files, findings, _exit_code(options, findings)), indent=2))


def _exit_code(options: Namespace, findings: Sequence[Diagnostic]) -> int:
    faults = {"error", "warning"} if options.deny_warnings else {"error"}
    return int(any(finding.severity in faults for finding in findings))


def _fix(options: Namespace, request: Request) -> int:
    """Mend each file that can be read, then say what was done and what is left."""
    from harmony_compiler.files import read_source
    from harmony_dsl.cli.fix import Mended, mend_file
    from harmony_grammar.source import Source

    outcomes: list[Mended] = []
    for path in dict.fromkeys(options.files):
        source = read_source(path)
        if isinstance(source, Source):
            outcomes.append(mend_file(source, lambda text: compile_source(text, request).diagnostics))
        else:
            outcomes.append(Mended((), False, (source,), (source,)))
    now = [finding for outcome in outcomes for finding in outcome.now]
    if options.format == "json":
        from harmony_grammar.rendering import to_json

        fixed = [entry for outcome in outcomes for entry in outcome.to_json()]
        say(json.dumps(to_json(now) | {"fixed": fixed}, indent=2))
        return _exit_code(options, now)
    if options.format == "sarif":
        _say_sarif(options, now)
        return _exit_code(options, now)
    left = [finding for outcome in outcomes for finding in outcome.left]
    for outcome in outcomes:
        for line in outcome.told:
            say(line)
    if left and any(outcome.applied for outcome in outcomes):
        say("")
    show(left, sys.stdout)
    say(closing_line(options.files, left))
    return _exit_code(options, left)


def closing_line(files: Sequence[str], findings: Sequence[Diagnostic]) -> str:
    """`2 errors, 1 warning`, or `gsm8k.recipe: no problems found`."""
    counts = Counter(finding.severity for finding in findings)
    if counts:
        order: tuple[Severity, ...] = ("error", "warning", "note")
        return ", ".join(counted(counts[severity], severity) for severity in order if counts[severity])
    return f"{files[0] if len(files) == 1 else counted(len(files), 'file')}: no problems found"
