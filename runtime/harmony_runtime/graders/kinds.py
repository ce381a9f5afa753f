"""The kinds of graders that come with the language: by how long they may take, and where. No torch here.

A `Rule` computes at once. What `OnDevice` grades with shares the run's devices, and takes all samples of a
step together. Everything else is waited for, many samples at the same time, within the bounds of its node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from harmony_runtime.graders.protocol import Grade, Grader, Sample


class Rule(Grader):
    """A grader that only computes, from its node and a sample: nothing is set up, and nothing waited for."""

    may_hang: bool = False
    """Whether a sample may take it long: such a rule is computed in a worker process, which can be ended."""
    usual_timeout: ClassVar[float] = 10.0
    """Seconds that a worker gets for one sample, where the node does not say."""

    def apply(self, sample: Sample) -> Grade:
        """Grade one sample, at once."""
        raise NotImplementedError

    async def grade(self, sample: Sample) -> Grade:
        return self.apply(sample)


class OnDevice(Grader):
    """A grader that computes with a model of the run: in the thread that trains, all samples together."""

    def grade_all(self, samples: Sequence[Sample], beat: Callable[[], None]) -> list[Grade]:
        """The grades in order; `beat` is called while it goes on.

        An exception is the failure of all of them.
        """
        raise NotImplementedError


class Asked(Grader):
    """A grader that asks another process or machine.

    `grade` returns what is final, a `Failure` too, and raises what another try may mend: `TryAgain`, or any
    other exception.
    """

    usual_timeout: ClassVar[float] = 60.0
    """Seconds for one try, where the node does not say."""
    usual_concurrency: int = 32
    """Samples asked about at the same time, where the node does not say."""
    keeps_time: ClassVar[bool] = False
    """Whether it ends a try itself that takes too long, for instance as waiting in a queue does not count."""
    keeps: bool = False
    """Whether equal samples get equal grades, so that a grade may be kept on the disk and used again."""

    @property
    def version(self) -> str:
        """What decides its grades beside its node, as known after `set_up`: such as a server's version."""
        return ""

    async def check(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Called before any weight is loaded, in place of a `set_up`: is all there that it needs, and does
        it take such rows? `rows` are the metadata of all rows that will be graded.

        Raises:
            RunFailed: no. It says cause and mend, without the grader's place.
        """


class TryAgain(Exception):  # noqa: N818 - it names what to do
    """No grade came this time."""

    def __init__(self, reason: str, after: float | None = None, *, tokens: int = 0) -> None:
        super().__init__(reason)
        self.tokens = tokens
        """What the try cost all the same."""
        self.after = after
        """Seconds to wait, where the other side says so."""


@dataclass(frozen=True)
class Priced:
    """A grade, and what it cost; `Asked.grade` may return one in place of a grade."""

    grade: Grade
    tokens: int
    """Of question and answer."""
