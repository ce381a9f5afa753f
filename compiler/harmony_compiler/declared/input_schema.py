"""The inputs of a recipe as JSON Schema (2020-12), for those who write or generate `--inputs` files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harmony_compiler.declared.interface import Input, Interface
from harmony_compiler.graph.types import (
    BOOL,
    DURATION,
    FLOAT,
    INT,
    NONE,
    PATH,
    PERCENT,
    REGEX,
    SECRET,
    STR,
    TEMPLATE,
    ListOf,
    LiteralText,
    Type,
    options_of,
)
from harmony_compiler.graph.values import SECONDS, Duration, Percent, Secret
from harmony_grammar import syntax

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_NUMBER = r"[0-9][0-9_]*(\.[0-9_]+)?([eE][+-]?[0-9]+)?"
_TEXTS: dict[Type, dict[str, str]] = {
    PERCENT: {"pattern": f"^-?{_NUMBER}%$"},
    DURATION: {"pattern": f"^{_NUMBER}({'|'.join(SECONDS)})$"},
    SECRET: {"pattern": r'^env\("[^"]+"\)$'},
    REGEX: {"format": "regex"},
    STR: {},
    PATH: {},
    TEMPLATE: {},
}
_PLAIN: dict[Type, str] = {BOOL: "boolean", INT: "integer", FLOAT: "number", NONE: "null"}


def schema_of(interface: Interface) -> dict[str, Any]:
    return {"$schema": DIALECT, **_object(interface)}


def _object(interface: Interface) -> dict[str, Any]:
    inputs = {part.name: _input(part) for part in interface.inputs}
    imports = {name: _object(inner) for name, inner in interface.imports.items() if not inner.empty}
    required = [part.name for part in interface.inputs if part.required]
    required += [name for name, inner in interface.imports.items() if inner.required]
    return {
        "title": interface.name,
        **({"description": interface.doc} if interface.doc else {}),
        "type": "object",
        "properties": inputs | imports,
        "required": required,
        "additionalProperties": False,
    }


def _input(part: Input) -> dict[str, Any]:
    schema = _type(part.type)
    for keyword, value in _bounds(part):
        schema.setdefault(keyword, value)
    schema["$comment"] = str(part.type)
    if part.doc:
        schema["description"] = part.doc
    if part.value is not None or (not part.required and part.default == "none"):
        schema["default"] = _json(part.value)
    return schema


def _type(type_: Type) -> dict[str, Any]:
    options = options_of(type_)
    literals = [option.text for option in options if isinstance(option, LiteralText)]
    parts: list[dict[str, Any]] = [{"enum": literals}] if literals else []
    for option in options:
        if isinstance(option, ListOf):
            parts.append({"type": "array", "items": _type(option.item)})
        elif option in _PLAIN:
            parts.append({"type": _PLAIN[option]})
        elif not isinstance(option, LiteralText):
            # A model, a dataset, a grader, settings: a text with the expression that makes it.
            parts.append({"type": "string", **_TEXTS.get(option, {})})
    return parts[0] if len(parts) == 1 else {"anyOf": parts}


def _json(value: Any) -> Any:
    match value:
        case Percent() | Duration() | Secret():
            return str(value)
        case tuple():
            return [_json(item) for item in value]
        case dict():
            return {key: _json(item) for key, item in value.items()}
    return value


# --- bounds ---------------------------------------------------------------------------------------------

_BELOW = {"<": "exclusiveMaximum", "<=": "maximum"}
_ABOVE = {"<": "exclusiveMinimum", "<=": "minimum"}
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def _bounds(part: Input) -> Iterator[tuple[str, Any]]:
    """What a condition such as `0 < lr < 1e-3` says of the input alone. Of another condition, nothing."""
    numeric = any(option in (INT, FLOAT) for option in options_of(part.type))
    for condition in _all_of(part.condition):
        pairs = zip(condition.operands, condition.operators, condition.operands[1:], strict=False)
        for left, symbol, right in pairs:
            if symbol == "in" and _is(left, part) and (texts := _texts(right)):
                yield "enum", texts
            elif numeric and symbol in _MIRRORED:
                yield from _bound(left, symbol, right, part)


def _bound(
    left: syntax.Expression, symbol: str, right: syntax.Expression, part: Input
) -> Iterator[tuple[str, Any]]:
    if symbol in (">", ">="):
        left, symbol, right = right, _MIRRORED[symbol], left
    if _is(left, part) and (number := _number(right)) is not None:
        yield _BELOW[symbol], number
    if _is(right, part) and (number := _number(left)) is not None:
        yield _ABOVE[symbol], number


def _all_of(condition: syntax.Expression | None) -> Iterator[syntax.Compare]:
    match condition:
        case syntax.Compare():
            yield condition
        case syntax.Binary(operator="and", left=left, right=right):
            yield from _all_of(left)
            yield from _all_of(right)


def _is(expression: syntax.Expression, part: Input) -> bool:
    return isinstance(expression, syntax.Name) and expression.text == part.name


def _number(expression: syntax.Expression) -> int | float | None:
    match expression:
        case syntax.Number(value=value):
            return value
        case syntax.Percent(value=value):
            return value / 100
        case syntax.Unary(operator="-", operand=operand):
            number = _number(operand)
            return None if number is None else -number
    return None


def _texts(expression: syntax.Expression) -> list[str]:
    """The texts of a list of nothing else."""
    items = expression.items if isinstance(expression, syntax.List) else ()
    texts = [item.value for item in items if isinstance(item, syntax.Text)]
    return texts if len(texts) == len(items) else []
