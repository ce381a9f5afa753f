"""A step's completions as a tree for a checkpoint, and back."""

# Names of tensors end in their shape: S prompts of the step.
# ruff: noqa: N806, N815

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from harmony_runtime.data.tokens.prompts import Prompts
from harmony_runtime.disk.checkpoints import Tree
from harmony_runtime.graders.answered import grade_json, grade_of_json
from harmony_runtime.graders.grading import Verdict
from harmony_runtime.rollout.answers import Answer
from harmony_runtime.rollout.engine import Completion


@dataclass(frozen=True)
class Rollout:
    """The graded completions of a step."""

    rows_S: Tensor
    """int64: the numbers of the prompts, each with as many completions as the others."""
    answered: Sequence[Answer]
    """Prompt by prompt."""
    gap: float
    """What `sampler_gap` says of them."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """How long they took; empty where they come from a checkpoint."""

    def tree(self) -> Tree:
        completions = [answer.completion for answer in self.answered]
        return {
            "rows": self.rows_S,
            "gap": self.gap,
            "ids": torch.cat([completion.ids_T for completion in completions]),
            "logprobs": torch.cat([completion.logprobs_T for completion in completions]),
            "completions": [
                {
                    "tokens": len(answer.completion.ids_T),
                    "stop": answer.completion.stop,
                    "text": answer.completion.text,
                    "scores": list(answer.verdict.scores),
                    "grades": {name: grade_json(grade) for name, grade in answer.verdict.grades.items()},
                }
                for answer in self.answered
            ],
        }

    @staticmethod
    def of(tree: Tree, prompts: Prompts) -> Rollout:
        """The rollout that `tree` was made of, over the same prompts."""
        rows_S, told = tree["rows"], tree["completions"]
        asked = [prompts[row] for row in rows_S.tolist()]
        lengths = [one["tokens"] for one in told]
        tokens = zip(tree["ids"].split(lengths), tree["logprobs"].split(lengths), strict=True)
        n = len(told) // len(asked)
        return Rollout(
            rows_S=rows_S,
            answered=[
                Answer(asked[c // n], Completion(*drawn, one["stop"], one["text"]), _verdict(one))
                for c, (drawn, one) in enumerate(zip(tokens, told, strict=True))
            ],
            gap=tree["gap"],
        )


def _verdict(told: dict[str, Any]) -> Verdict:
    grades = {name: grade_of_json(grade) for name, grade in told["grades"].items()}
    return Verdict(tuple(told["scores"]), grades)
