"""Whole files: every row of one, looked at once before it is registered."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import BinaryIO, cast

from harmony_compiler.store.files import GZIP
from harmony_compiler.store.rows import SHOWN, read_bytes
from harmony_compiler.store.streams import Row, csv_records, json_items
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.records import Record


class Counted(Record):
    """How many rows a file has, and what is wrong with some, of which the first are shown."""

    rows: int
    faults: tuple[Diagnostic, ...]
    faulty: int


def count_rows(file: Path, format_: str) -> Counted:
    """The rows of a file that a constructor called `format_` reads.

    Raises:
        OSError, EOFError, ValueError: it cannot be read.
        ImportError: it is Parquet, and there is no pyarrow here.
    """
    if format_ == "parquet":
        return Counted(_parquet(file), (), 0)
    rows, faulty, shown = 0, 0, list[Diagnostic]()
    with _opened(file) as opened:
        for fault in _faults(opened, file, format_):
            rows += fault is None
            faulty += fault is not None
            if fault is not None and len(shown) < SHOWN:
                shown.append(fault)
    return Counted(rows, tuple(shown), faulty)


def _faults(opened: BinaryIO, file: Path, format_: str) -> Iterator[Diagnostic | None]:
    """For each row what is wrong with it, or None."""
    if format_ == "jsonl":
        for number, line in enumerate(opened, 1):
            row = read_bytes(file, number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line)
            if row is not None:
                yield row if isinstance(row, Diagnostic) else None
        return
    newline = "" if format_ == "csv" else None
    text = TextIOWrapper(opened, encoding="utf-8-sig", newline=newline)
    for found in csv_records(text) if format_ == "csv" else json_items(text.read):
        yield None if isinstance(found, Row) else found(file)


def _parquet(file: Path) -> int:
    import pyarrow as arrow
    from pyarrow import parquet

    try:
        with _opened(file) as opened:
            return int(parquet.ParquetFile(opened).metadata.num_rows)
    except arrow.ArrowException as fault:
        raise ValueError(str(fault).partition("\n")[0].rstrip(".")) from fault


def _opened(file: Path) -> BinaryIO:
    opened = file.open("rb")
    packed = opened.peek(len(GZIP)).startswith(GZIP)
    return cast(BinaryIO, gzip.GzipFile(fileobj=opened)) if packed else opened
