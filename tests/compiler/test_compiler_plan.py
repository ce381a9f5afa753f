"""The plan: what people see before a run, and what programs read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
from compiler_support import COMPARED, GOOD, MODEL, PPO, REINFORCED, check_text, graph_of, replaced

from harmony_compiler.files import Disk
from harmony_compiler.graph.graph import Graph
from harmony_compiler.plan import plan_json, plan_text

GOLDEN = Path(__file__).parent / "golden_plans"

RECIPE = """\
recipe arithmetic { seed = seed }

## Another seed makes another model.
input seed: int = 7 where seed >= 0
input base: Model = tiny
input rows_at: Path = "sums.jsonl"
input share: percent = 5%

## Sums of small numbers.
## They fit into the context.
dataset sums = jsonl(rows_at) { prompt = "{{ question }}", completion = "{{ answer }}" }
dataset few = sums { limit = 1 }
dataset inline = rows([{ q = "1+1" }, { q = "2+2" }, { q = "3+3" }, { q = "4+4" }]) {
  prompt = "Say \\"{{ q }}\\"\\nnow: "
  completion = "?"
  metadata = { source = "{{ q }}" }
}
dataset sliced = sums { split = "train[:50%]" }

model tiny = scratch { hidden_size = 8, layers = 1, heads = 2, context = 24 }

train warm = sft { model = base, dataset = sums, samples_per_batch = 4, epochs = 3 }
train tuned = sft {
  model = warm { dtype = "float32" }
  dataset = inline
  samples_per_batch = 2
  steps = 1_000
  schedule = linear { warmup = share }
}
train side = sft { model = tiny, dataset = sliced, epochs = 1 }
train other = sft { model = tiny, dataset = few, epochs = 0.5, samples_per_batch = 2 }
save tuned as "arithmetic" { if_exists = "overwrite" }
"""


REINFORCING = """\
let long = words(completion)
## Short answers.
grader brief = clamp(1 - long / (2 + len(turns)), 0, 1)
grader polite = 0.5 * contains("please") - brief / 10
""" + replaced(
    REINFORCED + COMPARED,
    ("grader = right", "grader = right + 0.5 * (brief + polite) * (if long > 3 then 1 else none) - 1"),
    ("[right, words(completion)]", '[right, -long, matches("a") { on_failure = "zero" }, polite]'),
    ("  steps = 3\n", "  epochs = 2\n"),
)


PREFERRING = (
    MODEL
    + """\
