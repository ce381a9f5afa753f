"""Mapping: from a raw row to turns and metadata, by the templates of a dataset node."""

from __future__ import annotations

from typing import Any

from harmony_compiler.graph.datasets import Rows
from harmony_grammar.diagnostics import Diagnostic
from harmony_runtime.data.faults import Faults, TemplateFailed
from harmony_runtime.data.rows import RawRow
from harmony_runtime.failures import RunFailed
from harmony_runtime.graders.protocol import Turn
from harmony_runtime.templates import Template, TemplateFaultError

ROLES = {"system": "system", "prompt": "user", "completion": "assistant"}
"""The field of a dataset that fills a turn, and whose turn it is; in the order of the turns."""


class RowMapping:
    """The templates of a dataset node, compiled."""

    def __init__(self, node: Rows, where: str) -> None:
        self._where = where.removesuffix(": ")
        turns = {field: getattr(node, field) for field in ROLES}
        try:
            self._turns = {f: Template(text) for f, text in turns.items() if text is not None}
            self._metadata = {f: Template(text) for f, text in (node.metadata or {}).items()}
        except TemplateFaultError as fault:
            raise RunFailed(f"{where}a template cannot be read: {fault}") from fault

    def turns(self, row: RawRow, faults: Faults) -> tuple[tuple[Turn, ...], dict[str, Any]] | None:
        """The turns and the metadata of a row; None where it has none, which goes to `faults`."""
        columns = row.columns()
        if isinstance(columns, Diagnostic):
            faults.add(columns)
            return None
        turns = self._fill(self._turns, "", columns, row, faults)
        metadata = self._fill(self._metadata, "metadata.", columns, row, faults)
        if turns is None or metadata is None:
            return None
        return tuple({"role": ROLES[f], "content": text} for f, text in turns.items()), metadata

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
