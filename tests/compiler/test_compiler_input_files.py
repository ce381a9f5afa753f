"""Files with inputs: three formats, one meaning, and findings at the places of names and values."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest
from compiler_support import RECIPE, check_text, codes
from hypothesis import HealthCheck
from hypothesis import given as given_by
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from harmony_compiler.compile import Compilation, compile_recipe
from harmony_compiler.declared.given import Setting
from harmony_compiler.declared.input_files import LARGEST, NoYamlError, read_inputs
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.rendering import render_text
from harmony_grammar.source import Source

INPUTS = """\
input lr: float
input name: str
input sizes: list[int]
input share: percent
input note: str | none = "x"
input token: Secret = env("NONE")
input rows_of: Path = "here.jsonl"
import "lib.recipe" as m
let used = m.rate
"""
LIBRARY = 'input rate: float = 0.5 where rate > 0\ninput inner: str = "a"\n'

SAME = {
    "toml": """\
lr = 5e-5
name = "two words"  # of the run
sizes = [1, 2]
share = "10%"
token = 'env("TOKEN")'
rows_of = "data/rows.jsonl"
note = "none"

[m]
rate = 0.25
""",
    "json": """\
{"lr": 5e-5, "name": "two words", "sizes": [1, 2], "share": "10%", "token": "env(\\"TOKEN\\")",
 "rows_of": "data/rows.jsonl", "note": null, "m": {"rate": 0.25}}
""",
    "yaml": """\
lr: 5e-5   # a text, for YAML 1.1
name: two words
sizes: [1, 2]
share: 10%
token: env("TOKEN")
rows_of: data/rows.jsonl
note:
m:
  rate: 0.25
