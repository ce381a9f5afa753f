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

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("**/*.md"))]

OTHERS = ("make ", "UPDATE_GOLDEN=1 ", ".venv/bin/python -m pytest", "python -m harmony_grammar.build")
"""Commands that set up, test or change the checkout itself."""

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Command:
    line: str
    shown: str
    """The output that the page shows; empty where it shows none."""


def blocks(page: Path, language: str) -> list[str]:
    return [body for lang, body in _BLOCK.findall(page.read_text(encoding="utf-8")) if lang == language]


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
def test_commands_do_what_the_page_shows(page: Path, checkout: Path) -> None:
    quickstart = checkout / "examples" / "quickstart.recipe"
    good = quickstart.read_text(encoding="utf-8")
    for block in blocks(page, "console"):
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
    assert [c.line for c in commands(blocks(ROOT / "README.md", "console")[0])] == [
        "make quickstart",
        "make test",
    ]


def test_recipes_of_the_pages_check(checkout: Path, harmonyc: Harmonyc) -> None:
    for page in PAGES:
        for number, block in enumerate(blocks(page, "recipe")):
            path = checkout / f"{page.stem}-{number}.recipe"
            path.write_text(block, encoding="utf-8")
            told = harmonyc("check", path.name)
            assert told.out == f"{path.name}: no problems found\n"


def test_python_of_the_pages_runs(checkout: Path) -> None:
    for page in PAGES:
        for block in blocks(page, "python"):
            told = subprocess.run(
                [sys.executable, "-c", block], cwd=checkout, capture_output=True, text=True, check=False
            )
            assert (told.returncode, told.stdout, told.stderr) == (0, "", "")


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert "://" in target or (page.parent / target).exists(), f"{page.name}: {target}"
