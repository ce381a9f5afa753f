"""`harmonyc preview`: rows of a dataset as the model will see them, before any training.

The runtime, and torch with it, is imported only after the recipe has been found good; no weights are read.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmony_dsl.cli.output import Refused, complain, counted, did_you_mean, say
from harmony_dsl.cli.parser import Parser, add_recipe_options, count, read_recipe_options
from harmony_dsl.cli.recipes import compile_path, show
from harmony_dsl.cli.run import require_train_extra

if TYPE_CHECKING:
    from argparse import Namespace

    from harmony_compiler.compile import Compilation
    from harmony_compiler.graph.graph import Graph
    from harmony_compiler.graph.values import Ref
    from harmony_runtime.preview import View

SUMMARY = "show rows of a dataset as the model will see them"

FORMAT_VERSION = 1


def configure(parser: Parser) -> None:
    parser.usage = "harmonyc preview FILE [NAME] [options]"
    parser.add_argument("file", metavar="FILE", help="a recipe")
    parser.add_argument(
        "name",
        metavar="NAME",
        nargs="?",
        help="a `dataset`, a `train`, an `evaluate` or a judge of the recipe (default: every `train`)",
    )
    parser.add_argument("--rows", metavar="N", type=count, default=3, help="rows to show (default: 3)")
    parser.add_argument(
        "--from", metavar="N", dest="first", type=count, default=1, help="the first row to show (default: 1)"
    )
    parser.add_argument("--full", action="store_true", help="shorten no long text")
    parser.add_argument("--html", metavar="PATH", help="write a page to look at in a browser, or to share")
    parser.add_argument("--json", action="store_true", help="as one JSON object, with every token")
    add_recipe_options(parser)


def execute(parser: Parser, arguments: Sequence[str]) -> int:
    options = parser.read(arguments)
    if options.html and options.json:
        parser.error("`--html` and `--json` are two forms of the same: give one of them")
    compilation = compile_path(options.file, read_recipe_options(parser, options), whole=True)
    if compilation.diagnostics:
        show(compilation.diagnostics, sys.stderr)
        say("", sys.stderr)
    if compilation.graph is None:
        return 1
    asked = _asked(compilation, options.file, options.name)
    require_train_extra()
    return _preview(compilation.graph, asked, options)


def _asked(compilation: Compilation, file: str, name: str | None) -> list[Ref]:
    """What is to be shown: the part that `name` names, else what is trained, else what is measured."""
    from harmony_compiler.graph.algorithms import Algorithm
    from harmony_compiler.graph.datasets import Drawn
    from harmony_compiler.graph.evaluations import Compare
    from harmony_compiler.graph.graders import Judge

    assert compilation.graph is not None
    nodes = compilation.graph.nodes
    if name is None:
        for kind in (Algorithm, Compare, Drawn):
            if found := [ref for ref, node in nodes.items() if isinstance(node, kind)]:
                return found
        raise Refused(f"{file} has no dataset to show", exit_code=1)
    known = {
        key: ref
        for key, ref in compilation.names.items()
        if isinstance(nodes[ref], Algorithm | Compare | Drawn | Judge)
    }
    if name not in known:
        has = f"it has {', '.join(known)}" if known else "it has none"
        near = did_you_mean(name, tuple(known))
        raise Refused(
            f"{file} has no `dataset`, `train`, `evaluate` or judge called `{name}`{near}; {has}", exit_code=1
        )
    return [known[name]]


def _preview(graph: Graph, asked: Sequence[Ref], options: Namespace) -> int:
    from harmony_compiler.store.home import home
    from harmony_dsl.cli.loading import for_good

    with for_good():
        from harmony_runtime.failures import RunFailed
        from harmony_runtime.preview import readings, views
        from harmony_runtime.quiet import silence_libraries

    silence_libraries()
    house = home()
    found = views(
        graph,
        [reading for ref in asked for reading in readings(graph, ref)],
        registry=house / "models",
        cache=house / "cache",
        first=options.first,
        count=options.rows,
        busy=lambda what: complain(f"note: {what}"),
    )
    try:
        seen = _shown(graph, found, options)
    except RunFailed as failure:
        raise Refused(str(failure), failure.exit_code) from failure
    for view in seen:
        if not view.rows and view.counts:
            complain(f"note: there is no row {options.first:,}")
    return 0 if all(view.sound for view in seen) else 1


def _shown(graph: Graph, views: Iterable[View], options: Namespace) -> list[View]:
    """Show every view as soon as it is there."""
    if options.json or options.html:
        seen = list(views)
        if options.json:
            told = [_as_json(graph, view) for view in seen]
            say(json.dumps({"format_version": FORMAT_VERSION, "recipe": graph.name, "views": told}, indent=2))
        else:
            from harmony_dsl.preview.page import write_page

            place = Path(options.html)
            try:
                write_page(place, graph, seen)
            except OSError as fault:
                raise Refused(f"{place} cannot be written: {fault.strerror or fault}") from fault
            say(f"{counted(sum(len(view.rows) for view in seen), 'row')} in {place}")
        return seen
    from harmony_dsl.preview.terminal import Terminal

    terminal, seen = Terminal(sys.stdout, full=options.full), []
    for view in views:
        terminal.show(graph, view)
        seen.append(view)
    return seen


def _as_json(graph: Graph, view: View) -> Mapping[str, Any]:
    from dataclasses import asdict

    from harmony_compiler.plan.shown import name_of
    from harmony_dsl.preview.words import fault_text

    reading, lengths = view.reading, view.lengths
    return {
        "dataset": graph.stage_name(reading.dataset),
        "stage": None if reading.stage is None else graph.stage_name(reading.stage),
        "judge": None if reading.judge is None else graph.stage_name(reading.judge),
        "models": [name_of(graph, model) for model in reading.models],
        "counts": dict(view.counts),
        "context": view.context,
        "room": view.room,
        "lengths": None if lengths is None else asdict(lengths),
        "trained": None if view.trained is None else dict(zip(("trained", "all"), view.trained, strict=True)),
        "proofs": [proof._asdict() for proof in view.proofs],
        "notes": view.notes,
        "warnings": view.warnings,
        "faults": [fault_text(fault) for fault in view.faults],
        "rows": [
            {
                "row": row.number,
                "place": row.place,
                "turns": [dict(turn) for turn in row.turns],
                **{name: [dict(turn) for turn in turns] for name, turns in row.answers.items()},
                "metadata": dict(row.metadata),
                "tokens": {part.name: [token._asdict() for token in part.tokens] for part in row.parts},
                "fate": row.fate,
                "faults": [fault_text(fault) for fault in row.faults],
            }
            for row in view.rows
        ],
    }
