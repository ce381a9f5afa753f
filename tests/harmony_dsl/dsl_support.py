"""What the tests of this folder share: a small recipe, and the types of the fixtures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

SMALL = """\
recipe small { seed = 1 }
input key: str = "small"
dataset sums = jsonl("sums.jsonl") {
  prompt = "{{ question }}"
  completion = "{{ answer }}"
}
model tiny = scratch {
  hidden_size = 8
  layers = 1
  heads = 2
  context = 24
}
train adder = sft {
  model = tiny
  dataset = sums
  lr = 1e-2
  samples_per_batch = 4
  max_grad_norm = 1.0
  steps = 3
}
save adder as key
"""


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


Harmonyc = Callable[..., Outcome]
Write = Callable[..., Path]
