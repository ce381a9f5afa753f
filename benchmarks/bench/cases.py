"""What is measured: sizes of models, the work of a step, and what the project promises.

Both sides get every number from here, so neither can do less than the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Setting = str | int | float | bool


@dataclass(frozen=True)
class Size:
    name: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    mlp: int
    context: int
    words: int = 0
    """How many words the vocabulary has; 0 for the built-in characters."""
    warm_steps: int = 60
    """Steps of SFT before anything is measured: after them the model ends its answers."""
    max_tokens: int = 24
    """The longest completion that is drawn."""

    @property
    def vocabulary(self) -> int:
        return self.words + MARKS if self.words else CHARACTERS

    @property
    def layer_weights(self) -> int:
        """Weights of all matrices but embedding and head."""
        head = self.hidden // self.heads
        attention = 2 * self.hidden * head * (self.heads + self.kv_heads)
        return self.layers * (attention + 3 * self.hidden * self.mlp)

    @property
    def head_weights(self) -> int:
        return self.hidden * self.vocabulary

    @property
    def key(self) -> str:
        """Under which the registry has the warm model."""
        return f"bench-{self.name.lower()}"


CHARACTERS, MARKS = 103, 4
"""Tokens of the built-in character tokenizer; tokens of the word tokenizer that are no words."""

SIZES = {
    size.name: size
    for size in (
        Size("0.2M", hidden=96, layers=2, heads=4, kv_heads=2, mlp=256, context=64),
        Size("1M", hidden=160, layers=3, heads=4, kv_heads=2, mlp=512, context=64),
        Size(
            "33M",
            hidden=512,
            layers=5,
            heads=8,
            kv_heads=4,
            mlp=1600,
            context=96,
            words=32_000 - MARKS,
            warm_steps=24,
            max_tokens=32,
        ),
    )
}


@dataclass(frozen=True)
class Case:
    """One algorithm at one size, as both sides do it."""

    algorithm: str
    size: Size
    batch: int
    """Rows, pairs or completions in one step."""
    block: int
    """Steps that a side takes before it is the other's turn."""
    must: float
    """TRL's time divided by ours, at least; and what is aimed at."""
    aim: float
    peer: Mapping[str, Setting] = field(default_factory=dict)
    """Settings of TRL beside those that `peer.py` gives it: what was fastest here."""
    group: int = 8
    mini_batches: int = 2
    mini_epochs: int = 2

    @property
    def name(self) -> str:
        return f"{self.algorithm}-{self.size.name}"

    def rows(self, blocks: int) -> int:
        """Rows of the dataset, where each side takes so many blocks.

        A block is one pass over the rows, so that both sides do the same in it, whatever their order. But DPO
        asks its reference about each pair once, so there the whole measurement is one pass.
        """
        match self.algorithm:
            case "grpo":
                return self.block * self.batch // self.group
            case "dpo":
                return self.block * self.batch * blocks
        return self.block * self.batch

    @property
    def log_every(self) -> int:
        """Steps that TRL logs together: its default, or a block."""
        return min(10, self.block)

    @property
    def kl_beta(self) -> float:
        return {"grpo": 0.04, "ppo": 0.05}.get(self.algorithm, 0.0)


LR = 1e-6
"""So low that the models stay what they are: what is drawn stays as long as at the start, on both sides."""

ALGORITHMS = ("sft", "dpo", "grpo", "ppo")

_PROMISED = {
    ("sft", False): (1.2, 1.5),
    ("dpo", False): (1.3, 2.0),
    ("grpo", False): (1.5, 2.5),
    ("ppo", False): (1.5, 3.0),
    ("sft", True): (1.2, 1.6),
    ("dpo", True): (1.2, 1.5),
    ("grpo", True): (1.4, 2.0),
    ("ppo", True): (1.4, 2.0),
}
"""Must and aim, by algorithm and whether it is the large size."""

START_MUST, START_AIM = 2.0, 4.0
"""From the command to the first optimiser step."""
START_SIZE = "1M"

_SMALL = {"sft": (64, 40), "dpo": (32, 30), "grpo": (64, 8), "ppo": (64, 6)}
_LARGE = {"sft": (32, 2), "dpo": (16, 2), "grpo": (32, 1), "ppo": (32, 1)}
"""Samples in a step and steps in a block."""


def case(algorithm: str, size: str) -> Case:
    large = SIZES[size].words > 0
    batch, block = (_LARGE if large else _SMALL)[algorithm]
    must, aim = _PROMISED[algorithm, large]
    return Case(algorithm, SIZES[size], batch, block, must, aim, PEER.get((algorithm, large), {}))


PEER: Mapping[tuple[str, bool], Mapping[str, Setting]] = {
    ("sft", False): {"train_sampling_strategy": "group_by_length"}
}
"""What made TRL faster than its defaults on the machine of docs/performance.md, by algorithm and whether it
is the large size. Tried by `--peer`."""
