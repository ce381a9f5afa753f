"""From the path on a command line to a compilation, and its findings to a stream."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from harmony_dsl.cli.output import say, wants_color
from harmony_dsl.cli.parser import Request

if TYPE_CHECKING:
    from harmony_compiler.compile import Compilation
    from harmony_compiler.graph.graph import Graph
    from harmony_grammar.diagnostics import Diagnostic
    from harmony_grammar.source import Source


def compile_path(
    path: str, request: Request, wanted: str | None = None, *, whole: bool = False, locked: bool = True
) -> Compilation:
    """Compile the recipe at `path`, or of it only what `wanted` grades with, or the `whole` of it with what
    no output needs; what its lock has counts where it is `locked`.

    A file that cannot be read is a finding like any other.
    """
    from harmony_compiler.compile import Compilation
    from harmony_compiler.files import read_source
    from harmony_grammar.source import Source

    if request.faults:
        return Compilation(None, request.faults)
    source = read_source(path)
    if not isinstance(source, Source):
        return Compilation(None, (source,))
    return compile_source(source, request, wanted, whole=whole, locked=locked)


def compile_source(
    source: Source,
    request: Request,
    wanted: str | None = None,
    *,
    whole: bool = False,
    locked: bool = True,
) -> Compilation:
    """Compile a recipe that was read, with the options of the command line."""
    from harmony_compiler.compile import compile_recipe
    from harmony_compiler.store.home import home

    return compile_recipe(
        source,
        settings=request.settings,
        launch=request.launch,
        registry=home() / "models",
        wanted=wanted,
        whole=whole,
        locked=locked,
    )


def graph_of(path: str, request: Request, wanted: str | None = None) -> Graph | None:
    """The graph of the recipe at `path`, for what comes after a check; findings go to standard error."""
    compilation = compile_path(path, request, wanted)
    show(compilation.diagnostics, sys.stderr)
    return compilation.graph


def show(findings: Sequence[Diagnostic], stream: TextIO) -> None:
    """Print the findings as text, if there are any."""
    if findings:
        from harmony_grammar.rendering import render_text

        say(render_text(findings, color=wants_color(stream)).rstrip("\n"), stream)
