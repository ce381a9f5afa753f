"""Alarms: what a stage's metrics say when a training goes wrong, step by step.

They warn and change nothing. Each looks for something that healthy trainings may show for a step or two, but
not for many in a row: the bounds are wide, since an alarm that is often false is soon not read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from statistics import median
from typing import Any, NamedTuple

from harmony_runtime.watch import Metrics

FIRST = 10
"""Steps that tell what a stage began with. One step's mean over few completions is not yet a measure."""
RECENT = 20
"""Steps that tell what is usual by now: their median does not follow a few wild ones."""
CALM = 10
"""Steps without what an alarm looks for, after which it may be raised again: after fewer, one trouble that
comes and goes would be told many times."""

SILENT_STEPS = 10
"""Without anything to learn from. With hard prompts a few such steps are usual; ten are a tenth of a short
stage."""
KL_FAR, KL_FAR_STEPS = 1.0, 5
"""In nats a token: each is e times likelier than at the start. Policies that learn stay below 0.5, also small
ones that nothing holds back; those that fell apart stand above 2."""
KL_LEAP, KL_LEAP_FROM, KL_LEAP_STEPS = 10.0, 0.1, 3
"""Times the recent median: a distance that grows with the steps, or with their square, grows by less in so
few. From 0.1 nats a token, since ten times nearly nothing is still little."""
ENTROPY_TIMES, ENTROPY_MORE, ENTROPY_STEPS = 2.0, 1.0, 5
"""Twice the start's and a nat a token above it: exploration raises it by a part, decay into noise by far."""
COLLAPSED, COLLAPSED_STEPS = 0.2, 10
"""Of the start's. A policy that gets better becomes as sure of itself, so there is more to it: see
`_collapse`."""


class Alarms:
    """Watches one stage. A room: a resumed stage raises what the uninterrupted one would."""

    def __init__(self, place: str, warn: Callable[[str], None]) -> None:
        """`place` begins every warning: where the recipe writes the stage."""
        self._place = place
        self._warn = warn
        self._past = _Past()
        self._bells = {alarm: _Bell() for alarm in ALARMS}
        self.raised: list[dict[str, Any]] = []
        """So far, each `{"step", "alarm", "text"}`."""

    def after(self, step: int, metrics: Metrics) -> None:
        """Look at what a step measured; `step` counts from 1."""
        for name, alarm in ALARMS.items():
            bell, seen = self._bells[name], alarm.sees(self._past, metrics)
            if bell.rings(seen is not None, alarm.steps):
                text = f"{self._place}step {step}: for {bell.streak} steps {seen}. {alarm.mend}"
                self.raised.append({"step": step, "alarm": name, "text": text})
                self._warn(text)
        self._past.add(metrics)

    def state(self) -> dict[str, Any]:
        bells = {name: vars(bell) for name, bell in self._bells.items()}
        return deepcopy({**vars(self._past), "bells": bells, "raised": self.raised})

    def restore(self, state: Mapping[str, Any]) -> None:
        self.raised = state["raised"]
        self._bells = {name: _Bell(**bell) for name, bell in state["bells"].items()}
        self._past = _Past(state["first"], state["recent"])


@dataclass
class _Bell:
    """Whether an alarm is raised: once, until it has calmed down."""

    streak: int = 0
    """Steps in a row with what it looks for."""
    calm: int = 0
    """Steps in a row without it."""
    rung: bool = False

    def rings(self, seen: bool, steps: int) -> bool:
        self.streak, self.calm = (self.streak + 1, 0) if seen else (0, self.calm + 1)
        if self.calm >= CALM:
            self.rung = False
        if self.rung or self.streak < steps:
            return False
        self.rung = True
        return True


def _empty() -> dict[str, list[float]]:
    return {"kl": [], "entropy": [], "reward": []}


@dataclass
class _Past:
    """What the steps before measured, by name."""

    first: dict[str, list[float]] = field(default_factory=_empty)
    """Up to `FIRST` steps."""
    recent: dict[str, list[float]] = field(default_factory=_empty)
    """Up to `RECENT` steps."""

    def add(self, metrics: Metrics) -> None:
        for name, held in self.first.items():
            number = metrics.get(name)
            if number is None or (name == "kl" and not _policy_learns(metrics)):
                continue
            if len(held) < FIRST:
                held.append(number)
            self.recent[name] = [*self.recent[name], number][-RECENT:]


