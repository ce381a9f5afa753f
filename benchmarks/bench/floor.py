"""The floor: how long a step's matrix products alone would take, at the speed that this machine has.

Every token must go through every layer, and through the head where the loss looks; a backward pass is two
more products for each. A completion is written token by token, so its products are of few rows and slower.
What is not counted: attention's scores, norms, softmax, the optimiser, the data. No program that computes
what the algorithm asks for can be faster than this; how near one comes is what there is left to win.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from benchmarks.bench.cases import SIZES, Case, Size


@dataclass(frozen=True)
class Work:
    """Tokens of one step."""

    read: float = 0
    """Through the layers, forward only."""
    headed: float = 0
    """Through the head, forward only."""
    learned: float = 0
    """Through the layers, forward and backward."""
    learned_headed: float = 0
    """Through the head, forward and backward."""
    drawn: float = 0
    """Read one by one while completions are written: layers and head."""

    def operations(self, size: Size) -> tuple[float, float]:
        """Additions and multiplications: of whole batches, and of single tokens."""
        layers, head = size.layer_weights, size.head_weights
        at_once = layers * (self.read + 3 * self.learned) + head * (self.headed + 3 * self.learned_headed)
        return 2.0 * at_once, 2.0 * (layers + head) * self.drawn


def work(case: Case, counts: Mapping[str, float]) -> Work:
    """From what a step counted: `tokens` of all its rows, `trained_tokens`, `completions`."""
    tokens, trained = counts["tokens"], counts["trained_tokens"]
    match case.algorithm:
        case "sft":
            return Work(learned=tokens, learned_headed=trained)
        case "dpo":
            # The reference, once a pair.
            return Work(read=tokens, headed=trained, learned=tokens, learned_headed=trained)
    completions = counts["completions"]
    asked = (tokens - trained) / (case.group if case.algorithm == "grpo" else 1)
    prompts = completions / (case.group if case.algorithm == "grpo" else 1)
    # Prompts are read once, and a completion's last token is not read at all. Then the reference.
    read, headed, drawn = asked + tokens, prompts + trained, trained - completions
    if case.algorithm == "grpo":
        return Work(read, headed, learned=tokens, learned_headed=trained, drawn=drawn)
    # PPO: the critic reads everything once, and learns as the policy does, without its head.
    epochs = case.mini_epochs
    return Work(
        read + tokens, headed, learned=2 * tokens * epochs, learned_headed=trained * epochs, drawn=drawn
    )


def floor(case: Case, counts: Mapping[str, float], rates: Mapping[str, float]) -> float:
    """Seconds of a step; `rates` are operations a second."""
    at_once, one_by_one = work(case, counts).operations(case.size)
    return at_once / rates[f"{case.size.name} at once"] + one_by_one / rates[f"{case.size.name} one by one"]


def measured_rates(environment: Mapping[str, str]) -> dict[str, float]:
    """Operations a second by size and kind, measured in a process with the benchmark's threads."""
    told = subprocess.run(
        [sys.executable, "-m", "benchmarks.bench.floor"], env=environment, capture_output=True, check=True
    )
    rates: dict[str, float] = json.loads(told.stdout)
    return rates


ROWS = {"at once": 1024, "one by one": 64}


def rate(rows: int, inner: int, columns: int) -> float:
    """Operations a second of a product of these sizes: the median of nine goes of a tenth of a second."""
    import torch

    a, b = torch.randn(rows, inner), torch.randn(inner, columns)
    out = torch.mm(a, b)
    found = []
    for _ in range(9):
        goes, started = 0, time.perf_counter()
        while (taken := time.perf_counter() - started) < 0.1:
            torch.mm(a, b, out=out)
            goes += 1
        found.append(2.0 * rows * inner * columns * goes / taken)
    return median(found)


if __name__ == "__main__":
    print(
        json.dumps(
            {
                f"{size.name} {kind}": rate(rows, size.hidden, size.mlp)
                for size in SIZES.values()
                for kind, rows in ROWS.items()
            }
        )
    )
