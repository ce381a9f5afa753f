"""`harmonyc compile`: the graph as JSON, which `harmonyc run` takes like a recipe."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from harmony_dsl.cli.output import Refused, say
from harmony_dsl.cli.parser import Parser, add_recipe_options, read_recipe_options
from harmony_dsl.cli.recipes import graph_of

SUMMARY = "write a recipe's graph as JSON"


def configure(parser: Parser) -> None:
    parser.add_argument("file", metavar="FILE", help="a recipe")
    parser.add_argument("-o", "--output", metavar="GRAPH.json", help="default: standard output")
    add_recipe_options(parser)


def execute(parser: Parser, arguments: Sequence[str]) -> int:
    options = parser.read(arguments)
    graph = graph_of(options.file, read_recipe_options(parser, options))
    if graph is None:
        return 1
    text = json.dumps(graph.to_json(), indent=2)
    if options.output is None:
        say(text)
        return 0
    try:
        Path(options.output).write_text(text + "\n", encoding="utf-8")
    except OSError as fault:
        raise Refused(f"cannot write {options.output}: {fault.strerror or fault}") from fault
    return 0
