"""Calls of functions: what they take, and what they are worth where the arguments are known."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import Any

from harmony_compiler.checking.construct import Desk
from harmony_compiler.checking.fitting import describe
from harmony_compiler.findings.types import BrokenRegex, Impossible, WrongArguments, WrongType
from harmony_compiler.graph.formulas import FUNCTIONS, Function
from harmony_compiler.graph.types import (
    BOOL,
    FLOAT,
    GRADER,
    INT,
    JSON,
    NONE,
    REGEX,
    STR,
    ListOf,
    Type,
    options_of,
    union_of,
)
from harmony_compiler.rewards import arithmetic, formulas, scores
from harmony_compiler.typed import Value, by_all, unknown
from harmony_grammar import syntax
from harmony_grammar.source import Span


def function_called(call: syntax.Call) -> Function | None:
    """The function that a call means: `contains` and `matches` of one value or of fields are graders."""
    function = FUNCTIONS.get(call.callee.text) if isinstance(call.callee, syntax.Name) else None
    grades = function is not None and function.name in ("contains", "matches") and len(call.arguments) < 2
    named = any(isinstance(argument, syntax.Field) for argument in call.arguments)
    return None if grades or (named and function in _GRADERS_TOO) else function


_GRADERS_TOO = (FUNCTIONS["contains"], FUNCTIONS["matches"])


def call_function(desk: Desk, function: Function, call: syntax.Call, span: Span) -> Value:
    """The value of `function(argument, …)`."""
    arguments = call.arguments
    least = len(function.parameters)
    named = next((a for a in arguments if isinstance(a, syntax.Field)), None)
    if named is not None or len(arguments) < least or (len(arguments) > least and not function.many):
        _wrong_number(desk, function, arguments, named.key.span if named else span)
        for argument in arguments:
            desk.sweep(argument)
        return unknown(span)
    values = [
        _argument(desk, function, number, argument)
        for number, argument in enumerate(arguments)
        if not isinstance(argument, syntax.Field)
    ]
    if any(value.unknown for value in values):
        return unknown(span)
    try:
        if function.name == "clamp":
            _refuse_crossed(values[1], values[2])
        if any(value.type == GRADER for value in values):
            return scores.combined(function.name, values, span)
        if any(formulas.graded(value) for value in values):
            return formulas.called(function, values, span)
        type_, data = _computed(function, values)
    except arithmetic.NoValueError as reason:
        desk.report(Impossible(span=span, what=str(reason)))
        return unknown(span)
    return Value(type_, data, span, by=by_all(values))


def _refuse_crossed(low: Value, high: Value) -> None:
    """Raise where bounds leave nothing between them, whatever is clamped."""
    least, most = arithmetic.number(low), arithmetic.number(high)
    if least is not None and most is not None and least > most:
        raise arithmetic.NoValueError(f"`clamp` from {least:g} to {most:g} leaves nothing")


def _wrong_number(
    desk: Desk, function: Function, arguments: Sequence[syntax.Field | syntax.Expression], span: Span
) -> None:
    least = len(function.parameters)
    takes = "at least 1 argument" if function.many else f"{least} argument{'s' if least > 1 else ''}"
    found = str(len(arguments) or "none")
    if any(isinstance(argument, syntax.Field) for argument in arguments):
        takes, found = "values without names", "a field"
    desk.report(
        WrongArguments(
            span=span,
            name=function.name,
            takes=takes,
            found=found,
            signature=signature(function),
            doc=function.doc,
        )
    )


def signature(function: Function) -> str:
    """`clamp(float, float, float) -> float`, as people read it."""
    parameters = ["str | list" if len(options_of(p)) > 1 else str(p) for p in function.parameters]
    more = ", …" if function.many else ""
    return f"{function.name}({', '.join(parameters)}{more}) -> {function.result or FLOAT}"


def _argument(desk: Desk, function: Function, number: int, expression: syntax.Expression) -> Value:
    """The value of an argument, if the function takes it."""
    wanted = function.parameters[min(number, len(function.parameters) - 1)]
    ordinal = ("the first ", "the second ", "the third ")[number] if len(function.parameters) > 1 else "the "
    place = f"{ordinal}argument of `{function.name}`"
    value = desk.value(expression, union_of((wanted, GRADER)) if function.of_scores else wanted)
    if wanted == REGEX:
        return desk.fitted(value, REGEX, place)
    if value.unknown or _takes(wanted, value) or (function.of_scores and value.type == GRADER):
        return value
    desk.report(
        WrongType(
            span=value.span,
            place=place,
            expected="`str` or a list" if len(options_of(wanted)) > 1 else f"`{wanted}`",
            found=describe(value),
            fact=f"`{signature(function)}`: {function.doc}",
            mend=_mend(function, value),
        )
    )
    return unknown(value.span)


def _mend(function: Function, value: Value) -> str:
    """What helps with an argument that a function does not take."""
    if value.type == GRADER:
        return scores.MEND
    listed = function.many and isinstance(value.type, ListOf)
    return f"give the values one by one: `{function.name}(…, …)`" if listed else ""


def _takes(wanted: Type, value: Value) -> bool:
    if value.type == JSON and formulas.graded(value):
        return True
    if wanted == FLOAT:
        return formulas.is_number(value)
    lists = any(isinstance(option, ListOf) for option in options_of(wanted))
    return arithmetic.is_text(value) or (lists and isinstance(value.type, ListOf))


def _computed(function: Function, values: Sequence[Value]) -> tuple[Type, Any]:
    """The type and value of a function of constants."""
    numbers = [arithmetic.number(value) for value in values]
    data = [value.data if n is None else n for value, n in zip(values, numbers, strict=True)]
    try:
        result = _result(function, data)
    except (ValueError, OverflowError, RecursionError):
        shown = ", ".join(value.span.text for value in values)
        raise arithmetic.NoValueError(f"`{function.name}` has no value for {shown}") from None
    if isinstance(result, bool):
        return BOOL, result
    if result is None:
        return NONE, None
    if isinstance(result, str):
        return STR, result
    if function.result is None and any(value.type != INT for value in values):
        result = float(result)
    return arithmetic.checked(result)


def _result(function: Function, data: Sequence[Any]) -> Any:
    if function.name != "matches":
        return function.compute(*data)
    from harmony_compiler.checking.searching import searched  # few recipes need it

    return searched(*data)


def regex_fault(value: Value) -> BrokenRegex | None:
    """What is wrong with a regular expression, at its place in the literal."""
    try:
        with warnings.catch_warnings(action="ignore"):
            re.compile(value.data)
    except re.error as fault:
        span = value.span
        if value.literal is not None and fault.pos is not None:
            at = min(fault.pos, max(len(value.data) - 1, 0))
            span = value.literal.span_of(at, at + 1) if value.data else span
        return BrokenRegex(span=span, reason=fault.msg.replace("'", "`"))
    except (OverflowError, RecursionError, MemoryError):
        return BrokenRegex(span=value.span, reason="it is too large")
    return None
