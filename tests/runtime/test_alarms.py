"""Alarms of a training that goes wrong: heard where it does, and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmony_runtime.algorithms.alarms import ALARMS, Alarms

Line = dict[str, Any]

PLACE = "small.recipe:3: `tuned`: "

LEARNING = {
    "kl": [
        *(0.0, 0.113, 0.095, 0.116, 0.144, 0.147, 0.217, 0.182, 0.194, 0.186, 0.144, 0.217),
        *(0.245, 0.231, 0.189, 0.211, 0.184, 0.218, 0.191, 0.161, 0.237, 0.207, 0.2, 0.203),
        *(0.228, 0.221, 0.205, 0.357, 0.178, 0.237, 0.209, 0.189, 0.194, 0.189, 0.197, 0.198),
        *(0.174, 0.153, 0.143, 0.147, 0.194, 0.173, 0.155, 0.176, 0.145, 0.148, 0.229, 0.138),
        *(0.206, 0.198, 0.168, 0.223, 0.149, 0.196, 0.185, 0.195, 0.169, 0.188, 0.235, 0.245),
    ],
    "entropy": [
        *(1.202, 1.094, 1.021, 1.083, 1.012, 0.995, 1.064, 0.984, 1.001, 0.997, 0.968, 0.914),
        *(0.99, 1.012, 0.894, 0.97, 0.889, 0.967, 0.878, 0.856, 0.9, 0.954, 0.88, 0.877),
        *(0.83, 0.903, 0.878, 0.766, 0.832, 0.849, 0.834, 0.772, 0.811, 0.817, 0.854, 0.774),
        *(0.812, 0.73, 0.745, 0.755, 0.729, 0.804, 0.734, 0.702, 0.679, 0.655, 0.709, 0.738),
        *(0.743, 0.733, 0.713, 0.696, 0.629, 0.696, 0.656, 0.676, 0.627, 0.725, 0.663, 0.726),
    ],
    "reward": [
        *(0.409, 0.4, 0.363, 0.324, 0.359, 0.345, 0.348, 0.358, 0.363, 0.453, 0.418, 0.424),
        *(0.374, 0.36, 0.421, 0.386, 0.459, 0.442, 0.409, 0.416, 0.39, 0.445, 0.438, 0.421),
        *(0.444, 0.447, 0.415, 0.515, 0.523, 0.466, 0.419, 0.542, 0.496, 0.495, 0.475, 0.503),
        *(0.468, 0.506, 0.511, 0.526, 0.528, 0.497, 0.526, 0.595, 0.594, 0.541, 0.584, 0.542),
        *(0.449, 0.505, 0.519, 0.515, 0.601, 0.6, 0.627, 0.61, 0.638, 0.604, 0.639, 0.541),
    ],
}
"""The first steps of `examples/grpo.recipe` where the distance is measured and costs nothing."""

WARMING_UP = {
    "kl": [
        *(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.096),
        *(0.083, 0.091, 0.116, 0.118, 0.119, 0.151, 0.168, 0.127, 0.117, 0.13, 0.143, 0.136),
        *(0.117, 0.138, 0.146, 0.128, 0.118, 0.086, 0.119, 0.135, 0.151, 0.145, 0.2, 0.156),
        *(0.153, 0.156, 0.137, 0.179, 0.176, 0.184, 0.157, 0.174, 0.198, 0.18, 0.195, 0.181),
        *(0.203, 0.163, 0.194, 0.163, 0.179, 0.165, 0.17, 0.179, 0.183, 0.199, 0.203, 0.203),
    ],
    "entropy": [
        *(1.185, 1.242, 1.153, 1.224, 1.138, 1.104, 1.243, 1.159, 1.171, 1.129, 1.129, 1.079),
        *(1.132, 1.091, 1.003, 1.039, 0.963, 0.998, 0.918, 0.923, 0.965, 1.009, 0.973, 0.919),
        *(0.905, 0.925, 0.88, 0.771, 0.884, 0.855, 0.836, 0.825, 0.815, 0.822, 0.819, 0.811),
        *(0.804, 0.709, 0.755, 0.721, 0.724, 0.738, 0.676, 0.669, 0.679, 0.67, 0.683, 0.711),
        *(0.716, 0.767, 0.683, 0.693, 0.59, 0.666, 0.668, 0.691, 0.629, 0.68, 0.585, 0.645),
    ],
    "reward": [
        *(0.419, 0.388, 0.391, 0.378, 0.389, 0.382, 0.358, 0.402, 0.379, 0.388, 0.429, 0.372),
        *(0.373, 0.396, 0.383, 0.401, 0.373, 0.411, 0.401, 0.427, 0.402, 0.374, 0.418, 0.442),
        *(0.43, 0.45, 0.452, 0.504, 0.468, 0.497, 0.485, 0.476, 0.501, 0.513, 0.494, 0.501),
        *(0.527, 0.573, 0.517, 0.577, 0.514, 0.578, 0.623, 0.581, 0.581, 0.584, 0.62, 0.615),
        *(0.595, 0.567, 0.6, 0.645, 0.731, 0.622, 0.68, 0.666, 0.684, 0.638, 0.655, 0.718),
    ],
}
"""Those of `examples/ppo.recipe`, likewise: in the first ten only the critic learns."""


def lines_of(series: Mapping[str, list[float]]) -> list[Line]:
    return [dict(zip(series, numbers, strict=True)) for numbers in zip(*series.values(), strict=True)]


def line(**changes: Any) -> Line:
    """A step of a stage that goes well."""
    healthy = {"reward": 0.5, "no_signal": 0.25, "kl": 0.02, "entropy": 0.8, "trained_tokens": 100}
    return healthy | changes


def heard(lines: Iterable[Line]) -> list[tuple[int, str]]:
    """The alarms that these steps raise, each with its step."""
    told: list[str] = []
    alarms = Alarms(PLACE, told.append)
    for step, metrics in enumerate(lines, 1):
        alarms.after(step, metrics)
    assert told == [raised["text"] for raised in alarms.raised]
    return [(raised["step"], raised["alarm"]) for raised in alarms.raised]


def test_a_policy_that_learns_raises_none() -> None:
    assert heard(line(**numbers) for numbers in lines_of(LEARNING)) == []


def test_a_critic_that_warms_up_raises_none() -> None:
    lines = lines_of(WARMING_UP)
    warming = [numbers | {"loss_policy": None} for numbers in lines[:10]]
    learning = [numbers | {"loss_policy": 0.1} for numbers in lines[10:]]
    assert heard(warming + learning) == []
    assert heard(warming * 3 + learning) == []


def test_imitation_raises_none() -> None:
    assert heard({"loss": 9.0, "trained_tokens": 10} for _ in range(50)) == []


@pytest.mark.parametrize(
    ("bad", "steps", "alarm"),
    [
        ({"no_signal": 1.0}, 10, "no_signal"),
        ({"no_signal": 1.0, "reward": None}, 10, "no_signal"),
        ({"trained_tokens": 0}, 10, "nothing_trained"),
        ({"trained_tokens": 0, "no_signal": 1.0}, 10, "nothing_trained"),
        ({"kl": 0.21}, 3, "kl_leap"),
        ({"entropy": 1.81}, 5, "entropy_up"),
        ({"entropy": 0.15}, 10, "entropy_down"),
    ],
)
def test_an_alarm_is_raised_after_so_many_steps(bad: Line, steps: int, alarm: str) -> None:
    good = [line()] * 20
    assert heard([*good, *[line(**bad)] * 10, *good]) == [(20 + steps, alarm)]
    assert heard([*good, *[line(**bad)] * (steps - 1), *good]) == []


@pytest.mark.parametrize("wide", [{"kl": 0.19}, {"entropy": 1.79}, {"entropy": 0.17}, {"no_signal": 0.99}])
def test_what_is_only_unusual_raises_none(wide: Line) -> None:
    assert heard([*[line()] * 20, *[line(**wide)] * 30]) == []


def test_a_far_distance_is_one_from_the_first_step_on() -> None:
    assert heard([line(kl=1.01)] * 30) == [(5, "kl_far")]
    assert heard([line(kl=1.0)] * 30) == []


def test_a_leap_is_one_by_what_was_usual_before() -> None:
    assert heard([*[line(kl=0.001)] * 20, *[line(kl=0.1)] * 5]) == []
    assert heard([*[line(kl=0.001)] * 17, *[line(kl=0.11)] * 5]) == []
    assert heard([*[line(kl=0.09)] * 20, *[line(kl=0.95)] * 5]) == [(23, "kl_leap")]


def test_a_policy_that_is_sure_of_better_answers_raises_none() -> None:
    better = [line(reward=0.6)] * 20
    assert heard([*[line()] * 20, *better, *[line(reward=0.6, entropy=0.01)] * 30]) == []


def test_equal_mean_rewards_are_equal_rewards_where_nothing_else_tells() -> None:
    lines = [{"reward": 0.25, "trained_tokens": 9}] * 30
    assert heard(lines) == [(11, "no_signal")]
    lines[5] = lines[15] = lines[25] = {"reward": 0.250001, "trained_tokens": 9}
    assert heard(lines) == []
    assert heard([{"reward": None, "trained_tokens": 9}] * 30) == []


def test_an_alarm_is_raised_again_once_it_has_calmed_down() -> None:
    silent, good = [line(no_signal=1.0)], [line()]
    assert heard([*silent * 40, *good * 9, *silent * 40]) == [(10, "no_signal")]
    assert heard([*silent * 40, *good * 10, *silent * 40]) == [(10, "no_signal"), (60, "no_signal")]


def test_a_warning_says_where_what_and_what_to_do() -> None:
    alarms = Alarms(PLACE, lambda text: None)
    for step in range(1, 31):
        alarms.after(step, line() if step <= 20 else line(kl=0.5))
    assert alarms.raised == [
        {
            "step": 23,
            "alarm": "kl_leap",
            "text": f"{PLACE}step 23: for 3 steps `kl` was above 10 times what is usual: 0.5 nats a token, "
            "where the median of the last 20 steps is 0.02. Lower the learning rate or `mini_epochs`, or "
            "raise `kl_beta`",
        }
    ]


TROUBLES = st.sampled_from(
    [
        line(),
        line(no_signal=1.0, reward=None),
        line(trained_tokens=0),
        line(kl=0.6),
        line(kl=3.0),
        line(entropy=4.0),
        line(entropy=0.001),
        {"reward": 0.25, "kl": None, "entropy": None, "loss_policy": None},
    ]
)


@given(st.lists(st.tuples(TROUBLES, st.integers(1, 15)), min_size=1, max_size=8), st.data())
def test_a_resumed_stage_raises_what_an_uninterrupted_one_would(
    parts: list[tuple[Line, int]], data: st.DataObject
) -> None:
    lines = [one for one, often in parts for _ in range(often)]
    cut = data.draw(st.integers(0, len(lines)))
    told: list[str] = []
    first = Alarms(PLACE, told.append)
    for step in range(cut):
        first.after(step + 1, lines[step])
    kept = first.state()
    for step in range(cut, len(lines)):  # what came after the checkpoint is not in it
        first.after(step + 1, lines[step])
    told_by_first = list(told)

    del told[sum(1 for raised in first.raised if raised["step"] <= cut) :]
    second = Alarms(PLACE, told.append)
    second.restore(json.loads(json.dumps(kept)))
    for step in range(cut, len(lines)):
        second.after(step + 1, lines[step])
    assert second.raised == first.raised
    assert told == told_by_first


def test_every_alarm_can_be_heard() -> None:
    lines = [line()] * 20
    for bad in (
        {"no_signal": 1.0},
        {"trained_tokens": 0},
        {"kl": 3.0},
        {"entropy": 4.0},
        {"entropy": 0.001},
    ):
        lines += [line(**bad)] * 10 + [line()] * 20
    assert {alarm for _, alarm in heard(lines)} == ALARMS.keys()
