"""`make formatting`, in small: some generated recipes, with comments everywhere."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import formatting
from benchmarks.formatting import Formatting, generated, recipes_of_the_tree
from harmony_dsl.testing import write_data
from harmony_grammar.formatting import Formatted
from harmony_grammar.source import Source


def test_generated_recipes_keep_what_they_say(tmp_path: Path) -> None:
    write_data(tmp_path)
    seen = Formatting()
    generated(seen, 20, 1, tmp_path)
    assert seen.failures == 0
    assert seen.counts["recipes"] == 20
    assert seen.counts["comments"] > 2000


WRONG: dict[str, Callable[[str, str], str]] = {
    "other comments": lambda _, text: text.replace("# note 3\n", "# note\n"),
    "other declarations": lambda _, text: text.replace('-1"', '-0"'),
    "the second time something changed": lambda given, _: f"{given}\n",
}
"""Of a text and what it is formatted to, something else."""


@pytest.mark.parametrize("told", WRONG)
def test_a_wrong_text_is_found(
    told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = formatting.format_source

    def wrong(source: Source) -> Formatted:
        text = right(source).text
        assert text is not None
        return Formatted(WRONG[told](source.text, text))

    monkeypatch.setattr(formatting, "format_source", wrong)
    assert failures(tmp_path)
    assert f"--- {told}\n" in capsys.readouterr().err


def test_another_graph_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    graphs = itertools.count()
    monkeypatch.setattr(formatting, "_plainly", lambda _: next(graphs))
    assert failures(tmp_path)
    assert "--- another graph\n" in capsys.readouterr().err


def failures(folder: Path) -> int:
    write_data(folder)
    seen = Formatting()
    generated(seen, 4, 0, folder)
    return seen.failures


def test_the_recipes_of_the_tree_are_found() -> None:
    names = {source.name for source in recipes_of_the_tree()}
    assert {"quickstart.recipe", "school.recipe", "README-1.recipe", "E0502-1.recipe"} <= names
