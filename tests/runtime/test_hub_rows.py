"""Rows of the hub, tried on folders laid out like its repositories: `datasets` takes both alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pytest
from pyarrow import parquet
from runtime_support import DATA, Train, graph_of, training

from harmony_compiler.graph.datasets import HubRows
from harmony_runtime.data.rows.sources import RawRows
from harmony_runtime.failures import RunFailed


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked of the network: a folder can be streamed too."""
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return repository(tmp_path / "sums", train=250, test=3)


def repository(folder: Path, **splits: int) -> Path:
    folder.mkdir(exist_ok=True)
    for name, count in splits.items():
        lines = (json.dumps({"q": f"{name}{n}", "n": n, "x": [{"y": n}]}) + "\n" for n in range(count))
        (folder / f"{name}.jsonl").write_text("".join(lines))
    return folder


def opened(repo: Path | str, **fields: Any) -> RawRows:
    return RawRows(graph_of({DATA: HubRows(repo=str(repo), seed=7, **fields)}, ()), DATA)


def columns(rows: RawRows, name: str = "q") -> list[Any]:
    found = [rows[number].columns() for number in range(len(rows))]
    return [row[name] for row in found if isinstance(row, dict)]


def test_splits_and_slices(repo: Path) -> None:
    rows = opened(repo, split="test+train[-2:]")
    assert columns(rows) == ["test0", "test1", "test2", "train248", "train249"]
    assert columns(rows, "x")[0] == [{"y": 0}]
    assert rows.counts == {"read": 253, "outside_split": 248}
    assert (rows[1].name, rows[1].line) == (f"{repo} test", 2)
    assert opened(repo, split="train[:10%]").counts == {"read": 250, "outside_split": 225}


def test_the_hub_is_pinned_by_what_it_holds_now(repo: Path) -> None:
    first = opened(repo).pinned
    assert first == opened(repo, split="test", limit=1).pinned
    assert first
    repository(repo, test=4)
    assert opened(repo).pinned != first


def test_the_first_rows_are_streamed(repo: Path, online: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.DatasetBuilder, "download_and_prepare", None)
    rows = opened(repo, limit=130)
    assert columns(rows) == [f"train{n}" for n in range(130)]
    assert rows.counts == {"read": 130}
    assert columns(opened(repo, split="test[:2]")) == ["test0", "test1"]
    assert columns(opened(repo, split="train[:5]", limit=9)) == [f"train{n}" for n in range(5)]
    assert len(opened(repo, split="test[:9]")) == 3
    odd = ("!=", ("read", "column", "n"), ("constant", 1))
    rows = opened(repo, limit=3, filter=odd)
    assert columns(rows) == ["train0", "train2", "train3"]
    assert rows.counts == {"read": 4, "filtered_out": 1}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"limit": 2, "shuffle": True},
        {"split": "train[-2:]"},
        {"split": "train[:1%]"},
        {"split": "train[1:3]"},
    ],
)
def test_other_rows_are_prepared(
    fields: dict[str, Any], repo: Path, online: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.DatasetBuilder, "as_streaming_dataset", None)
    assert len(opened(repo, **fields))


def test_what_is_prepared_is_not_streamed_again(
    repo: Path, online: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(opened(repo)) == 250
    monkeypatch.setattr(datasets.DatasetBuilder, "as_streaming_dataset", None)
    rows = opened(repo, limit=2)
    assert columns(rows) == ["train0", "train1"]
    assert rows.counts == {"read": 250, "beyond_limit": 248}


def test_streamed_and_prepared_rows_are_the_same(repo: Path, online: None) -> None:
    streamed = opened(repo, limit=20)
    texts = [streamed[n].text for n in range(len(streamed))]
    prepared = opened(repo)
    assert texts == [prepared[n].text for n in range(20)]


def test_configurations(tmp_path: Path) -> None:
    (tmp_path / "sums").mkdir()
    for name in ("easy", "hard"):
        repository(tmp_path / "sums" / name, train=2)
    (tmp_path / "sums" / "README.md").write_text(
        "---\nconfigs:\n- config_name: easy\n  data_files: easy/*.jsonl\n"
        "- config_name: hard\n  data_files: hard/*.jsonl\n---\n"
    )
    assert len(opened(tmp_path / "sums", config="hard")) == 2
    with pytest.raises(RunFailed, match="Config name is missing"):
        len(opened(tmp_path / "sums"))
    with pytest.raises(RunFailed, match=r"Available: .*'easy', 'hard'"):
        len(opened(tmp_path / "sums", config="none"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nobody/nothing", "this machine is told to stay offline"),
        ("/no/folder", "look at its name, `config` and `revision`"),
    ],
)
def test_a_dataset_that_cannot_be_loaded(name: str, words: str) -> None:
    with pytest.raises(RunFailed) as caught:
        len(opened(name))
    assert caught.value.message.startswith(f"small.recipe:1: `data`: `{name}` cannot be loaded: ")
    assert words in caught.value.message
    assert "\n" not in caught.value.message


def test_files_that_do_not_go_together(tmp_path: Path) -> None:
    (tmp_path / "odd").mkdir()
    for name, text in (("a", '{"q": 1}\n'), ("b", '{"other": [1]}\n')):
        (tmp_path / "odd" / f"train-{name}.jsonl").write_text(text)
    with pytest.raises(RunFailed, match="odd` cannot be loaded: ") as caught:
        len(opened(tmp_path / "odd"))
    assert "\n" not in caught.value.message


def test_an_unknown_split(repo: Path) -> None:
    with pytest.raises(RunFailed, match=r"`split` = 'no': Unknown split"):
        len(opened(repo, split="no"))


def test_bytes_are_refused(tmp_path: Path, online: None) -> None:
    (tmp_path / "pictures").mkdir()
    table = pyarrow.table({"q": ["a"], "image": [b"\x00"]})
    parquet.write_table(table, tmp_path / "pictures" / "train.parquet")
    for fields in ({}, {"limit": 1}):
        with pytest.raises(RunFailed, match=r"`image` \(bytes\)"):
            len(opened(tmp_path / "pictures", **fields))


def test_a_script_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(RunFailed, match="Dataset scripts are no longer supported"):
        len(opened(tmp_path / "code"))
    assert not (tmp_path / "ran").exists()


def test_a_stage_trains_on_the_hub(repo: Path, train: Train) -> None:
    data = HubRows(repo=str(repo), seed=7, split="test", prompt="{{ q }}", completion="{{ n }}")
    counts = train(training(data=data, steps=1)).stages[0].rows
    assert (counts["read"], counts["kept"]) == (3, 3)
