"""JSON schemas: of completions, of judges' answers and of rows. Nothing is fetched for one. No torch here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harmony_runtime.failures import RunFailed
from harmony_runtime.graders.rules.patterns import may_hang

try:
    from jsonschema import Draft202012Validator, exceptions, validators
    from jsonschema_specifications import REGISTRY
    from referencing import Resource
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012
except ImportError as fault:
    raise RunFailed("a JSON schema needs jsonschema: install `harmony-dsl[graders]`", exit_code=2) from fault

_LONGEST = 160
"""Characters of a fault that are told: it may quote the value."""


class JsonSchema:
    """A schema of the draft that it names, else of 2020-12."""

    def __init__(self, schema: Any, whose: str, *, killable: bool = False) -> None:
        """`whose` is the beginning of a message. Where nothing is `killable` that asks it, its patterns must
        come to an end with every text.

        Raises:
            RunFailed: it is no schema, refers to something outside it, or has such a pattern.
        """
        if not isinstance(schema, dict):
            raise RunFailed(f"{whose} is no JSON schema: it is no object")
        dialect = validators.validator_for(schema, default=Draft202012Validator)
        try:
            dialect.check_schema(schema)
        except exceptions.SchemaError as fault:
            raise RunFailed(f"{whose} is no JSON schema: {_said(fault)}") from fault
        resource = Resource.from_contents(schema, default_specification=DRAFT202012)
        self._parts = []
        for part, resolver in _parts(resource, REGISTRY.with_resource("", resource).resolver()):
            _resolve(part, resolver, whose)
            self._parts.append(part)
        if not killable and (slow := next(filter(may_hang, self._patterns), None)):
            raise RunFailed(
                f"{whose} has the pattern `{slow}`, which may take for ever: write it without repetitions in "
                "repetitions"
            )
        # With a registry of its own, jsonschema fetches nothing from the network.
        self._validator = dialect(schema, registry=REGISTRY)

    def fault(self, value: Any) -> str:
        """What is wrong with a value of JSON, in words; an empty text where nothing is.

        Raises:
            RecursionError: the value, or the schema, which may refer to itself, is nested too deep.
        """
        worst = exceptions.best_match(self._validator.iter_errors(value))
        return "" if worst is None else _said(worst)

    @property
    def may_hang(self) -> bool:
        """Whether some value may keep it busy for ever."""
        # A schema that refers to itself may ask the same of a text again and again.
        circles = any("$ref" in part or "$dynamicRef" in part for part in self._parts)
        return circles or any(map(may_hang, self._patterns))

    @property
    def _patterns(self) -> Iterator[str]:
        for part in self._parts:
            if "pattern" in part:
                yield part["pattern"]
            yield from part.get("patternProperties", ())


def _resolve(part: dict[str, Any], resolver: Any, whose: str) -> None:
    for name in ("$ref", "$dynamicRef"):
        try:
            if name in part:
                resolver.lookup(part[name])
        except Unresolvable as fault:
            raise RunFailed(
                f"{whose} refers to `{part[name]}`, which is not in it, and nothing is fetched: "
                "write it under `$defs`, and refer to `#/$defs/…`"
            ) from fault


def _parts(resource: Any, resolver: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    """A schema and the schemas in it, each with what resolves references there."""
    if isinstance(resource.contents, dict):
        yield resource.contents, resolver
        for inner in resource.subresources():
            yield from _parts(inner, resolver.in_subresource(inner))


def _said(fault: exceptions.ValidationError | exceptions.SchemaError) -> str:
    """`tests[0]`: 5 is not of type 'string'."""
    place = fault.json_path.removeprefix("$").removeprefix(".")
    words = f"`{place}`: {fault.message}" if place else fault.message
    line = " ".join(words.split())
    return line if len(line) <= _LONGEST else line[:_LONGEST] + "…"
