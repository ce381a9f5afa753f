"""`harmonyc plan`: the graph with every default filled in, and where each value came from."""

from __future__ import annotations

import json
from collections.abc import Sequence

from harmony_dsl.cli.output import say
from harmony_dsl.cli.parser import Parser, add_recipe_options, read_recipe_options
from harmony_dsl.cli.recipes import graph_of

SUMMARY = "show what a run would do, with every default filled in"


def configure(parser: Parser) -> None:
    parser.add_argument("file", metavar="FILE", help="a recipe")
    parser.add_argument("--json", action="store_true", help="as one JSON object")
    add_recipe_options(parser)


def execute(parser: Parser, arguments: Sequence[str]) -> int:
    options = parser.read(arguments)
    graph = graph_of(options.file, read_recipe_options(parser, options))
    if graph is None:
        return 1
    from harmony_compiler.plan import plan_json, plan_text

    say(json.dumps(plan_json(graph), indent=2) if options.json else plan_text(graph).rstrip("\n"))
    return 0
