"""The plan: what people see before a run, and what programs read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from compiler_support import COMPARED, GOOD, MODEL, PPO, REINFORCED, check_text, replaced

from harmony_compiler.files import DISK, Disk
from harmony_compiler.graph.graph import Graph
from harmony_compiler.plan.counting import Work
from harmony_compiler.plan.plan import Plan, Where, plan_of
from harmony_compiler.plan.shown import fields
from harmony_compiler.plan.text import plan_text

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


def planned(recipe: str, sets: Sequence[str] = (), files: Disk = DISK, **launch: int) -> Plan:
    """The plan of a recipe without errors."""
    compilation = check_text(recipe, sets, **launch)
    assert compilation.graph is not None, [finding.words.message for finding in compilation.diagnostics]
    return plan_of(compilation, Where(set_inputs=tuple(text.partition("=")[0] for text in sets)), files)


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
    shown = plan_text(planned(recipe, sets, world_size=2)).replace(str(folder), "FOLDER")
    golden = GOLDEN / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(shown, encoding="utf-8")
    assert shown == golden.read_text(encoding="utf-8")


def taken(plan: Plan) -> dict[str, int | None]:
    return {plan.graph.stage_name(ref): rows.taken for ref, rows in plan.rows.items()}


def steps(plan: Plan) -> dict[str, int | None]:
    return {plan.graph.stage_name(ref): part.work.steps for ref, part in plan.parts.items()}


def test_rows_and_steps_are_counted_where_they_can_be() -> None:
    plan = planned(RECIPE)
    assert taken(plan) == {"sums": 2, "few": 1, "inline": 4, "sliced": 1}
    assert steps(plan) == {"warm": 2, "tuned": 1000, "side": 1, "other": 1}


def test_the_lines_of_a_file_that_is_too_long_to_be_read_are_counted(folder: Path) -> None:
    long = "x" * 5000
    (folder / "long.jsonl").write_text(
        "".join(f'{{"question": "{n}", "answer": "{long}"}}\n' for n in range(1000))
    )
    plan = planned(replaced(GOOD, ("steps = 3", "epochs = 1"), ("sums.jsonl", "long.jsonl")))
    assert list(taken(plan).values()) == [1000]
    assert list(steps(plan).values()) == [250]


def test_what_a_filter_leaves_is_a_bound() -> None:
    plan = planned(
        replaced(
            GOOD,
            ("steps = 3", "epochs = 1"),
            ('"sums.jsonl") {', '"sums.jsonl") {\n  filter = len(question) > 3'),
        )
    )
    (rows,) = plan.rows.values()
    assert (rows.source, rows.taken, rows.at_most) == (2, 2, True)
    (part,) = plan.parts.values()
    assert part.work.at_most and "at most 1 step" in plan_text(plan)


STEPS = [("epochs = 1", 1), ("epochs = 3", 2), ("epochs = 0.01", 1), ("epochs = 2.5", 2), ("steps = 9", 9)]


@pytest.mark.parametrize(("length", "number"), STEPS, ids=[length for length, _ in STEPS])
def test_steps_are_rounded_up(length: str, number: int) -> None:
    """Two rows, four a step."""
    assert list(steps(planned(replaced(GOOD, ("steps = 3", length)))).values()) == [number]


def test_prompts_of_a_step_are_its_completions_over_the_group() -> None:
    """Two rows; four completions a step, two of each prompt."""
    plan = planned(replaced(REINFORCED, ("steps = 3", "epochs = 3")))
    (part,) = plan.parts.values()
    assert (part.work.steps, part.work.completions, part.work.prompts) == (3, 12, 6)


def test_a_file_that_went_away_is_not_counted(folder: Path) -> None:
    compilation = check_text(GOOD)
    (folder / "sums.jsonl").unlink()
    plan = plan_of(compilation, Where())
    assert plan.digest == ""
    assert plan_text(plan)


def test_the_json_is_the_graph_and_can_be_read_again() -> None:
    plan = planned(RECIPE)
    told = json.loads(json.dumps(plan.to_json()))
    assert Graph.from_json(told) == plan.graph
    beside = ("digest", "assumed", "dropped", "unset", "rows", "parts")
    assert {key: value for key, value in told.items() if key not in beside} == plan.graph.to_json()


def test_each_value_says_where_it_came_from() -> None:
    recipe = replaced(
        REINFORCED,
        ("  steps = 3\n", "  steps = count\n  lr = if ctx.world_size > 1 then 2 * rate else rate\n"),
    )
    recipe = "input count: int = 3\ninput rate: float = 1e-6\n" + recipe
    plan = planned(recipe, ["count=4"])
    (stage,) = plan.parts
    origins = {field.name: field.origin for field in fields(plan.graph, stage)}
    assert origins["steps"] == "input count"
    assert origins["lr"] == "launch, input rate"
    assert origins["samples_per_batch"] == "recipe"
    assert origins["clip_range"] == "default"
    shown = plan_text(plan)
    assert "  count = 4\n  rate = 1e-06  (default)\n" in shown
    assert "steps = 4  (input count)" in shown


def test_rows_of_a_known_layout_say_so(folder: Path) -> None:
    (folder / "known.jsonl").write_text('{"prompt": "1+1", "completion": "2"}\n')
    plan = planned(
        MODEL + 'train t = sft { model = tiny, dataset = jsonl("known.jsonl"), steps = 1 }\nsave t as "t"\n'
    )
    (rows,) = plan.rows
    assert {field.name: field.origin for field in fields(plan.graph, rows)}["prompt"] == "known layout"


def test_what_no_output_needs_is_left_out_and_said() -> None:
    plan = planned(GOOD + '\ngrader idle = contains("x")\n')
    assert plan.dropped == ("idle",)
    assert "left out, since no output needs it: idle" in plan_text(plan)


# --- work -----------------------------------------------------------------------------------------------


def work(recipe: str, name: str, files: Disk = DISK) -> Work:
    plan = planned(recipe, files=files)
    (found,) = (part.work for ref, part in plan.parts.items() if plan.graph.stage_name(ref) == name)
    return found


def of_lengths(folder: Path, *lengths: int) -> str:
    """A file of rows whose questions have so many characters; as a thread each has four marks more, and an
    answer of one token."""
    rows = (f'{{"question": "{"x" * length}", "answer": "y", "worse": "zz"}}\n' for length in lengths)
    (folder / "lengths.jsonl").write_text("".join(rows))
    return 'jsonl("lengths.jsonl")'


def imitating(dataset: str, fields: str = "epochs = 1") -> str:
    return f"""{MODEL}
