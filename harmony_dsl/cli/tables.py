"""Plain tables, and sizes in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns as wide as what is in them; one that is empty throughout is left out."""
    kept = [column for column in range(len(head)) if any(row[column] for row in rows)]
    widths = {column: max(len(row[column]) for row in (head, *rows)) for column in kept}
    for row in (head, *rows):
        yield "  ".join(f"{row[column]:{widths[column]}}" for column in kept).rstrip()


def size(count: int) -> str:
    """A number of bytes: `340 bytes`, `1.2 MB`."""
    if count < 1000:
        return f"{count} byte{'' if count == 1 else 's'}"
    units = ("kB", "MB", "GB", "TB")
    power = next((n for n in range(1, len(units)) if count < 999.95 * 1000**n), len(units))
    return f"{count / 1000**power:.1f} {units[power - 1]}"
