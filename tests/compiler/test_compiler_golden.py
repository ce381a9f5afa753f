"""What people see: every code, with a recipe that raises it.

A case begins with the command that a person would type. `UPDATE_GOLDEN=1` writes the files anew; review the
diff as prose. Other files of a case stand behind its recipe, each under a line `==> NAME`.
"""

from __future__ import annotations

import argparse
import os
import shlex
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest
from compiler_support import too_large

from harmony_compiler import findings
from harmony_compiler.compile import compile_recipe
from harmony_compiler.declared.given import Setting
from harmony_compiler.declared.input_files import read_inputs
from harmony_compiler.files import read_source
from harmony_compiler.graph.graph import Launch
from harmony_compiler.passes.graders import ANY_GRADER
from harmony_grammar.diagnostics import LEDGER, Diagnostic
from harmony_grammar.rendering import render_text
from harmony_grammar.source import Source

CASES = sorted((Path(__file__).parent / "golden").glob("*.txt"))
MISSING = "missing.recipe"
"""The recipe that a case names to be told that there is none."""

_OPTIONS = argparse.ArgumentParser(prog="harmonyc")
_OPTIONS.add_argument("command", choices=["check", "grade", "plan"])
_OPTIONS.add_argument("recipe")
_OPTIONS.add_argument("grader", nargs="?")
_OPTIONS.add_argument("--set", action="append", default=[])
_OPTIONS.add_argument("--inputs", action="append", default=[])
_OPTIONS.add_argument("--num-processes", type=int, default=1)
_OPTIONS.add_argument("--shard", action="store_true")
_OPTIONS.add_argument("--device", default="gpu")
_OPTIONS.add_argument("--device-memory")


def findings_of(command: str, recipe: str, registry: Path) -> tuple[Diagnostic, ...]:
    words = shlex.split(command)
    assert words[:2] == ["$", "harmonyc"]
    options = _OPTIONS.parse_args(words[2:])
    wanted = options.grader or ANY_GRADER if options.command == "grade" else None
    recipe, *others = recipe.split("==> ")
    if options.recipe != MISSING:
        Path(options.recipe).write_text(recipe, encoding="utf-8")
    for other in others:
        name, _, text = other.partition("\n")
        Path(name).write_text(text, encoding="utf-8")
    source = read_source(options.recipe)
    if not isinstance(source, Source):
        return (source,)
    settings = [Setting(*one.split("=", 1)) for one in options.set]
    for path in options.inputs:
        read = read_inputs(path)
        if not isinstance(read, tuple):
            return (read,)
        settings.extend(read)
    launch = Launch(options.num_processes, 1, options.shard)
    found = compile_recipe(source, settings=settings, launch=launch, registry=registry, wanted=wanted)
    return (*found.diagnostics, *too_large(found, options.device, options.device_memory))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_a_finding_reads_as_it_was_reviewed(case: Path, folder: Path, registry: Path) -> None:
    said = case.read_text(encoding="utf-8")
    written, _, expected = said.partition("----\n")
    command, _, recipe = written.partition("\n")
    found = findings_of(command, recipe, registry)
    shown = render_text(found).replace(str(folder), "FOLDER")
    if os.environ.get("UPDATE_GOLDEN"):
        case.write_text(f"{written}----\n{shown}", encoding="utf-8")
    else:
        assert shown == expected
    assert case.stem.partition("-")[0] in {finding.code for finding in found}


for module in iter_modules(findings.__path__, f"{findings.__name__}."):
    import_module(module.name)  # puts its codes into the ledger
COMPILERS_OWN = [cls for cls in LEDGER.values() if cls.__module__.startswith("harmony_compiler.")]


@pytest.mark.parametrize("cls", COMPILERS_OWN, ids=lambda cls: cls.code)
def test_every_code_has_a_case(cls: type[Diagnostic]) -> None:
    assert f"{cls.code}-{cls.slug}" in {case.stem.removesuffix(".several") for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_a_case_shows_one_fault_and_none_of_its_consequences(case: Path) -> None:
    """Cases with more than one finding say so in their name: `E0510-more-faulty-rows.several.txt`."""
    shown = case.read_text(encoding="utf-8").partition("----\n")[2]
    heads = [line for line in shown.splitlines() if line.startswith(("error[", "warning[", "note["))]
    assert len(heads) == 1 or case.stem.endswith(".several")
