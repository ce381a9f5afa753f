"""Grades: from whatever a grader does, and to JSON. No torch here."""

from __future__ import annotations

import math
import traceback
from typing import Any

from harmony_runtime.graders.protocol import DoesNotApply, Failure, Grade, Score

_LONGEST = 300
"""Characters of a reason that are kept: some exceptions carry a whole web page."""


def grade_of(answer: Any) -> Grade:
    """The grade that a grader returned; a `Failure` where it returned anything else."""
    match answer:
        case Score(value=value):
            return _score_of(answer, value)
        case DoesNotApply(reasoning=reasoning):
            return DoesNotApply(_whole(reasoning))
        case Failure(reason=reason):
            return Failure(_short(str(reason)))
        case bool() | int() | float():
            return Failure(f"returned the number {answer!r} instead of a grade such as `Score({answer!r})`")
        case None:
            return Failure("returned nothing instead of a grade")
        case str():
            return Failure("returned text instead of a grade")
    return Failure(f"returned a `{type(answer).__name__}` instead of a grade")


def failure_of(fault: BaseException) -> Failure:
    """A grader raised."""
    return Failure(in_words(fault))


def in_words(fault: BaseException) -> str:
    """`ValueError: too long`, on one line."""
    return _short("".join(traceback.format_exception_only(fault)))


def grade_json(grade: Grade) -> dict[str, Any]:
    """A grade as logs show it: `{"score": 1.0}`, `{"not_applicable": true}` or `{"failed": "the reason"}`."""
    match grade:
        case Score(value=value, reasoning=reasoning):
            return {"score": value} | ({"reasoning": reasoning} if reasoning else {})
        case DoesNotApply(reasoning=reasoning):
            return {"not_applicable": True} | ({"reasoning": reasoning} if reasoning else {})
        case Failure(reason=reason):
            return {"failed": reason}


def grade_of_json(told: dict[str, Any]) -> Grade:
    """The grade that `grade_json` told."""
    match told:
        case {"failed": reason}:
            return Failure(reason)
        case {"not_applicable": True}:
            return DoesNotApply(told.get("reasoning", ""))
    return Score(told["score"], told.get("reasoning", ""))


def _score_of(score: Score, value: Any) -> Grade:
    if not isinstance(value, int | float):
        return Failure(f"scored a `{type(value).__name__}` instead of a float")
    try:
        number = float(value)
    except OverflowError:
        return Failure("scored an integer that is too large")
    if math.isnan(number):
        return Failure("scored nan")
    if math.isinf(number):
        return Failure("scored infinity" if number > 0 else "scored minus infinity")
    return Score(number, _whole(score.reasoning))


def _whole(text: object) -> str:
    """A text that can be written down: half a character, which JSON may carry, cannot."""
    return str(text).encode("utf-8", "replace").decode()


def _short(text: str) -> str:
    line = " ".join(_whole(text).split())
    return line if len(line) <= _LONGEST else line[:_LONGEST] + "…"
