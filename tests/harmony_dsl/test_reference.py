"""The reference: every name has an example that checks and shows it, and the pages are what is generated."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from dsl_support import ROOT, Harmonyc

from harmony_compiler.compile import compile_recipe
from harmony_compiler.declared.given import Setting
from harmony_compiler.explain.examples import FOLDER, SHOWS, example_of, text_of
from harmony_compiler.explain.markdown import reference_pages
from harmony_compiler.explain.reference import DECLARING, entries_in, names
from harmony_compiler.explain.words import WORDS
from harmony_compiler.graph.catalogue import CONSTRUCTORS
from harmony_compiler.graph.node import schema
from harmony_compiler.store.registry import Entry, write_manifest
from harmony_grammar.lexer import scan
from harmony_grammar.source import Source

PAGES = ROOT / "docs" / "reference"
EVERY = [(group, name) for group, members in names().items() for name in members]


@pytest.fixture
def scene(house: Path, harmonyc: Harmonyc) -> Path:
    """The folder of the examples, with what they name outside of it."""
    shutil.copytree(FOLDER, house, dirs_exist_ok=True)
    (house / "models" / "base").mkdir(parents=True)
    rows = [json.loads(line) for line in Path("data/problems.jsonl").read_text(encoding="utf-8").splitlines()]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), "data/problems.parquet")
    saved = Path(os.environ["HARMONY_HOME"]) / "models" / "first-tutor"
    saved.mkdir(parents=True)
    made = Entry(saved.name, "0" * 32, recipe="first", stage="tutor", created="2026-01-31T12:00:00+00:00")
    write_manifest(saved, made)
    assert harmonyc("datasets", "add", "problems", "data/problems.jsonl").code == 0
    assert harmonyc("graders", "add", "correct", "grpo.recipe", "correct").code == 0
    return house


@pytest.mark.parametrize("example", sorted(SHOWS))
def test_an_example_checks(example: str, scene: Path, harmonyc: Harmonyc) -> None:
    told = harmonyc("check", f"{example}.recipe", "--deny-warnings")
    assert (told.code, told.out) == (0, f"{example}.recipe: no problems found\n"), told.out


@pytest.mark.parametrize(("group", "name"), EVERY)
def test_an_example_shows_each_name_as_often_as_it_has_meanings(group: str, name: str) -> None:
    example = example_of(group, name)
    assert example, f"name an example for `{name}` in explain/examples.py"
    meanings = [of for of, members in names().items() if name in members and example_of(of, name) == example]
    tokens = Counter(token.text for token in scan(Source(example, text_of(example))).tokens)
    assert tokens[name] >= len(meanings)


def test_the_words_that_declare_have_examples() -> None:
    for word in DECLARING:
        assert re.search(rf"^{word} \w+ = ", text_of(example_of(word, word)), re.MULTILINE)


def test_every_example_is_named_and_short() -> None:
    assert {path.stem for path in FOLDER.glob("*.recipe")} == set(SHOWS)
    known = {name for _, name in EVERY} | set(DECLARING)
    for example, shown in SHOWS.items():
        assert {name.partition("/")[2] or name for name in shown.split()} <= known
        lines = text_of(example).splitlines()
        assert len(lines) <= 36
        assert max(map(len, lines)) <= 98
        assert lines[0].startswith("## ")


def test_the_types_are_those_that_an_input_may_have() -> None:
    found = compile_recipe(Source("types.recipe", "input a: Zzz\n"), settings=[Setting("a", "1")])
    [unknown] = [one for one in found.diagnostics if one.slug == "unknown-type"]
    listed = set(re.findall(r"\w+", unknown.words.notes[0].partition(": ")[2])) - {"T"}
    assert listed == {word.name for word in WORDS["types"][1]}


def test_the_members_of_ctx_are_those_that_there_are() -> None:
    [ctx] = [word for word in WORDS["names"][1] if word.name == "ctx"]
    found = compile_recipe(Source("launch.recipe", "let a = ctx.zzz\n"))
    said = " ".join((found.diagnostics[0].words.help, *found.diagnostics[0].words.notes))
    assert set(re.findall(r"\w+_\w+|nodes", said)) == {name for name, _, _ in ctx.members}


def test_the_pages_are_what_is_generated() -> None:
    pages = reference_pages()
    if os.environ.get("UPDATE_GOLDEN"):
        PAGES.mkdir(exist_ok=True)
        for name, text in pages.items():
            (PAGES / name).write_text(text, encoding="utf-8")
    assert {path.name for path in PAGES.iterdir()} == set(pages), "`make reference` writes the pages"
    for name, text in pages.items():
        assert (PAGES / name).read_text(encoding="utf-8") == text, "`make reference` writes the pages"


def test_a_page_tells_of_every_field_and_every_name_has_a_heading() -> None:
    pages = reference_pages()
    everything = "\n".join(pages.values())
    for cls in CONSTRUCTORS:
        for field in schema(cls):
            assert f"| `{field}` |" in everything
    for _, name in EVERY:
        assert f"\n## {name}\n" in everything


def test_links_lead_to_headings_that_are_there() -> None:
    headings = {
        name: {heading.lower() for heading in re.findall(r"^## (\w+)$", text, re.MULTILINE)}
        for name, text in reference_pages().items()
    }
    for name, text in reference_pages().items():
        targets = re.findall(r"\]\(([^)]+)\)", text)
        assert targets or name in ("names.md", "evaluations.md")
        for target in targets:
            file, _, anchor = target.partition("#")
            assert (PAGES / file).exists(), target
            assert not anchor or anchor in headings[file or name], target


def test_rows_of_tables_have_as_many_cells_as_their_heads() -> None:
    for text in reference_pages().values():
        tables = re.findall(r"^(\|.*\|)\n\|[ |-]+\|\n((?:\|.*\|\n)*)", text, re.MULTILINE)
        for head, rows in tables:
            for row in rows.splitlines():
                assert len(re.findall(r"(?<!\\)\|", row)) == head.count("|"), row


def test_brackets_of_a_type_stand_in_one_piece_of_code() -> None:
    pieces = [piece for text in reference_pages().values() for piece in _code_of_tables(text)]
    assert len(pieces) > 500
    for piece in pieces:
        bare = re.sub(r'"[^"]*"', "", piece)
        assert all(bare.count(first) == bare.count(last) for first, last in ("{}", "[]", "()")), piece
    assert r"{ name = Template \| column { } }" in pieces


def _code_of_tables(text: str) -> list[str]:
    rows = re.findall(r"^\|.*\|$", text, re.MULTILINE)
    # The type is the second cell.
    cells = (re.split(r"(?<!\\)\|", row)[2] for row in rows)
    return [code for cell in cells for code in re.findall(r"`([^`]*)`", cell)]


def test_summaries_are_one_sentence_at_most() -> None:
    for group in names():
        for entry in entries_in(group):
            assert entry.summary
            assert entry.about.startswith(entry.summary.rstrip("."))
