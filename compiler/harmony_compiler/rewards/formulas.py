"""Formulas: values that are known only when a completion is graded, and what operators make of them.

Everything here takes typed values and gives one whose data is a `Graded`, or raises: `WrongOperandsError`
where an operator is not defined for operands of these types, `NoValueError` where a formula grows too large.
Types are those of constants; `none` runs through, so it is no type of its own here.
"""

from __future__ import annotations

from collections.abc import Sequence

from harmony_compiler.graph.formulas import Formula, Function
from harmony_compiler.graph.types import (
    BOOL,
    FLOAT,
    INT,
    JSON,
    NONE,
    PERCENT,
    REGEX,
    STR,
    ListOf,
    LiteralText,
    Scalar,
    Type,
    options_of,
    union_of,
)
from harmony_compiler.rewards.arithmetic import NoValueError, WrongOperandsError, is_text, number, refuse_zero
from harmony_compiler.typed import NOBODY, Graded, Read, Value
from harmony_grammar.records import replace
from harmony_grammar.source import Span

TURN = Scalar("turn")
"""An item of `turns`: its members are `role` and `content`."""

READS: dict[str, Type] = {"completion": STR, "prompt": STR, "turns": ListOf(TURN)}
"""What a formula reads by a bare name."""

MEMBERS = ("role", "content")

LARGEST, DEEPEST = 20_000, 100
"""A formula with more operations, or deeper ones, is refused: names let few lines write billions."""


def graded(value: Value) -> bool:
    """Whether a value, or a part of it, is known only when a completion is graded."""
    match value.data:
        case Graded():
            return True
        case tuple():
            return any(graded(part) for part in value.data)
        case dict():
            return any(graded(part) for part in value.data.values())
    return False


def is_number(value: Value) -> bool:
    """Whether a value counts as a number: a condition does where its completion decides, as a score."""
    return value.type in (INT, FLOAT, PERCENT) or (value.type in (BOOL, JSON) and graded(value))


NUMBER = union_of((FLOAT, BOOL))
"""What arithmetic asks of a value whose type nobody knows yet."""


def asked(value: Value, wanted: Type) -> Value:
    """A value of any type as the one that its use asks for; what it reads must then be of that type."""
    if value.type != JSON or not isinstance(value.data, Graded):
        return value
    formula, wanted = value.data, NUMBER if wanted == FLOAT else wanted
    if formula.tree[0] == "read":
        formula = replace(formula, reads=tuple(replace(read, type=wanted) for read in formula.reads))
    return replace(value, type=FLOAT if wanted == NUMBER else wanted, data=formula)


def _asked_alike(value: Value, other: Value) -> Value:
    """A value of any type that is held against another one."""
    kind = _kind(other.type)
    wanted = {"number": FLOAT, "text": STR, "bool": BOOL}.get(kind)
    return value if wanted is None else asked(value, wanted)


# --- parts ----------------------------------------------------------------------------------------------


def read(name: str, span: Span) -> Value:
    """`completion`, `prompt` or `turns`."""
    return Value(READS[name], Graded(("read", name)), span)


def read_metadata(key: str, place: Span, span: Span) -> Value:
    """`metadata.key`: of the type that its use asks for. `place` is where the key stands in it."""
    return Value(JSON, Graded(("read", "metadata", key), (Read(key, place),)), span)


def member(turn: Value, key: str, span: Span, type_: Type = STR) -> Value:
    """`turns[0].content`."""
    formula = joined(("member",), [formula_of(turn)], (key,))
    return Value(type_, formula, span, by=turn.by)


def item(whole: Value, index: Value, span: Span) -> Value:
    """`s[i]` of a text or a list."""
    if (number(index) or 0) < 0:
        raise NoValueError(f"items are counted from 0, so there is nothing at {index.data}")
    if is_text(whole):
        type_: Type | None = STR
    elif whole.type == JSON:
        type_ = JSON
    else:
        type_ = _common(options_of(whole.type.item)) if isinstance(whole.type, ListOf) else None
    if type_ is None:
        raise WrongOperandsError
    return _operation("index", (whole, index), type_, span)


# --- operators ------------------------------------------------------------------------------------------


def negated(operand: Value, span: Span) -> Value:
    if not is_number(operand):
        raise WrongOperandsError(_as_number(operand))
    operand = asked(operand, FLOAT)
    return _operation("-", (operand,), FLOAT if operand.type == FLOAT else INT, span)


def binary(symbol: str, left: Value, right: Value, span: Span) -> Value:
    """`left symbol right`, of numbers, or `+` of texts."""
    if symbol == "+" and left.type == right.type == JSON:
        return _operation(symbol, (left, right), JSON, span)
    left, right = _asked_alike(left, right), _asked_alike(right, left)
    if symbol != "+" or is_number(left):
        left, right = asked(left, FLOAT), asked(right, FLOAT)
    if symbol == "+" and is_text(left) and is_text(right):
        return _operation(symbol, (left, right), STR, span)
    if not (is_number(left) and is_number(right)):
        raise WrongOperandsError(_as_number(left) or _as_number(right))
    refuse_zero(symbol, right)
    if symbol == "/" or (symbol != "//" and {left.type, right.type} & {FLOAT, PERCENT}):
        return _operation(symbol, (left, right), FLOAT, span)
    return _operation(symbol, (left, right), INT, span)


