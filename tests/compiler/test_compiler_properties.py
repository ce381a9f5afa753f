"""What holds for every text: findings or a graph, never an exception."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from any_text import SOUP, mutated
from compiler_support import REINFORCED, check_text, fill
from hypothesis import given, settings
from hypothesis import strategies as st

from harmony_compiler.compile import Compilation, compile_recipe
from harmony_compiler.files import Disk, read_source
from harmony_compiler.graph.graph import Graph
from harmony_compiler.plan.plan import Where, plan_of
from harmony_compiler.plan.text import plan_text
from harmony_dsl.testing import formulas
from harmony_grammar.rendering import render_text, to_json
from harmony_grammar.source import Source

settings.register_profile("steady", deadline=None, derandomize=True, database=None, max_examples=200)
STEADY = settings.get_profile("steady")


@pytest.fixture(autouse=True, scope="module")
def one_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """All examples of all tests of this module share one folder: they change nothing in it."""
    before, folder = Path.cwd(), tmp_path_factory.mktemp("shared")
    os.chdir(folder)
    fill(folder)
    yield folder
    os.chdir(before)


@pytest.fixture(autouse=True)
def folder(one_folder: Path) -> Path:
    return one_folder


@pytest.fixture(autouse=True)
def registry(one_folder: Path) -> Path:
    return one_folder / "home" / "models"


def sound(compilation: Compilation) -> None:
    """A graph or an error; every finding can be shown, and its places are in its text."""
    severities = {finding.severity for finding in compilation.diagnostics}
    assert (compilation.graph is None) == ("error" in severities)
    for finding in compilation.diagnostics:
        for span in (finding.span, *(label.span for label in finding.labels)):
            assert 0 <= span.start <= span.end <= len(span.source.text)
    render_text(compilation.diagnostics).encode()
    json.dumps(to_json(compilation.diagnostics))
    if compilation.graph is not None:
        assert Graph.from_json(json.loads(json.dumps(compilation.graph.to_json()))) == compilation.graph
        if compilation.looked is not None:  # a grader alone has no plan
            assert plan_text(plan_of(compilation, Where()))


class OneFile(Disk):
    def __init__(self, content: bytes) -> None:
        self.content = content

    def head(self, path: Path, limit: int) -> bytes:
        return self.content[:limit]


@settings(STEADY)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_recipe_or_findings(content: bytes) -> None:
    source = read_source("any.recipe", OneFile(content))
    sound(compile_recipe(source) if isinstance(source, Source) else Compilation(None, (source,)))


@settings(STEADY)
@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: json.dumps({text: text}).encode()))
def test_any_bytes_are_data_or_findings(content: bytes) -> None:
    text = 'dataset d = jsonl("sums.jsonl") { prompt = "{{ a | trim }} {{ b }}" }\n'
    sound(compile_recipe(Source("a.recipe", text, Path.cwd() / "a.recipe"), files=OneFile(content)))


@settings(STEADY)
@given(st.text(max_size=100) | SOUP)
def test_any_text_is_a_recipe_or_findings(text: str) -> None:
    sound(check_text(text))


@settings(STEADY, max_examples=300)
@given(mutated())
def test_a_mutated_recipe_is_a_recipe_or_findings(text: str) -> None:
    sound(check_text(text))


@settings(STEADY)
@given(st.text(max_size=40) | SOUP)
def test_any_expression_has_a_value_or_findings(text: str) -> None:
    sound(check_text(f"let value = {text}\nlet after = 1\n"))


TYPES = [
    "int",
    "float",
    "str",
    "Path",
    "Secret",
    "Model",
    "list[int]",
    '"a" | "b"',
    "Dataset[Thread]",
    "Dataset[Prompt{answer: str}]",
    "Grader",
    "Regex",
    "none",
]
INPUTS = "".join(f"input i{number}: {type_}\n" for number, type_ in enumerate(TYPES))


@settings(STEADY)
@given(st.lists(st.text(max_size=20) | SOUP, min_size=len(TYPES), max_size=len(TYPES)))
def test_any_setting_is_a_value_or_findings(texts: list[str]) -> None:
    sound(check_text(INPUTS, [f"i{number}={text}" for number, text in enumerate(texts)]))


WORDS = [
    *("{{ ", " }}", "{% ", " %}", "{# ", " #}", "{{-", "-}}"),
    *("question", "answr", " | ", "trim", "x", "metadata", "['", "']", "completion"),
]
WORDS += [
    *("for ", " in ", "endfor", "set ", " = ", "if ", "endif", "is ", "not ", "."),
    *("(", ")", "'", "\n"),
]
TEMPLATES = st.lists(st.sampled_from(WORDS), max_size=15).map("".join)


@settings(STEADY, max_examples=300)
@given(st.text(st.characters(codec="utf-8", exclude_characters='"\\'), max_size=40) | TEMPLATES)
def test_any_template_is_a_template_or_findings(template: str) -> None:
    sound(check_text(f'dataset d = jsonl("sums.jsonl") {{ prompt = """{template}""" }}\n'))


@settings(STEADY, max_examples=300)
@given(st.text(st.characters(codec="utf-8", exclude_characters='"\\'), max_size=40) | TEMPLATES)
def test_any_template_of_a_grader_is_a_template_or_findings(template: str) -> None:
    sound(check_text(f'grader g = equals("""{template}""")\n{REINFORCED}'))


@settings(STEADY)
@given(st.text(st.characters(codec="utf-8", exclude_characters='"\\\n'), max_size=20))
def test_any_regular_expression_is_one_or_findings(regex: str) -> None:
    sound(check_text(f'grader g = matches(r"{regex}") + matches(completion, r"{regex}")\n'))


@settings(STEADY, max_examples=100)
@given(formulas())
def test_any_formula_goes_to_json_and_back(formula: str) -> None:
    compilation = check_text(f"grader g = {formula}\n", wanted="g")
    assert [finding.words.message for finding in compilation.diagnostics] == []
    sound(compilation)


@settings(STEADY)
@given(st.text(st.characters(codec="utf-8", exclude_characters='"\\\n'), max_size=40))
def test_any_path_is_there_or_missed(path: str) -> None:
    sound(check_text(f'dataset d = jsonl("{path}")\nmodel m = local("{path}")\n'))
