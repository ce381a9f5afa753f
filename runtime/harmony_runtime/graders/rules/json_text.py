"""JSON in a completion, and what a schema asks of it. No torch here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from harmony_compiler.graph import graders as nodes
from harmony_runtime.failures import RunFailed
from harmony_runtime.graders.kinds import Rule
from harmony_runtime.graders.protocol import Failure, Grade, Sample, Score
from harmony_runtime.graders.rules.patterns import may_hang
from harmony_runtime.graders.rules.text import shown

if TYPE_CHECKING:
    from jsonschema.protocols import Validator


class JsonValid(Rule):
    def __init__(self, node: nodes.JsonValid) -> None:
        if node.schema is None:
            self._validator = None
        else:
            # A graph holds lists as tuples.
            self._validator, parts = _validator(json.loads(json.dumps(node.schema)))
            # A schema may refer to itself, and then ask the same of a text again and again.
            self.may_hang = any(
                "$ref" in part or "$dynamicRef" in part or any(map(may_hang, _patterns(part)))
                for part in parts
            )

    def apply(self, sample: Sample) -> Grade:
        try:
            value = json.loads(sample.completion, parse_constant=_no_json)
        except json.JSONDecodeError as fault:
            return Score(0.0, f"it is no JSON: {fault}")
        except ValueError as fault:
            return Score(0.0, f"it is no JSON that can be read: {fault}")
        except RecursionError:
            return Score(0.0, "it is no JSON that can be read: it is nested too deep")
        return Score(1.0) if self._validator is None else _checked(value, self._validator)


def _no_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is Python's, not JSON's")


def _checked(value: Any, validator: Validator) -> Grade:
    from jsonschema.exceptions import best_match

    try:
        fault = best_match(validator.iter_errors(value))
    except RecursionError:
        return Failure("`schema` or the completion is nested too deep")
    return Score(1.0) if fault is None else Score(0.0, f"{fault.json_path}: {shown(fault.message)}")


# --- schemas --------------------------------------------------------------------------------------------


def _validator(schema: dict[str, Any]) -> tuple[Validator, list[dict[str, Any]]]:
    """What asks a schema, and its parts.

    Raises:
        RunFailed: it is none, or jsonschema is not installed.
    """
    try:
        from jsonschema import Draft202012Validator
        from jsonschema.exceptions import SchemaError
        from jsonschema.validators import validator_for
        from jsonschema_specifications import REGISTRY
        from referencing import Resource
        from referencing.exceptions import Unresolvable
        from referencing.jsonschema import DRAFT202012
    except ImportError as fault:
        raise RunFailed(
            "`json_valid` with a `schema` needs jsonschema: install `harmony-dsl[graders]`", exit_code=2
        ) from fault
    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
    except SchemaError as fault:
        raise RunFailed(f"`schema` is no JSON schema: {fault.json_path}: {fault.message}") from fault
    resource = Resource.from_contents(schema, default_specification=DRAFT202012)
    parts = []
    for part, resolver in _parts(resource, REGISTRY.with_resource("", resource).resolver()):
        for name in ("$ref", "$dynamicRef"):
            try:
                if name in part:
                    resolver.lookup(part[name])
            except Unresolvable as fault:
                raise RunFailed(
                    f"`schema` refers to `{part[name]}`, which is not in it, and nothing is fetched: "
                    "write it under `$defs`, and refer to `#/$defs/…`"
                ) from fault
        parts.append(part)
    # With a registry of its own, jsonschema fetches nothing from the network.
    return kind(schema, registry=REGISTRY), parts


def _parts(resource: Any, resolver: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    """A schema and the schemas in it, each with what resolves references there."""
    if isinstance(resource.contents, dict):
        yield resource.contents, resolver
        for inner in resource.subresources():
            yield from _parts(inner, resolver.in_subresource(inner))


def _patterns(part: dict[str, Any]) -> list[str]:
    own = [part["pattern"]] if "pattern" in part else []
    return own + list(part.get("patternProperties", ()))
