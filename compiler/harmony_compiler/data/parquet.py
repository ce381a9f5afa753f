"""Parquet: the columns and first rows of such a file. pyarrow is imported here, and only for a recipe that
names one."""

from __future__ import annotations

from typing import Any, BinaryIO

from harmony_compiler.files import HEAD
from harmony_compiler.store.arrow_types import arrow_type_text
from harmony_compiler.store.tables import Table

ROWS = 1000
"""So many rows are read."""


def parquet_rows(stream: BinaryIO) -> Table:
    """The beginning of a Parquet file.

    Raises:
        ImportError: there is no pyarrow here.
    """
    import pyarrow as arrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(stream)
        types = {field.name: arrow_type_text(arrow, field.type) for field in file.schema_arrow}
        count = file.metadata.num_rows
        rows: list[dict[str, Any]] = []
        if count and file.metadata.row_group(0).total_byte_size <= 16 * HEAD:
            rows = next(file.iter_batches(batch_size=ROWS)).to_pylist()
    except (arrow.ArrowException, OSError, ValueError) as fault:
        said = str(fault).partition("\n")[0].partition(". ")[0].rstrip(".")
        return Table(unreadable=said[:1].lower() + said[1:])
    return Table(rows, whole=len(rows) == count, types=types, count=count)
