"""Whether a disk has room for a run is known before it starts."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from reinforcement_support import GRADERS, PROMPTS, REWARD
from runtime_support import MODEL, SAVE, STAGE, Ref, Told, Train, graph_of, sft, sums, tiny, training

from harmony_compiler.graph.algorithms import Ppo
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.models import Reloaded
from harmony_compiler.graph.outputs import Save
from harmony_compiler.graph.settings import Checkpoint, EarlyStop, Lora, Sampling
from harmony_compiler.graph.values import Duration, Percent
from harmony_compiler.store.registry import size_of
from harmony_runtime.failures import Interrupted, RunFailed

Refused = Callable[..., RunFailed]

LORA = Lora(rank=4, seed=7)


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let every disk have so many bytes free."""

    def free(count: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=count))

    return free


def large(**changes: Any) -> Any:
    """Weights that are most of what a run writes."""
    return tiny(**({"hidden_size": 64, "mlp_size": 256} | changes))


def merging() -> Graph:
    """A stage that trains an adapter beside a base that has no address, saved as it is and merged."""
    merged = Ref("merged")
    nodes = training(large(adapter=LORA), steps=1).nodes
    return graph_of({**nodes, merged: Save(model=STAGE, key="merged", merge=True)}, (SAVE, merged))


def two_stages() -> Graph:
    nodes = training(large(tied=False), steps=1).nodes
    again, second = Ref("again"), Ref("second")
    nodes = {**nodes, again: Reloaded(source=STAGE), second: sft(model=again, steps=1)}
    return graph_of(nodes, (SAVE, second))


GRAPHS: dict[str, Callable[[], Graph]] = {
    "tied": lambda: training(large(tied=True), steps=1),
    "untied": lambda: training(large(tied=False), steps=1),
    "bfloat16": lambda: training(large(dtype="bfloat16"), steps=1),
    "gpt2": lambda: training(large(architecture="gpt2"), steps=1),
    "adapter and merged": merging,
    "two stages": two_stages,
    "merged as it is": lambda: training(large(), save={"merge": True}, steps=1),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_what_fits_is_never_refused_and_half_of_it_is(
    name: str,
    train: Train,
    refused: Refused,
    room: Callable[[int], None],
    tmp_path: Path,
) -> None:
    train(GRAPHS[name](), "measured")
    registry = tmp_path / "home" / "models"
    written = size_of(tmp_path / "measured") + size_of(registry)
    shutil.rmtree(registry)
    room(written // 2)
    fault = refused(GRAPHS[name](), "small")
    assert f"the disk of {tmp_path / 'small'} and {registry} has " in fault.message
    assert "this run writes at least" in fault.message
    assert fault.exit_code == 2
    room(written)
    train(GRAPHS[name](), "large")


def checkpointing(**stage: Any) -> Graph:
    return training(tiny(), steps=6, **stage)


@pytest.fixture
def least(refused: Refused, room: Callable[[int], None]) -> Callable[[Graph], float]:
    """Bytes that a run writes at least, to three digits."""

    def told(graph: Graph) -> float:
        room(0)
        number, unit = refused(graph).message.partition("at least ")[2].split()[:2]
        return float(number) * {"bytes": 1, "kB": 1000, "MB": 1_000_000}[unit]

    return told


@pytest.mark.parametrize(
    ("every", "keep", "most"),
    [
        (1, 2, 3),  # a new one is whole before the oldest goes
        (1, 9, 5),  # after the last step none may be needed
        (4, 3, 1),
        (Percent(50), 3, 1),
        (6, 3, 0),
        (Duration(1, "ms"), 3, 0),  # who knows how many there will be
    ],
)
def test_checkpoints_are_counted(every: Any, keep: int, most: int, least: Callable[[Graph], float]) -> None:
    """One holds weights and two moments of each: as much as three models."""
    weights = least(checkpointing()) / 2  # as the stage's model, and saved
    peak = least(checkpointing(checkpoint=Checkpoint(every=every, keep=keep)))
    models = max(3 * most, 3 * min(most, keep) + 1, 2)
    assert peak == pytest.approx(models * weights, rel=0.02)


def test_a_critic_is_in_the_checkpoints_alone(least: Callable[[Graph], float]) -> None:
    nodes = {
        MODEL: tiny(tied=True),
        PROMPTS: sums(completion=None, metadata={"answer": "{{ a }}"}),
        **GRADERS,
    }
    settings = Sampling(max_tokens=6)
    node = Ppo(
        policy_model=MODEL,
        value_model=MODEL,
        dataset=PROMPTS,
        grader=REWARD,
        samples_per_batch=8,
        samples_per_mini_batch=8,
        lr_policy=1e-2,
        lr_value=1e-2,
        kl_beta=0.0,
        value_warmup=0,
        sampling=settings,
        seed=7,
        max_num_ppo_steps=2,
        checkpoint=Checkpoint(every=1),
    )
    nodes |= {STAGE: node, SAVE: Save(model=STAGE, key="small")}
    weights = least(checkpointing()) / 2
    assert least(graph_of(nodes, (SAVE,))) == pytest.approx((2 * 3 + 1) * weights, rel=0.02)


def test_a_stage_that_may_stop_early_may_need_no_checkpoint(least: Callable[[Graph], float]) -> None:
    stopping = EarlyStop(metric="grad_norm", patience=1)
    graph = checkpointing(early_stop=stopping, checkpoint=Checkpoint(every=1))
    assert least(graph) == least(checkpointing())


def test_what_is_there_already_needs_no_space(
    train: Train, room: Callable[[int], None], registry: Path
) -> None:
    train(training(steps=1), "first")
    room(0)
    train(training(steps=1), "first", resume=True)
    with pytest.raises(RunFailed, match="free, and this run writes"):
        train(training(steps=1), "second")


def test_a_stage_that_goes_on_may_have_its_checkpoints(train: Train, room: Callable[[int], None]) -> None:
    graph = checkpointing(checkpoint=Checkpoint(every=1, keep=3))
    with pytest.raises(Interrupted):
        train(graph, watcher=Told(stop_at=4))
    room(40_000)  # twice the weights, but no checkpoint
    train(graph, resume=True)


def test_the_places_of_one_disk_are_counted_together(
    refused: Refused, room: Callable[[int], None], registry: Path, tmp_path: Path
) -> None:
    room(20_000)  # the weights once
    message = refused(training(steps=1)).message
    assert message.count("the disk of") == 1
    assert message.startswith(f"the disk of {tmp_path / 'out'} and {registry} has 20.0 kB free")
