"""The pages of `harmonyc explain`: every code has one, and what its examples show is so.

A code that is given out is written into `explain/ledger.txt` and gets a page `explain/pages/CODE.md`, with a
recipe that breaks the rule and one that keeps it. A rule that goes leaves its line there, marked `retired`.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from compiler_support import too_large

from harmony_compiler.compile import compile_recipe
from harmony_compiler.declared.given import Setting
from harmony_compiler.declared.input_files import read_inputs
from harmony_compiler.explain.pages import BREAKS, FAMILIES, KEEPS, PAGES, given_out, page, page_text
from harmony_compiler.graph.graph import Launch
from harmony_compiler.passes.graders import ANY_GRADER
from harmony_grammar.diagnostics import LEDGER, Diagnostic
from harmony_grammar.source import Source

ROOT = Path(__file__).parents[2]
STOREYS = (ROOT / "grammar", ROOT / "compiler", ROOT / "runtime", ROOT)

OUTSIDE = {"E9001": "internal-failure"}
"""Said where something failed that must not be needed to say it: `harmony_dsl.cli.main`."""

NO_EXAMPLE = {
    "E0116": "the text would be longer than the page",
    "E0208": "it takes a long chain of files",
    "E0426": "there is no file to show",
    "E0509": "there is no recipe to show",
    "E0510": "stands beside findings of the rows themselves",
    **dict.fromkeys(("E0520", "E0521", "E0522", "E0523"), "found when a run prepares its rows"),
    **dict.fromkeys(("E0540", "E0541"), "found when a run prepares its rows"),
    **dict.fromkeys(("E0551", "E0553", "E0554"), "found when a run prepares its rows"),
    **dict.fromkeys(("E0524", "E0525", "E0526"), "found in a file of completions"),
    "E9001": "no recipe is at fault",
}
"""Codes that no recipe shows by itself. Their pages have prose, and samples that nothing executes."""


def in_use() -> dict[str, str]:
    """Every code that the four storeys give out, with its slug."""
    for storey in STOREYS:
        for folder in sorted(storey.glob("harmony_*")):
            for path in sorted(folder.rglob("*.py")):
                if "\n    code, slug = " in path.read_text(encoding="utf-8"):
                    import_module(".".join(path.relative_to(storey).with_suffix("").parts))
    ours = {code: cls for code, cls in LEDGER.items() if cls.__module__.startswith("harmony_")}
    return OUTSIDE | {code: cls.slug for code, cls in ours.items()}


IN_USE = in_use()
GIVEN_OUT = given_out()
CODES = sorted(path.stem for path in PAGES.glob("*.md"))
SHOWN = sorted(set(IN_USE) & set(CODES) - set(NO_EXAMPLE))


@pytest.mark.parametrize("code", sorted(IN_USE))
def test_every_code_stands_in_the_ledger_under_its_slug(code: str) -> None:
    entry = GIVEN_OUT.get(code)
    assert entry, f"write `{code} {IN_USE[code]}` into {PAGES.parent / 'ledger.txt'}"
    assert entry.slug == IN_USE[code], "slugs are as stable as codes"
    assert not entry.retired, "a code is never used again"


def test_codes_that_are_gone_are_retired() -> None:
    gone = {code for code, entry in GIVEN_OUT.items() if code not in IN_USE and not entry.retired}
    assert not gone, "mark them `retired` in the ledger: their codes are never used again"


def test_the_ledger_is_in_order_and_says_each_code_once() -> None:
    lines = (PAGES.parent / "ledger.txt").read_text(encoding="utf-8").splitlines()
    assert all(re.fullmatch(r"[EWN]\d{4} [a-z]+(-[a-z]+)*( retired)?", line) for line in lines)
    codes = [line[:5] for line in lines]
    assert codes == sorted(set(codes))
    slugs = [line.split()[1] for line in lines]
    assert len(slugs) == len(set(slugs))
    assert all(code.startswith(tuple(FAMILIES)) for code in codes)


def test_a_code_that_an_earlier_version_gave_out_is_retired() -> None:
    assert GIVEN_OUT["E0602"].retired


def test_every_code_has_a_page_and_every_page_a_code() -> None:
    assert set(IN_USE) - set(CODES) == set(), "each has a page"
    assert set(CODES) - set(IN_USE) == set(), "each is in use"


@pytest.mark.parametrize("code", CODES)
def test_a_page_has_its_form(code: str) -> None:
    text = (PAGES / f"{code}.md").read_text(encoding="utf-8")
    lines = text.splitlines()
    assert lines[0] == f"# {code} {GIVEN_OUT[code].slug}"
    assert lines[1] == "" != lines[2]
    assert text == text.strip() + "\n"
    assert len(lines) <= 44
    assert max(len(line) for line in lines) <= 79
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ([] if code in NO_EXAMPLE else [BREAKS, KEEPS])
    prose = re.sub(r"```.*?```", "", text.partition("\n## ")[0], flags=re.DOTALL).split("\n\n", 1)[1]
    sentences = re.findall(r"[.!?](?=\s|$)", re.sub(r"`[^`]*`", "", prose))
    assert 2 <= len(sentences) <= 8


_OPTIONS = argparse.ArgumentParser()
_OPTIONS.add_argument("command", choices=["check", "grade", "plan"])
_OPTIONS.add_argument("grader", nargs="?")
_OPTIONS.add_argument("--set", action="append", default=[])
_OPTIONS.add_argument("--inputs", default="")
_OPTIONS.add_argument("--num-processes", type=int, default=1)
_OPTIONS.add_argument("--shard", action="store_true")
_OPTIONS.add_argument("--device", default="gpu")
_OPTIONS.add_argument("--device-memory")
_OPTIONS.add_argument("--num-machines", type=int, default=1)


def findings_of(code: str, section: str, registry: Path) -> tuple[Diagnostic, ...]:
    """What the compiler says to an example, in a folder with the data of these tests and its own."""
    shown = page(code)
    assert shown is not None
    example = shown.example(section)
    assert example is not None
    assert example.recipe
    for name, content in example.files:
        Path(name).write_text(content, encoding="utf-8")
    path = Path.cwd() / "example.recipe"
    path.write_text(example.recipe, encoding="utf-8")
    options = _OPTIONS.parse_args(example.command)
    inputs = read_inputs(options.inputs) if options.inputs else ()
    if not isinstance(inputs, tuple):
        return (inputs,)
    found = compile_recipe(
        Source(path.name, example.recipe, path),
        settings=[*inputs, *(Setting(*one.split("=", 1)) for one in options.set)],
        launch=Launch(options.num_processes, options.num_machines, options.shard),
        registry=registry,
        wanted=options.grader or ANY_GRADER if options.command == "grade" else None,
    )
    return (*found.diagnostics, *too_large(found, options.device, options.device_memory))


def said(findings: tuple[Diagnostic, ...]) -> Iterator[str]:
    return (f"{found.code} {found.span.first.line}: {found.words.message}" for found in findings)


@pytest.mark.parametrize("code", SHOWN)
def test_what_breaks_the_rule_breaks_nothing_else(code: str, registry: Path) -> None:
    found = findings_of(code, BREAKS, registry)
    besides = [one.code for one in found if one.code == code or one.severity != "note"]
    assert besides == [code], "\n".join(said(found))


@pytest.mark.parametrize("code", SHOWN)
def test_what_keeps_the_rule_has_no_fault(code: str, registry: Path) -> None:
    found = findings_of(code, KEEPS, registry)
    assert not [one for one in found if one.severity != "note" or one.code == code], "\n".join(said(found))


@pytest.mark.parametrize("code", SHOWN)
def test_the_two_recipes_differ_by_little(code: str) -> None:
    shown = page(code)
    assert shown is not None
    bad, good = shown.example(BREAKS), shown.example(KEEPS)
    assert bad is not None
    assert good is not None
    assert bad != good


def test_a_page_on_a_terminal_has_no_marks_of_its_own() -> None:
    for code in CODES:
        shown = page(code)
        assert shown is not None
        text = page_text(shown)
        assert text.startswith(f"{code} {shown.slug}\n\n")
        assert "```" not in text
        assert not re.search(r"^#+ \w+ \w+", text.partition("\n")[0])
        assert max(len(line) for line in text.splitlines()) <= 83
