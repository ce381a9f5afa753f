"""Regular expressions that may take forever. No torch here.

Python's `re` tries one way through a text after the other, and the ways multiply: `(a+)+b` takes 2ⁿ steps for
n letters. What is called harmless here takes at most n² times a small number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeAlias

from harmony_compiler.graph.formulas import Formula

_STEPS = 200
"""Steps that a harmless expression may take at one place of a text, for each length of its one repeat."""
_parser: Any = import_module("re._parser")  # what `sre_parse` was; it has no public name

_Item: TypeAlias = tuple[Any, Any]
"""A part of a parsed expression: what it is, and its arguments."""


def may_hang(regex: str) -> bool:
    """Whether a search with a regular expression may take long in a long text.

    Not where it has at most one repeat of variable length (`*`, `+`, `?`, `{2,5}`), with neither a repeat nor
    an alternation in it, where its alternations and fixed repeats (`{3}`) multiply to few steps, and where
    nothing refers to a group.
    """
    try:
        cost = _of_all(_parser.parse(regex))
    except re.error:
        return False  # it fails at once
    except _Unbounded:
        return True
    return cost.repeats > 1 or cost.ways * cost.steps > _STEPS


class _Unbounded(Exception):  # noqa: N818 - it is an answer
    pass


@dataclass(frozen=True)
class _Cost:
    ways: int = 1
    """Ways through a part, its repeat of variable length aside."""
    steps: int = 1
    """Steps of the longest way."""
    repeats: int = 0
    """Repeats of variable length."""


def _of_all(items: Iterable[_Item]) -> _Cost:
    """Parts one after the other."""
    total = _Cost(steps=0)
    for item in items:
        cost = _of(item)
        total = _Cost(total.ways * cost.ways, total.steps + cost.steps, total.repeats + cost.repeats)
    return total


def _of(item: _Item) -> _Cost:
    match str(item[0]), item[1]:
        case "LITERAL" | "NOT_LITERAL" | "ANY" | "IN" | "AT", _:
            return _Cost()
        case "SUBPATTERN", (_, _, _, inner):
            return _of_all(inner)
        case "ASSERT" | "ASSERT_NOT", (_, inner):
            return _of_all(inner)
        case "ATOMIC_GROUP", inner:
            return _of_all(inner)
        case "BRANCH", (_, branches):
            costs = [_of_all(branch) for branch in branches]
            return _Cost(
                sum(cost.ways for cost in costs),
                max(cost.steps for cost in costs),
                sum(cost.repeats for cost in costs),
            )
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT", (least, most, inner):
            once = _of_all(inner)
            if least == most and once.ways == 1:
                return _Cost(1, once.steps * least, once.repeats * least)
            if once.ways == 1 and once.repeats == 0:
                return _Cost(1, once.steps, 1)
    raise _Unbounded  # a reference to a group, an alternation in a repeat, or what a later Python adds


def calls_what_may_hang(tree: Formula) -> bool:
    """Whether a formula calls `matches` with an expression that may hang, or that is not written down."""
    match tree:
        case ("constant", _):
            return False
        case ("matches", text, ("constant", str(regex))):
            return may_hang(regex) or calls_what_may_hang(text)
        case ("matches", *_):
            return True
    return any(calls_what_may_hang(part) for part in tree if isinstance(part, tuple))
