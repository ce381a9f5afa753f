"""No key is accepted and ignored: what `run` does not refuse, the training reads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harmony_compiler.graph import algorithms as catalogue
from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.node import schema
from harmony_runtime.algorithms import reinforced
from harmony_runtime.algorithms.table import TRAININGS

ALGORITHMS = sorted(TRAININGS, key=lambda cls: cls.constructor)
SHARED = ("../trackers.py", "keeper.py", "loop.py", "optimiser.py", "reinforced.py", "validation.py")
"""What every algorithm, or several of them, go through."""

STEPS = {"epochs", "steps", "max_num_ppo_steps", "samples_per_batch", "completions_per_sample"}
"""What `steps_over` and `rows_per_step` make of them is read."""


@pytest.mark.parametrize("cls", ALGORITHMS, ids=lambda cls: cls.constructor)
def test_every_field_of_an_algorithm_is_read(cls: type[Algorithm]) -> None:
    folder = Path(reinforced.__file__).parent
    text = "".join((folder / name).read_text(encoding="utf-8") for name in (f"{cls.constructor}.py", *SHARED))
    own = Path(catalogue.__file__).read_text(encoding="utf-8")
    for name in schema(cls):
        read = re.search(rf"(?:\bnode|\b_node|\bself)\.{name}\b", text)
        counted = name in STEPS and re.search(rf"\bself\.{name}\b", own)
        assert read or counted or name == cls.trains, name
