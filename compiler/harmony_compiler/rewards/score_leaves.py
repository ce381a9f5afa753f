"""Score leaves: what is known of graders and formulas that nothing else is made of.

Between which numbers they lie, whether they apply to every completion, and what kind of value they give.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from harmony_compiler.graph.formulas import FUNCTIONS
from harmony_compiler.graph.formulas import Formula as Tree
from harmony_compiler.graph.graders import Grader, Judge, Matches
from harmony_compiler.graph.node import Constructor
from harmony_compiler.graph.types import STR
from harmony_compiler.rewards.intervals import ANY, COUNT, TRUTH, Interval, exactly
from harmony_compiler.typed import UNKNOWN_DATA


class Scored(Protocol):
    """A grader of which something is proved, be it the checker's or the graph's; those inside it likewise."""

    @property
    def cls(self) -> type[Constructor]: ...

    @property
    def values(self) -> Mapping[str, Any]:
        """Every field by its name."""


def scores_of(grader: Scored) -> Interval:
    """Between which numbers a grader of the language scores."""
    values = grader.values
    if grader.cls is Matches and values["regex"] == "":
        return exactly(1)
    if grader.cls is Judge and values["answer"] != "pass_fail":
        scale = values["scale"]
        if values["answer"] != "scale" or values["raw"] is not False:
            known = values["answer"] == "scale" and isinstance(scale, tuple) and UNKNOWN_DATA not in scale
            return Interval(min(scale), max(scale)) if known and len(scale) == 2 else ANY
    return Interval(*grader.cls.scores) if issubclass(grader.cls, Grader) else ANY


def interval_of(tree: Tree) -> Interval:
    """Between which numbers a function of texts lies."""
    operation, *operands = tree
    match operation:
        case "words" | "chars" | "lines" | "len":
            return COUNT
        case "agreement":
            return exactly(1) if operands[0] == operands[1] else TRUTH
        case "contains" | "starts_with" | "ends_with" | "matches":
            return exactly(1) if operands[1] == ("constant", "") else TRUTH
        case "in" | "not in":
            if operands[0] == ("constant", "") and operands[1][0] != "list":
                return exactly(operation == "in")
            return TRUTH
    return ANY


_TEXTS = ("words", "chars", "lines", "contains", "starts_with", "ends_with", "matches", "agreement")


def always_has_value(tree: Tree) -> bool:
    """Whether a formula has a value for every completion: no failure, and not none."""
    operation, *operands = tree
    match operation:
        case "constant":
            return operands[0] is not None
        case "read":
            return operands[0] in ("completion", "prompt", "turns")
        case "len":
            return always_has_value(operands[0])
        case "in" | "not in" if operands[1][0] == "list":
            return False
    if operation in (*_TEXTS, "in", "not in") or _is_text(tree):
        return all(_is_text(operand) and always_has_value(operand) for operand in operands)
    return False


def _is_text(tree: Tree) -> bool:
    """Whether a formula surely gives a text, where it gives something."""
    operation, *operands = tree
    match operation:
        case "constant":
            return isinstance(operands[0], str)
        case "read":
            return operands in (["completion"], ["prompt"])
        case "lower" | "strip":
            return True
        case "+":
            return any(_is_text(operand) for operand in operands)
    return False


def is_number(tree: Tree) -> bool:
    """Whether a formula surely gives a number or a condition, where it gives something."""
    operation, *operands = tree
    match operation:
        case "constant":
            return isinstance(operands[0], int | float)
        case "read" | "index" | "member" | "list":
            return False
        case "+":
            return all(is_number(operand) for operand in operands)
        case "if":
            branches = [branch for branch in operands[1:] if branch != ("constant", None)]
            return all(is_number(branch) for branch in branches)
    return operation not in FUNCTIONS or FUNCTIONS[operation].result != STR


def reads_completion(tree: Tree) -> bool:
    return tree[:2] == ("read", "completion") or any(
        reads_completion(part) for part in tree if isinstance(part, tuple)
    )


def hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True
