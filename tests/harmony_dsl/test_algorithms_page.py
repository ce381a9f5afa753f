"""The page about the algorithms says what the catalogue says."""

from __future__ import annotations

import re

import pytest
from dsl_support import ROOT

from harmony_compiler.explain.reference import written
from harmony_compiler.graph.algorithms import Algorithm, Dpo, Grpo, Ppo, Sft
from harmony_compiler.graph.catalogue import ALGORITHMS, class_of
from harmony_compiler.graph.measures import GRADED, GRADES, HIGHER, LOWER
from harmony_compiler.graph.models import ScratchModel
from harmony_compiler.graph.node import Constructor, schema
from harmony_compiler.graph.settings import Sampling

PAGE = (ROOT / "docs" / "algorithms.md").read_text(encoding="utf-8")

OF_A_GRADER = ("grade", "spread", "not_applicable", "failed")
"""What is measured of each grader, by its name."""


def rows(heading: str) -> list[list[str]]:
    """The cells of a section's table, its head aside."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    assert lines, heading
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.parametrize("cls", ALGORITHMS, ids=lambda cls: cls.constructor)
def test_the_page_has_the_formula_that_explain_prints(cls: type[Constructor]) -> None:
    section = PAGE.partition(f"\n## {cls.constructor}\n")[2].partition("\n## ")[0]
    equations = cls.formula.partition("\n\n")[0]
    assert f"```text\n{equations}\n```\n" in section


def test_the_defaults_of_the_page_are_those_of_the_catalogue() -> None:
    told = 0
    for name, here, *_ in rows("Defaults that differ"):
        classes = [Algorithm, ScratchModel] if name == "all" else [class_of(name.strip("`")), Sampling]
        for field, value in re.findall(r"`(\w+) = ([^`]+)`", here):
            (spec,) = [schema(cls)[field] for cls in classes if field in schema(cls)]
            assert written(spec.default) == value, field
            told += 1
    assert told > 12


def test_what_to_watch_is_logged() -> None:
    for name, *cells in rows("What to watch"):
        cls = class_of(name.strip("`"))
        assert issubclass(cls, Algorithm)
        fields = {*schema(cls), "preview"}
        for word in re.findall(r"`(\w+)`", " ".join(cells)):
            assert word in {*cls.measures, *fields}, (name, word)


@pytest.mark.parametrize("cls", ALGORITHMS, ids=lambda cls: cls.constructor)
def test_the_metrics_of_the_catalogue_are_documented(cls: type[Constructor]) -> None:
    assert issubclass(cls, Algorithm)
    page = (ROOT / "docs" / "run-folder.md").read_text(encoding="utf-8")
    table = page.partition("\n## metrics.jsonl\n")[2].partition(f"\n### {cls.constructor}\n")[2]
    table = re.split(r"\n###? ", table)[0]
    cells = re.findall(r"^\| (`.+?`) \| ", table, re.MULTILINE)
    told = {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}
    of_graders = {f"{what}/NAME" for what in OF_A_GRADER} if issubclass(cls, Grpo | Ppo) else set()
    assert told - {"stage", "step"} == {*cls.measures, *of_graders}


def test_what_a_validation_measures_is_documented_and_which_way_is_better() -> None:
    page = (ROOT / "docs" / "run-folder.md").read_text(encoding="utf-8")
    section = re.split(r"\n##+ ", page.partition("\n### validation\n")[2])[0]
    cells = re.findall(r"^\| (`validation_.+?`) \| ", section, re.MULTILINE)
    told = {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}
    of_graders = {f"validation_{what}/NAME" for what in OF_A_GRADER}
    assert told == {*GRADED, *of_graders, *(name for cls in (Sft, Dpo) for name in cls.validates)}
    for way, metrics in (("higher", {*HIGHER, *(f"{start}NAME" for start in GRADES)}), ("lower", LOWER)):
        (row,) = re.findall(rf"^\| {way} \| (.+) \|$", section, re.MULTILINE)
        assert set(re.findall(r"`([^`]+)`", row)) == set(metrics)
    measured = {name for cls in (Sft, Dpo, Grpo, Ppo) for name in (*cls.measures, *cls.validates)}
    assert measured | set(GRADED) >= HIGHER | LOWER