dataset pairs = rows([{ q = "1+1", good = "2", bad = "3" }, { q = "1+2", good = "3", bad = "4" }]) {
  prompt = "{{ q }}"
  chosen = "{{ good }}"
  rejected = "{{ bad }}"
}
train adder = dpo {
  model = tiny
  dataset = pairs
  samples_per_batch = 4
  label_smoothing = 0.1
  epochs = 5
}
save adder as "adder"
"""
)

CRITICISED = replaced(
    PPO, ("  max_num_ppo_steps = 3\n", '  epochs = 6\n  value_model = tiny { attention = "eager" }\n')
)


@pytest.mark.parametrize(
    ("name", "recipe", "sets"),
    [
        ("arithmetic", RECIPE, ["seed=8"]),
        ("reinforcing", REINFORCING, []),
        ("preferring", PREFERRING, []),
        ("criticised", CRITICISED, []),
    ],
)
def test_a_plan_reads_as_it_was_reviewed(name: str, recipe: str, sets: list[str], folder: Path) -> None:
    shown = plan_text(graph_of(recipe, sets, world_size=2)).replace(str(folder), "FOLDER")
    golden = GOLDEN / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(shown, encoding="utf-8")
    assert shown == golden.read_text(encoding="utf-8")


def by_name(graph: Graph, values: dict[Any, int | None]) -> dict[str, int | None]:
    return {graph.stage_name(ref): value for ref, value in values.items()}


def test_rows_and_steps_are_counted_where_they_can_be() -> None:
    graph = graph_of(RECIPE)
    plan = plan_json(graph)
    assert by_name(graph, plan["rows"]) == {"sums": 2, "few": 1, "inline": 4, "sliced": None}
    assert by_name(graph, plan["steps"]) == {"warm": 2, "tuned": 1000, "side": None, "other": 1}


def test_each_file_is_counted_once_through_files() -> None:
    class Counting(Disk):
        counted: ClassVar[list[str]] = []

        def filled_lines(self, path: Path) -> int:
            self.counted.append(path.name)
            return 40

    graph = graph_of(replaced(GOOD, ("steps = 3", "epochs = 1")))
    assert list(plan_json(graph, Counting())["steps"].values()) == [10]
    assert Counting.counted == ["sums.jsonl"]


STEPS = [("epochs = 1", 1), ("epochs = 3", 2), ("epochs = 0.01", 1), ("epochs = 2.5", 2), ("steps = 9", 9)]


@pytest.mark.parametrize(("length", "steps"), STEPS, ids=[length for length, _ in STEPS])
def test_steps_are_rounded_up(length: str, steps: int) -> None:
    """Two rows, four a step."""
    graph = graph_of(replaced(GOOD, ("steps = 3", length)))
    assert list(plan_json(graph)["steps"].values()) == [steps]


def test_prompts_of_a_step_are_its_completions_over_the_group() -> None:
    """Two rows; four completions a step, two of each prompt."""
    graph = graph_of(replaced(REINFORCED, ("steps = 3", "epochs = 3")))
    assert list(plan_json(graph)["steps"].values()) == [3]


def test_a_file_that_went_away_is_not_counted(folder: Path) -> None:
    graph = graph_of(GOOD)
    (folder / "sums.jsonl").unlink()
    assert list(plan_json(graph)["rows"].values()) == [None]


def test_the_json_is_the_graph_and_can_be_read_again() -> None:
    graph = graph_of(RECIPE)
    plan = json.loads(json.dumps(plan_json(graph)))
    assert Graph.from_json(plan) == graph
    assert {key: value for key, value in plan.items() if key not in ("rows", "steps")} == graph.to_json()


def test_the_plan_of_a_grader_alone() -> None:
    graph = check_text(REINFORCED, wanted="right").graph
    assert graph is not None
    assert plan_text(graph).splitlines()[-2:] == ["outputs", "  right"]


FORMULA_TEXTS = [
    "1 - (2 - words(completion))",
    "(1 + words(completion)) * 2 / 3 - 4",
    "-(words(completion) - 1)",
    "2 // -words(completion)",
    "if (if words(completion) > 1 then true else false) then 1 else none",
    "if not (words(completion) > 1 and true) or completion == prompt then 1 else 2",
    "(words(completion) > 1) == (words(prompt) > 1)",
    "if words(completion) > 2 then 1 else if words(completion) > 1 then 0.5 else none",
    "clamp(number(metadata.answer), -1, 1)",
    'number(metadata["é"])',
    'number(metadata["the \\"answer\\""])',
    'turns[0].content in ["a", "\\"b\\"\\n", completion[0]]',
    'contains(completion, "\\r\\t\\u{1b}é\\\\")',
    'matches(completion + "x", "^a|b$")',
]


@pytest.mark.parametrize("formula", FORMULA_TEXTS)
def test_a_formula_is_shown_as_it_is_written(formula: str) -> None:
    def shown(text: str) -> str:
        graph = check_text(f"grader g = {text}\n", wanted="g").graph
        assert graph is not None
        (line,) = [line for line in plan_text(graph).splitlines() if line.startswith("  expression = ")]
        return line.removeprefix("  expression = ")

    assert shown(formula) == formula
    assert shown(shown(formula)) == formula


def test_the_plan_of_a_file_without_outputs() -> None:
    compilation = check_text("recipe empty\ninput size: int = 3\n")
    assert compilation.graph is not None
    assert plan_text(compilation.graph).splitlines()[0] == "recipe empty, seed 0, on one device"


def test_the_plan_is_the_same_for_every_hash_seed() -> None:
    Path("case.recipe").write_text(RECIPE, encoding="utf-8")
    code = """
import json
from pathlib import Path
from harmony_compiler.compile import compile_recipe
from harmony_compiler.plan import plan_json
from harmony_grammar.source import Source
path = Path("case.recipe").absolute()
print(json.dumps(plan_json(compile_recipe(Source("case.recipe", path.read_text(), path)).graph)))
"""
    plans = set()
    for seed in ("0", "1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        plans.add(done.stdout)
    assert len(plans) == 1
