"""Losses: the formula by which a stage trains, with the recipe's numbers in it.

It is the one of `graph/equations.py`, which the tests evaluate: the lines of options that were not chosen are
left out, fields are replaced by their values, and what that makes 0 or 1 is worked out.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from harmony_compiler.graph.algorithms import Algorithm, Dpo, Grpo, Ppo, Sft
from harmony_compiler.graph.equations import Equation, equations_of
from harmony_compiler.graph.node import Constructor, schema
from harmony_compiler.graph.values import Percent


def loss_of(node: Algorithm) -> tuple[str, ...]:
    """The equations of a stage's loss, and behind them in words over what they are averaged."""
    return (*filled(node), *_words(node))


def filled(node: Algorithm) -> tuple[str, ...]:
    """The equations that hold for a stage, with its numbers."""
    filling = _Filling(_numbers(node))
    found: list[tuple[Equation, ast.expr]] = []
    for equation in equations_of(node.formula):
        if _holds(equation.case, node):
            expression = filling.visit(ast.parse(equation.expression, mode="eval").body)
            if isinstance(expression, ast.Name) and not equation.each_token:  # another name for it
                filling.known[equation.name] = expression
            else:
                found.append((equation, expression))
    return tuple(
        f"{equation.name}{'[t]' if equation.each_token else ''} = {_text(expression)}"
        for equation, expression in _needed(found)
    )


def _numbers(node: Constructor, prefix: str = "") -> dict[str, ast.expr]:
    """The numbers of a node by the names that formulas have for them, such as `sampling.max_tokens`."""
    found: dict[str, ast.expr] = {}
    for name in schema(type(node)):
        value = getattr(node, name)
        if isinstance(value, Constructor):
            found |= _numbers(value, f"{prefix}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[prefix + name] = ast.Constant(value)
    return found


_VALUES: Mapping[str, Any] = {"true": True, "false": False, "none": None}


def _holds(case: str, node: Algorithm) -> bool:
    """Whether a stage is in the case in which an equation is so."""
    option, equals, value = case.partition(" = ")
    if equals:
        chosen = _VALUES[value] if value in _VALUES else ast.literal_eval(value)
        return bool(getattr(node, option) == chosen)
    return not case or getattr(node, case.removesuffix(" given")) is not None


def _needed(equations: list[tuple[Equation, ast.expr]]) -> list[tuple[Equation, ast.expr]]:
    """Those that a loss is made of, directly or through others."""
    needed: set[str] = set()
    found = []
    for equation, expression in reversed(equations):
        if equation.name.startswith("loss") or equation.name in needed:
            found.append((equation, expression))
            needed.update(part.id for part in ast.walk(expression) if isinstance(part, ast.Name))
    return found[::-1]


class _Filling(ast.NodeTransformer):
    """Puts what is known into an expression, and works out what that makes simple."""

    def __init__(self, known: dict[str, ast.expr]) -> None:
        self.known = known

    def visit_Name(self, node: ast.Name) -> ast.expr:  # the names that `ast` asks for
        return self.known.get(node.id, node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        return self.known.get(ast.unparse(node), node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        self.generic_visit(node)
        return node.operand if _number(node.operand) == 0 else node

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        left, right = _number(node.left), _number(node.right)
        if left is not None and right is not None:
            return _worked_out(node, left, right)
        match node.op, left, right:
            case (ast.Mult(), 0, _) | (ast.Mult(), _, 0):
                return ast.Constant(0)
            case (ast.Add(), 0, _) | (ast.Mult(), 1, _):
                return node.right
            case (ast.Add() | ast.Sub(), _, 0) | (ast.Mult() | ast.Div(), _, 1):
                return node.left
            case ast.Mult(), -1, _:
                return ast.UnaryOp(ast.USub(), node.right)
        return node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        same = len(node.args) > 1 and len({ast.dump(argument) for argument in node.args}) == 1
        return node.args[0] if same and ast.unparse(node.func) in ("min", "max") else node


def _number(expression: ast.expr) -> float | None:
    match expression:
        case ast.Constant(value=int() | float() as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
    return None


_COMPUTE: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_DIGITS = 6


def _worked_out(node: ast.BinOp, left: float, right: float) -> ast.expr:
    """The number that two numbers make, where it has few digits; `1 / 0.6` stays as it is."""
    exact = _COMPUTE[type(node.op)](left, right)
    short = float(f"{exact:.{_DIGITS}g}")
    return ast.Constant(short) if abs(short - exact) <= 1e-12 * abs(exact) else node


def _text(expression: ast.expr) -> str:
    shown = ast.unparse(_Shown().visit(expression))
    return re.sub(r" ?\*\* ?", "^", shown)


class _Shown(ast.NodeTransformer):
    """Numbers as people write them: 1 for 1.0, 1e-8 for 1e-08."""

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        return ast.Name(re.sub(r"e([+-])0", r"e\1", repr(node.value)).removesuffix(".0"))


def _words(node: Algorithm) -> Iterator[str]:
    """What the equations leave to words: what is averaged, and how many there are."""
    match node:
        case Sft():
            tokens = _TRAINED_ON[node.train_on]
            yield _average(node.reduce, tokens, "row", f"the {node.samples_per_batch:,} rows of a step")
        case Dpo():
            yield f"averaged over the {node.samples_per_batch:,} pairs of a step"
        case Grpo():
            update = _update(node)
            if node.reduce == "constant":
                most = f"{node.sampling.max_tokens:,} (`sampling.max_tokens`)"
                yield f"summed over the tokens of each completion, divided by {most}, averaged over {update}"
            else:
                yield _average(node.reduce, "tokens", "completion", update)
            yield f"A compares the {node.completions_per_sample:,} completions of a prompt"
            if node.truncated == "mask":
                yield f"completions cut off at {node.sampling.max_tokens:,} tokens do not count"
        case Ppo():
            yield _average("tokens", "tokens", "completion", _update(node))
            if node.value_warmup not in (0, Percent(0)):
                yield f"in the first {_steps(node.value_warmup)} only the critic learns"


_TRAINED_ON = {
    "last": "tokens of the last assistant turn",
    "all": "tokens of assistant turns",
    "everything": "tokens",
}


def _average(reduce: str, tokens: str, row: str, rows: str) -> str:
    if reduce == "tokens":
        return f"averaged over all {tokens} in {rows}"
    return f"averaged over the {tokens} in each {row}, then over {rows}"


def _update(node: Grpo | Ppo) -> str:
    updates = node.samples_per_batch // node.samples_per_mini_batch * node.mini_epochs
    in_step = "one update a step" if updates == 1 else f"{updates:,} updates a step"
    return f"the {node.samples_per_mini_batch:,} completions of an update, {in_step}"


def _steps(warmup: int | Percent) -> str:
    if isinstance(warmup, Percent):
        return f"{warmup} of the steps"
    return "step" if warmup == 1 else f"{warmup:,} steps"
