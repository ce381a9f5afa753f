"""`harmonyc run`: compile, show what was found, then train.

The runtime, and torch with it, is imported only after the recipe has been found good.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harmony_dsl.cli.output import Refused, complain
from harmony_dsl.cli.parser import Parser, Request, add_recipe_options, read_recipe_options
from harmony_dsl.cli.recipes import graph_of, show

if TYPE_CHECKING:
    from harmony_compiler.graph.graph import Graph

SUMMARY = "compile a recipe, or take a compiled graph, and train"

TRAIN_EXTRA = ("torch", "transformers", "accelerate", "datasets", "tokenizers", "safetensors", "peft", "rich")


def configure(parser: Parser) -> None:
    parser.add_argument("file", metavar="FILE", help="a recipe, or a graph that `compile` wrote (.json)")
    parser.add_argument("--out", metavar="DIR", help="the run's folder (default: the next runs/NAME-N)")
    parser.add_argument(
        "--resume", action="store_true", help="go on in a folder (default: the last runs/NAME-N)"
    )
    add_recipe_options(parser)


def execute(parser: Parser, arguments: Sequence[str]) -> int:
    options = parser.read(arguments)
    request = read_recipe_options(parser, options)
    if request.launch.world_size > 1:
        raise Refused(
            "training on more than one process is not supported yet; leave out `--num-processes`. "
            "`check` and `plan` already tell what a larger launch would be."
        )
    if Path(options.file).suffix == ".json":
        if options.settings:
            parser.error("the inputs of a compiled graph are fixed; give `--set` to `harmonyc compile`")
        graph: Graph | None = _read_graph(options.file)
    else:
        graph = _compile(options.file, request)
    if graph is None:
        return 1
    out = Path(options.out) if options.out else _default_folder(graph.name, options.resume)
    _require_train_extra()
    import shlex

    again = shlex.join(["harmonyc", "run", *(word for word in arguments if word != "--resume"), "--resume"])
    return _train(graph, out, options.resume, again)


def _compile(path: str, request: Request) -> Graph | None:
    graph = graph_of(path, request)
    if graph is not None and not graph.outputs:
        raise Refused(
            f"{path} trains, evaluates and saves nothing: it is there to be imported. "
            "To run it, add a `train` or a `save`.",
            exit_code=1,
        )
    return graph


def _read_graph(path: str) -> Graph:
    from harmony_compiler.graph.graph import Graph

    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(data, dict):
            raise ValueError("not an object")
        graph = Graph.from_json(data)
    except OSError as fault:
        raise Refused(f"cannot read {path}: {fault.strerror or fault}", exit_code=1) from fault
    except (ValueError, RecursionError) as fault:
        raise Refused(
            f"{path} is not a graph that this version can run ({fault}); "
            "make it anew with `harmonyc compile RECIPE -o GRAPH.json`",
            exit_code=1,
        ) from fault
    if graph.launch.world_size > 1:
        raise Refused(f"{path} is for {graph.launch.world_size} processes, which is not supported yet")
    return graph


def _default_folder(name: str, resume: bool) -> Path:
    """The first free `runs/NAME-N`; to resume, the last one that is there."""
    # The name of a graph read from a file may be anything; a folder's name may not.
    stem = Path("runs") / re.sub(r"[^\w.-]+", "-", name).lstrip(".-")
    number = 1
    while Path(f"{stem}-{number}").exists():
        number += 1
    if not resume:
        return Path(f"{stem}-{number}")
    if number == 1:
        raise Refused(f"there is nothing to resume: no folder {stem}-1; a run's folder is named by `--out`")
    return Path(f"{stem}-{number - 1}")


def _require_train_extra() -> None:
    from importlib.util import find_spec

    missing = [name for name in TRAIN_EXTRA if find_spec(name) is None]
    if missing:
        raise Refused(
            f"training needs packages that are not installed here ({', '.join(missing)}); "
            "`pip install 'harmony-dsl[train]'` installs them"
        )


def _train(graph: Graph, out: Path, resume: bool, again: str) -> int:
    from harmony_compiler.store.home import home
    from harmony_dsl.cli.display import display
    from harmony_runtime.failures import Interrupted, RunFailed

    try:
        with display(sys.stdout) as watcher:
            # torch takes seconds to load: the display is there first.
            from harmony_runtime.executor import run

            run(graph, out, watcher=watcher, registry=home() / "models", resume=resume)
    except RunFailed as failure:
        show(failure.diagnostics, sys.stderr)
        if failure.message:
            complain(f"harmonyc: {failure.message}")
        return failure.exit_code
    except Interrupted as stop:
        complain(f"harmonyc: interrupted; {stop.kept}.\nTo go on from there: {again}")
        return stop.exit_code
    return 0
