"""Answers of judges: the three forms that a recipe asks for, and what a text in them says. No torch here.

In each form an answer is one JSON object, by a JSON schema that is also asked for where a server can keep a
model to it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harmony_compiler.graph import graders as nodes
from harmony_runtime.graders.json_schemas import JsonSchema
from harmony_runtime.graders.protocol import DoesNotApply, Grade, Score

_WHOSE = "the schema of `answer`"
_LONGEST = 100_000
"""Characters of an answer that are looked at."""


@dataclass(frozen=True)
class Unreadable:
    """An answer that says no grade, and why not: words that a judge is told, too."""

    why: str


@dataclass(frozen=True)
class Token:
    """A token of an answer, with the likeliest tokens in its place, itself mostly among them."""

    text: str
    log_probability: float
    others: Mapping[str, float]
    """Their log-probabilities by their text."""


class Form:
    """How a judge answers."""

    schema: Mapping[str, Any]
    strict: bool = True
    """Whether the schema is one of those that every server can keep a model to."""
    wanted: str
    """What the judge is told about it."""

    def grade(self, record: Mapping[str, Any], tokens: Sequence[Token]) -> Grade | Unreadable:
        """What a record says that is as the schema asks; `tokens` are those of the whole answer."""
        raise NotImplementedError

    def fits(self, answer: Any) -> bool:
        """Whether an example may have this answer; what needs no JSON schema was checked with the recipe."""
        return True


def form_of(node: nodes.Judge) -> Form:
    """
    Raises:
        RunFailed: the schema is at fault.
    """
    match node.answer:
        case "pass_fail":
            return _PassFail()
        case "scale":
            return _Scale(node)
        case schema:
            return _Record(schema)


class Reader:
    """Finds the record in a text, and holds it against the schema of a form."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self._schema = JsonSchema(form.schema, _WHOSE)

    def read(self, text: str, tokens: Sequence[Token]) -> Grade | Unreadable:
        record = _record_in(text)
        if isinstance(record, Unreadable):
            return record
        try:
            fault = self._schema.fault(record)
        except RecursionError:
            fault = "it is nested too deep"
        if fault:
            return Unreadable(fault)
        return self._form.grade(record, tokens)


def as_json(value: Any) -> Any:
    """A value of a recipe, whose lists are tuples, as JSON has it."""
    return json.loads(json.dumps(value))


def _reasoned(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a record with reasoning and, behind it, an answer by another schema."""
    return {
        "type": "object",
        "properties": {"reasoning": {"type": "string"}, "answer": answer},
        "required": ["reasoning", "answer"],
        "additionalProperties": False,
    }


class _PassFail(Form):
    def __init__(self) -> None:
        self.schema = _reasoned({"type": "string", "enum": list(nodes.VERDICTS)})
        self.wanted = (
            'Answer with one JSON object and nothing else: {"reasoning": "a sentence or two", "answer": A}, '
            'where A is "pass" where the completion meets the criteria, "fail" where it does not, and '
            '"not applicable" where the criteria have nothing to say about it.'
        )

    def grade(self, record: Mapping[str, Any], tokens: Sequence[Token]) -> Grade | Unreadable:
        if record["answer"] == "not applicable":
            return DoesNotApply(record["reasoning"])
        return Score(float(record["answer"] == "pass"), record["reasoning"])


class _Scale(Form):
    def __init__(self, node: nodes.Judge) -> None:
        self._low, self._high = node.scale
        self._raw = node.raw
        self._weighted = node.weighted
        self.schema = _reasoned({"type": "integer", "minimum": self._low, "maximum": self._high})
        self.wanted = (
            'Answer with one JSON object and nothing else: {"reasoning": "a sentence or two", "answer": N}, '
            f"where N is a whole number from {self._low}, the worst, to {self._high}, the best."
        )

    def grade(self, record: Mapping[str, Any], tokens: Sequence[Token]) -> Grade | Unreadable:
        answer, reasoning = float(record["answer"]), record["reasoning"]
        if self._weighted:
            mean = self._mean(tokens, int(answer))
            if mean is None:
                reasoning += " [not weighted: nothing tells how likely each answer is]"
            else:
                answer = mean
        value = answer if self._raw else (answer - self._low) / (self._high - self._low)
        return Score(value, reasoning)

    def _mean(self, tokens: Sequence[Token], answer: int) -> float | None:
        """The mean of all answers by their probabilities; None where no token is this one's alone.

        An answer is one digit, and behind everything else in the record.
        """
        for token in reversed(tokens):
            if token.text.strip() == str(answer):
                odds: dict[int, float] = {}
                for text, log_probability in {**token.others, token.text: token.log_probability}.items():
                    if (digit := text.strip()) in map(str, range(self._low, self._high + 1)):
                        odds[int(digit)] = odds.get(int(digit), 0.0) + math.exp(log_probability)
                whole = math.fsum(odds.values())
                return math.fsum(n * odd for n, odd in odds.items()) / whole if whole > 0 else None
        return None


class _Record(Form):
    """By the recipe's own schema. `score` is the score, 1 where it is true; null does not apply."""

    strict = False

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.schema = as_json(schema)
        self._valid = JsonSchema(self.schema, _WHOSE)
        self.wanted = (
            "Answer with one JSON object and nothing else, as this JSON schema describes it:\n"
            + json.dumps(self.schema, ensure_ascii=False)
        )

    def grade(self, record: Mapping[str, Any], tokens: Sequence[Token]) -> Grade | Unreadable:
        reasoning = json.dumps(record, ensure_ascii=False)
        match record.get("score", ""):
            case None:
                return DoesNotApply(reasoning)
            case bool() | int() | float() as score:
                return Score(float(score), reasoning)
        return Unreadable("`score` is neither a number nor true or false")

    def fits(self, answer: Any) -> bool:
        return not self._valid.fault(as_json(answer))


def _record_in(text: str) -> dict[str, Any] | Unreadable:
    """The last whole JSON object in a text: judges think aloud before they answer."""
    if len(text) > _LONGEST:
        return Unreadable("it is too long")
    decoder = json.JSONDecoder(parse_constant=_no_number)
    found, start = None, text.find("{")
    while start >= 0:
        try:
            found, end = decoder.raw_decode(text, start)
        except ValueError:
            end = start + 1
        except RecursionError:
            return Unreadable("it is nested too deeply")
        start = text.find("{", end)
    return Unreadable("there is no JSON object in it") if found is None else found


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")
