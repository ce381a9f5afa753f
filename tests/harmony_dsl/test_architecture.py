"""The rules of the house that a reader of imports and file sizes can see."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

STOREYS = {
    "harmony_grammar": ROOT / "grammar" / "harmony_grammar",
    "harmony_compiler": ROOT / "compiler" / "harmony_compiler",
    "harmony_runtime": ROOT / "runtime" / "harmony_runtime",
    "harmony_dsl": ROOT / "harmony_dsl",
}
"""From the ground floor up: a storey imports itself and what stands before it."""

HEAVY = {"torch", "transformers", "accelerate", "datasets", "tokenizers", "safetensors", "peft", "numpy"}

MAY_IMPORT = {ROOT / "compiler" / "harmony_compiler" / "plan" / "tokenizers.py": {"tokenizers"}}
"""What a file outside the runtime imports of them, where a recipe needs it."""

OURS = [path for folder in STOREYS.values() for path in sorted(folder.rglob("*.py"))]
EVERYTHING = [
    path
    for folder in ("grammar", "compiler", "runtime", "harmony_dsl", "tests", "examples", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path.name != "_tables.py"
]


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), level=0, names=names):
                yield module
                yield from (f"{module}.{alias.name}" for alias in names)


def storey(path: Path) -> str:
    return next(name for name, folder in STOREYS.items() if path.is_relative_to(folder))


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    order = list(STOREYS)
    above = order[order.index(storey(path)) + 1 :]
    wrong = sorted({module for module in imports(path) if module.partition(".")[0] in above})
    assert not wrong, "imports from a storey above"


@pytest.mark.parametrize("path", [p for p in OURS if storey(p) == "harmony_runtime"], ids=lambda p: p.stem)
def test_the_runtime_sees_the_graph_and_the_stores_and_no_other_part_of_the_compiler(path: Path) -> None:
    seen = ("harmony_compiler.graph", "harmony_compiler.store")
    of_compiler = {m for m in imports(path) if m.partition(".")[0] == "harmony_compiler"}
    wrong = sorted(m for m in of_compiler if m != "harmony_compiler" and not m.startswith(seen))
    assert not wrong
    assert "harmony_compiler" not in of_compiler or any(m.startswith(seen) for m in of_compiler)


@pytest.mark.parametrize("path", [p for p in OURS if storey(p) != "harmony_runtime"], ids=lambda p: p.stem)
def test_torch_and_its_family_are_imported_in_the_runtime_only(path: Path) -> None:
    heavy = HEAVY - MAY_IMPORT.get(path, set())
    wrong = sorted({module for module in imports(path) if module.partition(".")[0] in heavy})
    assert not wrong


def test_nothing_that_checks_imports_the_runtime() -> None:
    names = (
        *("main", "entry", "cache", "check", "compile", "completing", "completion", "datasets", "explain"),
        *("fmt", "inputs", "models", "new", "plan"),
    )
    light = [ROOT / "harmony_dsl" / "cli" / f"{name}.py" for name in names]
    wrong = [p.name for p in light if any(m.startswith(("harmony_runtime", "rich")) for m in imports(p))]
    assert not wrong


def test_files_are_of_a_size_that_one_reading_holds() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in EVERYTHING}
    assert {str(path.relative_to(ROOT)): n for path, n in lengths.items() if n > 600} == {}
    short = sum(n < 400 for n in lengths.values())
    assert short >= 0.9 * len(lengths)
