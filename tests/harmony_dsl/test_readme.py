"""The pages say what happens: their commands run, and what they show is what comes out."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from dsl_support import ROOT, Harmonyc

# What is generated, in docs/reference, has examples for files of its own: see test_reference.py.
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

OTHERS = ("make ", "UPDATE_GOLDEN=1 ", ".venv/bin/python -m pytest", "python -m harmony_grammar.build")
"""Commands that set up, test or change the checkout itself."""

_BLOCK = re.compile(r"^```(\w+)(?: ([\w.]+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    language: str
    file: str
    """The file that it is, where it says so: `python graders.py`; empty for others."""
    body: str


@dataclass(frozen=True)
class Command:
    line: str
    shown: str
    """The output that the page shows; empty where it shows none."""


def blocks(page: Path) -> list[Block]:
    return [Block(*found) for found in _BLOCK.findall(page.read_text(encoding="utf-8"))]


def commands(block: str) -> list[Command]:
    """Lines after `$ ` are commands, the lines below one are its output."""
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    return [Command(*part.partition("\n")[::2]) for part in parts]


@pytest.fixture
def checkout(house: Path) -> Path:
    """The parts of the project that the pages speak about, free to be written to."""
    shutil.copytree(ROOT / "examples", house / "examples")
    return house


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    tools = str(Path(sys.executable).parent)
    environment = os.environ | {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env=environment,
        text=True,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_holds_from_its_top_to_its_end(page: Path, checkout: Path, harmonyc: Harmonyc) -> None:
    """Files are written where they are shown, commands do what is shown, recipes check."""
    for number, block in enumerate(blocks(page)):
        if block.file:
            (checkout / block.file).write_text(block.body, encoding="utf-8")
        if block.language == "recipe":
            path = checkout / (block.file or f"{page.stem}-{number}.recipe")
            path.write_text(block.body, encoding="utf-8")
            told = harmonyc("check", path.name)
            assert told.out == f"{path.name}: no problems found\n"
        if block.language == "console":
            run_commands(block.body, checkout)


def run_commands(block: str, checkout: Path) -> None:
    quickstart = checkout / "examples" / "quickstart.recipe"
    good = (ROOT / "examples" / "quickstart.recipe").read_text(encoding="utf-8")
    # Where a page shows what a misspelt field gives, its reader has misspelt it.
    misspelt = good.replace("max_grad_norm =", "max_grad_nrom =")
    quickstart.write_text(misspelt if "max_grad_nrom" in block else good, encoding="utf-8")
    for command in commands(block):
        if command.line.startswith(OTHERS):
            continue
        told = shell(command.line, checkout)
        assert "Traceback" not in told.stdout
        if command.shown:
            assert told.stdout == command.shown, command.line
        else:
            assert told.returncode == 0, told.stdout


def test_the_first_commands_are_the_two_that_matter() -> None:
    first = next(block.body for block in blocks(ROOT / "README.md") if block.language == "console")
    assert [command.line for command in commands(first)] == ["make quickstart", "make test"]


def test_python_of_the_pages_runs(checkout: Path) -> None:
    for page in PAGES:
        for block in blocks(page):
            if block.language != "python":
                continue
            if block.file:  # a part of a program of the reader's
                compile(block.body, block.file, "exec")
                continue
            told = subprocess.run(
                [sys.executable, "-c", block.body], cwd=checkout, capture_output=True, text=True, check=False
            )
            assert (told.returncode, told.stdout, told.stderr) == (0, "", "")


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert "://" in target or (page.parent / target).exists(), f"{page.name}: {target}"
