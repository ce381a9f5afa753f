"""Mapping: from a raw row to a thread, by the templates of a dataset node."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harmony_compiler.graph.datasets import Rows
from harmony_compiler.store.rows import read_bytes
from harmony_grammar.diagnostics import Diagnostic
from harmony_runtime.data.faults import Faults, TemplateFailed
from harmony_runtime.data.sources import RawRow, RawRows
from harmony_runtime.failures import RunFailed
from harmony_runtime.models.chat import Message
from harmony_runtime.templates import Template, TemplateFaultError

ROLES = {"system": "system", "prompt": "user", "completion": "assistant"}
"""The field of a dataset that fills a turn, and whose turn it is; in the order of the turns."""


@dataclass(frozen=True)
class Thread:
    messages: list[Message]
    metadata: dict[str, str]
    origin: RawRow


class Mapping:
    """The templates of a dataset node, compiled."""

    def __init__(self, node: Rows, where: str) -> None:
        self._where = where.removesuffix(": ")
        turns = {field: getattr(node, field) for field in ROLES}
        try:
            self._turns = {f: Template(text) for f, text in turns.items() if text is not None}
            self._metadata = {f: Template(text) for f, text in (node.metadata or {}).items()}
        except TemplateFaultError as fault:
            raise RunFailed(f"{where}a template cannot be read: {fault}") from fault

    def threads(self, rows: RawRows, faults: Faults) -> Iterator[Thread]:
        """The thread of each row; a row that has none goes to `faults`."""
        for row in rows:
            columns = _columns(row, faults)
            if columns is None:
                continue
            turns = self._fill(self._turns, "", columns, row, faults)
            metadata = self._fill(self._metadata, "metadata.", columns, row, faults)
            if turns is not None and metadata is not None:
                yield Thread(
                    [{"role": ROLES[f], "content": text} for f, text in turns.items()], metadata, row
                )

    def _fill(
        self,
        templates: dict[str, Template],
        prefix: str,
        columns: dict[str, Any],
        row: RawRow,
        faults: Faults,
    ) -> dict[str, str] | None:
        filled: dict[str, str] = {}
        for field, template in templates.items():
            try:
                filled[field] = template.fill(columns)
            except TemplateFaultError as fault:
                faults.add(
                    TemplateFailed(
                        span=row.span(), field=prefix + field, reason=str(fault), template_place=self._where
                    )
                )
                return None
        return filled


def _columns(row: RawRow, faults: Faults) -> dict[str, Any] | None:
    found = read_bytes(Path(row.name), row.line, row.text)
    if isinstance(found, Diagnostic):
        faults.add(found)
        return None
    return found