""",
}


@pytest.fixture(autouse=True)
def library(folder: Path) -> None:
    (folder / "lib.recipe").write_text(LIBRARY)


def check_file(name: str, text: str, sets: dict[str, str] | None = None, recipe: str = INPUTS) -> Compilation:
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text(text, encoding="utf-8")
    read = read_inputs(name)
    if isinstance(read, Diagnostic):
        return Compilation(None, (read,))
    settings = [*read, *(Setting(*one) for one in (sets or {}).items())]
    return compile_recipe(Source(RECIPE, recipe, Path.cwd() / RECIPE), settings=settings)


@pytest.mark.parametrize("suffix", SAME)
def test_the_formats_say_the_same(suffix: str, folder: Path) -> None:
    compilation = check_file(f"night/inputs.{suffix}", SAME[suffix])
    assert codes(compilation) == []
    assert compilation.graph is not None
    assert compilation.graph.inputs == {
        "lr": 5e-5,
        "name": "two words",
        "sizes": [1, 2],
        "share": {"percent": 10},
        "note": None,
        "token": {"env": "TOKEN"},
        # Relative to the file in which it stands.
        "rows_of": str(folder / "night" / "data" / "rows.jsonl"),
        "m.rate": 0.25,
        "m.inner": "a",
    }


def test_the_command_line_counts_more() -> None:
    sets = {"lr": "1e-3", "m.rate": "0.1"}
    compilation = check_file("a.toml", SAME["toml"], sets)
    assert compilation.graph is not None
    assert (compilation.graph.inputs["lr"], compilation.graph.inputs["m.rate"]) == (1e-3, 0.1)


def test_dotted_names_are_those_of_imports() -> None:
    for name, text in (
        ("a.toml", "m.rate = 0.1\n"),
        ("b.json", '{"m.rate": 0.1}'),
        ("c.yml", "m.rate: 0.1\n"),
    ):
        compilation = check_file(name, text, recipe='import "lib.recipe" as m\nlet x = m.rate\n')
        assert codes(compilation) == []
        assert compilation.graph is not None
        assert compilation.graph.inputs["m.rate"] == 0.1


PLACES: list[tuple[str, str, list[tuple[str, str, int, int]]]] = [
    # file, its text, and code, blamed text, line and column of the findings
    ("a.toml", 'lr = "fast"\n', [("E0301", "fast", 1, 7)]),
    ("a.toml", "# lr = 1\n\nlr = true\n", [("E0301", "true", 3, 6)]),
    ("a.toml", 'lr = """\nfast\n"""\n', [("E0301", "fast\n", 1, 1)]),
    ("a.toml", "lr = 1\nsizes = [1, 2.5,\n  true]\n", [("E0301", "2.5", 2, 13), ("E0301", "true", 3, 3)]),
    ("a.toml", "lr = 1\nsizse = [1]\n", [("E0420", "sizse", 2, 1)]),
    ("a.toml", "m = 3\n", [("E0420", "m", 1, 1)]),
    ("a.toml", "[m]\nraet = 3\n\n[n]\nlr = 1\n", [("E0420", "raet", 2, 1), ("E0420", "n", 4, 2)]),
    ("a.toml", '[m]\ninner = 3\n[x]\n', [("E0301", "3", 2, 9), ("E0420", "x", 3, 2)]),
    ("a.json", '{"m": {"lr": 1, "rate": "x"},\n "lr": "x"}', [
        ("E0420", "lr", 1, 9), ("E0301", "x", 1, 26), ("E0301", "x", 2, 9)
    ]),
    ("a.json", '{"sizes": [1, null]}', [("E0301", "null", 1, 15)]),
    ("a.json", '{"lr": 1e999}', [("E0428", "1e999", 1, 8)]),
    ("a.yaml", "lr:\n  fast\n", [("E0301", "fast", 2, 3)]),
    ("a.yaml", "sizes:\n  - -1\n  - 2.5\n", [("E0301", "2.5", 3, 5)]),
    ("a.yaml", "lr: -1\nm: {rate: -2}\n", [("E0422", "-2", 2, 11)]),
    ("a.yaml", "- lr\n", [("E0427", "", 1, 1)]),
    ("a.yaml", "lr: 2001-01-01\n", [("E0428", "2001-01-01", 1, 5)]),
    ("a.yaml", "on: 3\n", [("E0420", "True", 1, 1)]),
    ("a.toml", "share = '10 %'\n", [("E0111", "10 %", 1, 10)]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "said"), PLACES)
def test_findings_point_into_the_file(name: str, text: str, said: list[tuple[str, str, int, int]]) -> None:
    given = {"lr": "1", "name": "a", "sizes": "[1]", "share": "1%"}
    sets = {key: value for key, value in given.items() if key not in text}
    found = check_file(name, text, sets).diagnostics
    spans = [(finding.code, finding.span) for finding in found if finding.code != "E0421"]
    assert {span.source.name for _, span in spans} == {name}
    assert [(code, span.text, span.first.line, span.first.column) for code, span in spans] == said


BROKEN = [
    ("a.toml", "lr = \n", 1),
    ("a.toml", "lr = 1\nlr = 2\n", 2),
    ("a.json", '{"lr": 1,}', 1),
    ("a.json", '{"lr": 1, "lr": 2}', None),
    ("a.json", "[1]", None),
    ("a.json", "[" * 100_000, None),
    ("a.json", '{"lr": ' + "9" * 5000 + "}", None),
    ("a.yaml", "lr: [1\nname: a\n", 2),
    ("a.yaml", "just words\n", None),
    ("a.yaml", "x: &x [*x, *x]\n", None),
    ("a.yaml", "a: !!python/object:os.system {}\n", 1),
    (
        "a.yaml",
        "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9 if n else 'x' * 9)}]\n" for n in range(9)),
        None,
    ),
]


@pytest.mark.parametrize(("name", "text", "line"), BROKEN, ids=range(len(BROKEN)))
def test_a_broken_file_is_one_finding(name: str, text: str, line: int | None) -> None:
    compilation = check_file(name, text)
    (finding,) = compilation.diagnostics
    assert finding.code == "E0427"
    if line is not None:
        assert finding.span.first.line == line


def test_a_file_without_values_sets_nothing() -> None:
    for name, text in (("a.toml", ""), ("b.json", "{}"), ("c.yaml", "# nothing\n"), ("d.json", '{"m": {}}')):
        assert codes(check_file(name, text, recipe='import "lib.recipe" as m\nlet x = m.rate\n')) == []


@pytest.mark.parametrize("path", ["nowhere.toml", "home", "latin.jsonl"])
def test_a_file_that_cannot_be_read(path: str, folder: Path) -> None:
    if path != "nowhere.toml":
        (folder / path).rename(folder / "a.toml")
        path = "a.toml"
    read = read_inputs(path)
    assert isinstance(read, Diagnostic)
    assert read.code == "E0426"


SECRETS: list[tuple[str, str]] = [
    ("a.toml", 'token = "hunter2"\n'),
    ("a.toml", 'tokne = "hunter2"\n'),
    ("a.toml", 'token = "hunter2\n'),
    ("a.toml", "token = ['hunter2']\n"),
    ("a.toml", "token = {hunter2 = 1}\n"),
    ("a.toml", 'm = {rate = "x", token = "hunter2"}\nlr = "y"\n'),
    ("a.json", '{"token": "hunter2", "lr": "x", "name": 3}'),
    ("a.json", '{"lr": "x", "token": "hunter2", "tokne": "hunter2", "name": 3}'),
    ("a.json", '{"lr": [], "token": "hunter2"'),
    ("a.yaml", "token: hunter2\n"),
    ("a.yaml", "{token: hunter2, lr: x}\n"),
    ("a.yaml", "token: |\n  hunter2\n"),
    ("a.yaml", "token: hunter2: x\n"),
]


@pytest.mark.parametrize(("name", "text"), SECRETS)
def test_a_secret_is_never_shown(name: str, text: str) -> None:
    found = check_file(name, text).diagnostics
    assert found
    assert "hunter2" not in render_text(found)
    assert not any(
        "hunter2" in words for f in found for words in (f.words.message, f.words.help, *f.words.notes)
    )


def test_without_a_reader_of_yaml(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("a.yaml").write_text("lr: 1\n")
    real = builtins.__import__

    def refuse(name: str, *arguments: Any, **named: Any) -> Any:
        if name == "yaml":
            raise ImportError(name)
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(NoYamlError):
        read_inputs("a.yaml")


def test_two_files_with_one_input() -> None:
    Path("a.toml").write_text("lr = 1\n")
    Path("b.toml").write_text("lr = 2\n")
    settings = [setting for name in ("a.toml", "b.toml") for setting in read_inputs(name)]  # type: ignore[union-attr]
    recipe = Source(RECIPE, "input lr: float\n", Path.cwd() / RECIPE)
    (finding,) = compile_recipe(recipe, settings=settings).diagnostics  # type: ignore[arg-type]
    assert (finding.code, finding.span.source.name) == ("E0423", "b.toml")
    assert codes(check_text("input lr: float\n", ["lr=1"])) == []
    assert LARGEST


WORDS = st.sampled_from(
    (
        *("lr", "name", "m", "rate", "token", "lr: ", "lr = ", ":", "=", "[", "]", "{", "}", ",", ".", "- "),
        *('"', "'", '"""', "\n", "  ", "#", "1", "1e5", "null", "true", "2001-01-01", "é", "\x00"),
        *("&a", "*a", "|", "!!set", "? "),
    )
)


@given_by(st.lists(WORDS, max_size=30).map("".join), st.sampled_from(["toml", "json", "yaml"]))
@hypothesis_settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_text_gives_settings_or_findings(text: str, suffix: str) -> None:
    compilation = check_file(f"a.{suffix}", text)
    assert (compilation.graph is None) == any(f.severity == "error" for f in compilation.diagnostics)
    render_text(compilation.diagnostics)
