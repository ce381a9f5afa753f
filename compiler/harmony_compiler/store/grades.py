"""Grades that are kept between runs: the file `HOME/cache/grades.sqlite`.

One table, a row a grade: `key` hashes what was asked, of whom, and about which completion; `grade` is JSON as
`samples.jsonl` has it; `tokens` is what it cost; `made` is when, in seconds since 1970. SQLite lets several
runs and processes read and write it at the same time, and a crash leaves it whole.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from harmony_grammar.records import Record

_PATIENCE = 10.0
"""Seconds that one who reads or writes waits for another one that writes."""


class Held(Record):
    """What a file of grades holds."""

    grades: int
    size: int
    """In bytes."""


def connect(path: Path) -> sqlite3.Connection:
    """The file, made where it is not there; every statement is a transaction of its own.

    Raises:
        OSError, sqlite3.Error: it cannot be opened.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    opened = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)
    try:
        opened.execute("PRAGMA journal_mode = WAL")
        opened.execute("PRAGMA synchronous = NORMAL")
        opened.execute(
            "CREATE TABLE IF NOT EXISTS grades (key TEXT PRIMARY KEY, grade TEXT, tokens INTEGER, made REAL)"
        )
    except UnicodeDecodeError as fault:  # SQLite quotes what it stumbles over
        opened.close()
        raise sqlite3.DatabaseError("it is damaged: what should be text in it is none") from fault
    return opened


def held(path: Path) -> Held:
    """What there is.

    Raises:
        OSError, sqlite3.Error: it cannot be read.
    """
    if not path.exists():
        return Held(0, 0)
    with closing(connect(path)) as opened:
        (count,) = opened.execute("SELECT count(*) FROM grades").fetchone()
    return Held(count, path.stat().st_size)


def forget(path: Path, before: float | None = None) -> int:
    """Remove the grades that were made before a moment, by default all, and give how many those were.

    Raises:
        OSError, sqlite3.Error: it cannot be written.
    """
    if not path.exists():
        return 0
    with closing(connect(path)) as opened:
        gone = opened.execute("DELETE FROM grades WHERE made < ?", (before or float("inf"),)).rowcount
        opened.execute("VACUUM")
    return gone
