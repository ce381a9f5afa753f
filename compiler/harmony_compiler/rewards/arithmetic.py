"""Operators on constants. Total: what has no value is an `Impossible` with its reason, never an exception."""

from __future__ import annotations

import math
from typing import Any

from harmony_compiler.graph.formulas import ARITHMETIC, ORDER
from harmony_compiler.graph.types import DURATION, FLOAT, INT, PERCENT, SECRET, STR, LiteralText, Type
from harmony_compiler.graph.values import Percent
from harmony_compiler.typed import Graded, Value
from harmony_grammar.literals import LARGEST_INT


class NoValueError(Exception):
    """The operation has no value; the message says why."""


class WrongOperandsError(Exception):
    """The operator is not defined for operands of these types; the message, if any, is a mend."""


def number(value: Value) -> int | float | None:
    """The number that a value is in arithmetic, or None. A percent counts as its share."""
    if value.type in (INT, FLOAT) and not isinstance(value.data, Graded):
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
    refuse_zero(symbol, right)
    try:
        return checked(ARITHMETIC[symbol](a, b))
    except (OverflowError, ValueError):
        raise NoValueError("the result is too large") from None


def refuse_zero(symbol: str, divisor: Value) -> None:
    """Raise where `symbol` divides by a constant 0, whatever is divided."""
    if symbol in ("/", "//") and number(divisor) == 0:
        raise NoValueError("division by zero")


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
    for measure in (number, _text, _seconds):
        a, b = measure(left), measure(right)
        if a is not None and b is not None:
            return ORDER[symbol](a, b)
    raise WrongOperandsError


def _text(value: Value) -> str | None:
    text: str | None = value.data if is_text(value) else None
    return text


def _seconds(value: Value) -> float | None:
    seconds: float | None = value.data.seconds if value.type == DURATION else None
    return seconds


def _equal(left: Value, right: Value) -> bool:
    """Equality of what is said, not of where: an `int` equals a `float`, a bool equals no number."""
    if SECRET in (left.type, right.type):
        raise WrongOperandsError
    a, b = left.data, right.data
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(_equal(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_equal(a[key], b[key]) for key in a)
    for measure in (number, _text, _seconds):
        x, y = measure(left), measure(right)
        if x is not None and y is not None:
            return x == y
    return left.type == right.type and bool(a == b)


def _contained(item: Value, whole: Value) -> bool:
    if isinstance(whole.data, tuple):
        return any(_equal(item, member) for member in whole.data)
    if is_text(whole) and is_text(item):
        return item.data in whole.data
    raise WrongOperandsError
