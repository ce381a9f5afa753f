"""JSON schemas of metadata: does every row have what a grader needs? No torch here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from harmony_runtime.failures import RunFailed
from harmony_runtime.graders.json_schemas import JsonSchema

_SHOWN = 5
"""Rows whose faults are told."""


def check_rows(rows: Sequence[Mapping[str, Any]], schema: Any, whose: str, grader: str) -> None:
    """Every row is sent as JSON, and must be as the schema says; `{}` takes everything.

    Raises:
        RunFailed: some are not, and the first of them are told, by their place from 1 on; or it is no JSON
            schema, and `whose` it is is the beginning of the message.
    """
    asked = JsonSchema(schema, whose)
    faulty = [(number, words) for number, row in enumerate(rows, 1) if (words := _fault(row, asked))]
    if faulty:
        told = "; ".join(f"row {number}: {words}" for number, words in faulty[:_SHOWN])
        more = "; …" if len(faulty) > _SHOWN else ""
        keys = schema.get("required") or schema.get("properties") or ["…"]
        needed = ", ".join(f"{key} = …" for key in keys)
        raise RunFailed(
            f"{grader} does not take the metadata of {len(faulty):,} of {len(rows):,} rows: {told}{more}. "
            f"Add to the dataset what it needs: `metadata = {{ {needed} }}`"
        )


def _fault(row: Mapping[str, Any], schema: JsonSchema) -> str:
    """What is wrong with a row, or an empty text."""
    try:
        return schema.fault(json.loads(json.dumps(dict(row), allow_nan=False)))
    except (TypeError, ValueError) as fault:
        return f"JSON cannot say it: {fault}"
    except RecursionError:
        return "it is nested too deep"
