"""The hub's cache on this machine: a commit by a branch, a tag or itself, and nothing beside the cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from harmony_compiler.files import DISK
from harmony_compiler.plan.hub import cached

COMMIT = "1" * 40


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of `some/tiny` in the cache, with one commit and a branch whose name has a slash."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    folder = tmp_path / "hub" / "models--some--tiny"
    (folder / "snapshots" / COMMIT).mkdir(parents=True)
    (folder / "refs" / "topic").mkdir(parents=True)
    for name in ("main", "topic/one"):
        (folder / "refs" / name).write_text(COMMIT, encoding="utf-8")
    return folder


@pytest.mark.parametrize("revision", [None, "main", "topic/one", COMMIT])
def test_a_commit_is_found(revision: str | None, repository: Path) -> None:
    assert cached("some/tiny", revision, DISK) == repository / "snapshots" / COMMIT


def test_what_is_not_there_is_none(repository: Path) -> None:
    assert cached("some/tiny", "dev", DISK) is cached("some/other", None, DISK) is None
    assert repository.is_dir()


@pytest.mark.parametrize("revision", [".", "..", "../outside", "topic/../../snapshots", "/", "a//b", "a\\b"])
def test_a_revision_leads_nowhere_else(revision: str, repository: Path) -> None:
    (repository / "outside").mkdir()
    assert cached("some/tiny", revision, DISK) is None


def test_an_absolute_revision_leads_nowhere_else(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    assert cached("some/tiny", str(tmp_path / "model"), DISK) is None
    (tmp_path / "branch").write_text(COMMIT, encoding="utf-8")
    assert cached("some/tiny", str(tmp_path / "branch"), DISK) is None


@pytest.mark.parametrize("text", ["", ".", "..", "../refs/topic", "sub/commit", "ROOT"])
def test_a_ref_leads_to_a_commit_alone(text: str, repository: Path, tmp_path: Path) -> None:
    (repository / "snapshots" / "sub" / "commit").mkdir(parents=True)
    (repository / "refs" / "main").write_text(text.replace("ROOT", str(tmp_path)), encoding="utf-8")
    assert cached("some/tiny", None, DISK) is None
