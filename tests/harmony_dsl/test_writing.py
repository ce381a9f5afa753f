"""Files that people wrote get their new text whole, or stay as they were."""

from __future__ import annotations

from pathlib import Path

import pytest

from harmony_dsl.cli.output import Refused
from harmony_dsl.cli.writing import write


def test_a_new_file_has_the_mode_of_new_files(house: Path) -> None:
    (house / "plain").write_text("x", encoding="utf-8")
    write(house / "new", None, b"text")
    assert (house / "new").read_bytes() == b"text"
    assert (house / "new").stat().st_mode == (house / "plain").stat().st_mode
    assert sorted(path.name for path in house.iterdir()) == ["new", "plain"]


def test_mode_and_link_stay(house: Path) -> None:
    (house / "real").write_bytes(b"old")
    (house / "real").chmod(0o640)
    (house / "link").symlink_to("real")
    write(house / "link", b"old", b"new")
    assert (house / "link").is_symlink()
    assert (house / "real").read_bytes() == b"new"
    assert (house / "real").stat().st_mode & 0o7777 == 0o640


@pytest.mark.parametrize(("before", "there"), [(None, b"theirs"), (b"old", b"theirs"), (b"old", None)])
def test_what_somebody_else_did_meanwhile_stays(
    before: bytes | None, there: bytes | None, house: Path
) -> None:
    if there is not None:
        (house / "file").write_bytes(there)
    with pytest.raises(Refused, match="was changed meanwhile, and is left as it is"):
        write(house / "file", before, b"mine")
    assert [path.read_bytes() for path in house.iterdir()] == ([] if there is None else [there])
