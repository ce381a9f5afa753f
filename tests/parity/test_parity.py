"""What `make parity` prints, as tests: all rows within tolerance, and no mutation that goes unseen."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

import harmony_runtime.losses as ours
from parity import derived, functions, peers, stages
from parity.mutations import MUTATIONS, Mutation, broken, mutated
from parity.ours import RECORDED, Recording
from parity.table import Row

LARGEST = 1_500_000  # bytes of all recordings


@pytest.mark.parametrize("check", [functions.rows, peers.rows, stages.rows], ids=["papers", "trl", "stages"])
def test_every_row_is_within_its_tolerance(check: Callable[[ModuleType], Iterator[Row]]) -> None:
    rows = list(check(ours))
    assert rows
    assert [f"{row}: {row.measured:.1e} of {row.tolerance:.0e}" for row in rows if not row.ok] == []


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: f"{mutation.kind}: {mutation.what}")
def test_each_mutation_is_seen(mutation: Mutation) -> None:
    references = {row.reference.split()[0] for row in broken(mutation)}
    assert references == {"papers", "trl"}


def test_a_mutation_that_no_longer_fits_is_refused() -> None:
    for right in ("this stands nowhere", "return"):
        with pytest.raises(ValueError, match="choose the mutation anew"):
            mutated(replace(MUTATIONS[0], right=right))


def test_a_measure_that_is_no_number_is_outside() -> None:
    assert not Row("sft", "a case", "papers", "loss", math.nan, 1.0).ok


def test_the_loops_from_the_papers_share_nothing_with_the_runtime() -> None:
    text = Path(derived.__file__).read_text(encoding="utf-8")
    assert "import harmony" not in text
    assert "from harmony" not in text


def test_recordings_are_small_and_say_what_made_them() -> None:
    files = list(RECORDED.iterdir())
    assert sum(file.stat().st_size for file in files) < LARGEST
    versions = {name: Recording(name).reference for name in ("sft", "dpo", "grpo", "ppo")}
    assert versions == dict.fromkeys(("sft", "dpo", "grpo"), "trl 1.16.0") | {"ppo": "trl 1.12.0"}
