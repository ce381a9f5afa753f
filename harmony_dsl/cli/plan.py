"""`harmonyc plan`: what a run would do and cost, with every value and where it came from."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentTypeError
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harmony_dsl.cli.output import Refused, say
from harmony_dsl.cli.parser import Parser, add_recipe_options, read_recipe_options
from harmony_dsl.cli.recipes import compile_path, show

if TYPE_CHECKING:
    from argparse import Namespace

    from harmony_compiler.compile import Compilation
    from harmony_compiler.plan.plan import Plan

SUMMARY = "show what a run would do and cost, with every default filled in"


def configure(parser: Parser) -> None:
    parser.add_argument("file", metavar="FILE", help="a recipe")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="as one JSON object")
    shape.add_argument("--graph", choices=("mermaid", "dot"), help="the graph alone, to be drawn by others")
    parser.add_argument(
        "--device", choices=("gpu", "cpu"), default="gpu", help="what memory is planned for (default: gpu)"
    )
    parser.add_argument(
        "--device-memory",
        metavar="SIZE",
        type=_size,
        help="what a device has, such as 80GiB: a stage that needs more is an error",
    )
    parser.add_argument(
        "--reuse",
        metavar="DIR",
        type=Path,
        help="a run's folder: say which stages it has finished, as `run --reuse` would take them",
    )
    add_recipe_options(parser)


def execute(parser: Parser, arguments: Sequence[str]) -> int:
    options = parser.read(arguments)
    request = read_recipe_options(parser, options)
    if options.reuse is not None and not (options.reuse / "graph.json").is_file():
        raise Refused(f"the folder {options.reuse} is not a run's: it holds no graph.json")
    compilation = compile_path(options.file, request)
    show(compilation.diagnostics, sys.stderr)
    if compilation.graph is None:
        return 1
    if options.graph:
        from harmony_compiler.plan.diagrams import dot, mermaid

        say((mermaid if options.graph == "mermaid" else dot)(compilation.graph).rstrip("\n"))
        return 0
    return _plan(options, compilation, tuple(setting.name for setting in request.settings))


def _plan(options: Namespace, compilation: Compilation, set_inputs: tuple[str, ...]) -> int:
    from harmony_compiler.plan.plan import Where, plan_of
    from harmony_compiler.plan.text import plan_text
    from harmony_compiler.store.home import home

    where = Where(home() / "models", options.reuse, options.device, set_inputs)
    plan = plan_of(compilation, where)
    say(json.dumps(plan.to_json(), indent=2) if options.json else plan_text(plan).rstrip("\n"))
    return 0 if options.device_memory is None else _overflows(plan, compilation, options.device_memory)


def _overflows(plan: Plan, compilation: Compilation, limit: int) -> int:
    """Say of each stage that needs more than a device has; 1 where there is one."""
    from harmony_compiler.plan.overflow import overflowing

    assert compilation.looked is not None
    memories = {ref: part.memory for ref, part in plan.parts.items()}
    found = tuple(overflowing(plan.graph, memories, compilation.looked.made, limit))
    show(found, sys.stderr)
    return int(bool(found))


def _size(text: str) -> int:
    from harmony_compiler.plan.overflow import bytes_of

    size = bytes_of(text)
    if size is None:
        raise ArgumentTypeError(f"`{text}` is no size: write a number and its unit, such as `80GiB`")
    return size
