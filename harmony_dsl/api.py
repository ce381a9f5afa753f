"""The public Python API: `compile` and `run`, as the command does them.

>>> import harmony_dsl
>>> compilation = harmony_dsl.compile("sort.recipe", inputs={"seed": 8})
>>> if compilation.graph is not None:
...     harmony_dsl.run(compilation.graph, out="runs/sort")
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmony_compiler.compile import Compilation, compile_recipe
from harmony_compiler.declared.given import settings_of
from harmony_compiler.files import DISK, read_source
from harmony_compiler.graph.graph import ONE_DEVICE, Graph, Launch
from harmony_compiler.store.home import home
from harmony_dsl.worker import is_main
from harmony_grammar.source import Source

if TYPE_CHECKING:
    from harmony_runtime.watch import Summary, Watcher


__all__ = ["Compilation", "Graph", "Launch", "compile", "run"]


def compile(  # the language's own word, as `re.compile` has it
    path_or_text: str | PathLike[str],
    inputs: Mapping[str, object] | None = None,
    *,
    launch: Launch = ONE_DEVICE,
) -> Compilation:
    """Compile a recipe; its mistakes are in `.diagnostics`, and `.graph` is None where one is an error.

    A `Path`, and a string on one line that ends in `.recipe` or names a file that is there, is read from
    the disk. Any other string is the text of a recipe; paths in it are relative to the working directory.

    A string among the `inputs` is taken as a file with inputs has it: as it stands wherever the input's type
    takes a text, else as an expression, so `{"base": 'local("my-model")'}` sets a model. Numbers, booleans,
    None, lists and dictionaries stand for what a recipe would write. The inputs of an `import … as m` are
    `{"m.lr": 1e-6}` or `{"m": {"lr": 1e-6}}`.

    Raises:
        TypeError: an input is of a Python type that no recipe has.
    """
    source = _source(path_or_text)
    if not isinstance(source, Source):
        return Compilation(None, (source,))
    return compile_recipe(
        source, settings=settings_of(inputs or {}), launch=launch, registry=home() / "models"
    )


def run(
    graph: Graph,
    out: str | PathLike[str],
    *,
    watcher: Watcher | None = None,
    resume: bool = False,
    reuse: str | PathLike[str] | None = None,
    allow_drift: bool = False,
    max_time: float | None = None,
) -> Summary:
    """Train as `graph` says, in the folder `out`; progress goes to `watcher`, by default to the terminal.

    With `resume` an earlier run goes on in its folder; with `allow_drift` also inside a stage under other
    conditions, such as other versions of libraries, which the manifest records. `reuse` is another run's
    folder, whose finished stages are taken over. After `max_time` seconds the run stops and keeps a
    checkpoint.

    A graph for several processes is run in each of them, as torchrun starts them; the main one tells.

    Raises:
        harmony_runtime.failures.RunFailed: the run cannot go on; it says why.
        harmony_runtime.failures.Interrupted: it was stopped; it says what was kept.
    """
    from harmony_runtime.executor import run as execute

    DISK.forget()
    registry = home() / "models"
    with _shown(watcher) as told:
        return execute(
            graph,
            Path(out),
            watcher=told,
            registry=registry,
            resume=resume,
            reuse=None if reuse is None else Path(reuse),
            allow_drift=allow_drift,
            max_time=max_time,
        )


def _shown(watcher: Watcher | None) -> AbstractContextManager[Watcher]:
    """A watcher for a run: by default the terminal, where the main process tells."""
    if watcher is not None:
        return nullcontext(watcher)
    if not is_main():
        from harmony_runtime.watch import Silent

        return nullcontext(Silent())
    import sys

    from harmony_dsl.cli.display import display

    return display(sys.stdout)


def _source(path_or_text: str | PathLike[str]) -> Any:
    given = fspath(path_or_text)
    if not isinstance(path_or_text, str) or _names_file(given):
        return read_source(given)
    return Source("<text>", given)


def _names_file(text: str) -> bool:
    if not text or "\n" in text:
        return False
    try:
        return text.endswith(".recipe") or Path(text).is_file()
    except (OSError, ValueError):  # too long for a path, or with characters that none can hold
        return False
