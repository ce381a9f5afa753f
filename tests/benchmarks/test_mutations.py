"""The mutations of the checker still fit its text; whether each is caught, `make mutations` tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.mutations import MUTATIONS, ROOT, Mutation, files_of, mutated


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.what)
def test_what_it_changes_stands_there_once_and_is_python_after(mutation: Mutation) -> None:
    compile(mutated(mutation), mutation.file, "exec")
    assert [file for file in files_of(mutation) if not (ROOT / file).is_file()] == []


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "keys.py").write_text("a = 1\n", encoding="utf-8")
    with pytest.raises(ValueError, match="0 times"):
        mutated(Mutation("nothing", "keys.py", "b = 1", ""), tmp_path)
