"""What is finished is trained once: in this run's folder, and in that of another run."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from adapters_support import LORA, adapter_in, chain, equal
from runtime_support import SAVE, Ref, Told, Train, same, tiny, training
from test_drift import two_stages

from harmony_compiler.graph.outputs import Save
from harmony_grammar import records
from harmony_runtime.disk.folders import faults_of
from harmony_runtime.failures import RunFailed
from harmony_runtime.models import adapters

Stamp = tuple[int, bytes]


def stamps(folder: Path) -> Mapping[str, Stamp]:
    """Every file of a folder: when it was written, and what."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert files
    return {str(file.relative_to(folder)): (file.stat().st_mtime_ns, file.read_bytes()) for file in files}


def test_an_edited_second_stage_leaves_the_first_alone(train: Train, tmp_path: Path) -> None:
    first = train(two_stages()).stages[0]
    stage = tmp_path / "out" / "stages" / first.identity
    before = stamps(stage)
    told = Told()
    again = train(two_stages(second={"lr": 1e-3, "steps": 2}), watcher=told, resume=True)
    assert told.started == ["later"]
    assert [stage.reused for stage in again.stages] == [True, False]
    assert f"`tuned` is finished in {tmp_path / 'out'}, and its model is reused" in told.texts
    assert stamps(stage) == before


def test_another_run_takes_over_what_is_finished(train: Train, tmp_path: Path) -> None:
    first = train(two_stages(), "one").stages[0]
    before = stamps(tmp_path / "one")
    told = Told()
    edited = two_stages(second={"lr": 1e-3, "steps": 2})
    summary = train(edited, "two", watcher=told, reuse=tmp_path / "one")
    assert told.started == ["later"]
    assert f"`tuned` is finished in {tmp_path / 'one'}, and its model is reused" in told.texts
    assert (summary.stages[0].steps, summary.stages[0].rows) == (first.steps, first.rows)
    manifest = json.loads((tmp_path / "two/manifest.json").read_text())
    assert manifest["stages"]["tuned"]["steps"] == 2
    assert stamps(tmp_path / "one") == before

    # It is this run's own from here on, and costs no second place on the disk.
    own = tmp_path / "two" / "stages" / first.identity
    weights = own.relative_to(tmp_path / "two") / "model.safetensors"
    assert (tmp_path / "one" / weights).samefile(tmp_path / "two" / weights)
    assert not faults_of(own)
    (tmp_path / "one").rename(tmp_path / "gone")
    assert [stage.reused for stage in train(edited, "two", resume=True).stages] == [True, True]

    # A stage that starts from one that was taken over does as it does in one go.
    train(edited, "fresh")
    assert same(
        tmp_path / "two" / "stages" / summary.stages[1].identity,
        tmp_path / "fresh" / "stages" / summary.stages[1].identity,
    )


def test_a_disk_without_links_gets_copies(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = train(training(), "one").stages[0].identity

    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refused)
    assert train(training(), "two", reuse=tmp_path / "one").stages[0].reused
    one, two = (tmp_path / out / "stages" / identity for out in ("one", "two"))
    assert same(one, two)
    assert not (one / "model.safetensors").samefile(two / "model.safetensors")


def test_a_base_beside_an_adapter_is_named_where_it_stands_now(train: Train, tmp_path: Path) -> None:
    graph = chain(tiny(adapter=LORA), None)
    identity = train(graph, "one").stages[0].identity
    one, two = (tmp_path / out / "stages" / identity for out in ("one", "two"))
    assert (one / "base").is_dir()
    before = stamps(tmp_path / "one")
    assert train(graph, "two", reuse=tmp_path / "one").stages[0].reused
    assert stamps(tmp_path / "one") == before
    assert json.loads((two / adapters.CONFIG).read_text())["base_model_name_or_path"] == str(two / "base")
    assert (one / "base/model.safetensors").samefile(two / "base/model.safetensors")
    assert equal(adapter_in(one), adapter_in(two))
    assert not faults_of(two)


def test_nothing_that_fits_is_said(train: Train, tmp_path: Path) -> None:
    train(training(), "one")
    told = Told()
    train(training(lr=1e-3, save={"key": "other"}), "two", watcher=told, reuse=tmp_path / "one")
    assert told.started == ["tuned"]
    assert f"{tmp_path / 'one'} has finished no stage that this run trains" in told.texts


def test_a_damaged_manifest_does_not_matter_and_a_damaged_model_does(
    train: Train, refused: Any, tmp_path: Path
) -> None:
    identity = train(training(), "one").stages[0].identity
    (tmp_path / "one" / "manifest.json").write_text("")
    assert train(training(), "two", reuse=tmp_path / "one").stages[0].steps == 6
    weights = tmp_path / "one" / "stages" / identity / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.unlink()  # the other run's is the same file
    weights.write_bytes(data)
    fault = refused(training(), "three", reuse=tmp_path / "one")
    assert fault.exit_code == 2
    assert (
        f"{weights.parent} is damaged, and cannot be reused: `model.safetensors` has changed" in fault.message
    )


def test_a_run_that_is_refused_leaves_nothing_that_it_took_over(
    train: Train, refused: Any, tmp_path: Path
) -> None:
    train(two_stages(), "one")
    edited = two_stages(second={"lr": 1e-3})
    collides = Save(model=Ref("later"), key="small")
    fault = refused(
        records.replace(edited, nodes={**edited.nodes, SAVE: collides}), "two", reuse=tmp_path / "one"
    )
    assert "the key `small` holds another model" in fault.message


@pytest.mark.parametrize(
    ("reused", "words"),
    [
        ("nowhere", "nowhere is not a run's, and cannot be reused: it is not there"),
        ("thesis", "thesis is not a run's, and cannot be reused: it holds no graph.json"),
        ("out", "out is the folder that this run goes into: `--resume` the run there"),
    ],
)
def test_folders_that_cannot_be_reused(reused: str, words: str, train: Train, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    train(training(), "out")
    out = "out" if reused == "out" else "fresh"
    with pytest.raises(RunFailed) as caught:
        train(training(), out, reuse=tmp_path / reused, resume=True)
    assert words in caught.value.message
    assert caught.value.exit_code == 2
    assert not (tmp_path / "fresh").exists()
