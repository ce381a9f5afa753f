"""How long a completion is. No torch here."""

from __future__ import annotations

from harmony_compiler.graph import graders as nodes
from harmony_compiler.graph.formulas import words
from harmony_runtime.graders.kinds import Rule
from harmony_runtime.graders.protocol import Failure, Grade, Sample, Score


class Length(Rule):
    def __init__(self, node: nodes.Length) -> None:
        self._node = node

    def apply(self, sample: Sample) -> Grade:
        least, most, unit = self._node.min, self._node.max, self._node.unit
        length = _length(sample, unit)
        if length is None:
            return Failure("how many tokens the completion has is known in a run alone")
        if least is not None and length < least:
            return Score(0.0, f"it has {length:,} {unit}, and at least {least:,} are asked for")
        if most is not None and length > most:
            return Score(0.0, f"it has {length:,} {unit}, and at most {most:,} are asked for")
        return Score(1.0)


def _length(sample: Sample, unit: str) -> int | None:
    match unit:
        case "words":
            return words(sample.completion)
        case "chars":
            return len(sample.completion)
    return sample.tokens
