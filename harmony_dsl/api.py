"""The public Python API: `compile` and `run`, as the command does them.

>>> import harmony_dsl
>>> compilation = harmony_dsl.compile("sort.recipe", inputs={"seed": 8})
>>> if compilation.graph is not None:
...     harmony_dsl.run(compilation.graph, out="runs/sort")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmony_compiler.compile import Compilation, compile_recipe
from harmony_compiler.files import read_source
from harmony_compiler.graph.graph import ONE_DEVICE, Graph, Launch
from harmony_compiler.inputs import Setting
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

    A string among the `inputs` is taken as `--set NAME=TEXT` takes it, so `{"base": 'local("my-model")'}`
    sets a model. Numbers, booleans, None, lists and dictionaries stand for what a recipe would write.
    """
    source = _source(path_or_text)
    if not isinstance(source, Source):
        return Compilation(None, (source,))
    settings = tuple(Setting(name, _text(value)) for name, value in (inputs or {}).items())
    return compile_recipe(source, settings=settings, launch=launch, registry=home() / "models")


def run(
    graph: Graph, out: str | PathLike[str], *, watcher: Watcher | None = None, resume: bool = False
) -> Summary:
    """Train as `graph` says, in the folder `out`; progress goes to `watcher`, by default to the terminal.

    A graph for several processes is run in each of them, as torchrun starts them; the main one tells.

    Raises:
        harmony_runtime.failures.RunFailed: the run cannot go on; it says why.
        harmony_runtime.failures.Interrupted: it was stopped; it says what was kept.
    """
    from harmony_runtime.executor import run as execute

    registry = home() / "models"
    if watcher is None and not is_main():
        from harmony_runtime.watch import Silent

        watcher = Silent()
    if watcher is not None:
        return execute(graph, Path(out), watcher=watcher, registry=registry, resume=resume)
    import sys

    from harmony_dsl.cli.display import display

    with display(sys.stdout) as shown:
        return execute(graph, Path(out), watcher=shown, registry=registry, resume=resume)


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


def _text(value: object, *, within: bool = False) -> str:
    """`value` as the language writes it; a string stands as it is unless it is within a list or record."""
    match value:
        case bool():
            return "true" if value else "false"
        case None:
            return "none"
        case int() | float():
            return repr(value)
        case PathLike():
            return _text(fspath(value), within=within)
        case str():
            return _quoted(value) if within else value
        case Mapping():
            fields = (f"{_quoted(str(key))} = {_text(item, within=True)}" for key, item in value.items())
            return "{ " + ", ".join(fields) + " }"
        case Sequence() if not isinstance(value, bytes):
            return "[" + ", ".join(_text(item, within=True) for item in value) + "]"
    raise TypeError(f"a recipe has no value of the Python type {type(value).__name__}")


def _quoted(text: str) -> str:
    escapes = {"\\": r"\\", '"': r"\"", "\n": r"\n", "\t": r"\t", "\r": r"\r"}
    return '"' + "".join(escapes.get(character, character) for character in text) + '"'
