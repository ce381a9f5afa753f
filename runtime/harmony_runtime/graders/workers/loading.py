"""Making graders in a worker process: rules from their nodes, people's own from their file. No torch here."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from harmony_compiler.graph.graph import Graph, value_from_json
from harmony_runtime.failures import RunFailed
from harmony_runtime.graders.answered import in_words
from harmony_runtime.graders.functions import grader_of
from harmony_runtime.graders.making import BUILT_IN, Bench
from harmony_runtime.graders.protocol import Grader


class Refused(Exception):  # noqa: N818 - it names what happened
    """A grader cannot be made, and why."""


def rule(node: Mapping[str, Any]) -> Grader:
    """The rule that a node's JSON stands for.

    Raises:
        Refused: it cannot be made.
    """
    made = value_from_json(node)
    try:
        return BUILT_IN[type(made)](made, Bench(Graph("", 0, {}, ())))
    except RunFailed as fault:
        raise Refused(str(fault)) from fault


def load(file: str, name: str) -> tuple[Any, Grader]:
    """What a Python file calls `name`, and the grader that it is. The file is run.

    Raises:
        Refused: the file cannot be run, or holds no such grader.
    """
    path = Path(file)
    sys.path.insert(0, str(path.parent))
    module_name = path.stem if path.stem not in sys.modules else f"{path.stem} of a recipe"
    spec = spec_from_file_location(module_name, path)
    assert spec is not None and spec.loader is not None  # it ends in `.py`
    module = sys.modules[module_name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException as fault:  # `sys.exit()`, too
        raise Refused(
            f"`{path.name}` cannot be imported: {in_file(fault, file)}. `python {file}` shows the same: mend "
            "it there, or install what it imports"
        ) from fault
    try:
        made = getattr(module, name)
    except AttributeError:
        raise Refused(f"`{path.name}` defines no `{name}`: name a function of the file") from None
    try:
        return made, grader_of(made)
    except BaseException as fault:
        raise Refused(f"`{name}` of `{path.name}` makes no grader: {in_file(fault, file)}") from fault


def in_file(fault: BaseException, file: str) -> str:
    """An exception in words, with the last line of a person's file that it came through."""
    lines = [frame.lineno for frame in traceback.extract_tb(fault.__traceback__) if frame.filename == file]
    return in_words(fault) + (f" ({Path(file).name}:{lines[-1]})" if lines else "")
