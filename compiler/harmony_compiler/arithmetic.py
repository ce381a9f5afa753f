"""Operators on constants. Total: what has no value is an `Impossible` with its reason, never an exception."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from harmony_compiler.graph.types import BOOL, FLOAT, INT, PERCENT, STR, LiteralText, Type
from harmony_compiler.graph.values import Percent
from harmony_compiler.typed import Value

LARGEST_INT = 2**63 - 1
"""What a 64-bit integer holds; larger results are findings."""


class NoValueError(Exception):
    """The operation has no value; the message says why."""


class WrongOperandsError(Exception):
    """The operator is not defined for operands of these types."""


_NUMBERS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": lambda a, b: int(a // b),
}
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def number(value: Value) -> int | float | None:
    """The number that a value is in arithmetic, or None. A percent counts as its share."""
    if value.type in (INT, FLOAT):
        found: int | float = value.data
        return found
    return value.data.share if value.type == PERCENT else None


def is_text(value: Value) -> bool:
    return value.type == STR or isinstance(value.type, LiteralText)


def binary(symbol: str, left: Value, right: Value) -> tuple[Type, Any]:
    """The type and value of `left symbol right`."""
    if symbol == "+" and is_text(left) and is_text(right):
        return STR, left.data + right.data
    a, b = number(left), number(right)
    if a is None or b is None:
        raise WrongOperandsError
    if symbol in ("/", "//") and b == 0:
        raise NoValueError("division by zero")
    try:
        return checked(_NUMBERS[symbol](a, b))
    except (OverflowError, ValueError):
        raise NoValueError("the result is too large") from None


def negated(value: Value) -> tuple[Type, Any]:
    if value.type == PERCENT:
        return PERCENT, Percent(-value.data.value)
    found = number(value)
    if found is None:
        raise WrongOperandsError
    return checked(-found)


def checked(result: int | float) -> tuple[Type, Any]:
    if isinstance(result, int):
        if abs(result) > LARGEST_INT:
            raise NoValueError("the result is too large for a 64-bit integer")
        return INT, result
    if not math.isfinite(result):
        raise NoValueError("the result is too large")
    return FLOAT, result


def compared(symbol: str, left: Value, right: Value) -> bool:
    """Whether `left symbol right` holds."""
    if symbol in ("in", "not in"):
        return _contained(left, right) == (symbol == "in")
    if symbol in ("==", "!="):
        return _equal(left, right) == (symbol == "==")
    a, b = number(left), number(right)
    if a is None or b is None:
        if not (is_text(left) and is_text(right)):
            raise WrongOperandsError
        return _ORDER[symbol](left.data, right.data)
    return _ORDER[symbol](a, b)


def _equal(left: Value, right: Value) -> bool:
    a, b = number(left), number(right)
    if a is not None and b is not None:
        return a == b
    if BOOL in (left.type, right.type) and left.type != right.type:
        return False
    return bool(left.data == right.data)


def _contained(item: Value, whole: Value) -> bool:
    if isinstance(whole.data, tuple):
        return any(_equal(item, member) for member in whole.data)
    if is_text(whole) and is_text(item):
        return item.data in whole.data
    raise WrongOperandsError
