"""`harmonyc inputs`, and `--inputs` of the other commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from dsl_support import Harmonyc, Write

import harmony_dsl

ASKING = """\
## Teach sums.
recipe asking { seed = seed }
## Peak rate of the first stage,
## which falls to a tenth.
input lr: float = 1e-2 where 0 < lr <= 0.1
input seed: int = 1 where seed >= 0
input word: str where word in ["one", "two"]
input kind: "fast" | "slow" = "slow"
input share: percent | none = none
input warm: duration = 90s
input sizes: list[int] = [1, 2]
input token: Secret = env("TOKEN")
input base: Model = scratch {
  hidden_size = 8, layers = 1, heads = 2, context = 24
}
input rows_of: Path = "sums.jsonl"
input count: int = 10 - 1 where 10 > count and count > floor
let floor = -1
## Rates of all recipes.
import "lib.recipe" as m { rate = 0.25 }
"""
LIBRARY = "input rate: float = 0.5\ninput steps: int | percent\nlet twice = 2 * rate\n"


@pytest.fixture
def asking(house: Path) -> Path:
    (house / "lib.recipe").write_text(LIBRARY)
    path = house / "asking.recipe"
    path.write_text(ASKING)
    return path


def schema_of(harmonyc: Harmonyc, path: Path) -> dict[str, Any]:
    told = harmonyc("inputs", str(path), "--json")
    assert (told.code, told.err) == (0, "")
    schema: dict[str, Any] = json.loads(told.out)
    jsonschema.Draft202012Validator.check_schema(schema)
    return schema


def test_the_table(asking: Path, harmonyc: Harmonyc) -> None:
    told = harmonyc("inputs", str(asking))
    assert (told.code, told.err) == (0, "")
    lines = told.out.splitlines()
    assert lines[0].split() == ["input", "type", "default", "condition"]
    said = {line.split()[0]: line for line in lines[1:]}
    assert list(said)[-2:] == ["m.rate", "m.steps"]
    shown = " ".join(said["lr"].split())
    assert shown == "lr float 1e-2 0 < lr <= 0.1 Peak rate of the first stage, which falls to a tenth."
    assert "(must be given)" in said["word"]
    assert "0.25" in said["m.rate"]
    assert "scratch { hidden_size = 8, layers = 1, heads = 2, context = 24 }" in said["base"]


def test_a_recipe_without_inputs(house: Path, harmonyc: Harmonyc) -> None:
    (house / "none.recipe").write_text("let x = 1\n")
    assert harmonyc("inputs", "none.recipe").out == "none.recipe has no inputs\n"
    assert schema_of(harmonyc, house / "none.recipe")["properties"] == {}


def test_the_schema(asking: Path, harmonyc: Harmonyc) -> None:
    schema = schema_of(harmonyc, asking)
    assert (schema["title"], schema["description"]) == ("asking", "Teach sums.")
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["required"] == ["word", "m"]
    of = schema["properties"]
    assert of["lr"] == {
        "type": "number",
        "exclusiveMinimum": 0,
        "maximum": 0.1,
        "$comment": "float",
        "description": "Peak rate of the first stage,\nwhich falls to a tenth.",
        "default": 0.01,
    }
    assert (of["seed"]["type"], of["seed"]["minimum"], of["seed"]["default"]) == ("integer", 0, 1)
    assert (of["word"]["enum"], "default" in of["word"]) == (["one", "two"], False)
    assert (of["kind"]["enum"], of["kind"]["default"]) == (["fast", "slow"], "slow")
    assert (of["share"]["default"], of["warm"]["default"]) == (None, "90s")
    assert of["sizes"]["items"] == {"type": "integer"}
    assert of["token"]["default"] == 'env("TOKEN")'
    assert "default" not in of["base"]
    assert of["rows_of"]["default"] == "sums.jsonl"
    # Only what a condition says by itself is a bound.
    assert (of["count"]["default"], of["count"]["exclusiveMaximum"]) == (9, 10)
    assert "exclusiveMinimum" not in of["count"]
    assert (of["m"]["description"], of["m"]["required"]) == ("Rates of all recipes.", ["steps"])
    assert of["m"]["properties"]["rate"]["default"] == 0.25


VALID: list[dict[str, Any]] = [
    {"word": "one", "m": {"steps": 3}},
    {"word": "two", "m": {"steps": "10%", "rate": 1}, "lr": 0.1, "share": "3%", "warm": "2h", "sizes": []},
    {"word": "two", "m": {"steps": 1}, "token": 'env("X")', "kind": "fast", "share": None, "seed": 0},
    {"word": "one", "m": {"steps": 1}, "base": 'local("sums")', "rows_of": "x.jsonl"},
]
INVALID: list[dict[str, Any]] = [
    {"m": {"steps": 3}},
    {"word": "one"},
    {"word": "three", "m": {"steps": 3}},
    {"word": "one", "m": {"steps": 3, "rat": 1}},
    {"word": "one", "m": {"steps": 3}, "lr": 0},
    {"word": "one", "m": {"steps": 3}, "lr": 0.2},
    {"word": "one", "m": {"steps": 3}, "seed": 1.5},
    {"word": "one", "m": {"steps": 3}, "seed": -1},
    {"word": "one", "m": {"steps": 3}, "kind": "quick"},
    {"word": "one", "m": {"steps": 3}, "share": 0.1},
    {"word": "one", "m": {"steps": 3}, "warm": "90 parsecs"},
    {"word": "one", "m": {"steps": 3}, "token": "hunter2"},
    {"word": "one", "m": {"steps": 3}, "sizes": [True]},
    {"word": "one", "m": {"steps": 3}, "spare": 1},
    {"word": "one", "m": {"steps": 3}, "count": 10},
]


@pytest.mark.parametrize("number", range(len(VALID) + len(INVALID)))
def test_what_the_schema_takes_a_recipe_takes(number: int, asking: Path, harmonyc: Harmonyc) -> None:
    inputs = [*VALID, *INVALID][number]
    Path("sums").mkdir()
    Path("in.json").write_text(json.dumps(inputs))
    fits = jsonschema.Draft202012Validator(schema_of(harmonyc, asking)).is_valid(inputs)
    told = harmonyc("check", str(asking), "--inputs", "in.json")
    assert fits == (number < len(VALID)), told.out
    assert (told.code == 0) == fits, told.out


def test_other_faults_of_the_recipe_do_not_matter(house: Path, harmonyc: Harmonyc) -> None:
    text = 'input a: int\nlet b = nothing\nmodel c = hf {\nsave d as "/"\ndataset e = jsonl("x") { q = 1 }\n'
    (house / "faulty.recipe").write_text(text)
    assert harmonyc("check", "faulty.recipe").code == 1
    told = harmonyc("inputs", "faulty.recipe")
    assert (told.code, told.err) == (0, "")
    assert told.out.splitlines()[1].split() == ["a", "int", "(must", "be", "given)"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("input a: double\nlet b = nothing\n", "E0305"),
        ('import "nowhere.recipe" as m\n', "E0501"),
        ('import "lib.recipe" as m { rat = 1 }\n', "E0420"),
        ("input a: int = 3 where a > 5\n", "E0422"),
        ("input a: int = x\n", "E0204"),
    ],
)
def test_inputs_that_cannot_be_told(text: str, code: str, asking: Path, harmonyc: Harmonyc) -> None:
    Path("faulty.recipe").write_text(text)
    told = harmonyc("inputs", "faulty.recipe", "--json")
    assert (told.code, told.out) == (1, "")
    assert told.err.count("error[") == 1
    assert code in told.err


def test_a_recipe_that_is_not_there(harmonyc: Harmonyc) -> None:
    told = harmonyc("inputs", "nowhere.recipe")
    assert (told.code, told.out) == (1, "")
    assert "E0509" in told.err


# --- --inputs -------------------------------------------------------------------------------------------

KEYED = ("seed = 1 }", "seed = seed }\ninput seed: int = 1")


@pytest.mark.parametrize(
    ("name", "text"), [("in.toml", "seed = 8\n"), ("in.json", '{"seed": 8}'), ("IN.YML", "seed: 8")]
)
def test_inputs_of_a_file(name: str, text: str, write: Write, harmonyc: Harmonyc) -> None:
    recipe = write(KEYED)
    Path(name).write_text(text)
    for command in (("compile",), ("plan", "--json")):
        told = harmonyc(command[0], str(recipe), *command[1:], "--inputs", name)
        assert (told.code, json.loads(told.out)["seed"]) == (0, 8)
        told = harmonyc(command[0], str(recipe), *command[1:], "--set", "seed=9", "--inputs", name)
        assert json.loads(told.out)["seed"] == 9
    assert harmonyc("check", str(recipe), "--inputs", name).code == 0


def test_python_takes_the_same(asking: Path) -> None:
    values = {"word": "one", "lr": "5e-2", "m": {"steps": "10%"}, "m.rate": 1, "rows_of": Path("x.jsonl")}
    compilation = harmony_dsl.compile(asking, inputs=values)
    assert compilation.diagnostics == ()
    assert compilation.graph is not None
    inputs = compilation.graph.inputs
    assert (inputs["lr"], inputs["m.steps"], inputs["m.rate"]) == (0.05, {"percent": 10}, 1.0)


@pytest.mark.parametrize("command", ["check", "plan", "compile", "run"])
def test_a_file_that_cannot_be_read(command: str, write: Write, harmonyc: Harmonyc) -> None:
    told = harmonyc(command, str(write()), "--inputs", "nowhere.toml")
    assert told.code == 1
    assert (told.out + told.err).count("error[") == 1
    assert "E0426" in told.out + told.err


def test_it_is_said_once_for_several_recipes(write: Write, harmonyc: Harmonyc) -> None:
    names = [str(write(name=name)) for name in ("a.recipe", "b.recipe")]
    Path("in.json").write_text("{")
    told = harmonyc("check", *names, "--inputs", "in.json", "--format", "json")
    assert (told.code, len(json.loads(told.out)["diagnostics"])) == (1, 1)


def test_a_suffix_that_nobody_reads(write: Write, harmonyc: Harmonyc) -> None:
    told = harmonyc("check", str(write()), "--inputs", "inputs.ini")
    assert (told.code, told.out) == (2, "")
    assert ".toml, .json, .yaml or .yml" in told.err


def test_without_a_reader_of_yaml(write: Write, harmonyc: Harmonyc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    Path("in.yaml").write_text("seed: 3\n")
    told = harmonyc("check", str(write()), "--inputs", "in.yaml")
    assert (told.code, told.out) == (2, "")
    assert "pip install pyyaml" in told.err


def test_the_inputs_of_a_compiled_graph_are_fixed(write: Write, harmonyc: Harmonyc) -> None:
    graph = harmonyc("compile", str(write()))
    Path("graph.json").write_text(graph.out)
    told = harmonyc("run", "graph.json", "--inputs", "in.toml")
    assert told.code == 2
