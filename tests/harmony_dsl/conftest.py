"""A small recipe that checks and runs, a home of its own for every test, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from dsl_support import SMALL, Harmonyc, Outcome, Write

from harmony_dsl.cli.main import main


@pytest.fixture(autouse=True)
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, with an empty registry."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HARMONY_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("NO_COLOR", raising=False)
    return folder


@pytest.fixture
def harmonyc(capsys: pytest.CaptureFixture[str]) -> Harmonyc:
    """Run the command in this process."""

    def call(*arguments: str) -> Outcome:
        code = main(arguments)
        out, err = capsys.readouterr()
        return Outcome(code, out, err)

    return call


@pytest.fixture
def write(house: Path) -> Write:
    """Write `small.recipe` and its data; each pair replaces a text of the recipe that must be there."""

    def call(*changes: tuple[str, str], name: str = "small.recipe") -> Path:
        text = SMALL
        for old, new in changes:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        rows = [{"question": f"{n}+{n}", "answer": str(n + n)} for n in range(10)]
        (house / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        path = house / name
        path.write_text(text, encoding="utf-8")
        return path

    return call