dataset texts = {dataset}
train adder = sft {{ model = tiny, dataset = texts, samples_per_batch = 1, {fields} }}
save adder as "adder"
"""


THREAD = 'prompt = "{{ question }}", completion = "{{ answer }}"'


@pytest.mark.parametrize(
    ("policy", "steps", "tokens"), [("drop", 2, 2 * 15), ("truncate", 3, 2 * 15 + 24), ("error", 3, None)]
)
def test_rows_that_are_too_long(policy: str, steps: int, tokens: int | None, folder: Path) -> None:
    """A context of 24: two rows of 15 tokens and one of 55."""
    rows = f'{of_lengths(folder, 10, 50, 10)} {{ {THREAD}, on_too_long = "{policy}" }}'
    found = work(imitating(rows), "adder")
    assert found.steps == steps
    if tokens is not None:
        assert found.tokens == tokens


def test_a_mixture_leaves_long_rows_to_its_datasets(folder: Path) -> None:
    file = of_lengths(folder, 10, 50, 10)
    parts = ", ".join(f'{file} {{ {THREAD}, on_too_long = "{policy}" }}' for policy in ("truncate", "drop"))
    assert work(imitating(f"mix([{parts}])"), "adder").steps == 3 + 2
    assert work(imitating(f'mix([{parts}]) {{ on_too_long = "drop" }}'), "adder").steps == 2 + 2


def test_no_row_is_left(folder: Path) -> None:
    recipe = imitating(f"{of_lengths(folder, 50, 60)} {{ {THREAD} }}")
    assert work(recipe, "adder") == Work(kept=0)
    assert "work        nothing: no row is left\n" in plan_text(planned(recipe))


def test_a_pair_teaches_both_its_answers(folder: Path) -> None:
    pairs = 'prompt = "{{ question }}", chosen = "{{ answer }}", rejected = "{{ worse }}"'
    recipe = imitating(f"{of_lengths(folder, 10)} {{ {pairs} }}").replace("= sft", "= dpo")
    assert work(recipe, "adder").tokens == 15 + 16


def test_an_evaluation_takes_its_first_rows_before_long_ones_are_dropped(folder: Path) -> None:
    evaluation = """
