"""The cache's folder, and hashes of files that are worked out once."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from harmony_compiler.store import hashes
from harmony_compiler.store.cache import ABOUT, entries, read_about, remove, sweep, tokens_folder, write_about
from harmony_compiler.store.files import content_hash, file_hash
from harmony_compiler.store.hashes import Hashes

LONG_AGO = 1_600_000_000


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files whose bytes were read; every size is worth remembering."""
    found: list[str] = []

    def reading(file: Path) -> str:
        found.append(file.name)
        return file_hash(file)

    monkeypatch.setattr(hashes, "file_hash", reading)
    monkeypatch.setattr(hashes, "WORTH_IT", 1)
    return found


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file has been as it is for a while."""
    monkeypatch.setattr(hashes, "time_ns", lambda: time.time_ns() + 10 * hashes.SETTLED)


def test_a_hash_is_worked_out_once(read: list[str], settled: None, tmp_path: Path) -> None:
    file, memory = tmp_path / "data", tmp_path / "cache" / "hashes.json"
    file.write_text("rows")
    first = Hashes(memory)
    found = [first.content(str(file)), first.content(str(file)), Hashes(memory).content(str(file))]
    assert found == [content_hash(str(file))] * 3
    assert read == ["data"]


def test_folders_too(read: list[str], settled: None, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / name).write_text(name)
    for _ in range(2):
        assert Hashes(tmp_path / "memory").content(str(folder)) == content_hash(str(folder))
    assert read == ["a", "b"]


@pytest.mark.parametrize("keeping", ["nothing", "size", "size and time"])
def test_what_changes_is_hashed_again(keeping: str, read: list[str], settled: None, tmp_path: Path) -> None:
    file, known = tmp_path / "data", Hashes(tmp_path / "memory")
    file.write_text("rows")
    os.utime(file, (LONG_AGO, LONG_AGO))
    before = known.content(str(file))
    file.write_text("ro" if keeping == "nothing" else "ROWS")
    if keeping == "size and time":
        os.utime(file, (LONG_AGO, LONG_AGO))
    after = known.content(str(file))
    assert after == content_hash(str(file)) != before
    assert len(read) == 2


def test_another_file_in_its_place_is_hashed(read: list[str], settled: None, tmp_path: Path) -> None:
    file, other, known = tmp_path / "data", tmp_path / "other", Hashes(tmp_path / "memory")
    for place, text in ((file, "rows"), (other, "ROWS")):
        place.write_text(text)
        os.utime(place, (LONG_AGO, LONG_AGO))
    before = known.content(str(file))
    other.replace(file)
    assert known.content(str(file)) != before


def test_what_has_just_changed_is_not_remembered(read: list[str], tmp_path: Path) -> None:
    """It may change again within the same tick of the clock."""
    file, known = tmp_path / "data", Hashes(tmp_path / "memory")
    file.write_text("rows")
    known.content(str(file))
    known.content(str(file))
    assert len(read) == 2
    assert not (tmp_path / "memory").exists()


@pytest.mark.parametrize("text", ["", "[]", '{"x": 3}', '{"FILE": [1]}', "\udcff"])
def test_a_memory_that_is_damaged_is_no_memory(
    text: str, read: list[str], settled: None, tmp_path: Path
) -> None:
    file, memory = tmp_path / "data", tmp_path / "memory"
    file.write_text("rows")
    memory.write_bytes(text.replace("FILE", str(file)).encode(errors="surrogateescape"))
    assert Hashes(memory).content(str(file)) == content_hash(str(file))


def test_a_memory_that_cannot_be_written_stops_nothing(
    read: list[str], settled: None, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file in the way")
    file = tmp_path / "data"
    file.write_text("rows")
    assert Hashes(tmp_path / "cache" / "hashes.json").content(str(file)) == content_hash(str(file))


def test_what_two_remember_is_remembered(read: list[str], settled: None, tmp_path: Path) -> None:
    first, second = Hashes(tmp_path / "memory"), Hashes(tmp_path / "memory")
    for name, known in (("a", first), ("b", second)):
        (tmp_path / name).write_text(name)
        known.content(str(tmp_path / name))
    third = Hashes(tmp_path / "memory")
    for name in "ab":
        third.content(str(tmp_path / name))
    assert read == ["a", "b"]


def test_the_memory_stays_small(
    read: list[str], settled: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashes, "MOST", 2)
    for name in "abc":
        (tmp_path / name).write_text(name)
        Hashes(tmp_path / "memory").content(str(tmp_path / name))
    known = Hashes(tmp_path / "memory")
    for name in "cba":
        known.content(str(tmp_path / name))
    assert read == [*"abc", "a"]


def made(cache: Path, key: str, used: float = LONG_AGO, **about: object) -> Path:
    folder = tokens_folder(cache) / key
    folder.mkdir(parents=True)
    (folder / "rows.arrow").write_bytes(b"x" * 100)
    told = {"kind": "threads", "dataset": "demos", "recipe": "a.recipe", "created": LONG_AGO, "notes": []}
    write_about(folder, {**told, "rows": {"read": 3, "kept": 2}, "tokens": {"all": 9}, **about})
    os.utime(folder / ABOUT, (used, used))
    return folder


def test_entries_say_what_they_are(tmp_path: Path) -> None:
    assert entries(tmp_path) == []
    made(tmp_path, "old")
    made(tmp_path, "new", LONG_AGO + 5, dataset="problems", kind="prompts")
    (tokens_folder(tmp_path) / ".unfinished-1").mkdir()
    new, old = entries(tmp_path)
    assert (new.key, new.kind, new.dataset, new.recipe) == ("new", "prompts", "problems", "a.recipe")
    assert (new.rows, new.tokens, new.created, new.used) == (2, 9, LONG_AGO, LONG_AGO + 5)
    assert new.size > 100
    assert old.key == "old"


def test_a_damaged_entry_is_seen(tmp_path: Path) -> None:
    folder = made(tmp_path, "key")
    assert read_about(folder) is not None
    (folder / "rows.arrow").write_bytes(b"x")
    assert read_about(folder) is None
    (entry,) = entries(tmp_path)
    assert (entry.kind, entry.rows) == ("", 0)
    remove(tmp_path, "key")
    assert entries(tmp_path) == []


def test_removing_an_entry_removes_its_lock(tmp_path: Path) -> None:
    folder = made(tmp_path, "key")
    lock = tokens_folder(tmp_path) / ".locks" / "key"
    lock.parent.mkdir()
    lock.touch()
    size = sum(file.stat().st_size for file in folder.iterdir())
    assert remove(tmp_path, "key") == size
    assert [place.name for place in tokens_folder(tmp_path).rglob("*")] == [".locks"]


def test_sweeping_leaves_what_is_being_made(tmp_path: Path) -> None:
    made(tmp_path, "key")
    for name, moment in (("crashed", LONG_AGO), ("growing", time.time())):
        left = tokens_folder(tmp_path) / f".unfinished-{name}"
        left.mkdir()
        (left / "rows.arrow").write_bytes(b"x" * 7)
        os.utime(left, (moment, moment))
    assert sweep(tmp_path) == 7
    names = {place.name for place in tokens_folder(tmp_path).iterdir()}
    assert names == {"key", ".unfinished-growing"}
