"""Whether two answers are the same number or formula. No torch here.

Plain numbers are compared as fractions. What is more than a number goes to math-verify, which reads LaTeX and
computes with sympy: that may take long, so the rule is computed in a worker process.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

from harmony_compiler.graph import graders as nodes
from harmony_runtime.failures import RunFailed
from harmony_runtime.graders.kinds import Rule
from harmony_runtime.graders.protocol import Failure, Grade, Sample, Score
from harmony_runtime.graders.rules.filled import Filled
from harmony_runtime.graders.rules.final_answer import final_answer
from harmony_runtime.graders.rules.text import shown

_LONGEST = 1000
"""Characters of an answer; a longer one is a model that repeats itself, and slow to read."""


class MathEquals(Rule):
    may_hang = True

    def __init__(self, node: nodes.MathEquals) -> None:
        self._expected = Filled(node.expected, "expected")
        if find_spec("math_verify") is None:
            raise RunFailed("`math_equals` needs math-verify: install `harmony-dsl[graders]`", exit_code=2)

    def apply(self, sample: Sample) -> Grade:
        text = self._expected.of(sample)
        if isinstance(text, Failure):
            return text
        expected = final_answer(text)
        if expected is None or not is_mathematics(expected):
            return Failure(f"`expected` holds no number or formula: {shown(text)}")
        answer = final_answer(sample.completion)
        if answer is None:
            return Score(0.0, "no number or formula is in it")
        if len(answer) > _LONGEST:
            return Score(0.0, f"its answer is longer than {_LONGEST:,} characters")
        if equal(expected, answer):
            return Score(1.0)
        return Score(0.0, f"it answers {shown(answer)}, expected {shown(expected)}")


def is_mathematics(text: str) -> bool:
    """Whether a text can be read as a number or formula."""
    return _quantity(text) is not None or bool(_formulas(text))


def equal(expected: str, answer: str) -> bool:
    """Whether two texts are the same number or formula. Of an equation, the right side is as good."""
    wanted, given = _quantity(expected), _quantity(answer)
    if wanted and not given and (equation := _EQUATION.fullmatch(answer)):
        given = _quantity(equation["right"])
    if wanted and given:
        return wanted.agrees(given)
    return _unmarked(expected) == _unmarked(answer) or _equal_formulas(expected, answer)


_EQUATION = re.compile(r"(?:(?!\b(?:or|and)\b)[^,;])*=(?P<right>[^=]*)")
"""One equation, and no list of several."""


# --- numbers --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Quantity:
    value: Fraction
    percent: bool = False

    def agrees(self, other: _Quantity) -> bool:
        """`50%` is 50 as well as 0.5, unless both are percentages."""
        if self.percent == other.percent:
            return _close(self.value, other.value)
        share, plain = (self, other) if self.percent else (other, self)
        return _close(share.value, plain.value) or _close(share.value / 100, plain.value)


def _close(one: Fraction, other: Fraction) -> bool:
    """Whether two numbers are not further apart than a millionth: of the larger, where that is below 1."""
    return abs(one - other) <= Fraction(1, 1_000_000) * min(Fraction(1), max(abs(one), abs(other)))


_DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+"
_NUMBER = re.compile(
    r"(?P<sign>[-+]?)\s*[$€£¥₹]?\s*(?P<inner>[-+]?)"
    r"(?:(?P<whole>\d+)(?:\s+(?=\d+\s*/)|\s*(?=\\frac)))?"
    rf"(?:(?P<top>{_DIGITS})\s*/\s*(?P<bottom>{_DIGITS})"
    rf"|\\frac\s*{{\s*(?P<above>-?(?:{_DIGITS}))\s*}}\s*{{\s*(?P<below>{_DIGITS})\s*}}"
    rf"|(?P<plain>{_DIGITS})(?:(?:[eE]|\s*(?:\\times|\\cdot|×|\*)\s*10\s*\^)\s*{{?(?P<power>[-+]?\d{{1,3}})}}?)?)"
    r"\s*(?:(?P<percent>%|percent\b)|(?P<scale>thousand|million|billion|trillion)\b)?"
    r"(?:\s*[€£¥₹]|\s+[^\W\d_][^\W\d_/. ]*(?:[/. ]+[^\W\d_]+)*(?:\^?\{?[23²³]\}?)?)?"
)
"""A number and what may stand around it: a currency before it, a unit after a blank."""
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}


def _quantity(text: str) -> _Quantity | None:
    found = _NUMBER.fullmatch(_plain(text))
    if found is None:
        return None
    try:
        top = _fraction(found["top"] or found["above"] or found["plain"])
        bottom = _fraction(found["bottom"] or found["below"] or "1")
        value = top / bottom * Fraction(10) ** int(found["power"] or 0)
    except (ValueError, ZeroDivisionError):  # thousands of digits, or a division by zero
        return None
    if found["whole"]:
        if not 0 <= value < 1:
            return None  # `3 5/2` is no mixed number
        value += _fraction(found["whole"])
    if "-" in (found["sign"], found["inner"]):
        value = -value
    return _Quantity(value * _SCALES.get(found["scale"], 1), found["percent"] is not None)


def _fraction(digits: str) -> Fraction:
    return Fraction(digits.replace(",", ""))


_SPACING = re.compile(r"\\[,!;:]|\\left\b|\\right\b|\^?\{?(?:\\circ|°)\}?")
_WORDED = re.compile(r"\\(?:text|textbf|mathrm|mbox)\s*\{([^{}]*)\}")


def _plain(text: str) -> str:
    """Without what LaTeX needs for looks alone."""
    text = _SPACING.sub("", _unmarked(text).replace("{,}", ","))
    text = _WORDED.sub(r" \1 ", text).replace("\\$", "$").replace("\\%", "%").replace("\\ ", " ")
    return re.sub(r"\\[dtc]frac\b", r"\\frac", text).replace("−", "-").strip()


_MARKS = (("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)"), ("$", "$"))


def _unmarked(text: str) -> str:
    r"""Without the `$…$`, `\(…\)`, `\[…\]` around it."""
    text = text.strip()
    for start, end in _MARKS:
        if text.startswith(start) and text.endswith(end) and len(text) > len(start + end):
            return text[len(start) : -len(end)].strip()
    return text


# --- formulas -------------------------------------------------------------------------------------------

_AS_LATEX = {
    **{"−": "-", "×": r"\times ", "÷": r"\div ", "·": r"\cdot ", "**": "^", "π": r"\pi "},
    **{"\\$": "", "$": ""},  # currencies
}


def _equal_formulas(expected: str, answer: str) -> bool:
    from math_verify import verify

    wanted, given = _formulas(expected), _formulas(answer)
    values = [_value(formula) for formula in (*wanted, *given)]
    if len(values) == 2 and values[0] is not None and values[1] is not None:
        return _close(values[0], values[1])
    return bool(verify(wanted, given, timeout_seconds=None))


@lru_cache(maxsize=1024)
def _formulas(text: str) -> list[Any]:
    """What sympy makes of a text: one formula, or none where it is none."""
    from math_verify import LatexExtractionConfig, parse

    # Its own alarms need the main thread, and it warns that they are off: the worker has a deadline.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    text = _unmarked(text)
    for written, latex in _AS_LATEX.items():
        text = text.replace(written, latex)
    whole: list[Any] = parse(
        f"${text}$",
        (LatexExtractionConfig(boxed_match_priority=-1),),
        fallback_mode="no_fallback",
        extraction_mode="first_match",
        parsing_timeout=None,
    )
    return whole


def _value(formula: Any) -> Fraction | None:
    """The real number that a formula is; None where it is no such number."""
    from sympy import Expr

    try:
        number = formula.evalf(20, chop=True) if isinstance(formula, Expr) and formula.is_number else None
        return Fraction(str(number)) if number is not None and number.is_comparable else None
    except Exception:  # sympy raises many kinds where there is no value, such as for 1/0
        return None