def _policy_learns(metrics: Metrics) -> bool:
    """Not while only the critic does: then the distance is 0 and says nothing about what is usual."""
    return "loss_policy" not in metrics or metrics["loss_policy"] is not None


def _silence(past: _Past, metrics: Metrics) -> str | None:
    reward, before = metrics.get("reward"), past.recent["reward"]
    mean = "no completion had a reward" if reward is None else f"mean reward {reward:.4g}"
    if metrics.get("trained_tokens") == 0:
        return None
    if "no_signal" in metrics:
        told_apart = metrics["no_signal"] != 1
    else:  # a mean over many that is the same to the last bit is a mean of equal ones
        told_apart = reward is None or not before or reward != before[-1]
    return None if told_apart else f"all completions of a prompt were worth the same ({mean})"


def _nothing(past: _Past, metrics: Metrics) -> str | None:
    return "no token was trained on" if metrics.get("trained_tokens") == 0 else None


def _far(past: _Past, metrics: Metrics) -> str | None:
    kl = metrics.get("kl")
    if kl is None or kl <= KL_FAR:
        return None
    return f"`kl` was above {KL_FAR:g} nat a token, now {kl:.3g}"


def _leap(past: _Past, metrics: Metrics) -> str | None:
    kl, recent = metrics.get("kl"), past.recent["kl"]
    if kl is None or kl <= KL_LEAP_FROM or len(recent) < RECENT or kl <= KL_LEAP * median(recent):
        return None
    return (
        f"`kl` was above {KL_LEAP:g} times what is usual: {kl:.3g} nats a token, where the median of the "
        f"last {RECENT} steps is {median(recent):.3g}"
    )


def _noise(past: _Past, metrics: Metrics) -> str | None:
    entropy, first = metrics.get("entropy"), past.first["entropy"]
    if entropy is None or len(first) < FIRST:
        return None
    start = median(first)
    if entropy <= max(ENTROPY_TIMES * start, start + ENTROPY_MORE):
        return None
    return f"`entropy` was far above the {start:.3g} nats a token of the first steps, now {entropy:.3g}"


def _collapse(past: _Past, metrics: Metrics) -> str | None:
    """Sure of itself, and no better than the best of its first steps: so the scale of rewards needs no
    bound."""
    entropy, first = metrics.get("entropy"), past.first["entropy"]
    rewards, recent = past.first["reward"], past.recent["reward"]
    if entropy is None or len(first) < FIRST or len(rewards) < FIRST:
        return None
    start = median(first)
    if entropy >= COLLAPSED * start or median(recent) > max(rewards):
        return None
    return (
        f"`entropy` was below a fifth of the {start:.3g} nats a token of the first steps, now {entropy:.3g}, "
        f"and `reward` has not risen: {median(recent):.4g} lately, {median(rewards):.4g} at first"
    )


class Alarm(NamedTuple):
    steps: int
    """In a row, before it is raised."""
    sees: Callable[[_Past, Metrics], str | None]
    """What it looks for, in words; None where it is not there."""
    mend: str


ALARMS: Mapping[str, Alarm] = {
    "no_signal": Alarm(
        SILENT_STEPS,
        _silence,
        "Nothing is learned from them: take a grader with finer scores, or prompts that the model neither "
        "always nor never gets right",
    ),
    "nothing_trained": Alarm(
        SILENT_STEPS,
        _nothing,
        "Look at `truncated` and `no_reward` in metrics.jsonl: raise `max_tokens` where completions are cut "
        "off, and see that a grader applies to them",
    ),
    "kl_far": Alarm(
        KL_FAR_STEPS,
        _far,
        "The policy has left what it started from: lower the learning rate, or raise `kl_beta`",
    ),
    "kl_leap": Alarm(KL_LEAP_STEPS, _leap, "Lower the learning rate or `mini_epochs`, or raise `kl_beta`"),
    "entropy_up": Alarm(
        ENTROPY_STEPS,
        _noise,
        "Completions turn into noise; samples.jsonl has them. Lower the learning rate, or raise `kl_beta`",
    ),
    "entropy_down": Alarm(
        COLLAPSED_STEPS,
        _collapse,
        "The policy repeats itself and tries nothing new; samples.jsonl shows what. Lower the learning rate, "
        "raise `kl_beta`, or look at what the grader rewards",
    ),
}
"""By name, in the order in which they are raised in one step."""
