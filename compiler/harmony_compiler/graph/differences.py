"""What differs between two meanings of a node, in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from harmony_compiler.graph.graph import value_from_json
from harmony_compiler.graph.values import Duration, Percent, Secret

_NOT_GIVEN: Any = object()

_LONGEST = 60
"""Characters of a value that a list of differences shows."""


def differences(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What has changed from one meaning of a node to another, a phrase each: see `identity.Meanings`.

    Where another constructor stands than before, that is said, and nothing of what is in it.
    """
    found: list[str] = []
    others: list[str] = []
    for path in {**was, **now}:
        before, after = was.get(path, _NOT_GIVEN), now.get(path, _NOT_GIVEN)
        if _same(before, after) or any(path.startswith(other) for other in others):
            continue
        if any(isinstance(side, dict) and side.keys() & _WHOLES for side in (before, after)):
            others.append(f"{path}." if path else "")
        found.append(_said(f"`{path}`" if path else "the stage", before, after))
    return found


_WHOLES = {"constructor", "same as", "entries"}
"""What stands at a path below which there may be others."""


def _same(before: Any, after: Any) -> bool:
    if before is _NOT_GIVEN or after is _NOT_GIVEN:
        return before is after
    # As JSON, in which 1 is not 1.0 and not true.
    return json.dumps(before, sort_keys=True) == json.dumps(after, sort_keys=True)


def _said(what: str, before: Any, after: Any) -> str:
    match before, after:
        case {"constructor": one}, {"constructor": other} if one == other:
            return f"{what}: `{one}` computes something else in this version"
        case {"content": _}, {"content": _}:
            return f"the content of {what} has changed"
    was, is_ = _shown(before), _shown(after)
    if max(len(was), len(is_)) > _LONGEST or was == is_:
        return f"{what} has changed"
    return f"{what} was {was}, is {is_}"


def _shown(value: Any) -> str:
    """A value as a recipe writes it, or a word for it."""
    if value is _NOT_GIVEN:
        return "not there"
    match value:
        case None:
            return "none"
        case {"constructor": name}:
            return f"`{name}`"
        case {"same as": path}:
            return f"that of `{path}`"
        case {"entries": number}:
            return f"a list of {number}"
        case {"content": _}:
            return "a file"
    read = value_from_json(value) if isinstance(value, dict) else value
    if isinstance(read, Percent | Duration | Secret):
        return str(read)
    return json.dumps(value, ensure_ascii=False)
