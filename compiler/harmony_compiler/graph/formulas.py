"""Formulas: what a grader computes for each completion, as data; and the functions of the language.

A formula is a tree of nested tuples, each with its operation first, so that it is hashable and goes to JSON
and back:

    ("constant", value)                 a bool, an int, a float, a str or None
    ("list", item, …)
    ("read", "completion")              also "prompt" and "turns"
    ("read", "metadata", key)
    ("read", "column", name)            in a dataset's filter, and there alone
    ("grader", number)                  the score of the combination's grader of that number
    ("member", value, key)              `turns[0].content`
    ("index", value, index)
    ("if", condition, then, otherwise)
    (symbol, operand, …)                `+ - * / // == != < <= > >= in not and or`, "not in"; `-` also alone
    (name, argument, …)                 a function of `FUNCTIONS`

`none` runs through: an operation on `none` gives `none`, and a formula that is `none` does not apply. Only
`==`, `!=`, `in`, `not in` and `if` see it as a value.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from harmony_compiler.graph.types import BOOL, FLOAT, INT, REGEX, STR, ListOf, Scalar, Type, Union
from harmony_grammar.records import Record

Formula: TypeAlias = tuple[Any, ...]

ANY_LIST = ListOf(Scalar("any"))


def terms_of(tree: Formula, sign: int = 1) -> Iterator[tuple[int, Formula]]:
    """The terms of a sum with their signs. Brackets do not matter: `a - (b + 1)` has three terms."""
    match tree:
        case ("+", left, right):
            yield from terms_of(left, sign)
            yield from terms_of(right, sign)
        case ("-", left, right):
            yield from terms_of(left, sign)
            yield from terms_of(right, -sign)
        case ("-", operand):
            yield from terms_of(operand, -sign)
        case _:
            yield sign, tree


def renumbered(tree: Formula, numbers: Sequence[int]) -> Formula:
    """A combination's formula with `("grader", i)` as `("grader", numbers[i])`."""
    if tree[0] == "grader":
        return ("grader", numbers[tree[1]])
    return tuple(renumbered(part, numbers) if isinstance(part, tuple) else part for part in tree)


ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": lambda a, b: int(a // b),
}
ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
"""The operators of numbers, and those that compare numbers, texts or durations."""


class Function(Record):
    """A function of the language. Its arguments are never `none`."""

    name: str
    parameters: tuple[Type, ...]
    result: Type | None
    """None where the result is an `int` if all arguments are, else a `float`."""
    compute: Callable[..., Any]
    """Raises `ValueError` or `OverflowError` where it has no value."""
    doc: str
    many: bool = False
    """Whether the last parameter may be given again and again."""
    of_scores: bool = False
    """Whether it also takes graders, and then gives one."""


def words(text: str) -> int:
    return len(text.split())


def lines(text: str) -> int:
    return len(text.splitlines())


_NUMBER = r"[+-]?(\d{1,3}(,\d{3})+|\d+)?(\.\d*)?([eE][+-]?\d+)?"


def number(text: str) -> float | None:
    """The number that `text` is, blanks at both ends and commas between thousands aside; else None."""
    found = text.strip()
    if not re.fullmatch(_NUMBER, found, re.ASCII) or not any(c.isdigit() for c in found):
        return None
    try:
        value = float(found.replace(",", ""))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def agreement(one: str, other: str) -> float:
    """The share of positions in which two texts agree, over the longer one; 1 for two empty texts."""
    longer = max(len(one), len(other))
    return sum(a == b for a, b in zip(one, other, strict=False)) / longer if longer else 1.0


def clamp(value: float, low: float, high: float) -> float:
    """`value`, but at least `low` and at most `high`."""
    if low > high:
        raise ValueError(f"`clamp` from {low:g} to {high:g} leaves nothing")
    return min(max(value, low), high)


def smallest(*values: float) -> float:
    return min(values)


def largest(*values: float) -> float:
    return max(values)


def mean(*values: float) -> float:
    return sum(values) / len(values)


def matches(text: str, pattern: str) -> bool:
    return re.search(pattern, text) is not None


_LENGTH = Union((STR, ANY_LIST))

FUNCTIONS: dict[str, Function] = {
    function.name: function
    for function in (
        Function("words", (STR,), INT, words, "words between blanks"),
        Function("chars", (STR,), INT, len, "characters"),
        Function("lines", (STR,), INT, lines, "lines"),
        Function(
            "contains", (STR, STR), BOOL, lambda text, part: part in text, "whether a part is in a text"
        ),
        Function("starts_with", (STR, STR), BOOL, str.startswith, "whether a text begins with a part"),
        Function("ends_with", (STR, STR), BOOL, str.endswith, "whether a text ends with a part"),
        Function("matches", (STR, REGEX), BOOL, matches, "whether a regular expression is found in a text"),
        Function("lower", (STR,), STR, str.lower, "in lower case"),
        Function("strip", (STR,), STR, str.strip, "without blanks at both ends"),
        Function("number", (STR,), FLOAT, number, "the number that a text is, or `none`"),
        Function("agreement", (STR, STR), FLOAT, agreement, "share of positions that agree"),
        Function("len", (_LENGTH,), INT, len, "characters of a text, items of a list"),
        Function("abs", (FLOAT,), None, abs, "without its sign", of_scores=True),
        Function("min", (FLOAT,), None, smallest, "the smallest", many=True, of_scores=True),
        Function("max", (FLOAT,), None, largest, "the largest", many=True, of_scores=True),
        Function(
            "mean", (FLOAT,), FLOAT, mean, "the sum over the number of arguments", many=True, of_scores=True
        ),
        Function("clamp", (FLOAT, FLOAT, FLOAT), None, clamp, "kept between two bounds", of_scores=True),
        Function(
            "round",
            (FLOAT,),
            INT,
            round,
            "to the nearest whole number, halves to the even one",
            of_scores=True,
        ),
        Function("sqrt", (FLOAT,), FLOAT, math.sqrt, "square root", of_scores=True),
        Function("exp", (FLOAT,), FLOAT, math.exp, "e to the power", of_scores=True),
        Function("log", (FLOAT,), FLOAT, math.log, "natural logarithm", of_scores=True),
    )
}
"""Every function by its name. `contains` and `matches` with one argument are graders, not functions."""
