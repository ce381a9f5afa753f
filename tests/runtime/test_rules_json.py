"""`json_valid`: what is JSON, and what a schema asks."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from rules_support import answer, rule

from harmony_compiler.graph.graders import JsonValid
from harmony_runtime.failures import RunFailed
from harmony_runtime.graders.protocol import Failure, Score

PERSON = {
    "type": "object",
    "required": ("name",),  # as a graph holds lists
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
}


@pytest.mark.parametrize("text", ['{"a": [1, 2.5, null]}', " [] \n", '"text"', "1e9", '{"a": 1, "a": 2}'])
def test_what_is_json(text: str) -> None:
    assert answer(JsonValid(), text) == Score(1.0)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is no JSON: Expecting value: line 1 column 1 (char 0)"),
        ("```json\n{}\n```", "it is no JSON: Expecting value: line 1 column 1 (char 0)"),
        (
            "{'a': 1}",
            "it is no JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        ),
        ("[1] or so", "it is no JSON: Extra data: line 1 column 5 (char 4)"),
        ("[NaN]", "it is no JSON that can be read: NaN is Python's, not JSON's"),
        ("[" * 100_000, "it is no JSON that can be read: it is nested too deep"),
        ("9" * 5_000, "it is no JSON that can be read: Exceeds the limit"),
    ],
    ids=["empty", "fenced", "quotes", "more", "nan", "deep", "digits"],
)
def test_what_is_no_json(text: str, why: str) -> None:
    found = answer(JsonValid(), text)
    assert isinstance(found, Score)
    assert found.value == 0
    assert found.reasoning.startswith(why)


def test_what_a_schema_asks() -> None:
    node = JsonValid(schema=PERSON)
    assert answer(node, '{"name": "Ada", "age": 36}') == Score(1.0)
    assert answer(node, '{"age": 36}') == Score(0.0, "'name' is a required property")
    assert answer(node, '{"name": "Ada", "age": -1}') == Score(0.0, "`age`: -1 is less than the minimum of 0")
    assert answer(node, "{") == Score(
        0.0, "it is no JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"
    )


def test_a_schema_of_another_draft_is_read_as_that() -> None:
    pair = {"items": ({"type": "integer"}, {"type": "string"})}
    old = {"$schema": "http://json-schema.org/draft-07/schema#", **pair}
    assert answer(JsonValid(schema=old), '[1, "a"]') == Score(1.0)
    assert answer(JsonValid(schema=old), '["a", 1]') != Score(1.0)
    with pytest.raises(RunFailed, match="`schema` is no JSON schema"):
        rule(JsonValid(schema=pair))  # in today's draft, that is `prefixItems`


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "objekt"}, r"`schema` is no JSON schema: `type`: 'objekt' is not valid"),
        (
            {"properties": {"a": {"pattern": "("}}},
            r"`schema` is no JSON schema: `properties.a.pattern`: '\(' is not",
        ),
        ({"patternProperties": {"(": {}}}, "`schema` is no JSON schema"),
        ({"$ref": "#/$defs/gone"}, "`schema` refers to `#/\\$defs/gone`, which is not in it"),
        (
            {"items": {"$ref": "http://127.0.0.1:9/schema"}},
            "refers to `http://127.0.0.1:9/schema`, which is not in it, and nothing is fetched: write",
        ),
    ],
)
def test_a_schema_that_cannot_be_asked_is_refused_at_once(schema: dict[str, Any], message: str) -> None:
    with pytest.raises(RunFailed, match=message):
        rule(JsonValid(schema=schema))


@pytest.mark.parametrize(
    ("schema", "hangs"),
    [
        (None, False),
        (PERSON, False),
        ({"pattern": "^[a-z]+$"}, False),
        ({"items": {"pattern": "^(a+)+$"}}, True),
        ({"patternProperties": {"^(a+)+$": {}}}, True),
        ({"$defs": {"x": {"type": "string"}}, "items": {"$ref": "#/$defs/x"}}, True),
        ({"properties": {"pattern": {"type": "string"}, "$ref": {"const": {"pattern": "(a+)+"}}}}, False),
    ],
)
def test_what_is_checked_in_a_process_that_can_be_ended(schema: dict[str, Any] | None, hangs: bool) -> None:
    assert rule(JsonValid(schema=schema)).may_hang is hangs


def test_a_schema_that_goes_round_in_circles_is_a_failure() -> None:
    found = answer(JsonValid(schema={"$ref": "#"}), "1")
    assert found == Failure("`schema` or the completion is nested too deep")


def test_a_schema_without_its_library_is_the_machines_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "harmony_runtime.graders.json_schemas", raising=False)
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    with pytest.raises(RunFailed, match=r"needs jsonschema: install `harmony-dsl\[graders\]`") as failed:
        rule(JsonValid(schema=PERSON))
    assert failed.value.exit_code == 2
    assert answer(JsonValid(), "{}") == Score(1.0)
