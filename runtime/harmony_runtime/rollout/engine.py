"""The interface of rollout engines.

An engine completes prompts. Each completion has a random stream of its own, named by (seed, its number,
step), so that neither batching nor the number of processes changes what is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

from harmony_compiler.graph.settings import Sampling

StopReason = Literal["end", "stop", "length"]
"""An end token of the model; a text of `sampling.stop`; `sampling.max_tokens` reached."""


@dataclass(frozen=True)
class Completion:
    # Names of tensors end in their shape: T tokens.
    ids_T: Tensor  # noqa: N815
    """int64, on the CPU: the tokens up to the first end token, which is among them."""
    logprobs_T: Tensor  # noqa: N815
    """float32, on the CPU: log-probability of each token at the sampling temperature, before `top_p` and
    `top_k` cut the distribution; at temperature 0 that of the plain logits."""
    stop: StopReason
    text: str
    """The completion as people read it, without end token and special tokens."""


Finished = Callable[[int, Completion], None]
"""Hears of a completion by its number."""


def nobody(number: int, completion: Completion) -> None:
    """Hears, and does nothing."""


class Engine(Protocol):
    def complete(
        self,
        prompts: Sequence[Sequence[int]],
        n: int,
        sampling: Sampling,
        *,
        seed: int,
        step: int = 0,
        share: range | None = None,
        finished: Finished = nobody,
    ) -> list[Completion]:
        """`n` completions of each prompt (token ids), prompt by prompt.

        Completion `c` answers prompt `c // n`. `share` is the range of numbers to make here, by default all.
        `finished` is called with each completion as soon as it ends, while others still grow.
        """
        ...