def compared(symbol: str, left: Value, right: Value, span: Span) -> Value:
    """`left symbol right` for a comparison or `in`."""
    if symbol not in ("in", "not in"):
        left, right = _asked_alike(left, right), _asked_alike(right, left)
    elif is_text(right):
        left = asked(left, STR)
    if symbol in ("in", "not in"):
        if isinstance(right.type, ListOf):
            holds = all(_comparable(left.type, option) for option in options_of(right.type.item))
        else:
            holds = right.type == JSON or (is_text(left) and is_text(right))
    elif symbol in ("==", "!="):
        holds = _comparable(left.type, right.type)
    else:
        holds = _kind(left.type) == _kind(right.type) and _kind(left.type) in ("number", "text", str(JSON))
    if not holds:
        mixed = {_kind(left.type), _kind(right.type)} == {"text", "number"}
        raise WrongOperandsError("`number(…)` reads the number that a text is" if mixed else "")
    return _operation(symbol, (left, right), BOOL, span)


def logic(symbol: str, operands: Sequence[Value], span: Span) -> Value:
    """`not`, `and`, `or` of conditions."""
    return _operation(symbol, operands, BOOL, span)


def chosen(condition: Value, then: Value, otherwise: Value, span: Span) -> Value:
    """`if condition then … else …`, where both branches are of one type or one of them is `none`."""
    then, otherwise = _asked_alike(then, otherwise), _asked_alike(otherwise, then)
    type_ = _common((then.type, otherwise.type))
    if type_ is None:
        raise WrongOperandsError("both branches must be of one type; `none` goes with each")
    return _operation("if", (condition, then, otherwise), type_, span)


def called(function: Function, arguments: Sequence[Value], span: Span) -> Value:
    """A function of arguments that it takes."""
    parameters = (*function.parameters, *(function.parameters[-1],) * len(arguments))
    wanted = zip(arguments, parameters, strict=False)
    arguments = [a if len(options_of(type_)) > 1 else asked(a, _plain(type_)) for a, type_ in wanted]
    result = function.result
    if result is None:
        result = INT if all(argument.type in (INT, BOOL) for argument in arguments) else FLOAT
    return _operation(function.name, arguments, result, span)


# --- the formula itself ---------------------------------------------------------------------------------


def formula_of(value: Value) -> Graded:
    """Any value as a formula."""
    if isinstance(value.data, Graded):
        return value.data
    if isinstance(value.data, tuple):
        return joined(("list",), [formula_of(part) for part in value.data])
    share = number(value)
    if share is None and not isinstance(value.data, str) and value.type not in (BOOL, NONE):
        raise WrongOperandsError
    return Graded(("constant", value.data if share is None else share))


def _operation(symbol: str, operands: Sequence[Value], type_: Type, span: Span) -> Value:
    formula = joined((symbol,), [formula_of(operand) for operand in operands])
    return Value(type_, formula, span, by=NOBODY.union(*(operand.by for operand in operands)))


def joined(head: Formula, parts: Sequence[Graded], behind: Formula = ()) -> Graded:
    """An operation on formulas."""
    size, depth = 1 + sum(part.size for part in parts), 1 + max((part.depth for part in parts), default=0)
    if size > LARGEST or depth > DEEPEST:
        raise NoValueError("the formula is too large")
    reads = dict.fromkeys(read for part in parts for read in part.reads)
    return Graded((*head, *(part.tree for part in parts), *behind), tuple(reads), size, depth)


# --- types ----------------------------------------------------------------------------------------------


def _plain(type_: Type) -> Type:
    return STR if type_ == REGEX else type_


def _kind(type_: Type) -> str:
    """What a value of this type can be compared with."""
    if type_ in (INT, FLOAT, PERCENT):
        return "number"
    return "text" if type_ == STR or isinstance(type_, LiteralText) else str(type_)


def _comparable(one: Type, other: Type) -> bool:
    if isinstance(one, ListOf) and isinstance(other, ListOf):
        pairs = ((a, b) for a in options_of(one.item) for b in options_of(other.item))
        return all(_comparable(a, b) for a, b in pairs)
    return _kind(one) == _kind(other) or bool({one, other} & {NONE, JSON})


def _common(types: Sequence[Type]) -> Type | None:
    """The one type of all values of these types, or None."""
    kinds = {_kind(type_) for type_ in types if type_ != NONE}
    if kinds == {"number"}:
        return INT if {type_ for type_ in types if type_ != NONE} == {INT} else FLOAT
    if kinds == {"text"}:
        return STR
    return next((type_ for type_ in types if type_ != NONE), None) if len(kinds) == 1 else None


def _as_number(operand: Value) -> str:
    return "`number(…)` reads the number that a text is" if is_text(operand) else ""
