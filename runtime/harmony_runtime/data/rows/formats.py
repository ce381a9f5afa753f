"""Formats: from files to their rows, which are read one at a time however many there are."""

from __future__ import annotations

import errno
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import Any, BinaryIO, cast

import pyarrow as arrow
from pyarrow import parquet

from harmony_compiler.graph.datasets import Csv, Files, Json, JsonLines, Parquet
from harmony_compiler.store.files import GZIP
from harmony_compiler.store.streams import Row, csv_records, json_items
from harmony_compiler.store.tables import Fault
from harmony_runtime.data.faults import Faults
from harmony_runtime.data.rows.arrow import refuse_unsayable, rows_of
from harmony_runtime.data.rows.lines import Lines, Place, Spool
from harmony_runtime.failures import RunFailed

_BATCH = 1000
"""Rows of a Parquet file that are decoded at once."""


def rows_in(file: Path, format_: type[Files], where: str) -> Lines | Spool:
    """The rows of a file. JSON lines are read where they stand, all else is written as such once.

    Raises:
        RunFailed: it cannot be read, or rows are faulty.
    """
    place = Place(name_of(file), file)
    with _refusals(file, where):
        if format_ is JsonLines:
            return Lines(_unpacked(file), *place)
        spool, faults = Spool(place), Faults(where)
        with _unpacked(file) as opened:
            rows = _READERS[format_](opened, where, place.name)
            spool.add(_good(rows, Path(place.name), faults))
        faults.raise_any()
        return spool


def name_of(path: Path) -> str:
    """A path as people write it: from the working directory where it lies inside."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _good(rows: Iterator[Row | Fault], file: Path, faults: Faults) -> Iterator[Row]:
    for row in rows:
        if isinstance(row, Row):
            yield row
        else:
            faults.add(row(file))


def _json(file: BinaryIO, where: str, name: str) -> Iterator[Row | Fault]:
    return json_items(TextIOWrapper(file, encoding="utf-8-sig").read)


def _csv(file: BinaryIO, where: str, name: str) -> Iterator[Row | Fault]:
    return csv_records(TextIOWrapper(file, encoding="utf-8-sig", newline=""))


def _parquet(file: BinaryIO, where: str, name: str) -> Iterator[Row | Fault]:
    opened = parquet.ParquetFile(file)
    refuse_unsayable(opened.schema_arrow, where, name)
    yield from rows_of(opened.iter_batches(batch_size=_BATCH))


_READERS = {Json: _json, Csv: _csv, Parquet: _parquet}


def _unpacked(file: Path) -> BinaryIO:
    """A file, opened; of a compressed one what is in it, in a temporary file."""
    opened = file.open("rb")
    if opened.peek(len(GZIP))[: len(GZIP)] != GZIP:
        return opened
    with opened:
        # What jumps about in a file, as all readers of rows do, is slow in a compressed one.
        inside = TemporaryFile(prefix="harmony-")  # noqa: SIM115 - its rows are read from it
        copyfileobj(cast(Any, gzip.GzipFile(fileobj=opened)), inside)
    inside.seek(0)
    return cast(BinaryIO, inside)


@contextmanager
def _refusals(file: Path, where: str) -> Iterator[None]:
    """Turn what can be wrong with a file as a whole into words."""
    try:
        yield
    except UnicodeDecodeError as fault:
        line = _undecodable_line(file)
        raise RunFailed(f"{where}{file} cannot be read: line {line} is not UTF-8 text") from fault
    except (EOFError, zlib.error, gzip.BadGzipFile) as fault:
        raise RunFailed(f"{where}{file} cannot be decompressed: {_first_line(fault)}") from fault
    except arrow.ArrowException as fault:
        raise RunFailed(f"{where}{file} is no Parquet file that can be read: {_first_line(fault)}") from fault
    except OSError as fault:
        if fault.errno in (errno.ENOSPC, errno.EDQUOT):
            raise  # of the disk with the temporary file, not of this one
        raise RunFailed(f"{where}{file} cannot be read: {fault.strerror or fault}") from fault


def _undecodable_line(file: Path) -> int:
    with _unpacked(file) as opened:
        for number, line in enumerate(opened, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 0


def _first_line(fault: Exception) -> str:
    return str(fault).partition("\n")[0].rstrip(".")
