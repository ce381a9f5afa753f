"""The graders that come with the language, made from their nodes. No torch here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from harmony_compiler.graph import graders as nodes
from harmony_runtime.failures import RunFailed
from harmony_runtime.graders.formulas import NoValueError, score_of
from harmony_runtime.graders.protocol import DoesNotApply, Failure, Grade, Grader, Sample, Score
from harmony_runtime.templates import Template, TemplateFaultError


class Rule(Grader):
    """A grader that only computes: there is nothing to set up, and nothing to wait for."""

    def apply(self, sample: Sample) -> Grade:
        """Grade one sample, at once."""
        raise NotImplementedError

    async def grade(self, sample: Sample) -> Grade:
        return self.apply(sample)


class _Filled:
    """The template of a field, filled from a sample."""

    def __init__(self, text: str, field: str) -> None:
        self._field = field
        try:
            self._template = Template(text)
        except TemplateFaultError as fault:
            raise RunFailed(f"the template of `{field}` cannot be read: {fault}") from fault

    def of(self, sample: Sample) -> str | Failure:
        try:
            return self._template.fill(vars(sample))
        except TemplateFaultError as fault:
            return Failure(f"the template of `{self._field}` fails: {fault}")


class Equals(Rule):
    def __init__(self, node: nodes.Equals) -> None:
        self._expected = _Filled(node.expected, "expected")

    def apply(self, sample: Sample) -> Grade:
        expected = self._expected.of(sample)
        if isinstance(expected, Failure):
            return expected
        if sample.completion.strip() == expected.strip():
            return Score(1.0)
        return Score(0.0, f"expected {shown(expected.strip())}")


class Contains(Rule):
    def __init__(self, node: nodes.Contains) -> None:
        self._text = _Filled(node.text, "text")

    def apply(self, sample: Sample) -> Grade:
        text = self._text.of(sample)
        if isinstance(text, Failure):
            return text
        if text in sample.completion:
            return Score(1.0)
        return Score(0.0, f"{shown(text)} is not in it")


class Matches(Rule):
    def __init__(self, node: nodes.Matches) -> None:
        try:
            self._regex = re.compile(node.regex)
        except re.error as fault:
            raise RunFailed(f"`regex` cannot be read: {fault}") from fault

    def apply(self, sample: Sample) -> Grade:
        return Score(float(self._regex.search(sample.completion) is not None))


class Formula(Rule):
    def __init__(self, node: nodes.Formula) -> None:
        self._expression = node.expression

    def apply(self, sample: Sample) -> Grade:
        try:
            score = score_of(self._expression, sample)
        except NoValueError as fault:
            return Failure(str(fault))
        return DoesNotApply("the formula is none") if score is None else Score(score)


Factories = Mapping[type[nodes.Grader], Callable[[Any], Grader]]
"""By the class of a grader's node, what makes the grader from the node."""

BUILT_IN: Factories = {
    nodes.Equals: Equals,
    nodes.Contains: Contains,
    nodes.Matches: Matches,
    nodes.Formula: Formula,
}


def shown(text: str) -> str:
    """A text in a message: on one line, and not longer than 60 characters."""
    line = " ".join(text.split())
    return f'"{line[:60]}…"' if len(line) > 60 else f'"{line}"'
