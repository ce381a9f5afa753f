"""Answers: completions with their grades, for training and for measuring.

The copies of the model share the work: each makes and grades its part, and then every process knows all of
it, so that what follows needs no more communication.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harmony_compiler.graph.settings import Sampling
from harmony_runtime.data.tokens.prompts import Prompt
from harmony_runtime.graders.answered import grade_json
from harmony_runtime.graders.panel import Panel, Verdict
from harmony_runtime.graders.protocol import Sample
from harmony_runtime.processes.mesh import Mesh
from harmony_runtime.rollout.engine import Completion, Engine


@dataclass(frozen=True)
class Answer:
    prompt: Prompt
    completion: Completion
    verdict: Verdict

    def line(self) -> dict[str, Any]:
        """What `samples.jsonl` says about it."""
        sample = _sample(self.prompt, self.completion)
        return {
            "prompt": sample.prompt,
            "turns": list(sample.turns),
            "completion": sample.completion,
            "metadata": dict(sample.metadata),
            "stop": self.completion.stop,
            "completion_tokens": len(self.completion.ids_T),
            "grades": {name: grade_json(grade) for name, grade in self.verdict.grades.items()},
        }


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
) -> list[Answer]:
    """`n` graded completions of each prompt, prompt by prompt.

    Raises:
        RunFailed: the policy of a grader ends the run.
    """
    whole = len(prompts) * n
    share = range(whole * mesh.rank // mesh.ranks, whole * (mesh.rank + 1) // mesh.ranks)
    made = engine.complete([prompt.ids for prompt in prompts], n, sampling, seed=seed, step=step, share=share)
    samples = [_sample(prompts[c // n], completion) for c, completion in zip(share, made, strict=True)]
    # Of the processes that share a copy one asks the graders: they may cost something, or waver.
    graded = []
    if mesh.leads:
        with mesh.pulse.doing(f"grading {len(samples):,} completions"):
            graded = list(zip(made, panel.grade(samples, graded=mesh.pulse.beat), strict=True))
    gathered = mesh.gather(graded)
    panel.admit([verdict for _, verdict in gathered])
    return [Answer(prompts[c // n], *parts) for c, parts in enumerate(gathered)]


def _sample(prompt: Prompt, completion: Completion) -> Sample:
    asked = next((turn["content"] for turn in reversed(prompt.turns) if turn["role"] == "user"), "")
    return Sample(completion.text, asked, turns=tuple(prompt.turns), metadata=prompt.metadata)
