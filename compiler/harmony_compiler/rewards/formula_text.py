"""Formulas as people write them: a tree as text again, with names for graders."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harmony_compiler.graph.formulas import Formula

_STRENGTH = {
    "if": 0,
    "or": 1,
    "and": 2,
    "not": 3,
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">=", "in", "not in"), 4),
    **dict.fromkeys("+-", 5),
    **dict.fromkeys(("*", "/", "//"), 6),
}
"""How tightly operators bind; what is not here binds tightest."""

_UNARY_MINUS, _TIGHTEST = 7, 8


def formula_text(tree: Formula, graders: Sequence[str] = ()) -> str:
    """A formula as a recipe writes it; `graders` are the names of a combination's graders."""
    return _text(tree, graders)[0]


def _text(tree: Formula, graders: Sequence[str]) -> tuple[str, int]:
    """The text, and how tightly it binds."""
    operation, *operands = tree

    def inside(operand: Formula, strength: int) -> str:
        text, own = _text(operand, graders)
        return text if own >= strength else f"({text})"

    strength = _STRENGTH.get(operation, _TIGHTEST)
    match operation:
        case "constant":
            return _constant(operands[0])
        case "read":
            first, *keys = operands if operands[0] != "column" else operands[1:]
            named = (
                f".{key}" if key.isascii() and key.isidentifier() else f"[{quoted(key)}]" for key in keys
            )
            return first + "".join(named), _TIGHTEST
        case "grader":
            name = graders[operands[0]]
            return name, _TIGHTEST if _is_tight(name) else 0
        case "list":
            return f"[{', '.join(inside(operand, 0) for operand in operands)}]", _TIGHTEST
        case "member":
            return f"{inside(operands[0], _TIGHTEST)}.{operands[1]}", _TIGHTEST
        case "index":
            return f"{inside(operands[0], _TIGHTEST)}[{inside(operands[1], 0)}]", _TIGHTEST
        case "if":
            condition, then = (inside(operand, 1) for operand in operands[:2])
            return f"if {condition} then {then} else {inside(operands[2], 0)}", strength
        case "not":
            return f"not {inside(operands[0], strength)}", strength
        case "-" if len(operands) == 1:
            return f"-{inside(operands[0], _UNARY_MINUS)}", _UNARY_MINUS
        case _ if operation in _STRENGTH:
            left, right = operands
            # Operators of one strength group to the left; comparisons would chain.
            first = strength + 1 if strength == _STRENGTH["=="] else strength
            return f"{inside(left, first)} {operation} {inside(right, strength + 1)}", strength
    return f"{operation}({', '.join(inside(operand, 0) for operand in operands)})", _TIGHTEST


_NAME = r"[^\W\d]\w*"
_CALL = re.compile(rf"(?:{_NAME}(?:\.{_NAME})*)?(\(.*\))?", re.DOTALL)
_TEXT = re.compile(r'r"[^"\n]*"|"(?:[^"\\]|\\.)*"', re.DOTALL)


def _is_tight(name: str) -> bool:
    """Whether what a grader is called, maybe by its text, binds tightest: `m.right`, `f(a)`, `(f(a) - 1)` do,
    `f(a) - g(b)` does not."""
    found = _CALL.fullmatch(_TEXT.sub('""', name))
    if found is None:
        return False
    depth, brackets = 0, found[1] or ""
    for char in brackets[:-1]:
        depth += (char in "([{") - (char in ")]}")
        if depth == 0:  # closed before the end
            return False
    return True


def _constant(value: bool | float | str | None) -> tuple[str, int]:
    match value:
        case None:
            return "none", _TIGHTEST
        case bool():
            return ("true" if value else "false"), _TIGHTEST
        case str():
            return quoted(value), _TIGHTEST
    return str(value), _UNARY_MINUS if value < 0 else _TIGHTEST


def quoted(text: str) -> str:
    """A text as a string literal on one line, which shows what no terminal does."""
    shown = (_ESCAPES.get(char) or (char if char.isprintable() else f"\\u{{{ord(char):x}}}") for char in text)
    return f'"{"".join(shown)}"'


_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
