"""Intervals: between which two numbers the value of an operation lies, given those of its operands.

Total, and never too narrow but for the rounding of floats: what is not known is everything. Whether there
is a value at all is asked apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

INFINITY = math.inf


class Interval(NamedTuple):
    """All numbers from `low` to `high`, both included where they are finite."""

    low: float
    high: float

    @property
    def single(self) -> bool:
        return self.low == self.high

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int | float) and self.low <= number <= self.high

    def joined(self, other: Interval) -> Interval:
        """The smallest interval around both."""
        return Interval(min(self.low, other.low), max(self.high, other.high))

    def plus(self, other: Interval) -> Interval:
        return Interval(_sum(self.low, other.low, -INFINITY), _sum(self.high, other.high, INFINITY))

    def times(self, other: Interval) -> Interval:
        ends = [_product(a, b) for a in self for b in other]
        return Interval(min(ends), max(ends))

    def over(self, other: Interval) -> Interval:
        """The quotient; everything where it may be divided by 0."""
        if 0 in other:
            return ANY
        ends = [_quotient(a, b) for a in self for b in other]
        return Interval(min(ends), max(ends))


def exactly(number: float) -> Interval:
    return Interval(number, number)


ANY = Interval(-INFINITY, INFINITY)
TRUTH = Interval(0, 1)
COUNT = Interval(0, INFINITY)


def _sum(low: float, other: float, otherwise: float) -> float:
    total = low + other
    return otherwise if math.isnan(total) else total


def _product(a: float, b: float) -> float:
    """As for numbers that are never infinite themselves: 0 times anything is 0."""
    return 0.0 if a == 0 or b == 0 else a * b


def _quotient(a: float, b: float) -> float:
    return 0.0 if math.isinf(b) else a / b


def of_function(name: str, parts: Sequence[Interval]) -> Interval:
    """The interval of a function of numbers, where it has a value."""
    first = parts[0]
    match name:
        case "abs":
            least = 0.0 if 0 in first else min(abs(first.low), abs(first.high))
            return Interval(least, max(abs(first.low), abs(first.high)))
        case "min":
            return Interval(min(part.low for part in parts), min(part.high for part in parts))
        case "max":
            return Interval(max(part.low for part in parts), max(part.high for part in parts))
        case "mean":
            total = parts[0]
            for part in parts[1:]:
                total = total.plus(part)
            return Interval(total.low / len(parts), total.high / len(parts))
        case "clamp":
            low, high = parts[1:]
            return Interval(min(max(first.low, low.low), high.low), min(max(first.high, low.high), high.high))
        case "round":
            return _rounded(round, first)
        case "//":
            return _rounded(math.floor, first)
        case "sqrt":
            return _rising(_root, first)
        case "exp":
            return _rising(_exp, first)
        case "log":
            return _rising(_log, first)
    return ANY


def surely_has_value(name: str, parts: Sequence[Interval]) -> bool:
    """Whether a function of numbers, or a division by the last of them, has a value for all of `parts`."""
    first, last = parts[0], parts[-1]
    match name:
        case "abs" | "min" | "max" | "mean" | "round":
            return True
        case "clamp":
            return parts[1].high <= last.low
        case "/" | "//":
            return 0 not in last
        case "sqrt":
            return first.low >= 0
        case "exp":
            return first.high < 700
        case "log":
            return first.low > 0
    return False


def _rounded(compute: Callable[[float], int], part: Interval) -> Interval:
    """A function that jumps: an end may stand a hair beside where it was computed."""
    low, high = part.low - 1e-9 * abs(part.low), part.high + 1e-9 * abs(part.high)
    return Interval(*(end if math.isinf(end) else float(compute(end)) for end in (low, high)))


def _rising(compute: Callable[[float], float], part: Interval) -> Interval:
    """A function that never falls."""
    low = compute(max(part.low, -_LARGEST))
    return Interval(min(low, _LARGEST), compute(part.high))


_LARGEST = 1.7e308


def _root(number: float) -> float:
    return math.sqrt(max(number, 0.0))


def _exp(number: float) -> float:
    try:
        return math.exp(number)
    except OverflowError:
        return INFINITY


def _log(number: float) -> float:
    return math.log(number) if number > 0 else -INFINITY
