"""JSON in a completion, and what a schema asks of it. No torch here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NoReturn

from harmony_compiler.graph import graders as nodes
from harmony_runtime.graders.kinds import Rule
from harmony_runtime.graders.protocol import Failure, Grade, Sample, Score

if TYPE_CHECKING:
    from harmony_runtime.graders.json_schemas import JsonSchema


class JsonValid(Rule):
    def __init__(self, node: nodes.JsonValid) -> None:
        self._schema: JsonSchema | None = None
        if node.schema is not None:
            from harmony_runtime.graders.json_schemas import JsonSchema

            # A graph holds lists as tuples.
            self._schema = JsonSchema(json.loads(json.dumps(node.schema)), "`schema`", killable=True)
            self.may_hang = self._schema.may_hang

    def apply(self, sample: Sample) -> Grade:
        try:
            value = json.loads(sample.completion, parse_constant=_no_json)
        except json.JSONDecodeError as fault:
            return Score(0.0, f"it is no JSON: {fault}")
        except ValueError as fault:
            return Score(0.0, f"it is no JSON that can be read: {fault}")
        except RecursionError:
            return Score(0.0, "it is no JSON that can be read: it is nested too deep")
        try:
            wrong = self._schema.fault(value) if self._schema else ""
        except RecursionError:
            return Failure("`schema` or the completion is nested too deep")
        return Score(0.0, wrong) if wrong else Score(1.0)


def _no_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is Python's, not JSON's")
