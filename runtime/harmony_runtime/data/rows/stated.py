"""Stated columns: what a recipe says of columns that the compiler could not see, held against first rows."""

from __future__ import annotations

from collections.abc import Mapping

from harmony_compiler.graph.column_types import fits, read_type_text, type_of_values, type_text
from harmony_compiler.graph.types import JSON
from harmony_runtime.data.faults import Faults, StatedOtherwise
from harmony_runtime.data.rows.selection import Source

LOOKED_AT = 1000
"""So many rows are looked at."""


def check_stated(source: Source, columns: Mapping[str, str], where: str) -> None:
    """Refuse rows that are not as `columns` says. What is wrong with a row as such is not said here."""
    faults = Faults(where)
    stated = {name: read_type_text(text) or JSON for name, text in columns.items()}
    left, seen = set(stated), dict[str, None]()
    number = 0
    while number < LOOKED_AT and source.has(number):
        row, number = source[number], number + 1
        held = row.columns()
        if not isinstance(held, Mapping):
            continue
        seen |= dict.fromkeys(held)
        left -= held.keys()
        for name, wanted in stated.items():
            found = type_of_values([held.get(name)])
            if not fits(found, wanted):
                fault = StatedOtherwise(
                    span=row.span(),
                    column=name,
                    found=type_text(found),
                    stated=columns[name],
                    stated_place=where.removesuffix(": "),
                )
                faults.add(fault)
    if left and seen:
        missing = ", ".join(f"`{name}`" for name in columns if name in left)
        faults.add(
            f"{where}`columns` states {missing}, which none of the first {number:,} rows has; the columns "
            f"are: {', '.join(seen)}"
        )
    faults.raise_any()
