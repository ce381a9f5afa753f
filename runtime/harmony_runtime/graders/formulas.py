"""Formulas at run time: a tree of `harmony_compiler.graph.formulas` and a sample give a score; with a row of
columns in place of the sample, it is a dataset's filter. No torch here.

Both ways to compute are total: where there is no number they raise `NoValueError`, which says why. `none`
stands for "does not apply". It runs through a formula, and is left out of a combination's sums.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from harmony_compiler.graph.formulas import ARITHMETIC, FUNCTIONS, ORDER, Formula, Function, terms_of
from harmony_compiler.graph.types import FLOAT, INT, ListOf, Type, options_of
from harmony_compiler.store.rows import kind_of
from harmony_runtime.graders.protocol import Sample


class NoValueError(Exception):
    """There is no value; the message says why."""


# --- formulas over a sample -----------------------------------------------------------------------------

Subject: TypeAlias = Sample | Mapping[str, Any]
"""What a formula reads: a sample, or the columns of a row."""


def score_of(tree: Formula, sample: Sample) -> float | None:
    """What a formula scores a sample: a bool counts 1 or 0; None where the formula does not apply.

    Raises:
        NoValueError: it has no value here.
    """
    value = evaluate(tree, sample)
    return None if value is None else _as_score(value)


def holds(tree: Formula, row: Mapping[str, Any]) -> bool:
    """Whether a condition holds for the columns of a row. One that is none does not.

    Raises:
        NoValueError: it has no value here.
    """
    return _truth(evaluate(tree, row)) is True


def evaluate(tree: Formula, sample: Subject) -> Any:
    """The value of a formula: a bool, a number, a text, a list, an object of the metadata, or None.

    Raises:
        NoValueError: it has no value here.
    """
    operation, *operands = tree
    match operation:
        case "constant":
            return operands[0]
        case "read":
            return _read(sample, *operands)
        case "if":
            condition, then, otherwise = operands
            # A condition that is none does not hold.
            return evaluate(then if _truth(evaluate(condition, sample)) else otherwise, sample)
        case "and" | "or":
            return _junction(operation == "or", operands, sample)
        case "member":
            return _member(evaluate(operands[0], sample), operands[1])
        case "list":
            return [evaluate(item, sample) for item in operands]
    return _apply(operation, [evaluate(operand, sample) for operand in operands])


def _read(sample: Subject, what: str, key: str = "") -> Any:
    if isinstance(sample, Mapping):
        return sample.get(key)  # as elsewhere, a row without a column has none
    if what != "metadata":
        return getattr(sample, what)
    if key not in sample.metadata:
        raise NoValueError(f"the metadata has no key `{key}`")
    return sample.metadata[key]


def _junction(decisive: bool, operands: Sequence[Formula], sample: Subject) -> bool | None:
    """`and`, `or`: from left to right, up to the first operand that decides or is none."""
    for operand in operands:
        value = _truth(evaluate(operand, sample))
        if value is None or value is decisive:
            return value
    return not decisive


def _member(value: Any, key: str) -> Any:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise NoValueError(f"{kind_of(value)} has no `.{key}`")
    if key not in value:
        raise NoValueError(f"there is no key `{key}`")
    return value[key]


# --- combinations of scores -----------------------------------------------------------------------------


def combine(tree: Formula, scores: Sequence[float | None]) -> float | None:
    """The score of a combination, given those of its graders by number; None does not apply.

    A term that does not apply is left out of a sum, `mean`, `min` and `max`, and a condition that does not
    apply does not hold; anything else with it does not apply. Where no grader applies nothing does: constants
    alone are no score.

    Raises:
        NoValueError: it has no value for these scores.
    """
    value, _ = _combined(tree, scores)
    return None if value is None else _as_score(value)


_Part = tuple[Any, bool]
"""A value, or None; and whether a grader stands in what it was made from."""


def _combined(tree: Formula, scores: Sequence[float | None]) -> _Part:
    operation, *operands = tree
    match operation:
        case "constant":
            return operands[0], False
        case "grader":
            return scores[operands[0]], True
        case "+" | "-":
            terms = [(sign, _combined(term, scores)) for sign, term in terms_of(tree)]
            values = [(sign, value) for sign, (value, _) in terms if value is not None]
            total = 0
            for sign, value in values:
                total = _apply("+" if sign > 0 else "-", [total, value])
            return _where_any_applies(total, [part for _, part in terms])
        case "if":
            condition, then, otherwise = operands
            holds, _ = _combined(condition, scores)
            return _combined(then if holds else otherwise, scores)[0], True
        case "mean" | "min" | "max":
            parts = [_combined(operand, scores) for operand in operands]
            kept = [value for value, _ in parts if value is not None]
            return _where_any_applies(_apply(operation, kept) if kept else None, parts)
    parts = [_combined(operand, scores) for operand in operands]
    return _apply(operation, [value for value, _ in parts]), any(graded for _, graded in parts)


def _where_any_applies(value: Any, parts: Sequence[_Part]) -> _Part:
    graded = [part for part, has_grader in parts if has_grader]
    if graded and all(part is None for part in graded):
        return None, True
    return value, bool(graded)


# --- operators and functions ----------------------------------------------------------------------------


def _apply(operation: str, values: Sequence[Any]) -> Any:
    """An operator or function of values; none where one of them is none and it does not look at none."""
    match operation:
        case "==" | "!=":
            return _equal(*values) == (operation == "==")
        case "in" | "not in":
            return _contained(*values) == (operation == "in")
    if any(value is None for value in values):
        return None
    match operation:
        case "not":
            return not _truth(values[0])
        case "index":
            return _item(*values)
        case "-" if len(values) == 1:
            return _bounded(-_number(values[0], "-"))
        case "+" if all(isinstance(value, str) for value in values):
            return "".join(values)
        case _ if operation in ORDER:
            return ORDER[operation](*_comparable(operation, *values))
        case _ if operation in ARITHMETIC:
            return _calculated(operation, *(_number(value, operation) for value in values))
    return _called(FUNCTIONS[operation], values)


def _calculated(symbol: str, left: float, right: float) -> Any:
    try:
        return _bounded(ARITHMETIC[symbol](left, right))
    except ZeroDivisionError:
        raise NoValueError("division by zero") from None
    except OverflowError:
        raise NoValueError(_TOO_LARGE) from None


def _called(function: Function, values: Sequence[Any]) -> Any:
    last = len(function.parameters) - 1
    arguments = [
        _argument(function.name, function.parameters[min(number, last)], value)
        for number, value in enumerate(values)
    ]
    try:
        return _bounded(function.compute(*arguments))
    except OverflowError:
        raise NoValueError(_TOO_LARGE) from None
    except (ValueError, re.error):
        written = ", ".join(_shown(argument) for argument in arguments)
        raise NoValueError(f"`{function.name}({written})` has no value") from None


def _argument(function: str, wanted: Type, value: Any) -> Any:
    for option in options_of(wanted):
        if option in (FLOAT, INT):
            return _number(value, function)
        if isinstance(value, list | tuple if isinstance(option, ListOf) else str):
            return value
    raise NoValueError(f"`{function}` takes {_wanted(wanted)}, not {kind_of(value)}")


_TOO_LARGE = "a number is too large"
_LARGEST_INT = 2**63 - 1


def _bounded(value: Any) -> Any:
    """`value`, unless it is a number that is not finite or, an integer, beyond 64 bits."""
    match value:
        case float() if math.isnan(value):
            raise NoValueError("a number is nan")
        case float() if math.isinf(value):
            raise NoValueError(_TOO_LARGE)
        case int() if abs(value) > _LARGEST_INT:
            raise NoValueError(_TOO_LARGE)
    return value


def _as_score(value: Any) -> float:
    if not isinstance(value, int | float):
        raise NoValueError(f"the formula gives {kind_of(value)}, and a score is a number")
    return float(_bounded(value))


def _number(value: Any, user: str) -> Any:
    """`value` as a number; a condition counts 1 or 0."""
    if not isinstance(value, int | float):
        raise NoValueError(f"`{user}` takes a number, not {kind_of(value)}")
    return _bounded(int(value) if isinstance(value, bool) else value)


def _truth(value: Any) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    raise NoValueError(f"a condition is true or false, not {kind_of(value)}")


def _comparable(symbol: str, left: Any, right: Any) -> tuple[Any, Any]:
    match left, right:
        case (bool(), _) | (_, bool()):
            pass
        case (str(), str()) | (int() | float(), int() | float()):
            return _bounded(left), _bounded(right)
    raise NoValueError(
        f"`{symbol}` compares two numbers or two texts, not {kind_of(left)} and {kind_of(right)}"
    )


def _equal(left: Any, right: Any) -> bool:
    """Equality of what is said: an int equals a float, a bool equals no number."""
    match left, right:
        case (list() | tuple(), list() | tuple()):
            return len(left) == len(right) and all(map(_equal, left, right))
        case Mapping(), Mapping():
            return left.keys() == right.keys() and all(_equal(left[key], right[key]) for key in left)
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


def _contained(item: Any, whole: Any) -> bool:
    match whole:
        case None:
            return False
        case list() | tuple():
            return any(_equal(item, member) for member in whole)
        case str() if item is None or isinstance(item, str):
            return item is not None and item in whole
    raise NoValueError(f"{kind_of(item)} cannot be looked for in {kind_of(whole)}")


def _item(whole: Any, index: Any) -> Any:
    """`s[i]`, counted from 0; beyond the ends `""` of a text, none of a list."""
    if not isinstance(whole, str | list | tuple):
        raise NoValueError(f"{kind_of(whole)} has no `[…]`")
    if not isinstance(index, int) or isinstance(index, bool):
        raise NoValueError(f"an index is a whole number, not {_shown(index)}")
    if 0 <= index < len(whole):
        return whole[index]
    return "" if isinstance(whole, str) else None


# --- words ----------------------------------------------------------------------------------------------


def _wanted(wanted: Type) -> str:
    return " or ".join("a list" if isinstance(option, ListOf) else "a text" for option in options_of(wanted))


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value[:30]}…"' if len(value) > 30 else f'"{value}"'
    return f"{value:g}" if isinstance(value, int | float) else kind_of(value)
