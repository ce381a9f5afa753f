"""What a full disk, a disk that may only be read, and files that changed do to a run: one paragraph, and what
was there before is as it was."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from runtime_support import STAGE, Told, Train, same, tiny, training

from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.models import RegistryModel
from harmony_compiler.graph.settings import Checkpoint, Lora
from harmony_compiler.store.registry import entry_at
from harmony_runtime import registry as saved_models
from harmony_runtime.disk.folders import faults_of
from harmony_runtime.disk.lines import Lines
from harmony_runtime.executor import run
from harmony_runtime.failures import RunFailed
from harmony_runtime.models import weights
from harmony_runtime.rollout.saved import open_saved
from harmony_runtime.watch import Silent, Summary

Refused = Callable[..., RunFailed]


def snapshot(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


# --- disks ----------------------------------------------------------------------------------------------


class Disk:
    """A small disk in memory."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def fill(self) -> None:
        with (self.place / "filler").open("ab", buffering=0) as filler, pytest.raises(OSError, match="space"):
            while filler.write(b"x" * 4096):
                pass

    def free(self) -> None:
        (self.place / "filler").unlink()

    def forbid(self) -> None:
        mount("-o", "remount,ro", str(self.place))


def mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"only who may mount a disk can fill one: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    place = tmp_path / "disk"
    place.mkdir()
    try:
        mount("-t", "tmpfs", "-o", "size=1m", "none", str(place))
    except FileNotFoundError:
        pytest.skip("there is no `mount`")
    yield Disk(place)
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def working(disk: Disk, tmp_path: Path) -> Callable[..., Summary]:
    """Run a graph in a folder of the disk, or else with the registry there."""

    def call(graph: Graph, *, home: bool = False, **options: Any) -> Summary:
        out, above = (tmp_path / "out", disk.place) if home else (disk.place / "out", tmp_path)
        options.setdefault("watcher", Silent())
        return run(graph, out, registry=above / "home" / "models", **options)

    return call


class Filling(Told):
    """Fills a disk after a step."""

    def __init__(self, disk: Disk, step: int) -> None:
        super().__init__()
        self.disk, self.at = disk, step

    def step(self, name: str, step: int, *_: Any) -> None:
        if step == self.at:
            self.disk.fill()


def told(call: Callable[[], object]) -> str:
    """The one paragraph with which a run ends."""
    with pytest.raises(RunFailed) as caught:
        call()
    assert caught.value.exit_code == 2
    assert "\n" not in caught.value.message
    return caught.value.message


def test_the_disk_is_full_while_metrics_are_written(
    disk: Disk, working: Callable[..., Summary], monkeypatch: pytest.MonkeyPatch, train: Train, tmp_path: Path
) -> None:
    append = Lines.append

    def long(self: Lines, *lines: Any) -> None:
        append(self, *({**line, "long": "x" * 4096} for line in lines))

    monkeypatch.setattr(Lines, "append", long)
    graph = training(checkpoint=Checkpoint(every=1))
    message = told(lambda: working(graph, watcher=Filling(disk, 3)))
    assert "No space left on device" in message and "free some space, then go on" in message
    disk.free()
    told_ = Told()
    working(graph, resume=True, watcher=told_)
    assert "goes on after step" in told_.texts[0]
    whole = train(training(), "whole").stages[0].identity
    assert same(disk.place / "out/stages" / whole, tmp_path / "whole/stages" / whole)
    metrics = "metrics.jsonl"
    assert (disk.place / "out" / metrics).read_bytes() == (tmp_path / "whole" / metrics).read_bytes()


def test_a_line_says_where_the_disk_is_full(disk: Disk) -> None:
    lines = Lines(disk.place / "metrics.jsonl")
    lines.append({"stage": "tuned", "step": 1})
    before = lines.path.read_bytes()
    disk.fill()
    with pytest.raises(OSError, match="No space left") as caught:
        lines.append({"stage": "tuned", "step": 2, "long": "x" * 8192})
    assert caught.value.filename == str(lines.path)
    disk.free()
    lines.cut_back("tuned", 1)
    assert lines.path.read_bytes() == before


