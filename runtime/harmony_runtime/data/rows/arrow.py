"""Rows of Arrow: what Parquet files and datasets of the hub hold, as JSON.

What JSON cannot say becomes text where people write it as one: dates and times by ISO 8601, decimals by their
digits. Bytes are a fault.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as arrow

from harmony_compiler.store.streams import Row
from harmony_runtime.failures import RunFailed


def rows_of(batches: Iterable[Any], first: int = 1) -> Iterator[Row]:
    """Each row of batches or tables, numbered from `first`."""
    number = first
    for batch in batches:
        for row in batch.to_pylist(maps_as_pydicts="strict"):
            yield Row(json.dumps(row, ensure_ascii=False, default=_said), number)
            number += 1


def refuse_unsayable(schema: Any, where: str, what: str) -> None:
    """Refuse columns that no row of JSON can hold; `what` is their source in words."""
    faults = [(field.name, held) for field in schema if (held := _unsayable(field.type))]
    if faults:
        columns = ", ".join(f"`{name}` ({held})" for name, held in faults)
        raise RunFailed(
            f"{where}{what} has columns that hold neither texts nor numbers: {columns}. Make texts of them, "
            "or leave them out of a copy"
        )


def _unsayable(type_: Any) -> str:
    """What a type holds that cannot be said in JSON, or ""."""
    kinds = arrow.types
    if kinds.is_binary(type_) or kinds.is_large_binary(type_) or kinds.is_fixed_size_binary(type_):
        return "bytes"
    if kinds.is_duration(type_) or kinds.is_interval(type_) or kinds.is_union(type_):
        return str(type_)
    if kinds.is_dictionary(type_):
        return _unsayable(type_.value_type)
    parts = (type_.field(number).type for number in range(type_.num_fields))
    return next(filter(None, map(_unsayable, parts)), "")


def _said(value: Any) -> str:
    match value:
        case datetime() | date() | time():
            return value.isoformat()
        case Decimal():
            return str(value)
    raise TypeError(f"JSON has no word for {type(value).__name__}")
