"""Python modules that stand beside a file, and that it imports: they are a part of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from harmony_compiler.store.files import file_hash


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
                waiting += _sources(package)
            elif package.with_suffix(".py").is_file():
                waiting.append(package.with_suffix(".py"))
            elif package.is_dir():  # a package without that file, which Python takes last
                waiting += _sources(package)
    return found


def code_hash(file: Path) -> str:
    """A SHA-256 over the names and bytes of all of `with_modules`, and raises what it does."""
    from hashlib import sha256  # it loads OpenSSL

    whole = sha256()
    for name, source in with_modules(file).items():
        whole.update(f"{name}\0{file_hash(source)}\n".encode())
    return whole.hexdigest()


def _sources(package: Path) -> list[Path]:
    return sorted(source for source in package.rglob("*.py") if source.is_file())


def _imported(tree: ast.Module) -> Iterator[str]:
    """The first part of the name of every module that is imported; what a package imports from itself is in
    it anyway."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name.partition(".")[0] for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module.partition(".")[0]
