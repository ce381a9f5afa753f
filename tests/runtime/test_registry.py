"""Saving: keys, collisions, and what is left when something breaks."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from runtime_support import SAVE, STAGE, Ref, Train, graph_of, json_lines, tiny, training

from harmony_compiler.graph.identity import digest, training_digest
from harmony_compiler.graph.models import RegistryModel
from harmony_compiler.graph.outputs import Save
from harmony_compiler.graph.settings import Lora
from harmony_compiler.store.files import content_hash
from harmony_compiler.store.lineage import Data, Lineage, Trained
from harmony_compiler.store.registry import Entry, dependents, entry_at, keys, write_manifest
from harmony_grammar.records import replace
from harmony_runtime.failures import RunFailed
from harmony_runtime.registry import IfExists, Written, save

Refused = Callable[..., RunFailed]

STAGES = (Trained("tuned", "sft", "abc", 3, True, (Data("rows", "jsonl a.jsonl", "def"),)),)
LINEAGE = Lineage("registry", "sorter", "ghi", Lineage("hub", "gpt2", "main"), STAGES)
ENTRY = Entry("small", "abc", "r", "tuned", "2026-01-31T12:00:00+00:00", lineage=LINEAGE)


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


def test_the_lineage_goes_back_to_where_the_weights_began(
    train: Train, registry: Path, tmp_path: Path
) -> None:
    first = train(saving(1, "error"), "a")
    data = json_lines(tmp_path / "sums.jsonl", [{"q": "1+1", "a": "2"}, {"q": "1+2", "a": "3"}])
    save = {"key": "better"}
    later = training(RegistryModel(key="small"), data, save=save, steps=2, samples_per_batch=2)
    second = train(later, "b")
    held = entry_at(registry, "better")
    assert held is not None and held.lineage is not None
    assert (held.file, held.weights, held.base) == ("small.recipe", "full", "")
    assert held.harmony == version("harmony-dsl")
    assert held.graph == training_digest(later, content_hash, registry)
    lineage = held.lineage
    assert (lineage.source, lineage.name, lineage.pin) == ("registry", "small", first.stages[0].identity)
    (stage,) = lineage.stages
    assert (stage.name, stage.algorithm, stage.steps) == ("tuned", "sft", 2)
    assert not stage.adapter
    assert stage.identity == second.stages[0].identity == held.identity
    assert [rows.source for rows in stage.data] == [f"jsonl {tmp_path / 'sums.jsonl'}"]
    assert lineage.parent is not None
    assert (lineage.parent.source, lineage.parent.name) == ("scratch", "qwen3")
    assert [one.steps for one in lineage.parent.stages] == [1]
    assert [rows.source for rows in lineage.data()] == ["10 rows of the recipe", stage.data[0].source]
    assert held.data == digest(sorted(rows.identity for rows in lineage.data()))


def test_the_data_hash_goes_by_the_rows(train: Train, registry: Path, tmp_path: Path) -> None:
    def hashed(name: str, answer: str) -> str:
        (tmp_path / name).mkdir()
        data = json_lines(tmp_path / name / f"{name}.jsonl", [{"q": "1+1", "a": answer}])
        train(training(data=data, save={"key": name}, steps=1), f"run-{name}")
        held = entry_at(registry, name)
        assert held is not None
        return held.data

    assert hashed("a", "2") == hashed("b", "2") != hashed("c", "3")


def test_a_parent_that_is_overwritten_is_still_the_parent(train: Train, registry: Path) -> None:
    """The key stands for what it held when the run started, also where a later part of it saves there."""
    first = train(saving(1, "error"), "a").stages[0].identity
    save = {"key": "small", "if_exists": "overwrite"}
    train(training(RegistryModel(key="small"), save=save, steps=1), "b")
    held = entry_at(registry, "small")
    assert held is not None and held.lineage is not None and held.lineage.parent is not None
    assert (held.lineage.pin, held.lineage.parent.stages[0].identity) == (first, first)


def test_an_adapter_and_its_merged_weights(train: Train, refused: Refused, registry: Path) -> None:
    """One model, two ways to keep it: under one key they collide, each with itself does not."""

    def lean(**save: Any) -> Any:
        return training(tiny(adapter=Lora(rank=2, seed=7)), save=save, steps=1)

    train(lean(), "a")
    held = entry_at(registry, "small")
    assert held is not None and held.lineage is not None
    assert (held.weights, held.base) == ("adapter", "")
    assert [stage.adapter for stage in held.lineage.stages] == [True]
    assert "holds another model already" in refused(lean(merge=True), "b").message
    assert train(lean(merge=True, key="merged"), "c").saved["merged"].key == "merged"
    merged = entry_at(registry, "merged")
    assert merged is not None
    assert (merged.weights, merged.identity) == ("merged", held.identity)
    assert not (registry / "merged" / "adapter_config.json").exists()
    assert dependents(registry, "small") == []  # its base lies in its own folder
    config = json.loads((registry / "small" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(registry / "small" / "base")


def test_a_merged_model_is_another_than_its_adapter() -> None:
    for weights, as_it_is, merged in (
        ("full", True, True),
        ("adapter", True, False),
        ("merged", False, True),
    ):
        held = replace(ENTRY, weights=weights)
        assert (held.holds("abc", merge=False), held.holds("abc", merge=True)) == (as_it_is, merged)
        assert not held.holds("abd", merge=False)


def test_the_first_version_is_still_read(registry: Path) -> None:
    old = {"key": "old", "identity": "abc", "recipe": "r", "stage": "s", "created": "2026-01-31T12:00:00Z"}
    for key, data in (("old", {"format_version": 1, **old}), ("new", {"format_version": 3, **old})):
        (registry / key).mkdir(parents=True)
        (registry / key / "harmony.json").write_text(json.dumps(data))
    found = entry_at(registry, "old")
    assert found is not None
    assert (found.identity, found.stage, found.weights, found.lineage) == ("abc", "s", "full", None)
    later = entry_at(registry, "new")  # who knows what it says
    assert later is not None and later.identity == ""


def test_what_is_written_is_read(registry: Path) -> None:
    (registry / "small").mkdir(parents=True)
    write_manifest(registry / "small", ENTRY)
    assert entry_at(registry, "small") == ENTRY


def test_the_base_of_an_adapter_is_not_overwritten(
    train: Train, refused: Refused, registry: Path, tmp_path: Path
) -> None:
    train(saving(1, "error"), "a")
    adapter = registry / "lean"
    adapter.mkdir()
    write_manifest(adapter, replace(ENTRY, key="lean", weights="adapter"))
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "../small"}))
    assert "the base of the adapters `lean`" in refused(saving(2, "overwrite"), "b").message
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "gpt2"}))
    train(saving(2, "overwrite"), "c")


# --- at the same time -----------------------------------------------------------------------------------

SAVER = """
import sys, time
from pathlib import Path
from harmony_compiler.store.registry import Entry
from harmony_runtime import registry
from harmony_runtime.registry import Written, save

