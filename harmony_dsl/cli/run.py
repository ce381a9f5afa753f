"""`harmonyc run`: compile, show what was found, then train, in this process or in several.

The runtime, and torch with it, is imported only after the recipe has been found good. Several processes each
run the compiled graph: started from here, or by a launcher such as torchrun, which starts this very command.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from harmony_dsl import worker
from harmony_dsl.cli.output import Refused, complain
from harmony_dsl.cli.parser import Parser, Request, add_recipe_options, read_recipe_options, seconds
from harmony_dsl.cli.recipes import compile_path, show

if TYPE_CHECKING:
    from harmony_compiler.graph.graph import Graph, Launch

SUMMARY = "compile a recipe, or take a compiled graph, and train"

TRAIN_EXTRA = (
    *("torch", "transformers", "accelerate", "datasets", "tokenizers", "safetensors", "peft", "pyarrow"),
    *("filelock", "rich"),
)


def configure(parser: Parser) -> None:
    parser.add_argument("file", metavar="FILE", help="a recipe, or a graph that `compile` wrote (.json)")
    parser.add_argument("--out", metavar="DIR", help="the run's folder (default: the next runs/NAME-N)")
    parser.add_argument(
        "--resume", action="store_true", help="go on in a folder (default: the last runs/NAME-N)"
    )
    parser.add_argument(
        "--reuse", metavar="DIR", help="take over what another run has finished: its folder is only read"
    )
    parser.add_argument(
        "--allow-drift",
        action="store_true",
        help="go on inside a stage also with other versions, processes or devices; the manifest records it",
    )
    parser.add_argument(
        "--max-time",
        metavar="TIME",
        type=seconds,
        help="stop after this time, such as 2h or 30min, and keep a checkpoint; exit code 0",
    )
    add_recipe_options(parser)


def execute(parser: Parser, arguments: Sequence[str]) -> int:
    started = time.monotonic()
    worker.follow_launcher()
    options = parser.read(arguments)
    options.started = started
    request = read_recipe_options(parser, options)
    if Path(options.file).suffix == ".json":
        if options.settings or options.inputs:
            given = "--set" if options.settings else "--inputs"
            parser.error(f"the inputs of a compiled graph are fixed; give `{given}` to `harmonyc compile`")
        graph: Graph | None = _read_graph(options.file, request.launch)
    else:
        graph = _compile(options.file, request)
    if graph is None:
        return 1
    alone = graph.launch.world_size == 1 or worker.is_worker()
    if not alone and graph.launch.nodes > 1:
        shards = " --shard" if graph.launch.shard else ""
        facts = {"processes": graph.launch.gpus_per_node, "shards": shards, **vars(graph.launch)}
        raise Refused(_SEVERAL_MACHINES.format(**facts))
    out = Path(options.out) if options.out else _default_folder(graph.name, options.resume)
    require_train_extra()
    import shlex

    again = shlex.join(["harmonyc", "run", *(word for word in arguments if word != "--resume"), "--resume"])
    if alone:
        return _train(graph, out, options, os.environ.get(worker.AGAIN, again))
    return _launch(graph, ["--out", str(out), *_handed_on(options)], again)


_SEVERAL_MACHINES = (
    "a run on {nodes} machines is started on each of them by a launcher that knows the others, with the same "
    "command and the same folder before all:\n"
    "torchrun --nnodes {nodes} --nproc-per-node {processes} --rdzv-backend c10d --rdzv-endpoint HOST:PORT "
    "-m harmony_dsl run FILE --num-processes {world_size} --num-machines {nodes}{shards} --out DIR"
)


def _handed_on(options: Namespace) -> Iterator[str]:
    """The options that a worker reads as well."""
    for name in ("resume", "allow_drift", "traceback"):
        if getattr(options, name):
            yield f"--{name.replace('_', '-')}"
    if options.reuse is not None:
        yield f"--reuse={options.reuse}"
    if (left := _time_left(options)) is not None:
        yield f"--max-time={left:.3f}s"


def _time_left(options: Namespace) -> float | None:
    """Seconds, counted from the start of the command; never none at all."""
    if options.max_time is None:
        return None
    left: float = options.started + options.max_time - time.monotonic()
    return max(0.001, left)


def _launch(graph: Graph, options: Sequence[str], again: str) -> int:
    """Train in as many processes as the graph is for, on this machine."""
    from tempfile import TemporaryDirectory

    from harmony_dsl.launcher import launch

    with TemporaryDirectory(prefix="harmonyc-") as folder:
        path = Path(folder) / "graph.json"
        path.write_text(json.dumps(graph.to_json()), encoding="utf-8")
        # -P: as with `harmonyc`, the working directory is no place for modules.
        command = [sys.executable, "-P", "-m", "harmony_dsl", "run", str(path), *options]
        return launch(command, graph.launch.world_size, again, Path(folder))


def _compile(path: str, request: Request) -> Graph | None:
    from harmony_compiler.files import DISK

    compilation = compile_path(path, request)
    DISK.forget()
    if worker.is_main():
        show(compilation.diagnostics, sys.stderr)
    graph = compilation.graph
    if graph is not None and not graph.outputs:
        raise Refused(
            f"{path} trains, evaluates and saves nothing: it is there to be imported. "
            "To run it, add a `train` or a `save`.",
            exit_code=1,
        )
    return graph


def _read_graph(path: str, launch: Launch) -> Graph:
    from harmony_compiler.graph.graph import ONE_DEVICE, Graph

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
    if launch not in (ONE_DEVICE, graph.launch):
        raise Refused(
            f"{path} was compiled with `--num-processes {graph.launch.world_size} --num-machines "
            f"{graph.launch.nodes}{' --shard' if graph.launch.shard else ''}`: leave them out here, or give "
            "others to `harmonyc compile`"
        )
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


def require_train_extra() -> None:
    from importlib.util import find_spec

    missing = [name for name in TRAIN_EXTRA if find_spec(name) is None]
    if missing:
        raise Refused(
            f"training needs packages that are not installed here ({', '.join(missing)}); "
            "`pip install 'harmony-dsl[train]'` installs them"
        )


def _train(graph: Graph, out: Path, options: Namespace, again: str) -> int:
    """Train in this process. Of several only the main one has something to show."""
    from harmony_compiler.store.home import home
    from harmony_dsl.cli.display import display
    from harmony_dsl.cli.loading import for_good
    from harmony_runtime.failures import Interrupted, LostProcess, RunFailed
    from harmony_runtime.watch import Silent, Watcher

    shown: AbstractContextManager[Watcher] = (
        display(sys.stdout) if worker.is_main() else nullcontext(Silent())
    )
    try:
        with shown as watcher:
            # torch takes seconds to load: the display is there first.
            with for_good():
                from harmony_runtime.executor import run

            run(
                graph,
                out,
                watcher=watcher,
                registry=home() / "models",
                resume=options.resume,
                reuse=options.reuse and Path(options.reuse),
                allow_drift=options.allow_drift,
                max_time=_time_left(options),
            )
    except LostProcess as failure:
        # At once, while the run's objects still stand: letting go of them waits for what the lost process
        # never sends.
        if worker.AGAIN in os.environ:
            worker.leave(worker.LOST)
        complain(f"harmonyc: {failure.message}")
        worker.leave(failure.exit_code)
    except RunFailed as failure:
        show(failure.diagnostics, sys.stderr)
        if failure.message:
            complain(f"harmonyc: {failure.message}")
        return failure.exit_code
    except Interrupted as stop:
        if worker.is_main():
            why = "interrupted" if stop.exit_code else "the time that `--max-time` gave is over"
            complain(f"harmonyc: {why}; {stop.kept}.\nTo go on from there: {again}")
        return stop.exit_code
    return 0
