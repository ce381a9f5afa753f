"""Harmony DSL: a declarative, statically typed language for training recipes.

`compile` and `run` are what the command `harmonyc` does, for Python. `import harmony_dsl` alone loads
nothing else; each name is fetched when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harmony_dsl.api import Compilation, Graph, Launch, compile, run

    __version__: str

__all__ = ["Compilation", "Graph", "Launch", "__version__", "compile", "run"]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("harmony-dsl")
    if name in __all__:
        from harmony_dsl import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
