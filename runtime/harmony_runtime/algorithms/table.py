"""Which node class is trained by which module."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harmony_compiler.graph.algorithms import Dpo, Grpo, Ppo, Sft
from harmony_compiler.graph.node import Node
from harmony_compiler.graph.values import Ref
from harmony_runtime.algorithms import dpo, grpo, ppo, sft
from harmony_runtime.algorithms.stage import Stage, Trained
from harmony_runtime.rooms import Run


@dataclass(frozen=True)
class Training:
    prepare: Callable[[Run, Ref, str, str], Stage[Any]]
    """From the run and a node's id, stage name and identity: everything checked, no weight made."""
    train: Callable[[Run, Any], Trained]
    """Does what `prepare` prepared."""


TRAININGS: dict[type[Node], Training] = {
    Sft: Training(sft.prepare, sft.train),
    Dpo: Training(dpo.prepare, dpo.train),
    Grpo: Training(grpo.prepare, grpo.train),
    Ppo: Training(ppo.prepare, ppo.train),
}
