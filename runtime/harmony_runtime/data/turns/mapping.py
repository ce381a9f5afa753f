"""Mapping: from a raw row to turns and metadata, by the templates and columns of a dataset node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from harmony_compiler.graph.datasets import MAPPED, Rows, kind_of_rows
from harmony_compiler.graph.settings import AllColumns, Column
from harmony_grammar.diagnostics import Diagnostic
from harmony_runtime.data.faults import Faults, TemplateFailed, UnequalPrompts, UnfitThread
from harmony_runtime.data.rows.raw import RawRow
from harmony_runtime.data.turns.columns import TurnColumn, TurnsFaultError
from harmony_runtime.failures import RunFailed
from harmony_runtime.graders.protocol import Turn
from harmony_runtime.templates import Template, TemplateFaultError

ROLES = {
    "system": "system",
    "prompt": "user",
    "completion": "assistant",
    "chosen": "assistant",
    "rejected": "assistant",
}
"""The field of a dataset that a template fills, and whose turn it is."""

Turns = tuple[Turn, ...]


class Mapped(NamedTuple):
    """What a row says. A row without an answer ends with a question: a prompt."""

    turns: Turns
    metadata: dict[str, Any]
    answers: tuple[Turns, Turns] | None = None
    """A better and a worse one, both to `turns`."""


class RowMapping:
    """The templates and columns of a dataset node, compiled.

    `answered` says that a thread without an assistant's turn is a fault.
    """

    def __init__(self, node: Rows, where: str, *, answered: bool = True) -> None:
        self._where = where.removesuffix(": ")
        self._kind = kind_of_rows({field: getattr(node, field) for field in MAPPED})
        self._answered = answered
        metadata = {} if isinstance(node.metadata, AllColumns) else node.metadata or {}
        self._all_columns = isinstance(node.metadata, AllColumns)
        self._passed = {key: part.name for key, part in metadata.items() if isinstance(part, Column)}
        self._columns: dict[str, TurnColumn] = {}
        self._templates: dict[str, Template] = {}
        self._left_out = False
        self._missing: dict[str, None] = {}
        try:
            for field in MAPPED:
                value = getattr(node, field)
                if isinstance(value, Column):
                    self._columns[field] = TurnColumn(value, field)
                elif value is not None:
                    self._templates[field] = Template(value)
            self._metadata = {
                key: Template(part) for key, part in metadata.items() if not isinstance(part, Column)
            }
        except TemplateFaultError as fault:
            raise RunFailed(f"{where}a template cannot be read: {fault}") from fault

    @property
    def notes(self) -> tuple[str, ...]:
        """What people should hear of the rows that were mapped so far."""
        notes = [
            f"{self._where}: nothing reads {', '.join(f'`{key}`' for key in column.ignored)} of the turns in "
            f"`{field}`"
            for field, column in self._columns.items()
            if column.ignored
        ]
        if self._left_out:
            notes.append(
                f"{self._where}: conversations that end with an answer are asked without it, as prompts"
            )
        if self._missing:
            names = ", ".join(f"`{name}`" for name in self._missing)
            notes.append(f"{self._where}: rows without {names} have none in their metadata")
        return tuple(notes)

    def of(self, row: RawRow, faults: Faults) -> Mapped | None:
        """What a row says; None where it says nothing, which goes to `faults`."""
        columns = row.columns()
        if isinstance(columns, Diagnostic):
            faults.add(columns)
            return None
        try:
            said = {field: self._turns(field, columns, row) for field in MAPPED if self._has(field)}
            metadata = self._metadata_of(columns, row)
            if self._kind == "Preference":
                return self._pair(said, metadata, row)
            return Mapped(self._thread(said, row), metadata)
        except TurnsFaultError as fault:
            faults.add(fault.fault)
            return None

    def _has(self, field: str) -> bool:
        return field in self._templates or field in self._columns

    def _turns(self, field: str, columns: Mapping[str, Any], row: RawRow) -> Turns:
        if field in self._columns:
            return self._columns[field].turns(columns, row)
        return ({"role": ROLES[field], "content": self._filled(self._templates[field], field, columns, row)},)

    def _filled(self, template: Template, field: str, columns: Mapping[str, Any], row: RawRow) -> str:
        try:
            return template.fill(columns)
        except TemplateFaultError as fault:
            raise TurnsFaultError(
                TemplateFailed(span=row.span(), field=field, reason=str(fault), template_place=self._where)
            ) from fault

    def _metadata_of(self, columns: Mapping[str, Any], row: RawRow) -> dict[str, Any]:
        if self._all_columns:
            return dict(columns)
        metadata: dict[str, Any] = {
            key: self._filled(template, f"metadata.{key}", columns, row)
            for key, template in self._metadata.items()
        }
        for key, name in self._passed.items():
            if name not in columns:
                self._missing[name] = None
            metadata[key] = columns.get(name)
        return metadata

    # --- threads ----------------------------------------------------------------------------------------

    def _thread(self, said: Mapping[str, Turns], row: RawRow) -> Turns:
        asked = said.get("messages", said.get("prompt", ()))
        if self._kind == "Prompt":
            return self._before(said, self._question(asked, row), row)
        turns = self._before(said, (*asked, *said.get("completion", ())), row)
        answers = said.get("completion", turns)
        if self._answered and not _roles(answers) & {"assistant"}:
            raise self._unfit(row, "has no turn of the assistant, so there is nothing to imitate")
        return turns

    def _question(self, turns: Turns, row: RawRow) -> Turns:
        """Turns up to the last question: a model gives the answer itself."""
        asked = turns
        while asked and asked[-1]["role"] == "assistant":
            asked = asked[:-1]
        if not _roles(asked) & {"user", "tool"}:
            raise self._unfit(row, "has no turn of the user, so there is nothing to answer")
        self._left_out |= len(asked) < len(turns)
        return asked

    def _before(self, said: Mapping[str, Turns], turns: Turns, row: RawRow) -> Turns:
        """Turns with the system's turn of the recipe before them."""
        system = said.get("system", ())
        if system and turns and turns[0]["role"] == "system":
            mend = "leave `system` out, or map the rows without their own"
            raise self._unfit(
                row, "begins with a system turn of its own, and `system` gives another one", mend
            )
        return (*system, *turns)

    def _unfit(self, row: RawRow, reason: str, mend: str = "") -> TurnsFaultError:
        return TurnsFaultError(UnfitThread(span=row.span(), reason=reason, mend=mend))

    # --- pairs ------------------------------------------------------------------------------------------

    def _pair(self, said: Mapping[str, Turns], metadata: dict[str, Any], row: RawRow) -> Mapped:
        asked = said.get("messages", said.get("prompt"))
        chosen, rejected = said["chosen"], said["rejected"]
        whole = [bool(answer) and answer[0]["role"] != "assistant" for answer in (chosen, rejected)]
        if asked is not None and not any(whole):
            if not asked or asked[-1]["role"] not in ("user", "tool"):
                raise self._unfit(row, "does not end with a question, where two answers are to follow")
            if not (chosen and rejected):
                raise self._unfit(row, "has no turn in one of its two answers")
            return Mapped(self._before(said, asked, row), metadata, (chosen, rejected))
        if not all(answer and answer[-1]["role"] == "assistant" for answer in (chosen, rejected)):
            raise self._unfit(row, "does not end with two answers of the assistant")
        start = _parting(chosen, rejected)
        if start is None or any(_roles(answer[start:]) & {"user", "system"} for answer in (chosen, rejected)):
            raise self._unequal(row, "`chosen` and `rejected` differ before their last answers")
        if asked is not None and asked != chosen[:start]:
            raise self._unequal(row, "`chosen` and `rejected` hold another conversation before their answers")
        return Mapped(self._before(said, chosen[:start], row), metadata, (chosen[start:], rejected[start:]))

    def _unequal(self, row: RawRow, reason: str) -> TurnsFaultError:
        return TurnsFaultError(UnequalPrompts(span=row.span(), reason=reason))


def _parting(chosen: Turns, rejected: Turns) -> int | None:
    """Where two conversations begin to answer: at the first answers that differ, else at the last ones."""
    most = min(len(chosen), len(rejected))
    at = next((n for n in range(most) if chosen[n] != rejected[n]), most - 1)
    for start in range(at, -1, -1):
        if chosen[start]["role"] == rejected[start]["role"] == "assistant":
            return start
    return None


def _roles(turns: Sequence[Turn]) -> set[str]:
    return {turn["role"] for turn in turns}