def test_the_disk_is_full_while_a_model_is_written(
    disk: Disk, working: Callable[..., Summary], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = weights.write

    def full(*arguments: Any, **options: Any) -> Any:
        disk.fill()
        return write(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(weights, "write", full)
        message = told(lambda: working(training(checkpoint=Checkpoint(every=2))))
    assert message.startswith(f"while writing the model of `tuned` into {disk.place}/out/stages/")
    disk.free()
    assert list((disk.place / "out/stages").iterdir()) == []
    told_ = Told()
    working(training(checkpoint=Checkpoint(every=2)), resume=True, watcher=told_)
    assert "goes on after step 6" in told_.texts[0]


def test_the_disk_is_full_while_a_checkpoint_is_written(disk: Disk, working: Callable[..., Summary]) -> None:
    graph = training(checkpoint=Checkpoint(every=2))
    # Step 4 is kept once step 2 is on the disk.
    message = told(lambda: working(graph, watcher=Filling(disk, 5)))
    assert message.startswith("while writing ") and "No space left on device" in message
    disk.free()
    told_ = Told()
    working(graph, resume=True, watcher=told_)
    assert re.search("goes on after step [24] of 6", told_.texts[0])


def test_the_disk_is_full_while_the_registry_saves(
    disk: Disk, working: Callable[..., Summary], monkeypatch: pytest.MonkeyPatch
) -> None:
    save = {"if_exists": "overwrite"}
    working(training(save=save, steps=1), home=True)
    small = disk.place / "home/models/small"
    before = snapshot(small)
    write = saved_models.write_manifest

    def full(*arguments: Any) -> None:
        disk.fill()
        write(*arguments)

    later = training(save=save, steps=2)
    with monkeypatch.context() as patch:
        patch.setattr(saved_models, "write_manifest", full)
        message = told(lambda: working(later, home=True, resume=True))
    assert message.startswith("while saving `small`: No space left on device")
    assert snapshot(small) == before
    assert faults_of(small) == ""
    assert [folder.name for folder in small.parent.iterdir()] == ["small"]
    disk.free()
    assert working(later, home=True, resume=True).stages[0].reused
    assert snapshot(small) != before


def test_a_disk_without_room_is_found_before_training(disk: Disk, working: Callable[..., Summary]) -> None:
    large = training(tiny(hidden_size=256, mlp_size=1024), steps=1)
    message = told(lambda: working(large))
    assert message.startswith(f"the disk of {disk.place}/out has ")
    assert not (disk.place / "out").exists()


def test_a_run_goes_nowhere_on_a_disk_that_may_only_be_read(
    disk: Disk, working: Callable[..., Summary]
) -> None:
    working(training(steps=1))
    before = snapshot(disk.place)
    disk.forbid()
    message = told(lambda: working(training(steps=1), resume=True))
    assert message.startswith("while preparing the run's folder: Read-only file system")
    assert "check the rights of that place" in message
    assert snapshot(disk.place) == before


@pytest.mark.parametrize(
    ("within", "if_exists", "words"),
    [
        ("home/models", "error", "while locking the key `small`: Read-only file system"),
        (".", "rename", "cannot be written, and this run saves there"),
    ],
)
def test_a_registry_that_may_only_be_read_is_found_before_training(
    within: str, if_exists: str, words: str, disk: Disk, tmp_path: Path
) -> None:
    disk.forbid()
    graph = training(save={"if_exists": if_exists}, steps=1)
    registry = disk.place / within
    message = told(lambda: run(graph, tmp_path / "out", watcher=Silent(), registry=registry))
    assert words in message
    assert not (tmp_path / "out").exists()


# --- files ----------------------------------------------------------------------------------------------


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-2] ^= 1
    file.write_bytes(data)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


DAMAGES: dict[str, Callable[[Path], None]] = {
    "flipped": flip,
    "cut": cut,
    "emptied": lambda file: file.write_bytes(b"") and None,
    "removed": Path.unlink,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "stage.json"])
def test_a_damaged_stage_is_not_reused(file: str, damage: str, train: Train, tmp_path: Path) -> None:
    identity = train(training(steps=1)).stages[0].identity
    stage = tmp_path / "out" / "stages" / identity
    before = snapshot(tmp_path / "home")
    whole = snapshot(stage)
    DAMAGES[damage](stage / file)
    after = snapshot(stage)
    message = told(lambda: train(training(steps=1), resume=True))
    what = "is missing" if damage == "removed" else "has changed"
    assert message.startswith(
        f"small.recipe:3: `tuned`: the finished stage in {stage} is damaged: `{file}` {what}"
    )
    assert snapshot(tmp_path / "home") == before
    assert snapshot(stage) == after

    for path in after:
        path.unlink()
    stage.rmdir()  # as the message says
    assert not train(training(steps=1), resume=True).stages[0].reused
    assert snapshot(stage) == whole


def registered() -> Graph:
    return training(RegistryModel(key="small"), save={"key": "second"}, steps=1)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json"])
