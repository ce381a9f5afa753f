"""JSON schemas of metadata: does every row have what a grader needs? No torch here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from harmony_runtime.failures import RunFailed

try:
    from jsonschema import Draft202012Validator, exceptions, validators
    from referencing import Registry
    from referencing.exceptions import Unresolvable
except ImportError as fault:
    raise RunFailed(
        "to check rows against a JSON schema needs jsonschema: install `harmony-dsl[graders]`", exit_code=2
    ) from fault

_SHOWN = 5
"""Rows whose faults are told."""
_LONGEST = 160
"""Characters of a fault that are told: it may quote the row."""


class RowSchema:
    """The JSON schema that metadata must satisfy; `{}` takes everything."""

    def __init__(self, schema: Any, place: str) -> None:
        """`place` says whose schema it is, as the beginning of a message.

        Raises:
            RunFailed: it is no JSON schema.
        """
        if not isinstance(schema, dict):
            raise RunFailed(f"{place} is not a JSON schema: it is no object")
        self._place = place
        self._schema = schema
        dialect = validators.validator_for(schema, default=Draft202012Validator)
        try:
            dialect.check_schema(schema)
        except exceptions.SchemaError as fault:
            raise RunFailed(f"{place} is not a JSON schema: {_said(fault)}") from fault
        # An empty registry: a schema that refers to an address sends nobody there.
        self._validator = dialect(schema, registry=Registry())

    def check(self, rows: Sequence[Mapping[str, Any]], grader: str) -> None:
        """Every row is sent as JSON, and must be as the schema says.

        Raises:
            RunFailed: some are not. The first of them are told, by their place among `rows`, from 1 on.
        """
        faulty = [(number, words) for number, row in enumerate(rows, 1) if (words := self._fault(row))]
        if faulty:
            told = "; ".join(f"row {number}: {words}" for number, words in faulty[:_SHOWN])
            more = "; …" if len(faulty) > _SHOWN else ""
            raise RunFailed(
                f"{grader} does not take the metadata of {len(faulty):,} of {len(rows):,} rows: {told}{more}"
                f". Add to the dataset what it needs: `metadata = {self._needed()}`"
            )

    def _fault(self, row: Mapping[str, Any]) -> str:
        """What is wrong with a row, or an empty text."""
        try:
            sent = json.loads(json.dumps(dict(row), allow_nan=False))
        except (TypeError, ValueError) as fault:
            return f"JSON cannot say it: {fault}"
        try:
            worst = exceptions.best_match(self._validator.iter_errors(sent))
        except Unresolvable as fault:
            raise RunFailed(f"{self._place} refers to what it does not hold: {fault}") from fault
        return _said(worst) if worst else ""

    def _needed(self) -> str:
        """A record with the keys that the schema names, as recipes write it."""
        keys = self._schema.get("required") or self._schema.get("properties") or ["…"]
        return f"{{ {', '.join(f'{key} = …' for key in keys)} }}"


def _said(fault: exceptions.ValidationError | exceptions.SchemaError) -> str:
    """`tests[0]`: 5 is not of type 'string'."""
    place = fault.json_path.removeprefix("$").removeprefix(".")
    words = f"`{place}`: {fault.message}" if place else fault.message
    return words if len(words) <= _LONGEST else words[:_LONGEST] + "…"
