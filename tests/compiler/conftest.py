"""Every test works in a folder of its own, with the data of `compiler_support` in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from compiler_support import fill


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def registry(folder: Path) -> Path:
    """A registry that holds one model."""
    return fill(folder)
