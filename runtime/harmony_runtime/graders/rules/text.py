"""Rules over the text of a completion. No torch here."""

from __future__ import annotations

import re

from harmony_compiler.graph import graders as nodes
from harmony_runtime.failures import RunFailed
from harmony_runtime.graders.formulas import NoValueError, score_of
from harmony_runtime.graders.kinds import Rule
from harmony_runtime.graders.protocol import DoesNotApply, Failure, Grade, Sample, Score
from harmony_runtime.graders.rules.normal import Wanted, normal
from harmony_runtime.graders.rules.patterns import calls_what_may_hang, may_hang


class Equals(Rule):
    def __init__(self, node: nodes.Equals) -> None:
        self._expected = Wanted(node.expected, "expected", node.ignore)
        self._ignore = node.ignore

    def apply(self, sample: Sample) -> Grade:
        expected = self._expected.of(sample)
        if isinstance(expected, Failure):
            return expected
        if normal(sample.completion, self._ignore).strip() == expected.strip():
            return Score(1.0)
        return Score(0.0, f"expected {shown(expected.strip())}")


class OneOf(Rule):
    def __init__(self, node: nodes.OneOf) -> None:
        self._options = [
            Wanted(text, f"options[{number}]", node.ignore) for number, text in enumerate(node.options)
        ]
        self._ignore = node.ignore

    def apply(self, sample: Sample) -> Grade:
        options = []
        for wanted in self._options:
            option = wanted.of(sample)
            if isinstance(option, Failure):
                return option
            options.append(option.strip())
        if normal(sample.completion, self._ignore).strip() in options:
            return Score(1.0)
        return Score(0.0, f"expected one of {', '.join(map(shown, options))}")


class Contains(Rule):
    def __init__(self, node: nodes.Contains) -> None:
        self._text = Wanted(node.text, "text", node.ignore)
        self._ignore = node.ignore

    def apply(self, sample: Sample) -> Grade:
        text = self._text.of(sample)
        if isinstance(text, Failure):
            return text
        if not text:
            return Failure("`text` is empty here: every completion contains it")
        if text in normal(sample.completion, self._ignore):
            return Score(1.0)
        return Score(0.0, f"{shown(text)} is not in it")


class Matches(Rule):
    def __init__(self, node: nodes.Matches) -> None:
        try:
            self._regex = re.compile(node.regex)
        except re.error as fault:
            raise RunFailed(f"`regex` cannot be read: {fault}") from fault
        self.may_hang = may_hang(node.regex)

    def apply(self, sample: Sample) -> Grade:
        return Score(float(self._regex.search(sample.completion) is not None))


class Formula(Rule):
    def __init__(self, node: nodes.Formula) -> None:
        self._expression = node.expression
        self.may_hang = calls_what_may_hang(node.expression)

    def apply(self, sample: Sample) -> Grade:
        try:
            score = score_of(self._expression, sample)
        except NoValueError as fault:
            return Failure(str(fault))
        return DoesNotApply("the formula is none") if score is None else Score(score)


def shown(text: str) -> str:
    """A text in a message: on one line, and not longer than 60 characters."""
    line = " ".join(text.split())
    return f'"{line[:60]}…"' if len(line) > 60 else f'"{line}"'
