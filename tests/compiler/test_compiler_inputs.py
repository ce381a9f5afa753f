"""Inputs: what each type takes from `--set`, conditions, and what is in scope."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from compiler_support import DATA, GOOD, MODEL, RECIPE, check_text, codes, graph_of, replaced

from harmony_compiler.compile import compile_recipe
from harmony_compiler.declared.given import settings_of
from harmony_compiler.graph.graph import Launch
from harmony_compiler.graph.models import HubModel, LocalModel, ScratchModel
from harmony_grammar.rendering import render_text
from harmony_grammar.source import Source


def value_of(declaration: str, *sets: str) -> Any:
    """The value of the one input that is declared, as the graph shows it."""
    ((_, value),) = graph_of(declaration, sets).inputs.items()
    return value


TAKEN: list[tuple[str, str, Any]] = [
    # type, text of the --set, value in the graph
    ("int", "3", 3),
    ("int", "1_000", 1000),
    ("int", "-2 * (3 + 1)", -8),
    ("float", "3", 3.0),
    ("float", "1e-5", 1e-5),
    ("float", "5%", 0.05),
    ("percent", "5%", {"percent": 5}),
    ("duration", "5min", {"duration": [5, "min"]}),
    ("bool", "true", True),
    ("none | int", "none", None),
    ("str", "plain words", "plain words"),
    ("str", '"quoted"', '"quoted"'),
    ("str", "a = b # c", "a = b # c"),
    ("str", "", ""),
    ("str", "3", "3"),
    ('"yes" | "no"', "no", "no"),
    ('str | "no"', "whatever", "whatever"),
    ("list[int]", "[1, 2]", [1, 2]),
    ("list[float]", "[1, 50%]", [1.0, 0.5]),
    ("list[int | str]", '[1, "a"]', [1, "a"]),
    ("Template", '"{{ x }}"', "{{ x }}"),
    ("Regex", '"^\\d+$"', "^\\d+$"),
    ("Secret", 'env("TOKEN")', {"env": "TOKEN"}),
    ("int | percent", "5%", {"percent": 5}),
    ("float", "if ctx.world_size == 1 then 0.5 else 1", 0.5),
    # A pattern or template is its text; in quotes it is an expression.
    ("Template", "{{ x }}: {{ y }}", "{{ x }}: {{ y }}"),
    ("Template", "{{ x }} is {{ 'y' }}", "{{ x }} is {{ 'y' }}"),
    ("Regex", r"^\d+$", r"^\d+$"),
    ("Regex", r'r"^\d+$"', r"^\d+$"),
    ("Regex | none", "none", None),
    # What may be nothing: `none` is that, and in quotes it is the text.
    ("str | none", "none", None),
    ("str | none", "plain words", "plain words"),
    ("str | none", '"none"', "none"),
    ('"all" | none', "all", "all"),
    ('"all" | none', "none", None),
    ("none | Path", "none", None),
    # Beside other types, an option is its text too; any other text is an expression.
    ('int | "auto"', "auto", "auto"),
    ('int | "auto"', '"auto"', "auto"),
    ('int | "auto"', "3", 3),
    ("int | str", "3", 3),
    ("int | str", '"3"', "3"),
    ("list[percent]", "[5%]", [{"percent": 5}]),
    ("list[str | none]", '["a", none]', ["a", None]),
    ("list[list[int]]", "[[1], []]", [[1], []]),
    ("list[Secret]", '[env("A")]', [{"env": "A"}]),
    ("Secret | none", "none", None),
    ("Secret | none", 'env("A")', {"env": "A"}),
    ("bool | duration", "5min", {"duration": [5, "min"]}),
]


@pytest.mark.parametrize(("type_", "text", "value"), TAKEN, ids=[f"{t}: {x}" for t, x, _ in TAKEN])
def test_a_type_takes(type_: str, text: str, value: Any) -> None:
    found = value_of(f"input given: {type_}\n", f"given={text}")
    assert (found, type(found)) == (value, type(value))


REFUSED = [
    ("int", "3.0", "E0301"),
    ("int", '"3"', "E0301"),
    ("int", "many", "E0204"),
    ("int", "3 +", "E0121"),
    ("int", "", "E0131"),
    ("int", "1 / 0", "E0309"),
    ("float", "true", "E0301"),
    ("percent", "0.5", "E0303"),
    ("percent", "5", "E0301"),
    ("duration", "5", "E0301"),
    ("duration", "5 parsecs", None),
    ("bool", "yes", "E0204"),
    ("bool", "1", "E0301"),
    ('"yes" | "no"', "maybe", "E0304"),
    ("list[int]", '[1, "a"]', "E0301"),
    ("list[int]", "3", "E0301"),
    ("Model", "Qwen/Qwen3-0.6B", None),
    ("Model", '"Qwen"', "E0301"),
    ("Model", "scratch { layers = 1 }", None),
    ("Model", "scratchy { layers = 1 }", "E0204"),
    ("Dataset", 'jsonl("nowhere.jsonl")', "E0501"),
    ("Dataset[Thread]", 'jsonl("sums.jsonl")', "E0550"),
    ("Secret", "abc", "E0424"),
    ("Secret", '"abc"', "E0424"),
    ("Secret", "env(abc)", "E0424"),
    ("Secret", 'env("")', "E0424"),
    ("Secret", "a b ) c", "E0424"),
    ("Secret | none", "abc", "E0424"),
    ("list[Secret]", "[abc]", "E0424"),
    ("list[Secret]", '["abc"]', "E0424"),
    ("list[Secret | none]", 'env("A") { x = abc }', "E0424"),
    ("Regex", "(", "E0314"),
    ("Endpoint", 'local("home")', "E0301"),
    ("Sampling", "cosine", "E0301"),
    ("Schedule", "cosine { warmup = 0.1 }", "E0303"),
]


@pytest.mark.parametrize(("type_", "text", "code"), REFUSED, ids=[f"{t}: {x}" for t, x, _ in REFUSED])
def test_a_type_refuses(type_: str, text: str, code: str | None) -> None:
    """The finding points into the argument; None stands for more than one."""
    compilation = check_text(f"input given: {type_}\n", [f"given={text}"])
    assert {finding.span.source.name for finding in compilation.diagnostics} == {"--set given"}
    assert compilation.graph is None
    assert code is None or codes(compilation) == [code]


def test_what_may_be_a_secret_is_not_shown() -> None:
    for text in ("abc-123", "abc + 123", '"abc" 123', "abc\n123"):
        (finding,) = check_text("input token: Secret\n", [f"token={text}"]).diagnostics
        assert "abc" not in finding.span.source.text


MODELS = [
    ('hf("Qwen/Qwen3-0.6B")', HubModel),
    ('local("home")', LocalModel),
    ("scratch { hidden_size = 8, layers = 1, heads = 2, context = 24, kv_heads = 1 }", ScratchModel),
    ("scratch(hidden_size = 8, layers = 1, heads = 2, context = 24)", ScratchModel),
    ('if ctx.nodes > 0 or 1 / 0 == 1 then hf("a") { dtype = "float32" } else hf("b")', None),
]


@pytest.mark.parametrize(("text", "cls"), MODELS, ids=[text for text, _ in MODELS])
def test_a_model_may_be_given(text: str, cls: type | None) -> None:
    recipe = "input base: Model\n" + replaced(GOOD, (MODEL, ""), ("model = tiny", "model = base"))
    compilation = check_text(recipe, [f"base={text}"])
    if cls is None:
        assert codes(compilation) == ["E0605"]
    else:
        assert compilation.graph is not None
        assert any(type(node) is cls for node in compilation.graph.nodes.values())


def test_a_dataset_may_be_given() -> None:
    recipe = "input lessons: Dataset[Thread]\n" + replaced(GOOD, ("dataset = sums", "dataset = lessons"))
    given = 'rows([{ q = "1+1" }]) { prompt = "{{ q }}", completion = "2" }'
    assert codes(check_text(recipe.replace(DATA, ""), [f"lessons={given}"])) == []
    wrong = given.replace("{{ q }}", "{{ qq }}")
    (finding,) = check_text(recipe.replace(DATA, ""), [f"lessons={wrong}"]).diagnostics
    assert (finding.code, finding.span.text, finding.span.source.name) == ("E0502", "qq", "--set lessons")


def test_a_path_is_relative_to_the_working_directory(folder: Path) -> None:
    assert value_of("input rows_of: Path\n", "rows_of=sums.jsonl") == str(folder / "sums.jsonl")


def test_an_absolute_path_is_what_it_is(folder: Path) -> None:
    assert value_of("input rows_of: Path\n", f"rows_of={folder}/x") == f"{folder}/x"


def test_names_of_the_recipe_are_out_of_reach() -> None:
    recipe = "let rate = 0.5\ninput given: float = rate\n"
    assert value_of(recipe) == 0.5
    assert codes(check_text(recipe, ["given=rate"])) == ["E0206"]
    assert codes(check_text("input given: int = 1\n", ["given=given"])) == ["E0206"]


def test_inputs_that_are_not_there_and_doubled_ones() -> None:
    recipe = "input one: int = 1\ninput two: int = 2\n"
    compilation = check_text(recipe, ["on=3", "three=3", "two=3", "two=4", "two=5"])
    said = [(finding.code, finding.span.source.name) for finding in compilation.diagnostics]
    assert sorted(said) == [("E0420", "--set on"), ("E0420", "--set three"), ("E0423", "--set two")]


def test_an_input_without_default_must_be_given() -> None:
    assert codes(check_text("input one: int\n")) == ["E0421"]
    assert value_of("input one: int\n", "one=3") == 3


CONDITIONS = [
    ("input a: float = 0.5 where 0 < a < 1\n", [], []),
    ("input a: float = 0.5 where 0 < a < 1\n", ["a=0.9"], []),
    ("input a: float = 0.5 where 0 < a < 1\n", ["a=2"], ["E0422"]),
    ("input a: float = 0.5 where 0 < a < 1\n", ['a="x"'], ["E0301"]),
    ("input a: float = 5 where 0 < a < 1\n", [], ["E0422"]),
    ("input a: int = 1 where a < b\ninput b: int = 2\n", [], []),
    ("input a: int = 1 where a < b\ninput b: int = 2\n", ["b=0"], ["E0422"]),
    ("input a: int = 1 where a < b\ninput b: int = 2 where b > a\n", ["a=2"], ["E0422"]),
    ("input a: int = 1 where a < limit\nlet limit = 10\n", ["a=11"], ["E0422"]),
    ('input a: str = "x" where a in ["x", "y"]\n', ["a=z"], ["E0422"]),
    ('input a: "x" | "y" = "x" where not a == "y" and true\n', ["a=y"], ["E0422"]),
    ("input a: percent = 3% where a <= 50%\n", ["a=51%"], ["E0422"]),
    ("input a: duration = 90s where a < 2min\n", ["a=1h"], ["E0422"]),
    ("input a: list[int] = [1, 2] where a[0] < a[1]\n", ["a=[2, 1]"], ["E0422"]),
    ("input a: list[int] = [1] where a == [1]\n", ["a=[1]"], []),
    ("input a: int = 1 where a\n", [], ["E0310"]),
    ("input a: int = 1 where a < 'x'\n", [], ["E0306"]),
    ("input a: int = 1 where a < nothing\n", [], ["E0204"]),
    ("input a: int where a > 0\n", [], ["E0421"]),
]


@pytest.mark.parametrize(("recipe", "sets", "said"), CONDITIONS)
def test_conditions(recipe: str, sets: list[str], said: list[str]) -> None:
    assert codes(check_text(recipe.replace("'", '"'), sets)) == said


def test_a_value_that_breaks_its_condition_is_said_once() -> None:
    recipe = "input rate: float = 0.1 where rate > 0\n" + replaced(GOOD, ("1e-2", "rate"))
    assert codes(check_text(recipe, ["rate=-1"])) == ["E0422"]
    seeded = "recipe r { seed = seed }\ninput seed: int = 1 where seed >= low\ninput low: int = 0\n" + GOOD
    assert codes(check_text(seeded, ["seed=-1"])) == ["E0422"]


def test_the_finding_shows_value_and_condition() -> None:
    (finding,) = check_text("input rate: float = 0.1 where rate > 0\n", ["rate=-1"]).diagnostics
    assert finding.words.message == "`rate` = -1 breaks the condition of the input"
    assert [label.span.text for label in finding.labels] == ["rate > 0"]


def test_an_input_has_the_type_it_was_declared_with() -> None:
    """A `str` is no `Template`, `Path` or option: only a literal becomes one by its place."""
    recipe = 'input text: %s = "{{ question }}"\n' + replaced(GOOD, ('"{{ question }}"', "text"))
    assert codes(check_text(recipe % "Template")) == []
    assert codes(check_text(recipe % "str")) == ["E0301"]


def test_what_the_launch_decides() -> None:
    names = ("world_size", "nodes", "gpus_per_node", "run_name")
    text = "".join(f"input i_{name}: int | str = ctx.{name}\n" for name in names)
    compilation = check_text("recipe named\n" + text, world_size=8, nodes=2)
    assert compilation.graph is not None
    assert compilation.graph.launch == Launch(8, 2)
    assert list(compilation.graph.inputs.values()) == [8, 2, 4, "named"]


STRUCTURED = [
    ("Sampling", "sampling { temperature = 0.5 }", "sampling"),
    ("Sampling", "{ temperature = 0.5 }", "sampling"),
    ("Schedule", "constant", "constant"),
    ("Adapter", "lora { rank = 8 }", "lora"),
]


@pytest.mark.parametrize(("type_", "text", "constructor"), STRUCTURED)
def test_settings_may_be_given(type_: str, text: str, constructor: str) -> None:
    assert value_of(f"input given: {type_}\n", f"given={text}")["constructor"] == constructor


def test_settings_that_were_given_fit_their_field() -> None:
    recipe = "input falls: Schedule = linear { warmup = 5 }\n"
    recipe += replaced(GOOD, ("steps = 3", "steps = 30, schedule = falls"))
    assert codes(check_text(recipe)) == []
    assert codes(check_text(recipe, ["falls=cosine"])) == []


def test_metadata_has_types() -> None:
    recipe = "input rows_of: Dataset[Prompt{answer: str, tests: list[str]}]\n"
    given = 'rows([{ q = "a" }]) { prompt = "{{ q }}", metadata = { answer = "x", tests = "y" } }'
    lacking = given.replace("tests", "test")
    assert codes(check_text(recipe, [f"rows_of={lacking}"])) == ["E0301"]


# --- values from Python and from files ------------------------------------------------------------------

DATA_TAKEN: list[tuple[str, Any, Any]] = [
    # type, value of a file or of Python, value in the graph
    ("int", 3, 3),
    ("int", "3", 3),
    ("int", -3, -3),
    ("float", 3, 3.0),
    ("float", 1e-5, 1e-5),
    ("float", "5e-5", 5e-5),
    ("float", "10%", 0.1),
    ("percent", "10%", {"percent": 10}),
    ("duration", "90s", {"duration": [90, "s"]}),
    ("bool", True, True),
    ("bool", "true", True),
    ("int | none", None, None),
    ("int | none", "none", None),
    ("str", "plain words", "plain words"),
    ("str", "", ""),
    ("str", "3", "3"),
    ("str", 'say "a\\b"\n', 'say "a\\b"\n'),
    ("str | none", None, None),
    ("str | none", "none", None),
    ("int | str", "3", "3"),
    ("int | str", "plain words", "plain words"),
    ('int | "auto"', "auto", "auto"),
    ('int | "auto"', "4", 4),
    ('"yes" | "no"', "no", "no"),
    ("Regex", "^a$", "^a$"),
    ("Template", "{{ x }}", "{{ x }}"),
    ("list[str]", ["a b", "3"], ["a b", "3"]),
    ("list[percent]", ["10%", "5%"], [{"percent": 10}, {"percent": 5}]),
    ("list[list[float]]", [[1], ["2e-1"]], [[1.0], [0.2]]),
    ("list[int]", [], []),
    ("Secret", 'env("TOKEN")', {"env": "TOKEN"}),
    ("list[Secret]", ['env("A")', 'env("B")'], [{"env": "A"}, {"env": "B"}]),
]


def given(value: Any) -> Any:
    recipe = Source(RECIPE, f"input given: {value[0]}\n", Path.cwd() / RECIPE)
    return compile_recipe(recipe, settings=settings_of({"given": value[1]}))


@pytest.mark.parametrize(("type_", "data", "value"), DATA_TAKEN, ids=[f"{t}: {d}" for t, d, _ in DATA_TAKEN])
def test_data_is_taken(type_: str, data: Any, value: Any) -> None:
    compilation = given((type_, data))
    assert codes(compilation) == []
    assert compilation.graph is not None
    found = compilation.graph.inputs["given"]
    assert (found, type(found)) == (value, type(value))


DATA_REFUSED: list[tuple[str, Any, str]] = [
    ("int", 3.5, "E0301"),
    ("int", True, "E0301"),
    ("int", "many", "E0301"),
    ("int", float("inf"), "E0428"),
    ("float", float("nan"), "E0428"),
    ("float", "fast", "E0301"),
    ("float", None, "E0301"),
    ("percent", 0.1, "E0303"),
    ("percent", 10, "E0301"),
    ("str", 3, "E0301"),
    ("str", None, "E0301"),
    ("str", ["a"], "E0301"),
    ('"yes" | "no"', "maybe", "E0304"),
    ('"yes" | "no"', True, "E0301"),
    ("list[int]", 3, "E0301"),
    ("list[int]", [1, "x"], "E0301"),
    ("list[int]", {"a": 1}, "E0301"),
    ("int", {"a": 1}, "E0301"),
    ("Model", "Qwen/Qwen3-0.6B", "E0301"),
    ("Model", "Qwen", "E0301"),
    ("Model", "scratch {", "E0112"),
    ("Model", 'local("x"', "E0112"),
    ("Regex", "(", "E0314"),
    ("Secret", "hunter2", "E0424"),
    ("Secret", ["hunter2"], "E0424"),
    ("Secret", 5, "E0424"),
    ("list[Secret]", ['env("A")', "hunter2"], "E0424"),
]


@pytest.mark.parametrize(
    ("type_", "data", "code"), DATA_REFUSED, ids=[f"{t}: {d}" for t, d, _ in DATA_REFUSED]
)
def test_data_is_refused(type_: str, data: Any, code: str) -> None:
    compilation = given((type_, data))
    assert codes(compilation) == [code]
    assert "hunter2" not in render_text(compilation.diagnostics)
