"""What a grader is: the public types. No torch here.

A grader is set up once, then grades many samples at the same time, then is torn down; the runtime calls all
three, the last one also when something failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Turn: TypeAlias = Mapping[str, Any]
"""`{"role": "system" | "user" | "assistant" | "tool", "content": text}`, as chat templates take it.

What else the data says about a turn stands beside: `tool_calls`, with which `content` may be None,
`tool_call_id`, `name`. An assistant turn may have a `weight`, what its tokens count in a loss: 1 where it
says nothing, 0 for a turn that is only read.
"""


@dataclass(frozen=True)
class Thread:
    """Turns in their order, and what the row says beside them."""

    turns: tuple[Turn, ...] = field(default=(), kw_only=True)
    metadata: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    """Texts, and values as they stand in the data where the recipe passes a `column(…)`."""


@dataclass(frozen=True)
class Sample(Thread):
    """One completion, as graders see it: `turns` are those before it."""

    completion: str
    """What the model wrote, without the token that ended it."""
    prompt: str = ""
    """The last user turn."""
    tokens: int | None = field(default=None, kw_only=True)
    """How many the completion has, where that is known."""


@dataclass(frozen=True)
class Score:
    """A finite number; 0 to 1 unless the grader says otherwise."""

    value: float
    reasoning: str = ""


@dataclass(frozen=True)
class DoesNotApply:
    """The grader has nothing to say about this sample."""

    reasoning: str = ""


@dataclass(frozen=True)
class Failure:
    """The grader could not grade. What follows is the recipe's `on_failure`."""

    reason: str


Grade: TypeAlias = Score | DoesNotApply | Failure


class Grader:
    """Base of all graders."""

    async def set_up(self) -> None:
        """Called once before the first sample: connect, load, start."""

    async def grade(self, sample: Sample) -> Grade:
        """Grade one sample; called for many at once.

        An exception, and a score that is no finite number, become a `Failure`.
        """
        raise NotImplementedError

    async def tear_down(self) -> None:
        """Called once after the last sample, also after a failure, and after a `set_up` that failed."""
