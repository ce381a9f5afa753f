"""Inputs that searches found worth keeping: each is read without a failure, as it was when it was kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.fuzz.corpus import CORPUS, inputs_of, name_of, smallest
from benchmarks.fuzz.folder import HOME, furnish
from benchmarks.fuzz.hunt import what_fails
from benchmarks.fuzz.targets import TARGETS, Target, calls, first_inputs


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("fuzz").resolve()
    furnish(place)
    return place


@pytest.fixture(autouse=True)
def _folder(furnished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(furnished)
    monkeypatch.setenv("HARMONY_HOME", str(furnished / HOME))


@pytest.mark.parametrize("name", TARGETS)
def test_no_kept_input_makes_harmony_fail(name: str) -> None:
    target = TARGETS[name]
    inputs = [*first_inputs(target), *inputs_of(CORPUS / name), b""]
    failures = {name_of(data): said for data in inputs if isinstance(said := what_fails(target, data), tuple)}
    assert failures == {}


def test_every_target_begins_with_an_input_that_is_right() -> None:
    for name, target in TARGETS.items():
        kinds = {sign for data in first_inputs(target)[:1] for sign in target.signs(data)}
        assert not [kind for kind in kinds if kind.startswith("error")], name


def test_the_corpus_is_of_the_targets_that_are() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} <= set(TARGETS)
    wrong = [path for path in CORPUS.glob("*/*") if path.name != name_of(path.read_bytes())]
    assert wrong == []


def test_a_failure_is_seen_and_made_small(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        if "boom" in Path("settings.txt").read_text(encoding="utf-8"):
            raise LookupError("boom")
        return 0

    monkeypatch.setattr("harmony_dsl.cli.inputs.execute", fail)
    target = Target(calls("inputs inputs.recipe"), "settings.txt")
    said = what_fails(target, b"left boom right")
    assert isinstance(said, tuple)
    assert "LookupError" in said[0]
    assert "boom" in said[1]
    assert (
        smallest(b"left boom right", lambda data: isinstance(what_fails(target, data), tuple), 10) == b"boom"
    )