def test_a_damaged_model_of_the_registry_is_not_trained_on(
    file: str, damage: str, train: Train, refused: Refused, registry: Path
) -> None:
    train(training(steps=1), "first")
    DAMAGES[damage](registry / "small" / file)
    before = snapshot(registry)
    fault = refused(registered())
    assert fault.exit_code == 2
    assert fault.message.startswith(
        f"small.recipe:1: `base`: the model `small` in the registry {registry} is damaged: `{file}` "
    )
    assert snapshot(registry) == before


def test_a_damaged_adapter_of_the_registry_is_not_trained_on(
    train: Train, refused: Refused, registry: Path
) -> None:
    """Its base stands beside it, and its configuration was rewritten when its place was known."""
    train(training(tiny(adapter=Lora(rank=2, seed=7)), steps=1), "first")
    assert faults_of(registry / "small") == ""
    train(registered(), "second")
    flip(registry / "small" / "base" / "model.safetensors")
    assert "`base/model.safetensors` has changed" in refused(registered(), "third").message


def test_a_damaged_model_of_the_registry_answers_nobody(train: Train, registry: Path) -> None:
    train(training(steps=1))
    open_saved(registry, "small")
    flip(registry / "small" / "model.safetensors")
    assert "`model.safetensors` has changed" in told(lambda: open_saved(registry, "small"))


@pytest.mark.parametrize("seal", [True, False])
def test_a_key_with_an_empty_manifest(seal: bool, train: Train, refused: Refused, registry: Path) -> None:
    train(training(steps=1), "first")
    (registry / "small" / "harmony.json").write_bytes(b"")
    if not seal:  # as an earlier version left it
        (registry / "small" / "SHA256SUMS").unlink()
    fault = refused(registered())
    assert "`harmony.json`" in fault.message and "harmonyc models rm small" in fault.message
    assert fault.exit_code == 2
    assert "holds another model already" in refused(training(steps=1), "again").message


def test_what_an_earlier_version_saved_is_loaded(train: Train, registry: Path) -> None:
    train(training(steps=1), "first")
    (registry / "small" / "SHA256SUMS").unlink()
    train(registered(), "second")
    assert entry_at(registry, "second") is not None


def test_a_seal_says_nothing_of_its_time_and_place(train: Train, tmp_path: Path) -> None:
    one, other = (train(training(steps=1), name) for name in ("one", "other"))
    assert one.stages[0].identity == other.stages[0].identity
    seals = [
        (tmp_path / name / "stages" / one.stages[0].identity / "SHA256SUMS").read_bytes()
        for name in ("one", "other")
    ]
    assert seals[0] == seals[1]


@pytest.mark.parametrize("text", ["", "  \n", '{"stages": {', "[]", '{"stages": []}', "\x00\x00"])
def test_a_damaged_manifest_of_a_run(text: str, train: Train, tmp_path: Path) -> None:
    train(training(steps=1))
    manifest = tmp_path / "out" / "manifest.json"
    manifest.write_text(text)
    before = snapshot(tmp_path)
    message = told(lambda: train(training(steps=1), resume=True))
    assert message.startswith(f"{manifest} ")
    assert f"`--reuse {tmp_path / 'out'}`" in message
    assert snapshot(tmp_path) == before
    again = train(training(steps=1), "again", reuse=tmp_path / "out")
    assert again.stages[0].reused


def test_a_manifest_that_is_gone(train: Train, tmp_path: Path) -> None:
    train(training(steps=1))
    (tmp_path / "out" / "manifest.json").unlink()
    before = snapshot(tmp_path)
    message = told(lambda: train(training(steps=1), resume=True))
    assert message.startswith(f"{tmp_path / 'out' / 'manifest.json'} is missing")
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("text", ["", '{"nodes"'])
def test_a_damaged_graph_of_a_run(text: str, train: Train, tmp_path: Path) -> None:
    train(training(steps=1))
    (tmp_path / "out" / "graph.json").write_text(text)
    before = snapshot(tmp_path)
    message = told(lambda: train(training(steps=1), resume=True))
    assert message.startswith(f"{tmp_path / 'out' / 'graph.json'} is damaged")
    assert snapshot(tmp_path) == before


def test_a_stage_says_what_it_is(train: Train, tmp_path: Path) -> None:
    identity = train(training(steps=1)).stages[0].identity
    stage = json.loads((tmp_path / "out/stages" / identity / "stage.json").read_text())
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert stage == {"name": str(STAGE), **manifest["stages"]["tuned"]}
    assert stage["identity"] == identity and stage["steps"] == 1
