"""Sense: rewards from which nothing can be learned.

Completions of one prompt are compared with one another, so a reward that is one constant, or that never
reads the completion, teaches nothing. Only what `score_forms` proves is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from harmony_compiler.findings.graph import BlindReward, ConstantReward, ZeroWeights
from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.types import GRADER
from harmony_compiler.typed import Made
from harmony_grammar.diagnostics import Diagnostic, Label

if TYPE_CHECKING:
    from harmony_compiler.rewards.intervals import Interval
    from harmony_compiler.rewards.score_forms import Forms


def senseless(made: Sequence[Made], scores: Mapping[int, Interval]) -> Iterator[Diagnostic]:
    """Training stages whose reward cannot tell completions apart; `scores` are those of published graders."""
    rewarded = [stage for stage in made if issubclass(stage.cls, Algorithm) and _reward(stage) is not None]
    if not rewarded:
        return
    from harmony_compiler.rewards.score_forms import Forms  # only a recipe with a reward pays for it

    forms = Forms(made, scores)
    for stage in rewarded:
        if (reward := _reward(stage)) is not None:
            yield from _judged(stage, reward, forms)


def _reward(stage: Made) -> Made | None:
    value = stage.given.get("grader")
    return value.data if value is not None and value.type == GRADER else None


def _judged(stage: Made, reward: Made, forms: Forms) -> Iterator[Diagnostic]:
    form = forms.of(reward)
    span = stage.given["grader"].span
    labels = (Label(reward.span, "the reward"),) if reward.span != span else ()
    if all(term.gross == 0 for term in form.varying.values()):
        yield ZeroWeights(span=span, labels=labels)
    elif not form.alive:
        yield ConstantReward(span=span, value=f"{form.constant:g}", labels=labels)
    elif not forms.reads(form):
        yield BlindReward(span=span, labels=labels)
