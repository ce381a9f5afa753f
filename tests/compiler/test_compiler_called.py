"""What nodes are called where people read of them: by their names, else by what makes them."""

from __future__ import annotations

from pathlib import Path

import pytest
from compiler_support import GOOD, GRADER, REINFORCED, graph_of, replaced

from harmony_compiler.graph.graph import Graph
from harmony_compiler.plan.called import full_name, input_text, is_declared, name_of
from harmony_compiler.plan.shown import fields, title
from harmony_compiler.rewards.formula_text import formula_text

COPIES = """\
input base: Model = hf("Qwen/Qwen3-0.6B")
dataset sums = jsonl("sums.jsonl") { prompt = "{{ question }}", completion = "{{ answer }}" }
train warm = sft { model = base { tp = 2 }, dataset = sums { split = "train[:50%]" }, steps = 3 }
train cold = sft { model = hf("gpt2") { dtype = "bfloat16" }, dataset = jsonl("held.jsonl") {
  prompt = "{{ question }}"
  completion = "{{ answer }}"
}, steps = 3 }
train cool = sft { model = hf("gpt2") { tp = 2 }, dataset = sums, steps = 3 }
train warmer = sft { model = warm { dtype = "float32" }, dataset = sums, steps = 3 }
train wide = sft {
  model = scratch { hidden_size = 8, layers = 1, heads = 2, context = 24 }
  dataset = sums { split = "train[:50%]", filter = len(answer) > 0 and question != "1+1" }
  steps = 3
}
save warmer as "a"
save cold as "b"
save cool as "c"
save wide as "d"
save base as "e"
"""


def undeclared(graph: Graph) -> list[str]:
    return sorted(name_of(graph, ref) for ref in graph.nodes if not is_declared(graph, ref))


def test_what_has_no_name_is_called_by_what_makes_it() -> None:
    assert undeclared(graph_of(COPIES, world_size=2)) == [
        "base { tp = 2 }",
        'hf("gpt2") { dtype = "bfloat16" }',
        'hf("gpt2") { tp = 2 }',
        'jsonl("held.jsonl")',
        'save as "a"',
        'save as "b"',
        'save as "c"',
        'save as "d"',
        'save as "e"',
        "scratch (qwen3, 1 layer of 8)",
        'sums { split = "train[:50%]" }',
        'sums { split = "train[:50%]", filter =…',
        'warm { dtype = "float32" }',
    ]


def test_no_two_nodes_have_one_name() -> None:
    graph = graph_of(COPIES, world_size=2)
    assert len({full_name(graph, ref) for ref in graph.nodes}) == len(graph.nodes)


def test_fields_and_titles_say_the_same_names() -> None:
    graph = graph_of(COPIES, world_size=2)
    (warm,) = (ref for ref in graph.nodes if name_of(graph, ref) == "warm")
    told = {field.name: field.value for field in fields(graph, warm)}
    assert (told["model"], told["dataset"]) == ("base { tp = 2 }", 'sums { split = "train[:50%]" }')
    titles = [title(graph, ref) for ref in graph.nodes]
    assert "base { tp = 2 }  (case.recipe:1)" in titles
    assert "base = hf  (case.recipe:1)" in titles


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ('hf("Qwen/Qwen3-0.6B")', 'hf("Qwen/Qwen3-0.6B")'),
        ("scratch { hidden_size = 8, layers = 1, heads = 2, context = 24 }", "scratch (qwen3, 1 layer of 8)"),
        ("tiny", "tiny"),
    ],
)
def test_an_input_is_told_by_what_was_written(written: str, told: str) -> None:
    recipe = replaced(GOOD, ("model = tiny", "model = base")) + f"input base: Model = {written}\n"
    assert input_text(graph_of(recipe), "base") == told


def test_an_input_that_is_no_node_is_told_as_its_value() -> None:
    recipe = replaced(GOOD, ("lr = 1e-2", "lr = rate")) + "input rate: float = 1e-3\n"
    assert input_text(graph_of(recipe), "rate") == "0.001"


# --- formulas -------------------------------------------------------------------------------------------


def expression(graph: Graph) -> str:
    """That of the whole reward, as the list of every value has it."""
    found = [field.value for ref in graph.nodes for field in fields(graph, ref) if field.name == "expression"]
    return found[-1]


@pytest.mark.parametrize(
    "written",
    [
        "right * (words(completion) - chars(completion))",
        'right * (contains("a)") - contains("(b"))',
        'right - (contains(r"\\") - contains("c"))',
        'right + contains("(")',
    ],
)
def test_a_formula_reads_as_it_is_computed(written: str) -> None:
    assert expression(graph_of(replaced(REINFORCED, ("grader = right", f"grader = {written}")))) == written


def test_the_text_of_a_grader_has_brackets_inside_a_formula() -> None:
    """A metric of the same text comes first, and has none around it."""
    gap = "words(completion) - chars(completion)"
    graph = graph_of(
        replaced(REINFORCED, ("grader = right", f"metrics = [{gap}]\n  grader = right * ({gap})"))
    )
    assert expression(graph) == "right * (words(completion) - chars(completion))"


@pytest.mark.parametrize(
    ("name", "product"),
    [
        ("m.right", "2 * m.right"),
        ("f(a, g(b))", "2 * f(a, g(b))"),
        ("(f(a) - g(b))", "2 * (f(a) - g(b))"),
        ("f(a) - g(b)", "2 * (f(a) - g(b))"),
        ("-f(a)", "2 * (-f(a))"),
        ("my-key.right", "2 * (my-key.right)"),
        ('f(")") - g("(")', '2 * (f(")") - g("("))'),
        ('f(r"\\")', '2 * f(r"\\")'),
        ('contains("a…', '2 * (contains("a…)'),
    ],
)
def test_only_names_and_calls_stand_without_brackets(name: str, product: str) -> None:
    assert formula_text(("*", ("constant", 2), ("grader", 0)), [name]) == product


def test_imported_graders_need_no_brackets(folder: Path) -> None:
    (folder / "lib.recipe").write_text(GRADER + 'grader short = contains("a")\n', encoding="utf-8")
    recipe = replaced(REINFORCED, (GRADER, ""), ("grader = right", "grader = 0.5 * lib.right + lib.short"))
    graph = graph_of('import "lib.recipe" as lib\n' + recipe)
    assert expression(graph) == "0.5 * lib.right + lib.short"
