"""Formulas, conditions and templates: texts that are computed for each completion or for each row.

Every one of them has a value whatever the completion is: nothing is divided by what may be 0, no root is
drawn of what may be negative.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from hypothesis import strategies as st

from harmony_compiler.graph.formulas import FUNCTIONS, Function
from harmony_compiler.graph.types import BOOL, FLOAT, INT, REGEX, STR, options_of

T = TypeVar("T")
Pick = Callable[[Sequence[Any]], Any]
"""One of some values, as Hypothesis draws it."""

KEYS = ("answer", "topic")
"""Keys of metadata that generated graders read."""

OF_ROWS = (
    '"{{ question }}"',
    'r"{{ answer | trim }}"',
    '"""\n  {% if question %}{{ question }}{% endif %}\n  """',
    '"= \\n {{ answer[0] }}"',
    "\"{{ answer | upper }}: {{ question | replace('?', '!') }}\"",
    '"say it"',
)
"""Templates of datasets, over columns that all of them have; none is empty for a row that is there."""

OF_GRADERS = (
    '"{{ metadata.answer }}"',
    "\"{{ metadata['answer'] | trim }}\"",
    '"{{ metadata.topic | lower }}"',
    '"{{ prompt }} {{ completion | lower }}"',
    '"{% for turn in turns %}{{ turn.role }}{% endfor %}"',
    '"two"',
)
"""Templates of graders."""

REGEXES = ('"^[0-9]+$"', 'r"\\d"', '"a|b"', '"(?i)yes"')

_GUARDED = {"sqrt": "abs({})", "log": "1 + abs({})", "exp": "-abs({})"}
"""Functions that have no value for some numbers, and what keeps those away."""


def read_by(text: str) -> tuple[str, ...]:
    """The keys of metadata that a formula or template reads."""
    plain = text.replace('"', "'")
    return tuple(key for key in KEYS if f"metadata.{key}" in plain or f"metadata['{key}']" in plain)


def number(pick: Pick, depth: int = 2) -> str:
    """A number that is known when a completion is graded."""
    kinds = (
        ["function"]
        if depth <= 0
        else ["function", "function", "operator", "scores", "if", "none", "divided"]
    )
    match pick(kinds):
        case "function":
            known = [f for f in FUNCTIONS.values() if f.result in (INT, FLOAT) and _of_texts(f)]
            return _called(pick, pick(known), depth)
        case "operator":
            return f"({number(pick, depth - 1)} {pick('+-*')} {_operand(pick, depth)})"
        case "divided":
            divisor = pick(("2", "0.5", "(1 + chars(completion))"))
            return f"{number(pick, depth - 1)} {pick(('/', '//'))} {divisor}"
        case "scores":
            function = pick([f for f in FUNCTIONS.values() if f.of_scores])
            if function.name == "clamp":
                return f"clamp({number(pick, depth - 1)}, 0, {pick(('1', '10', '2.5'))})"
            inner = _GUARDED.get(function.name, "{}").format(number(pick, depth - 1))
            more = f", {_operand(pick, depth)}" if function.many and pick((False, True)) else ""
            return f"{function.name}({inner}{more})"
        case "if":
            branches = f"{number(pick, depth - 1)} else {_operand(pick, depth)}"
            return f"(if {condition(pick, depth - 1)} then {branches})"
    return f"(if {condition(pick, depth - 1)} then {number(pick, depth - 1)} else none)"


def _operand(pick: Pick, depth: int) -> str:
    return pick(("2", "0.5", "10%")) if pick((False, True)) else number(pick, depth - 1)


def _of_texts(function: Function) -> bool:
    return not function.of_scores


def text(pick: Pick, depth: int = 1) -> str:
    """A text that is known when a completion is graded."""
    if depth > 0 and pick((False, False, True)):
        match pick(("function", "+", "index")):
            case "function":
                return _called(pick, pick([f for f in FUNCTIONS.values() if f.result == STR]), depth)
            case "+":
                return f"({text(pick, depth - 1)} + {pick((text(pick, depth - 1), QUOTED))})"
            case "index":
                return f"{text(pick, depth - 1)}[{pick('0123')}]"
    keyed = pick(KEYS)
    reads = ("completion", "completion", "prompt", f"metadata.{keyed}", f'metadata["{keyed}"]')
    return str(pick((*reads, "turns[0].content", "turns[0].role")))


QUOTED = '"a"'


def condition(pick: Pick, depth: int = 1) -> str:
    """A condition that is known when a completion is graded."""
    match pick(("numbers", "texts", "function", *(("logic", "chain") if depth > 0 else ()))):
        case "numbers":
            return f"{number(pick, depth - 1)} {pick(('<', '<=', '==', '!=', '>'))} {_operand(pick, depth)}"
        case "texts":
            operator = pick(("in", "not in", "==", ">"))
            return f"{text(pick, depth - 1)} {operator} {text(pick, depth - 1)}"
        case "function":
            return _called(pick, pick([f for f in FUNCTIONS.values() if f.result == BOOL]), depth)
        case "chain":
            return f"0 <= {number(pick, depth - 1)} < 3"
    joined = pick(("and", "or", "and not"))
    return f"{condition(pick, depth - 1)} {joined} ({condition(pick, depth - 1)})"


def _called(pick: Pick, function: Function, depth: int) -> str:
    return f"{function.name}({', '.join(_argument(pick, p, depth) for p in function.parameters)})"


def _argument(pick: Pick, type_: Any, depth: int) -> str:
    if type_ == REGEX:
        return str(pick(REGEXES))
    if STR in options_of(type_):
        return text(pick, depth - 1)
    return number(pick, depth - 1)


def filter_of(pick: Pick) -> str:
    """A condition on the columns of a row that most rows meet."""
    column = pick(("question", "answer"))
    return str(
        pick(
            (
                f'{column} != ""',
                f"len({column}) > 0",
                f'not contains({column}, "xyz") and words({column}) >= 1',
                f'{column} not in ["", "none"]',
            )
        )
    )


@st.composite
def formulas(draw: st.DrawFn) -> str:
    """A formula over a completion, as a recipe writes it: it makes a grader."""
    return number(lambda options: draw(st.sampled_from(list(options))))
