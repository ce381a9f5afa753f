"""Filters: conditions in which the columns of a row are names.

A filter is a formula tree like that of a grader, whose leaves read columns. Columns shadow the names of the
recipe; where they are not known, a name that means nothing else is taken for one.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from harmony_compiler.data.heads import Head
from harmony_compiler.findings.data import NotInFilter, UnknownColumn
from harmony_compiler.graph.types import BOOL, CONDITION, JSON, NONE, ListOf, RecordOf, Type, options_of
from harmony_compiler.naming.names import GRADED
from harmony_compiler.naming.near import nearest
from harmony_compiler.rewards.formulas import formula_of
from harmony_compiler.typed import Graded, Read, Value, unknown
from harmony_grammar import syntax
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.records import Record, replace


class Row(Record):
    """The row that a condition speaks about."""

    head: Head

    def meaning(self, name: syntax.Name, others: Collection[str]) -> Value | Diagnostic | None:
        """What a name means here: a column, or a fault, or None where it is one of `others`."""
        names = self.head.names
        if name.text in (names or ()):
            return _column(name, _in_formulas(self.head.type_of(name.text)))
        if name.text in others and name.text not in GRADED:
            return None
        if names is None:
            return unknown(name.span) if self.head.faulty else _column(name, JSON)
        known = ", ".join(names)
        if name.text in GRADED:
            mend = "what depends on the completion is for a grader" if name.text == "completion" else ""
            return NotInFilter(span=name.span, name=name.text, columns=known, mend=mend)
        near = nearest(name.text, [*names, *others])
        return UnknownColumn(
            span=name.span,
            column=name.text,
            file=self.head.origin,
            columns=known,
            suggestion=near.name,
            fixes=near.fixes(name.span),
        )


class Desk(Protocol):
    """Who reads a filter."""

    def of_row(self, expression: syntax.Expression, row: Row, place: str) -> Value:
        """The value of a condition in which a row's columns are names."""
        ...


def read_filter(desk: Desk, head: Head, field: syntax.Field) -> Value:
    """The value of a dataset's `filter`: a condition on the columns, or none."""
    expression = field.value
    if isinstance(expression, syntax.Constant) and expression.value is None:
        return Value(NONE, None, expression.span)
    value = desk.of_row(expression, Row(head), "`filter`")
    if value.unknown:
        return value
    return replace(value, type=CONDITION, data=formula_of(replace(value, type=BOOL)), literal=None)


def _column(name: syntax.Name, type_: Type) -> Value:
    tree = ("read", "column", name.text)
    return Value(type_, Graded(tree, (Read(name.text, name.span),)), name.span)


def _in_formulas(type_: Type) -> Type:
    """The type of a column in a formula, through which `none` runs."""
    options = [option for option in options_of(type_) if option != NONE]
    if len(options) != 1 or isinstance(options[0], RecordOf):
        return JSON
    if isinstance(options[0], ListOf):
        return ListOf(_in_formulas(options[0].item))
    return options[0]
