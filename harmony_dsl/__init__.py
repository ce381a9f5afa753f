"""Harmony DSL: a declarative, statically typed language for training recipes.

`compile` and `run` are what the command `harmonyc` does, for Python; `grader`, `Grader` and the types around
it say what a grader is. `import harmony_dsl` alone loads nothing else; each name is fetched when it is first
used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harmony_dsl.api import Compilation, Graph, Launch, compile, run
    from harmony_runtime.graders.functions import grader
    from harmony_runtime.graders.protocol import DoesNotApply, Failure, Grade, Grader, Sample, Score

    __version__: str

__all__ = [
    "Compilation",
    "DoesNotApply",
    "Failure",
    "Grade",
    "Grader",
    "Graph",
    "Launch",
    "Sample",
    "Score",
    "__version__",
    "compile",
    "grader",
    "run",
]

_OF_GRADERS = ("DoesNotApply", "Failure", "Grade", "Grader", "Sample", "Score")


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("harmony-dsl")
    if name in _OF_GRADERS:
        from harmony_runtime.graders import protocol

        return getattr(protocol, name)
    if name == "grader":
        from harmony_runtime.graders.functions import grader

        return grader
    if name == "testing":  # its strategies need Hypothesis
        from importlib import import_module

        return import_module("harmony_dsl.testing")
    if name in __all__:
        from harmony_dsl import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
