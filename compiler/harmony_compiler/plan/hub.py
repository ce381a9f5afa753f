"""The hub's cache on this machine, as `huggingface_hub` lays it out: a folder a repository, with a folder a
commit under `snapshots`, and under `refs` which commit a branch or a tag was when it was last looked up."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from harmony_compiler.files import Files

_LONGEST_COMMIT = 256


def cached(repository: str, revision: str | None, files: Files) -> Path | None:
    """The folder of a model that was loaded here before; None where there is none. No network is asked."""
    folder = _cache() / f"models--{repository.replace('/', '--')}"
    commit = str(revision or "main")
    if not _is_below(commit):
        return None
    with suppress(OSError, ValueError):  # a revision may be a commit itself
        commit = files.head(folder / "refs" / commit, _LONGEST_COMMIT).decode().strip()
    if not _is_below(commit) or "/" in commit:
        return None
    snapshot = folder / "snapshots" / commit
    return snapshot if files.is_folder(snapshot) else None


def _is_below(name: str) -> bool:
    """Whether a name, such as that of a branch, leads from a folder to something in it, on any system. In
    names of branches and tags git allows neither of the signs that Windows reads in paths."""
    return not {"", ".", ".."} & set(name.split("/")) and not {"\\", ":", "\0"} & set(name)


def _cache() -> Path:
    """Where the libraries keep it, by the variables that they read."""
    if named := os.environ.get("HF_HUB_CACHE"):
        return Path(named)
    others = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("HF_HOME") or Path(others, "huggingface")) / "hub"
