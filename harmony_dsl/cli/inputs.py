"""`harmonyc inputs`: what a caller of a recipe may set."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from harmony_dsl.cli.output import say
from harmony_dsl.cli.parser import Parser
from harmony_dsl.cli.recipes import show
from harmony_dsl.cli.tables import table

if TYPE_CHECKING:
    from harmony_compiler.declared.interface import Interface

SUMMARY = "show what a caller may set, also as JSON schema"

_HEAD = ("input", "type", "default", "condition", "")


def configure(parser: Parser) -> None:
    parser.add_argument("file", metavar="FILE", help="a recipe")
    parser.add_argument("--json", action="store_true", help="as JSON schema of a file for `--inputs`")


def execute(parser: Parser, arguments: Sequence[str]) -> int:
    options = parser.read(arguments)
    from harmony_compiler.declared.input_schema import schema_of
    from harmony_compiler.declared.interface import Interface, interface_of
    from harmony_compiler.files import read_source
    from harmony_grammar.source import Source

    source = read_source(options.file)
    interface = interface_of(source) if isinstance(source, Source) else (source,)
    if not isinstance(interface, Interface):
        show(interface, sys.stderr)
        return 1
    if options.json:
        say(json.dumps(schema_of(interface), indent=2, ensure_ascii=False))
    else:
        rows = list(_rows(interface, ""))
        say("\n".join(table(_HEAD, rows)) if rows else f"{options.file} has no inputs")
    return 0


def _rows(interface: Interface, prefix: str) -> Iterator[tuple[str, ...]]:
    from harmony_compiler.typed import in_one_line

    for part in interface.inputs:
        default = "(must be given)" if part.required else part.default
        condition = in_one_line(part.condition.span) if part.condition else ""
        yield prefix + part.name, str(part.type), default, condition, " ".join(part.doc.split())
    for name, inner in interface.imports.items():
        yield from _rows(inner, f"{prefix}{name}.")
