"""One definition of probability: what draws tokens and what trains on them must agree."""

# Names of tensors end in their shape: T tokens; of one row, 1T.
# ruff: noqa: N806

from __future__ import annotations

from collections.abc import Sequence

import torch

from harmony_runtime.failures import RunFailed
from harmony_runtime.models import weights
from harmony_runtime.models.scorer import Scorer
from harmony_runtime.processes.mesh import Mesh
from harmony_runtime.rollout.answers import Answer

TOLERANCE = 1e-4
"""The largest difference of two log-probabilities in float32 that is rounding."""


@torch.no_grad()
def sampler_gap(
    answered: Sequence[Answer], scorer: Scorer, mesh: Mesh, temperature: float, place: str
) -> float:
    """The largest difference between the log-probabilities with which the tokens of a step's first completion
    were drawn and those that the loss sees. `scorer` has the weights that drew them.

    Raises:
        RunFailed: in float32 it is more than rounding. Ratios and advantages would be of another policy.
    """
    answer = answered[0]
    prompt, completion = len(answer.prompt.ids), answer.completion
    ids_1T = torch.cat([torch.tensor(answer.prompt.ids), completion.ids_T])[None].to(mesh.device)
    counted_1T = (torch.arange(ids_1T.shape[1]) >= prompt)[None].to(mesh.device)
    with weights.answering(scorer.model):
        seen_T = scorer(ids_1T, counted_1T, temperature)[0, prompt:].cpu()
    gap = float((seen_T - completion.logprobs_T).abs().max())
    # In fewer bits the same tokens have other log-probabilities whenever they are computed in another order.
    if gap > TOLERANCE and scorer.exact:
        raise RunFailed(
            f"{place}the sampler and the loss disagree about the probability of a completion: "
            f"log-probabilities differ by up to {gap:.2g}, and {TOLERANCE:g} is rounding. Training would go "
            "by wrong ratios. Please report this, with the model's architecture",
            exit_code=2,
        )
    return gap
