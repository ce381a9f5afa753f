"""Files and folders that are whole or not there, and that tell when they were damaged."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harmony_runtime.disk.folders import SUMS, faults_of, seal, seal_anew, whole, write_text
from harmony_runtime.disk.lines import Lines


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    folder = tmp_path / "sealed"
    with whole(folder) as growing:
        (growing / "inner").mkdir()
        (growing / "model.safetensors").write_bytes(bytes(range(256)) * 16)
        (growing / "inner" / "é config.json").write_text("{}")
        (growing / "empty").write_bytes(b"")
        seal(growing)
    return folder


# --- seals ----------------------------------------------------------------------------------------------


def test_a_sealed_folder_is_whole(sealed: Path) -> None:
    assert faults_of(sealed) == ""
    names = [line.split("  ")[1] for line in (sealed / SUMS).read_text().splitlines()]
    assert names == ["empty", "inner/é config.json", "model.safetensors"]


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="there is no `sha256sum`")
def test_the_seal_is_what_people_can_check(sealed: Path) -> None:
    check = ["sha256sum", "--check", "--strict", "--quiet", SUMS]
    assert subprocess.run(check, cwd=sealed, check=False, capture_output=True).returncode == 0
    (sealed / "empty").write_text("no more")
    assert subprocess.run(check, cwd=sealed, check=False, capture_output=True).returncode == 1


def flipped(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "flipped": (lambda folder: flipped(folder / "model.safetensors"), "`model.safetensors` has changed"),
    "cut": (lambda folder: (folder / "model.safetensors").write_bytes(b"\x00"), "`model.safetensors` has"),
    "emptied": (lambda folder: (folder / "model.safetensors").write_bytes(b""), "`model.safetensors` has"),
    "grown": (lambda folder: (folder / "empty").write_bytes(b"\n"), "`empty` has changed"),
    "missing": (lambda folder: (folder / "empty").unlink(), "`empty` is missing"),
    "a folder": (
        lambda folder: ((folder / "empty").unlink(), (folder / "empty").mkdir()),
        "`empty` is missing",
    ),
    "no seal": (lambda folder: (folder / SUMS).unlink(), "never sealed, for `SHA256SUMS` is missing"),
    "empty seal": (lambda folder: (folder / SUMS).write_bytes(b""), "`SHA256SUMS` is empty"),
    "torn seal": (
        lambda folder: (folder / SUMS).write_bytes((folder / SUMS).read_bytes()[:100]),
        "`SHA256SUMS` is damaged",
    ),
    "binary seal": (lambda folder: (folder / SUMS).write_bytes(b"\xff\x00\n"), "`SHA256SUMS` is damaged"),
    "a seal that is a folder": (
        lambda folder: ((folder / SUMS).unlink(), (folder / SUMS).mkdir()),
        "`SHA256SUMS` cannot be read",
    ),
    "flipped seal": (lambda folder: flipped(folder / SUMS), ""),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_told_in_words(name: str, sealed: Path) -> None:
    damage, words = DAMAGES[name]
    damage(sealed)
    fault = faults_of(sealed)
    assert fault and words in fault


def test_what_came_later_is_no_damage(sealed: Path) -> None:
    (sealed / ".DS_Store").write_text("")
    assert faults_of(sealed) == ""


def test_one_file_is_sealed_anew(sealed: Path) -> None:
    (sealed / "empty").write_text("rewritten")
    (sealed / "model.safetensors").write_text("rewritten")
    seal_anew(sealed, "empty")
    assert "`model.safetensors`" in faults_of(sealed)
    seal_anew(sealed, "model.safetensors")
    before = (sealed / SUMS).read_bytes()
    seal(sealed)
    assert (sealed / SUMS).read_bytes() == before


# --- files ----------------------------------------------------------------------------------------------


def test_a_file_gives_way_when_the_next_one_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "manifest.json", "old")

    def full(self: Path, text: str, **options: str) -> int:
        with self.open("w") as file:
            file.write(text[:2])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="No space"):
            write_text(tmp_path / "manifest.json", "new and long")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("manifest.json", "old")]
    write_text(tmp_path / "manifest.json", "new")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("manifest.json", "new")]


# --- lines ----------------------------------------------------------------------------------------------


def line(stage: str, step: int, **more: object) -> dict[str, object]:
    return {"stage": stage, "step": step, **more}


@pytest.fixture
def lines(tmp_path: Path) -> Lines:
    """Lines of two stages, of the second three steps."""
    lines = Lines(tmp_path / "metrics.jsonl")
    lines.append(line("one", 1), line("one", 2))
    lines.append(*(line("two", step, text="é") for step in (1, 2, 3)))
    return lines


def held(lines: Lines) -> list[tuple[str, int]]:
    read = [json.loads(text) for text in lines.path.read_text(encoding="utf-8").splitlines()]
    return [(found["stage"], found["step"]) for found in read]


def test_the_length_is_that_of_the_file(lines: Lines, tmp_path: Path) -> None:
    assert lines.length() == lines.path.stat().st_size > 0
    none = Lines(tmp_path / "none.jsonl")
    none.sync()
    none.cut_back("one", 0)
    assert none.length() == 0 and not none.path.exists()


def test_lines_are_cut_back_to_a_step_of_one_stage(lines: Lines) -> None:
    lines.cut_back("two", 1)
    assert held(lines) == [("one", 1), ("one", 2), ("two", 1)]
    lines.cut_back("two", 0)
    assert held(lines) == [("one", 1), ("one", 2)]


def test_what_a_checkpoint_knew_stays(lines: Lines) -> None:
    """Also a line of the next step, which was half done."""
    length = lines.length()
    lines.append(line("two", 3, late=True), line("two", 4))
    lines.cut_back("two", 2, beyond=length)
    assert lines.length() == length
    assert held(lines)[-1] == ("two", 3)


TORN = {
    "in the middle": b'{"stage": "two", "st',
    "before its end": b'{"stage": "one", "step": 2}',
    "blocks that never came": b"\x00" * 512,
    "such blocks and a whole line": b"\x00" * 512 + b'ep": 2}\n{"stage": "two", "step": 3}\n',
    "no line of ours": b"[1, 2]\n",
}


@pytest.mark.parametrize("name", TORN)
def test_a_torn_line_is_cut(name: str, lines: Lines) -> None:
    lines.cut_back("two", 2)
    before = lines.path.read_bytes()
    with lines.path.open("ab") as file:
        file.write(TORN[name])
    lines.cut_back("two", 2, beyond=len(before))
    assert lines.path.read_bytes() == before


def test_a_number_that_json_does_not_know_is_not_written(lines: Lines) -> None:
    before = lines.path.read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        lines.append(line("two", 4), line("two", 5, loss=float("nan")))
    assert lines.path.read_bytes() == before


def test_a_process_that_does_not_write_changes_nothing(lines: Lines) -> None:
    other = Lines(lines.path, writes=False)
    before = lines.path.read_bytes()
    other.append(line("two", 4))
    other.cut_back("one", 0)
    assert lines.path.read_bytes() == before