evaluate report = compare {
  models = [tiny]
  dataset = texts
  graders = [words(completion)]
  sampling { max_tokens = 8 }
  limit = 2
}
"""
    prompts = 'prompt = "{{ question }}", on_too_long = "drop"'
    recipe = f"{MODEL}\ndataset texts = {of_lengths(folder, 50, 5, 5)} {{ {prompts} }}{evaluation}"
    assert work(recipe, "report").completions == 1


JUDGED = """
model other = scratch { hidden_size = 8, layers = 1, heads = 2, context = 64 }
grader kind = judge { model = endpoint("http://localhost:1/v1", model = "m"), criteria = "kind" }
grader far = remote("http://localhost:2")
"""


def calls(recipe: str) -> dict[str, int]:
    plan = planned(JUDGED + recipe)
    (part,) = plan.parts.values()
    return {plan.graph.stage_name(call.grader): call.number for call in part.work.calls}


@pytest.mark.parametrize(
    ("reward", "validation", "expected"),
    [
        ("0.5 * kind + 0.5 * far", "", {"kind": 12, "far": 12}),
        ("right", "  validation { dataset = asked, grader = kind, every = 1 }\n", {"kind": 6}),
        ("kind + far", "  validation { dataset = asked, every = 2 }\n", {"kind": 16, "far": 16}),
        ("kind", "  metrics = [kind, far]\n", {"kind": 12, "far": 12}),
    ],
)
def test_calls_of_judges_and_servers(reward: str, validation: str, expected: dict[str, int]) -> None:
    """Three steps of four completions; two rows to validate on, at the end too."""
    changes = ("grader = right", f"grader = {reward}\n{validation}")
    assert calls(replaced(REINFORCED, changes)) == expected


def test_a_secret_that_is_not_set_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = JUDGED.replace('"m")', '"m", key = env("HARMONY_NO_KEY"))') + replaced(
        REINFORCED, ("grader = right", "grader = kind")
    )
    monkeypatch.delenv("HARMONY_NO_KEY", raising=False)
    assert "not set here, and needed by a run: HARMONY_NO_KEY\n" in plan_text(planned(recipe))
    monkeypatch.setenv("HARMONY_NO_KEY", "7f3a91")
    assert planned(recipe).unset == ()
    assert "7f3a91" not in plan_text(planned(recipe))


# --- the digest -----------------------------------------------------------------------------------------

SAME = [
    lambda text: text.replace("adder", "sum_maker"),
    lambda text: "# a remark\n" + text.replace("  ", "    "),
    lambda text: text + '\ngrader idle = contains("x")\n',
]


@pytest.mark.parametrize("change", SAME)
def test_names_layout_and_what_is_not_used_leave_the_digest(change: Callable[[str], str]) -> None:
    # The key of a `save` is where something is written, and part of it.
    changed = change(GOOD).replace('as "sum_maker"', 'as "adder"')
    assert changed != GOOD and planned(changed).digest == planned(GOOD).digest != ""


OTHERS = [
    ("steps = 3", "steps = 4"),
    ("hidden_size = 8", "hidden_size = 8, max_batch_tokens = 64"),
    ('"adder"', '"a"'),
]


@pytest.mark.parametrize("change", OTHERS)
def test_what_is_computed_and_how_is_in_the_digest(change: tuple[str, str]) -> None:
    assert planned(replaced(GOOD, change)).digest != planned(GOOD).digest


TWO = """
model wide = scratch { hidden_size = 8, layers = 1, heads = 2, context = 24, max_batch_tokens = FIRST }
model narrow = scratch { hidden_size = 8, layers = 1, heads = 2, context = 24, max_batch_tokens = SECOND }
train one = sft { model = wide, dataset = sums, steps = 1 }
train two = sft { model = narrow, dataset = sums, steps = 2 }
save one as "one"
save two as "two"
"""


def test_nodes_that_differ_in_their_places_alone_are_told_apart() -> None:
    def digest(first: int, second: int) -> str:
        return planned(GOOD + TWO.replace("FIRST", str(first)).replace("SECOND", str(second))).digest

    assert len({digest(32, 64), digest(64, 32), digest(64, 64)}) == 3
    head, *lines = (GOOD + TWO.replace("FIRST", "32").replace("SECOND", "64")).split("\nmodel ")
    turned = "\nmodel ".join([head, *lines[:-2], *reversed([line + "\n" for line in lines[-2:]])])
    assert planned(turned).digest == digest(32, 64)


def test_data_and_launch_are_in_the_digest_and_places_are_not(folder: Path) -> None:
    before = planned(GOOD).digest
    assert planned(GOOD, world_size=2).digest != before
    (folder / "sums.jsonl").rename(folder / "moved.jsonl")
    moved = replaced(GOOD, ("sums.jsonl", "moved.jsonl"))
    assert planned(moved).digest == before
    text = (folder / "moved.jsonl").read_text()
    (folder / "moved.jsonl").write_text(text.replace("2", "3"))
    assert planned(moved).digest != before


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
        (found,) = [f.value for ref in graph.nodes for f in fields(graph, ref) if f.name == "expression"]
        return found

    assert shown(formula) == formula
    assert shown(shown(formula)) == formula


def test_the_plan_of_a_file_without_outputs() -> None:
    plan = planned("recipe empty\ninput size: int = 3\n")
    assert plan_text(plan).splitlines()[0] == "recipe empty, seed 0"


def test_the_plan_is_the_same_for_every_process_and_hash_seed() -> None:
    Path("case.recipe").write_text(RECIPE, encoding="utf-8")
    code = """
import json
from pathlib import Path
from harmony_compiler.compile import compile_recipe
from harmony_compiler.plan.plan import Where, plan_of
from harmony_compiler.plan.text import plan_text
from harmony_grammar.source import Source
path = Path("case.recipe").absolute()
plan = plan_of(compile_recipe(Source("case.recipe", path.read_text(), path)), Where())
print(json.dumps(plan.to_json()), plan_text(plan), plan.digest)
"""
    plans = set()
    for seed in ("0", "1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        plans.add(done.stdout)
    assert len(plans) == 1
