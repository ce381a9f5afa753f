"""Python modules that stand beside a file, and that it imports: they are a part of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path


def with_modules(file: Path) -> dict[str, Path]:
    """A Python file and every module and package beside it that it imports, directly or through others, by
    path below its folder; the file is the first.

    Raises:
        OSError: one cannot be read.
        SyntaxError: one is no Python.
    """
    folder, found = file.parent, dict[str, Path]()
    waiting = [file]
    while waiting:
        source = waiting.pop()
        name = source.relative_to(folder).as_posix()
        if name in found:
            continue
        found[name] = source
        for module in _imported(ast.parse(source.read_bytes(), str(source))):
            package = folder / module
            if (package / "__init__.py").is_file():
                waiting += sorted(package.rglob("*.py"))
            elif package.with_suffix(".py").is_file():
                waiting.append(package.with_suffix(".py"))
    return found


def _imported(tree: ast.Module) -> Iterator[str]:
    """The first part of the name of every module that is imported; what a package imports from itself is in
    it anyway."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name.partition(".")[0] for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module.partition(".")[0]
