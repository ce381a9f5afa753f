"""What a SARIF log of `harmonyc check` may hold: the objects of the standard that it uses, and no others.

The properties, types and bounds are those of the OASIS schema of SARIF 2.1.0, narrowed: no further property
is taken, and what GitHub's code scanning asks for is required. `SARIF_SCHEMA=FILE` names a copy of that
schema, against which the same logs are then checked, and this one with them.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jsonschema

TEXT = {"type": "string", "minLength": 1}
NUMBER = {"type": "integer", "minimum": 0}
PLACE = {"type": "integer", "minimum": 1}
LEVEL = {"enum": ["error", "warning", "note"]}


def record(required: str, optional: str = "", /, **properties: Any) -> dict[str, Any]:
    assert set(properties) == {*required.split(), *optional.split()}
    return {
        "type": "object",
        "additionalProperties": False,
        "required": required.split(),
        "properties": properties,
    }


def items(of: dict[str, Any], least: int = 0, most: int | None = None) -> dict[str, Any]:
    return {"type": "array", "items": of, "minItems": least} | ({} if most is None else {"maxItems": most})


MESSAGE = record("text", text=TEXT)
SHORT = {"type": "string", "minLength": 1, "maxLength": 1024}
DESCRIPTION = record("text", "markdown", text=SHORT, markdown=SHORT)
HELP = record("text markdown", text=TEXT, markdown=TEXT)
RULE = record(
    "id name defaultConfiguration shortDescription fullDescription help",
    id={"type": "string", "pattern": r"^[EWN]\d{4}$"},
    name={"type": "string", "pattern": "^[a-z]+(-[a-z]+)*$"},
    defaultConfiguration=record("level", level=LEVEL),
    shortDescription=DESCRIPTION,
    fullDescription=DESCRIPTION,
    help=HELP,
)
ADDRESS = {"type": "string", "pattern": r"^([A-Za-z0-9._~/-]|%[0-9A-F]{2}|file:///)+$"}
BASE = {"const": "%SRCROOT%"}
PLACED = record("uri", "uriBaseId", uri=ADDRESS, uriBaseId=BASE)
LOCATION = record("uri index", "uriBaseId", uri=ADDRESS, uriBaseId=BASE, index=NUMBER)
REGION = record(
    "startLine startColumn endLine endColumn",
    "charOffset charLength",
    **dict.fromkeys(("startLine", "startColumn", "endLine", "endColumn"), PLACE),
    **dict.fromkeys(("charOffset", "charLength"), NUMBER),
)
PHYSICAL = record("artifactLocation region", artifactLocation=LOCATION, region=REGION)
RELATED = record("id message physicalLocation", id=PLACE, message=MESSAGE, physicalLocation=PHYSICAL)
REPLACEMENT = record(
    "deletedRegion", "insertedContent", deletedRegion=REGION, insertedContent=record("text", text=TEXT)
)
CHANGE = record(
    "artifactLocation replacements", artifactLocation=LOCATION, replacements=items(REPLACEMENT, 1)
)
FIX = record(
    "description artifactChanges properties",
    description=MESSAGE,
    artifactChanges=items(CHANGE, 1),
    properties=record("applicability", applicability={"enum": ["safe", "unsafe"]}),
)
RESULT = record(
    "ruleId ruleIndex level message locations partialFingerprints",
    "relatedLocations fixes",
    ruleId={"type": "string"},
    ruleIndex=NUMBER,
    level=LEVEL,
    message=MESSAGE,
    locations=items(record("physicalLocation", physicalLocation=PHYSICAL), 1, 1),
    partialFingerprints={
        "type": "object",
        "additionalProperties": False,
        "required": ["harmonyFinding/v1"],
        "properties": {"harmonyFinding/v1": {"type": "string", "pattern": r"^[0-9a-f]{16}:[1-9]\d*$"}},
    },
    relatedLocations=items(RELATED, 1, 1000),
    fixes=items(FIX, 1),
)
DRIVER = record("name version language rules", name=TEXT, version=TEXT, language=TEXT, rules=items(RULE))
INVOCATION = record(
    "executionSuccessful exitCode",
    "toolExecutionNotifications",
    executionSuccessful={"const": True},
    exitCode={"enum": [0, 1]},
    toolExecutionNotifications=items(record("level message", level=LEVEL, message=MESSAGE), 1),
)
ARTIFACT = record(
    "location",
    "roles description",
    location=PLACED,
    roles={"const": ["analysisTarget"]},
    description=MESSAGE,
)
RUN = record(
    "tool invocations originalUriBaseIds columnKind results artifacts",
    tool=record("driver", driver=DRIVER),
    invocations=items(INVOCATION, 1, 1),
    originalUriBaseIds={
        "type": "object",
        "additionalProperties": False,
        "properties": {"%SRCROOT%": record("description", description=MESSAGE)},
    },
    columnKind={"const": "unicodeCodePoints"},
    results=items(RESULT, 0, 25_000),
    artifacts=items(ARTIFACT, 1),
)
LOG = {
    "type": "object",
    "additionalProperties": False,
    "required": ["$schema", "version", "runs"],
    "properties": {"$schema": TEXT, "version": {"const": "2.1.0"}, "runs": items(RUN, 1, 1)},
}

OFFICIAL = os.environ.get("SARIF_SCHEMA", "")


def validate(log: dict[str, Any]) -> dict[str, Any]:
    """The run of a log, which is as it must be."""
    jsonschema.Draft202012Validator(LOG).validate(log)
    if OFFICIAL:
        schema = json.loads(Path(OFFICIAL).read_text(encoding="utf-8"))
        jsonschema.Draft4Validator(schema, format_checker=jsonschema.FormatChecker()).validate(log)
    [run] = log["runs"]
    rules, artifacts = run["tool"]["driver"]["rules"], run["artifacts"]
    assert len({rule["id"] for rule in rules}) == len(rules)
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert rules[result["ruleIndex"]]["defaultConfiguration"]["level"] == result["level"]
    for location in _found(run, "artifactLocation"):
        listed = artifacts[location["index"]]["location"]
        assert listed == {name: value for name, value in location.items() if name != "index"}
    for region in [*_found(run, "region"), *_found(run, "deletedRegion")]:
        start = (region["startLine"], region["startColumn"])
        assert start <= (region["endLine"], region["endColumn"])
    prints = [result["partialFingerprints"]["harmonyFinding/v1"] for result in run["results"]]
    assert len(set(prints)) == len(prints)
    return dict(run)


def _found(within: Any, key: str) -> list[dict[str, Any]]:
    """Every value of a key, at whatever depth."""
    if isinstance(within, list):
        return [one for part in within for one in _found(part, key)]
    if not isinstance(within, dict):
        return []
    below = [one for part in within.values() for one in _found(part, key)]
    return [*([within[key]] if key in within else []), *below]
