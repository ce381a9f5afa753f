"""Grades that are kept between runs: what was asked once need not be asked and paid again. No torch here.

The file is described in `harmony_compiler.store.grades`.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harmony_compiler.store.grades import connect
from harmony_runtime.graders.answered import grade_json, grade_of_json
from harmony_runtime.graders.protocol import Grade


@dataclass(frozen=True)
class Known:
    grade: Grade
    tokens: int


class Kept:
    """Used in one thread. Where the disk refuses, it is said, and nothing is known or kept."""

    def __init__(self, path: Path, warn: Callable[[str], None]) -> None:
        self._path = path
        self._warn = warn
        self._opened: sqlite3.Connection | None = None
        self._is_broken = False

    def get(self, key: str) -> Known | None:
        rows = self._run("SELECT grade, tokens FROM grades WHERE key = ?", (key,))
        try:
            return Known(grade_of_json(json.loads(rows[0][0])), rows[0][1]) if rows else None
        except (ValueError, LookupError, TypeError, AttributeError):  # somebody else wrote there
            return None

    def put(self, key: str, grade: Grade, tokens: int) -> None:
        told = json.dumps(grade_json(grade))
        self._run("INSERT OR REPLACE INTO grades VALUES (?, ?, ?, ?)", (key, told, tokens, time.time()))

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _run(self, statement: str, values: tuple[str | float, ...]) -> list[tuple[str, int]]:
        if self._is_broken:
            return []
        try:
            return self._open().execute(statement, values).fetchall()
        except (sqlite3.Error, OSError) as fault:
            self._is_broken = True
            self._warn(f"grades are not kept: {self._path}: {fault}")
            return []

    def _open(self) -> sqlite3.Connection:
        if self._opened is None:
            self._opened = connect(self._path)
        return self._opened
