"""`harmonyc cache`: what is kept between runs, and making room."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from pathlib import Path

import pytest
from dsl_support import Harmonyc, Write

from harmony_compiler.files import DISK
from harmony_compiler.store.cache import ABOUT, GRADES, entries, tokens_folder, write_about
from harmony_runtime.graders.kept import Kept
from harmony_runtime.graders.protocol import Score

DAY = 86400


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "home" / "cache"


def made(cache: Path, key: str, days: float, dataset: str = "demos") -> None:
    """An entry that was last used so many days ago."""
    folder = tokens_folder(cache) / key
    folder.mkdir(parents=True)
    (folder / "rows.arrow").write_bytes(b"x" * 2_000_000)
    used = time.time() - days * DAY
    counts = {"rows": {"read": 1000, "kept": 998}, "tokens": {"all": 201_500}}
    told = {"kind": "threads", "dataset": dataset, "recipe": "gsm8k.recipe", "created": used - DAY}
    write_about(folder, told | counts)
    os.utime(folder / ABOUT, (used, used))


def test_nothing_there(harmonyc: Harmonyc, cache: Path) -> None:
    told = harmonyc("cache")
    assert (told.code, told.err) == (0, "")
    assert told.out == (
        f"the cache {cache} is empty; runs put datasets in tokens there, and grades that cost something\n"
    )
    assert harmonyc("cache", "clear").out == "removed 0 datasets in tokens, 0 bytes\n"


def test_grades_are_counted_and_cleared(harmonyc: Harmonyc, cache: Path) -> None:
    warned: list[str] = []
    kept = Kept(cache / GRADES, warned.append)
    for key in ("a", "b", "c"):
        kept.put(key, Score(1.0), 12)
    kept.close()
    with sqlite3.connect(cache / GRADES) as database:
        database.execute("UPDATE grades SET made = 0 WHERE key = 'a'")
    database.close()
    (line,) = harmonyc("cache").out.splitlines()
    assert line.startswith("3 grades, ") and line.endswith(f", in {cache / GRADES}")
    assert json.loads(harmonyc("cache", "--json").out)["grades"]["grades"] == 3
    assert (
        harmonyc("cache", "clear", "--older-than", "1d").out
        == "removed 0 datasets in tokens, 0 bytes, and 1 grade\n"
    )
    assert harmonyc("cache", "clear").out == "removed 0 datasets in tokens, 0 bytes, and 2 grades\n"
    assert not warned
    (cache / GRADES).write_text("no database " * 100)
    told = harmonyc("cache")
    assert told.code == 2
    assert "grades.sqlite cannot be read or written: file is not a database; to remove it" in told.err


def test_the_list(harmonyc: Harmonyc, cache: Path) -> None:
    made(cache, "a" * 32, 3.1, "problems")
    made(cache, "b" * 32, 0)
    (tokens_folder(cache) / ("c" * 32)).mkdir()
    assert harmonyc("cache").out.splitlines() == [
        "key           dataset   recipe        as       rows  tokens   size     made        last used",
        "bbbbbbbbbbbb  demos     gsm8k.recipe  threads  998   201,500  2.0 MB   1 day ago   just now",
        "aaaaaaaaaaaa  problems  gsm8k.recipe  threads  998   201,500  2.0 MB   4 days ago  3 days ago",
        "cccccccccccc  damaged                                         0 bytes",
        f"3 datasets, 4.0 MB, in {cache}",
    ]
    listed = json.loads(harmonyc("cache", "list", "--json").out)
    assert listed["cache"] == str(cache)
    assert [(entry["key"][0], entry["rows"]) for entry in listed["tokens"]] == [
        ("b", 998),
        ("a", 998),
        ("c", 0),
    ]


def test_removing_some(harmonyc: Harmonyc, cache: Path) -> None:
    for key in ("abc", "abd", "e"):
        made(cache, key, 1)
    told = harmonyc("cache", "rm", "abc", "e", "e")
    assert (told.code, told.out) == (0, "removed 2 datasets in tokens, 4.0 MB\n")
    assert [entry.key for entry in entries(cache)] == ["abd"]


def test_what_cannot_be_removed_removes_nothing(harmonyc: Harmonyc, cache: Path) -> None:
    for key in ("abc", "abd"):
        made(cache, key, 1)
    for words, reason in {
        ("abc", "x"): "has no key that begins with `x`",
        ("ab",): "`ab` begins 2 keys: abc, abd",
    }.items():
        told = harmonyc("cache", "rm", *words)
        assert told.code == 1
        assert reason in told.err
    assert len(entries(cache)) == 2


def test_clearing(harmonyc: Harmonyc, cache: Path) -> None:
    for key, days in (("old", 31), ("used", 2)):
        made(cache, key, days)
    assert harmonyc("cache", "clear", "--older-than", "30d").out == "removed 1 dataset in tokens, 2.0 MB\n"
    assert [entry.key for entry in entries(cache)] == ["used"]
    assert harmonyc("cache", "clear").code == 0
    assert entries(cache) == []


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("sweep",), "`cache` cannot `sweep`"),
        (("claer",), "did you mean `clear`?"),
        (("rm",), "`rm` takes one key or more; `clear` removes all"),
        (("list", "a"), "`list` takes no key; `rm` does"),
        (("clear", "a"), "`clear` takes no key"),
        (("clear", "--json"), "`--json` belongs to `list`"),
        (("list", "--older-than=1d"), "`--older-than` belongs to `clear`"),
        (("clear", "--older-than=1m"), "`1m` is no age such as 30d, 12h"),
        (("clear", "--older-than=-1d"), "`-1d` is no age"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_usage(words: tuple[str, ...], reason: str, harmonyc: Harmonyc) -> None:
    told = harmonyc("cache", *words)
    assert told.code == 2
    assert reason in told.err


def test_a_run_fills_the_cache_and_the_next_one_uses_it(
    harmonyc: Harmonyc, write: Write, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = str(write())
    assert harmonyc("run", recipe).code == 0
    (entry,) = entries(cache)
    assert (entry.kind, entry.dataset, entry.recipe, entry.rows) == ("threads", "sums", recipe, 10)

    def opened(*_: object) -> None:
        raise AssertionError("a source was opened")

    monkeypatch.setattr("harmony_runtime.data.rows.sources.RawRows._source", opened)
    assert harmonyc("run", recipe, "--set", "key=other").code == 0
    assert [entry.key for entry in entries(cache)] == [entry.key]


def test_a_run_holds_no_rows_that_the_checker_has_read(harmonyc: Harmonyc, write: Write) -> None:
    recipe = str(write())
    os.utime("sums.jsonl", (1e9, 1e9))  # what has just changed is not held at all
    assert harmonyc("check", recipe).code == 0
    assert DISK._kept
    assert harmonyc("run", recipe).code == 0
    assert not DISK._kept
