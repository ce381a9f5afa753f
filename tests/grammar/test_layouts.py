"""A declaration says the same in every layout: on one line, on several, with comments everywhere."""

from __future__ import annotations

import pytest
from reading import tree

LAYOUTS = {
    "recipe": (
        "recipe r { seed = 1, edition = 1, }",
        "recipe r {\n  seed = 1\n\n  edition = 1\n}",
        "# a\nrecipe r { # b\n  # c\n  seed = 1 # d\n  # e\n  edition = 1 # f\n} # g",
    ),
    "import": (
        'import "a.recipe" as a { x = 1, y = b }',
        'import "a.recipe"\n  as a {\n  x = 1,\n  y =\n    b\n}',
        'import "a.recipe" # a\n  # b\n  as # c\n  a { # d\n  x = 1, # e\n  y = b # f\n}',
    ),
    "input": (
        "input a: float = 1e-6 where 0 < a < 1e-3",
        "input a: float =\n  1e-6\n  where 0 <\n    a\n    < 1e-3",
        "input a: float = # a\n  1e-6 # b\n  # c\n  where # d\n  0 < # e\n  a < 1e-3 # f",
    ),
    "input of a type": (
        'input a: Dataset[Prompt{answer: str, n: list[int]}] | "none" | none',
        'input a: Dataset[\n  Prompt{\n    answer: str\n    n: list[int]\n  }\n]\n  | "none"\n  | none',
        'input a: Dataset[ # a\n  Prompt{ # b\n answer: str # c\n n: list[int], }\n] | # d\n "none" | none',
    ),
    "let": (
        "let a = if b and not c then -d.e[0] // 2 else f(g, h = 3%) + 1",
        "let a = if b\n  and not c\n  then -d\n  .e[\n0\n]\n  // 2\n  else f(\n  g,\n  h = 3%,\n)\n  + 1",
        "let a = if # a\n b and # b\n not c\n then # c\n -d.e[0] // # d\n 2 else f( # e\n g, h = 3%\n) + 1",
    ),
    "dataset": (
        'dataset d = jsonl("a") { split = "b", metadata = { c = "d", "e f" = 1 } }',
        'dataset d = jsonl("a") {\n  split = "b"\n  metadata = {\n    c = "d"\n    "e f" = 1\n  }\n}',
        'dataset d = jsonl( # a\n"a" # b\n) { # c\n split = "b" # d\n metadata = { c = "d",\n "e f" = 1 }\n}',
    ),
    "grader": (
        "grader g = 0.8 * a + 0.1 * (b - c) / 2",
        "grader g = 0.8 * a\n  + 0.1 *\n    (b\n    - c)\n    / 2",
        "grader g = # a\n  0.8 * a # b\n  # c\n  + 0.1 * ( # d\n  b - c # e\n  ) # f\n  / 2",
    ),
    "train": (
        "train t = sft { model = b { tp = 2 }, sampling { top_k = 3 }, if = 1 }",
        "train t = sft {\n  model = b { tp = 2 }\n  sampling {\n    top_k = 3\n  }\n  if = 1\n}",
        "train t = sft { # a\n  model = b { # b\n tp = 2 # c\n } # d\n sampling { top_k = 3 } # e\n if = 1 }",
    ),
    "evaluate": (
        "evaluate e = compare { models = [a, b,], graders = [], limit = 5min }",
        "evaluate e = compare {\n  models = [\n    a,\n    b,\n  ]\n  graders = [\n  ]\n  limit = 5min\n}",
        "evaluate e = compare { # a\n models = [ # b\n a, # c\n b # d\n ]\n graders = [\n ]\n limit = 5min }",
    ),
    "save": (
        'save t as "k" { if_exists = "rename", merge = a in [b] }',
        'save t\n  as "k" {\n  if_exists = "rename"\n  merge = a\n    in [b]\n}',
        'save t # a\n as # b\n "k" { # c\n if_exists = "rename" # d\n merge = a in # e\n [b]\n}',
    ),
    "save under a name": (
        "save a.t { x = 1 } as k",
        "save a\n.t {\n x = 1\n} as\nk",
        "save a.t { # a\n x = 1\n}\nas k",
    ),
}


@pytest.mark.parametrize("layouts", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_layouts_are_equal(layouts: tuple[str, str, str]) -> None:
    one, several, commented = (tree(text) for text in layouts)
    assert len(one.declarations) == 1
    assert one == several == commented


def test_comments_are_kept() -> None:
    parsed = tree("# a\nlet x = 1 # b\r\n## c")
    assert [comment.text for comment in parsed.comments] == ["# a", "# b", "## c"]
    assert [comment.span.first.line for comment in parsed.comments] == [1, 2, 3]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_endings_and_mark(ending: str, mark: str) -> None:
    text = '## doc\nlet a = """\n  b\n  c\n"""\nlet d = f(\n  1)\n'
    parsed = tree(mark + text.replace("\n", ending))
    assert parsed == tree(text)
    assert parsed.declarations[0].doc == "doc"


def test_doc_is_what_stands_directly_above() -> None:
    parsed = tree(
        "## lost\n\n## one\n##two\nlet a = 1\nlet b = 2 ## behind\nlet c = 3\n##\n## x\n# y\nlet d = 4"
    )
    assert [declaration.doc for declaration in parsed.declarations] == ["one\ntwo", "", "", ""]
