"""Saving: keys, collisions, and what is left when something breaks."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Train
from runtime_support import SAVE, STAGE, Ref, graph_of, training

from harmony_compiler.graph.outputs import Save
from harmony_compiler.store.registry import entry_at
from harmony_runtime.failures import RunFailed

Refused = Callable[..., RunFailed]


def saving(seed: int, if_exists: str) -> Any:
    return training(steps=1, seed=seed, save={"if_exists": if_exists})


def test_a_taken_key_is_refused_before_training(train: Train, refused: Refused, registry: Path) -> None:
    train(saving(1, "error"), "a")
    fault = refused(saving(2, "error"), "b")
    assert fault.message.startswith("small.recipe:4: `save`: the key `small` holds another model already")
    assert fault.exit_code == 1


def test_the_same_model_is_no_collision(train: Train, registry: Path) -> None:
    first = train(saving(1, "error"), "a")
    written = (registry / "small" / "harmony.json").stat().st_mtime_ns
    assert train(saving(1, "error"), "b").saved == first.saved
    assert (registry / "small" / "harmony.json").stat().st_mtime_ns == written
    assert train(saving(1, "rename"), "c").saved == first.saved


def test_rename(train: Train, registry: Path, tmp_path: Path) -> None:
    for seed in (1, 2, 3, 2):
        summary = train(saving(seed, "rename"), f"out{len(list(tmp_path.iterdir()))}")
    assert sorted(path.name for path in registry.iterdir()) == ["small", "small-2", "small-3"]
    assert summary.saved["small"].key == "small-2"  # which already holds this very model
    assert summary.saved["small"].path == registry / "small-2"
    entry = entry_at(registry, "small-2")
    assert entry is not None
    assert (entry.identity, entry.recipe, entry.stage) == (summary.stages[0].identity, "small", "tuned")


def test_overwrite(train: Train, registry: Path) -> None:
    train(saving(1, "overwrite"), "a")
    second = train(saving(2, "overwrite"), "b")
    entry = entry_at(registry, "small")
    assert entry is not None
    assert entry.identity == second.stages[0].identity
    assert [path.name for path in registry.iterdir()] == ["small"]


@pytest.mark.parametrize("if_exists", ["error", "overwrite"])
def test_a_folder_that_is_no_model_is_never_touched(if_exists: str, refused: Refused, registry: Path) -> None:
    (registry / "small").mkdir(parents=True)
    (registry / "small" / "thesis.txt").write_text("mine")
    assert "holds no saved model" in refused(saving(1, if_exists)).message
    assert (registry / "small" / "thesis.txt").read_text() == "mine"


def test_two_saves_under_one_key(refused: Refused) -> None:
    nodes = saving(1, "overwrite").nodes
    other = Ref("other")
    graph = graph_of(
        {**nodes, other: Save(model=Ref("base"), key="small", if_exists="overwrite")}, (SAVE, other)
    )
    assert "another `save` of this recipe takes the key `small`" in refused(graph).message
    assert graph.nodes[SAVE].model == STAGE  # type: ignore[attr-defined]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_a_disk_that_fails_leaves_no_half_model(
    number: int, train: Train, registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(number, "the disk says no", "model.safetensors")

    with monkeypatch.context() as patch:
        patch.setattr("harmony_runtime.registry.write_manifest", full)
        with pytest.raises(RunFailed, match="while saving `small`: the disk says no") as caught:
            train(saving(1, "error"))
    assert caught.value.exit_code == 2
    assert list(registry.iterdir()) == []
    assert json.loads((tmp_path / "out/manifest.json").read_text())["exit"]["code"] == 2
    assert train(saving(1, "error"), resume=True).stages[0].reused


def test_out_of_memory_names_what_helps(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_much(*_: object) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried …")

    monkeypatch.setattr("harmony_runtime.algorithms.sft.weighted_nll", too_much)
    with pytest.raises(RunFailed, match="`max_batch_tokens`") as caught:
        train(saving(1, "error"))
    assert caught.value.exit_code == 2


def test_what_the_command_imports_brings_no_torch() -> None:
    code = (
        "import sys, harmony_runtime.failures, harmony_runtime.interrupts, harmony_runtime.watch; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
