"""`harmonyc plan`: the graph with every default filled in, and where each value came from."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from harmony_dsl.cli.output import say
from harmony_dsl.cli.parser import Parser, add_recipe_options, read_recipe_options
from harmony_dsl.cli.recipes import compile_path, show

SUMMARY = "show what a run would do, with every default filled in"


def configure(parser: Parser) -> None:
    parser.add_argument("file", metavar="FILE", help="a recipe")
    parser.add_argument("--json", action="store_true", help="as one JSON object")
    add_recipe_options(parser)


def execute(parser: Parser, arguments: Sequence[str]) -> int:
    options = parser.read(arguments)
    compilation = compile_path(options.file, read_recipe_options(parser, options))
    show(compilation.diagnostics, sys.stderr)
    if compilation.graph is None:
        return 1
    from harmony_compiler.plan import plan_json, plan_text

    graph = compilation.graph
    say(json.dumps(plan_json(graph), indent=2) if options.json else plan_text(graph).rstrip("\n"))
    return 0
