"""Schedules against their closed forms."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmony_compiler.graph.settings import Constant, Cosine, Linear, Schedule
from harmony_compiler.graph.values import Percent
from harmony_runtime.algorithms.schedules import rate


def rates(schedule: Schedule, steps: int) -> list[float]:
    return [rate(schedule, 1.0, step, steps) for step in range(steps)]


def test_linear() -> None:
    assert rates(Linear(), 4) == pytest.approx([1, 0.75, 0.5, 0.25])
    assert rates(Linear(warmup=2, floor=Percent(20)), 5) == pytest.approx([0.5, 1, 0.8, 0.6, 0.4])


def test_cosine() -> None:
    assert rates(Cosine(warmup=0, floor=Percent(0)), 4) == pytest.approx(
        [1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2]
    )
    assert rates(Cosine(), 20)[:2] == pytest.approx([0.5, 1])  # 10 % of 20 steps


def test_constant() -> None:
    assert rates(Constant(warmup=3), 5) == pytest.approx([1 / 3, 2 / 3, 1, 1, 1])


def test_a_share_of_steps_is_rounded_up() -> None:
    assert rates(Constant(warmup=Percent(10)), 11)[:3] == pytest.approx([0.5, 1, 1])


def test_a_warmup_longer_than_the_training() -> None:
    assert rates(Cosine(warmup=10), 2) == pytest.approx([0.1, 0.2])


@given(st.integers(1, 60), st.integers(0, 20), st.integers(0, 100), st.sampled_from([Cosine, Linear]))
def test_rates_rise_to_the_peak_and_fall_to_the_floor(
    steps: int, warmup: int, floor: int, family: type[Cosine | Linear]
) -> None:
    course = rates(family(warmup=warmup, floor=Percent(floor)), steps)
    top = max(warmup - 1, 0)
    assert all(0 < value <= 1 + 1e-12 for value in course)
    assert course[: top + 1] == sorted(course[: top + 1])
    if top < steps:
        assert course[top] == pytest.approx(1)
        assert course[top:] == sorted(course[top:], reverse=True)
        assert min(course[top:]) >= floor / 100 - 1e-12