def slowly(*folders, replace, settle=registry.settle):
    time.sleep(0.02)  # between the decision and the move
    settle(*folders, replace=replace)

registry.settle = slowly
root, name, if_exists, count = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])

def write(identity):
    def model(folder):
        for part in ("one", "two", "three"):
            (folder / part).write_text(identity)
        return Written()
    return model

print("ready", flush=True)
sys.stdin.readline()
for number in range(count):
    identity = f"{name}-{number}"
    save(root, Entry("small", identity, "r", "s", "now"), if_exists, write(identity))
"""


def savers(registry: Path, if_exists: str, count: int) -> None:
    """Two processes that save under one key at the same time."""
    both = [
        subprocess.Popen(
            [sys.executable, "-c", SAVER, str(registry), name, if_exists, str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("first", "second")
    ]
    for process in both:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in both:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in both:
        process.communicate(timeout=60)
        assert process.returncode == 0


def identity_in(folder: Path) -> str:
    """The identity of a model all of whose files are its own."""
    held = entry_at(folder.parent, folder.name)
    assert held is not None
    assert {(folder / part).read_text() for part in ("one", "two", "three")} == {held.identity}
    return held.identity


def test_two_runs_that_save_at_once_never_mix(registry: Path) -> None:
    savers(registry, "rename", 12)
    folders = list(registry.iterdir())
    assert {folder.name for folder in folders} == {"small", *(f"small-{n}" for n in range(2, 25))}
    assert len({identity_in(folder) for folder in folders}) == 24


def test_two_runs_that_overwrite_at_once_leave_one_of_them(registry: Path) -> None:
    savers(registry, "overwrite", 12)
    (folder,) = registry.iterdir()
    assert identity_in(folder) in ("first-11", "second-11")


def saved(registry: Path, identity: str, if_exists: IfExists) -> str:
    def write_model(folder: Path) -> Written:
        for part in ("one", "two", "three"):
            (folder / part).write_text(identity)
        return Written()

    return save(registry, replace(ENTRY, identity=identity), if_exists, write_model).key


def test_a_run_that_was_slower_is_told(registry: Path) -> None:
    """The key was free when the model began to be written, and is no longer."""

    def write_slowly(folder: Path) -> Written:
        saved(registry, "faster", "error")
        return Written()

    with pytest.raises(RunFailed, match="holds another model already"):
        save(registry, replace(ENTRY, identity="slower"), "error", write_slowly)
    assert [identity_in(folder) for folder in registry.iterdir()] == ["faster"]


def test_what_a_crash_left_is_swept_a_day_later(registry: Path) -> None:
    for name, age in (("old", 25), ("young", 23)):
        leftover = registry / f".unfinished-{name}"
        (leftover / "inner").mkdir(parents=True)
        (leftover / "inner" / "model.safetensors").write_text("half")
        at = time.time() - age * 3600
        for place in (leftover, leftover / "inner", leftover / "inner" / "model.safetensors"):
            os.utime(place, (at, at))
    saved(registry, "a", "error")
    assert sorted(folder.name for folder in registry.iterdir()) == [".unfinished-young", "small"]
    assert keys(registry) == ["small"]


def test_a_crash_between_two_moves_loses_no_model(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(registry, "before", "overwrite")
    rename = Path.rename

    def power_goes(self: Path, target: Path) -> Path:
        if target.name == "small":
            os._exit(9)
        return rename(self, target)

    child = os.fork()
    if not child:
        Path.rename = power_goes  # type: ignore[method-assign,assignment]
        saved(registry, "after", "overwrite")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert keys(registry) == []
    assert saved(registry, "other", "rename") == "small-2"
    assert identity_in(registry / "small") == "before"


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

    monkeypatch.setattr("harmony_runtime.algorithms.sft.sft_loss", too_much)
    with pytest.raises(RunFailed, match="`max_batch_tokens`") as caught:
        train(saving(1, "error"))
    assert caught.value.exit_code == 2


def test_what_the_command_imports_brings_no_torch() -> None:
    code = (
        "import sys, harmony_runtime.failures, harmony_runtime.processes.interrupts, harmony_runtime.watch; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
