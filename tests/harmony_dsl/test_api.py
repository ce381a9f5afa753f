"""The public Python API."""

from __future__ import annotations

from pathlib import Path

import pytest
from dsl_support import Write

import harmony_dsl

ECHO = """\
input rate: float = 1.0
input flag: bool = false
input name: str = "x"
input steps: list[int] = [1]
"""


def test_a_path_and_a_text_are_the_same_recipe(write: Write) -> None:
    path = write()
    by_path = harmony_dsl.compile(path)
    by_name = harmony_dsl.compile(path.name)
    by_text = harmony_dsl.compile(path.read_text(encoding="utf-8"))
    graphs = [compilation.graph for compilation in (by_path, by_name, by_text)]
    assert all(graph is not None for graph in graphs)
    nodes = [list(graph.nodes.values()) for graph in graphs if graph is not None]
    assert nodes[0] == nodes[1] == nodes[2]


@pytest.mark.parametrize("missing", ["nowhere.recipe", Path("nowhere")])
def test_what_looks_like_a_file_is_one(missing: str | Path) -> None:
    compilation = harmony_dsl.compile(missing)
    assert compilation.graph is None
    assert len(compilation.diagnostics) == 1
    assert "nowhere" in compilation.diagnostics[0].words.message


def test_a_line_that_is_no_file_is_text() -> None:
    compilation = harmony_dsl.compile('let x = "y"')
    assert not any(finding.severity == "error" for finding in compilation.diagnostics)


def test_inputs_are_python_values() -> None:
    values = {"rate": 1e-6, "flag": True, "name": "plain words", "steps": [1, 2]}
    compilation = harmony_dsl.compile(ECHO, inputs=values)
    assert compilation.diagnostics == ()
    assert compilation.graph is not None
    assert compilation.graph.inputs == values


def test_inputs_are_the_text_of_a_set() -> None:
    compilation = harmony_dsl.compile(ECHO, inputs={"rate": "0.5", "flag": "true"})
    assert compilation.graph is not None
    assert compilation.graph.inputs["rate"] == 0.5
    assert compilation.graph.inputs["flag"] is True


def test_a_wrong_input_is_a_finding() -> None:
    compilation = harmony_dsl.compile(ECHO, inputs={"flag": '"so"', "steps": ['"', "\\"]})
    assert compilation.graph is None
    assert {finding.span.source.name for finding in compilation.diagnostics} == {"--set flag", "--set steps"}


def test_a_value_that_no_recipe_has() -> None:
    with pytest.raises(TypeError, match="no value of the Python type object"):
        harmony_dsl.compile(ECHO, inputs={"rate": object()})


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError):
        harmony_dsl.nothing  # noqa: B018
