"""Answers: completions with their grades, for training and for measuring.

The copies of the model share the work: each makes and grades its part, and then every process knows all of
it, so that what follows needs no more communication.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from harmony_compiler.graph.settings import Sampling
from harmony_compiler.graph.values import Ref
from harmony_runtime.data.tokens.prompts import Prompt
from harmony_runtime.graders.answered import grade_json
from harmony_runtime.graders.grading import Verdict
from harmony_runtime.graders.panel import Panel
from harmony_runtime.graders.protocol import Sample
from harmony_runtime.processes.mesh import Mesh
from harmony_runtime.rollout.engine import Completion, Engine
from harmony_runtime.rooms import Run


def refuse_graders(run: Run, graders: Sequence[Ref], prompts: Iterable[Prompt]) -> None:
    """Look, before any weight is loaded, whether graders can be made, have what they need, and take the
    metadata of these prompts.

    Raises:
        RunFailed: no.
    """
    Panel(run.bench, graders).check(lambda: [prompt.metadata for prompt in prompts])


_GAP = 0.2
"""Seconds between two tellings of progress."""


@dataclass(frozen=True)
class Answer:
    prompt: Prompt
    completion: Completion
    verdict: Verdict

    def line(self) -> dict[str, Any]:
        """What `samples.jsonl` says about it."""
        return line_of(_sample(self.prompt, self.completion), self.completion.stop, self.verdict)


def line_of(sample: Sample, stop: str, verdict: Verdict) -> dict[str, Any]:
    """What `samples.jsonl` says about a completion."""
    return {
        "prompt": sample.prompt,
        "turns": list(sample.turns),
        "completion": sample.completion,
        "metadata": dict(sample.metadata),
        "stop": stop,
        "completion_tokens": sample.tokens,
        "grades": {name: grade_json(grade) for name, grade in verdict.grades.items()},
    }


@dataclass(frozen=True)
class Round:
    """The answers to some prompts, and how long they took."""

    answers: list[Answer]
    """Prompt by prompt."""
    seconds: Mapping[str, float]
    """For `timings.jsonl`: `drawing_seconds`; `waiting_seconds`, from the last completion to the last grade;
    `grade_seconds/NAME`, the mean time of a grade. Of several processes it is that of the slowest."""


Told = Callable[[int, int, int], None]
"""Hears, a few times a second, how many completions are drawn and graded, and of how many."""


def answers(
    prompts: Sequence[Prompt],
    n: int,
    sampling: Sampling,
    *,
    engine: Engine,
    panel: Panel,
    mesh: Mesh,
    seed: int,
    step: int = 0,
    told: Told = lambda drawn, graded, of: None,
) -> Round:
    """`n` graded completions of each prompt. A completion is graded as soon as it is finished.

    Raises:
        PolicyStop: the policy of a grader ends the run.
    """
    whole = len(prompts) * n
    share = range(whole * mesh.rank // mesh.ranks, whole * (mesh.rank + 1) // mesh.ranks)
    started = time.perf_counter()
    # Of the processes that share a copy one asks the graders: they may cost something, or waver.
    progress = Progress(mesh.pulse.beat, len(share), told)
    with panel.grading(progress.graded) as grading:

        def finished(number: int, completion: Completion) -> None:
            if mesh.leads:
                grading.put(number, _sample(prompts[number // n], completion))
            progress.drawn(grading.graded)

        ids = [prompt.ids for prompt in prompts]
        made = engine.complete(ids, n, sampling, seed=seed, step=step, share=share, finished=finished)
        drawing = time.perf_counter() - started
        with mesh.pulse.doing(f"grading {len(made):,} completions"):
            verdicts = grading.verdicts()
        waiting = time.perf_counter() - started - drawing
    gathered = mesh.gather(list(zip(made, verdicts, strict=True)) if mesh.leads else [])
    panel.admit([verdict for _, verdict in gathered])
    drawing, waiting = (max(held) for held in zip(*mesh.gather([(drawing, waiting)]), strict=True))
    seconds = {"drawing_seconds": drawing, "waiting_seconds": waiting}
    return Round(
        [Answer(prompts[c // n], *parts) for c, parts in enumerate(gathered)],
        seconds | _seconds_of([verdict for _, verdict in gathered]),
    )


class Progress:
    """How far a round has come: what moves it is a beat, and is told a few times a second."""

    def __init__(self, beat: Callable[[], None], of: int, told: Told) -> None:
        self._beat = beat
        self._of = of
        self._told = told
        self._drawn = self._graded = 0
        self._last = 0.0

    def drawn(self, graded: int) -> None:
        """One more completion is finished; so many are graded."""
        self._drawn += 1
        self.graded(graded, moved=True)

    def graded(self, graded: int, *, moved: bool = False) -> None:
        """So many completions are graded."""
        if not moved and graded == self._graded:
            return
        self._graded = graded
        self._beat()
        now = time.monotonic()
        if now - self._last >= _GAP:
            self._last = now
            self._told(self._drawn, graded, self._of)


def _seconds_of(verdicts: Sequence[Verdict]) -> dict[str, float]:
    by_name: dict[str, list[float]] = {}
    for verdict in verdicts:
        for name, cost in verdict.costs.items():
            by_name.setdefault(name, []).append(cost.seconds)
    return {f"grade_seconds/{name}": fmean(seconds) for name, seconds in by_name.items()}


def _sample(prompt: Prompt, completion: Completion) -> Sample:
    return sample_of(prompt, completion.text, len(completion.ids_T))


def sample_of(prompt: Prompt, text: str, tokens: int | None) -> Sample:
    """A completion as graders see it."""
    asked = next((turn["content"] for turn in reversed(prompt.turns) if turn["role"] == "user"), "")
    return Sample(text, asked, turns=tuple(prompt.turns), metadata=prompt.metadata, tokens=tokens)
