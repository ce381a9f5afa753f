"""`harmonyc datasets`: registering data files, and what recipes then find under a key."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest
from dsl_support import Harmonyc, Write

from harmony_compiler.graph.identity import training_digest
from harmony_compiler.store import datasets as store
from harmony_compiler.store.datasets import DATASETS
from harmony_compiler.store.files import content_hash
from harmony_dsl import compile as compile_

RECIPE = """\
dataset sums = registry("sums") { prompt = "{{ question }}", completion = "{{ answer }}" }
model tiny = scratch { hidden_size = 16, layers = 1, heads = 2, context = 40 }
train adder = sft { model = tiny, dataset = sums, samples_per_batch = 4, steps = 1 }
"""


@pytest.fixture
def datasets(house: Path) -> Path:
    return house.parent / "home" / "datasets"


def rows(file: Path, *numbers: int) -> str:
    lines = (json.dumps({"question": f"{n}+{n}", "answer": str(n + n)}) + "\n" for n in numbers)
    file.write_text("".join(lines), encoding="utf-8")
    return str(file)


def test_an_empty_registry(harmonyc: Harmonyc, datasets: Path) -> None:
    told = harmonyc("datasets")
    assert (told.code, told.out) == (
        0,
        f"the registry {datasets} is empty; `harmonyc datasets add` fills it\n",
    )
    assert json.loads(harmonyc("datasets", "--json").out) == {"format_version": 1, "datasets": []}


def test_what_is_added_is_listed_shown_and_removed(harmonyc: Harmonyc, house: Path, datasets: Path) -> None:
    told = harmonyc("datasets", "add", "sums", rows(house / "a.jsonl", 1, 2), rows(house / "b.jsonl", 3))
    assert told.code == 0
    assert told.out == 'sums: 3 rows of jsonl; a recipe reads them by `registry("sums")`\n'
    head, line = harmonyc("datasets").out.splitlines()
    assert head.split() == ["key", "format", "rows", "size", "added", "files"]
    assert line.split()[:3] == ["sums", "jsonl", "3"]
    assert line.endswith("a.jsonl, b.jsonl")
    shown = harmonyc("datasets", "show", "sums").out
    assert f"{content_hash(str(house / 'b.jsonl'))[:12]}  b.jsonl" in shown
    data = json.loads(harmonyc("datasets", "show", "sums", "--json").out)
    assert (data["key"], data["rows"], list(data["files"])) == ("sums", 3, ["a.jsonl", "b.jsonl"])
    assert harmonyc("datasets", "rm", "sums").out.startswith("removed sums, ")
    assert list(datasets.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", b"question\n1+1\n"),
        ("a.JSON", b'[{"question": "1+1"}]'),
        ("a.jsonl.gz", gzip.compress(b'{"question": "1+1"}\n', mtime=0)),
    ],
)
def test_the_name_tells_the_format(name: str, data: bytes, harmonyc: Harmonyc, house: Path) -> None:
    (house / name).write_bytes(data)
    assert "1 row of" in harmonyc("datasets", "add", "one", name).out


def test_parquet(harmonyc: Harmonyc, house: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(arrow.table({"question": ["1+1", "1+2"]}), house / "a.parquet")
    assert "2 rows of parquet" in harmonyc("datasets", "add", "two", "a.parquet").out
    (house / "b.parquet").write_bytes(b"nothing")
    told = harmonyc("datasets", "add", "no", "b.parquet")
    assert told.code == 1
    assert "b.parquet cannot be read" in told.err


def test_faulty_rows_are_shown_and_nothing_is_registered(
    harmonyc: Harmonyc, house: Path, datasets: Path
) -> None:
    (house / "a.jsonl").write_text('{"q": 1}\n[1]\n\nno\n', encoding="utf-8")
    told = harmonyc("datasets", "add", "bad", "a.jsonl")
    assert told.code == 1
    assert "error[E0506" in told.err
    assert "a.jsonl:4:1" in told.err
    assert told.err.endswith("harmonyc: nothing is registered: 2 rows are faulty\n")
    assert DATASETS.keys(datasets) == []


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (("ad", "x", "y"), "`datasets` cannot `ad`; did you mean `add`?", 2),
        (("add", "x"), "`add` takes a key and one file or more", 2),
        (("add", "../x", "a.jsonl"), "`../x` is no key", 2),
        (("add", "x", "a.txt"), "the name of a.txt does not tell its format", 2),
        (("add", "x", "a.jsonl", "b.csv"), "files of one dataset have one format", 2),
        (("add", "x", "a.jsonl", "--format", "xml"), "`--format xml` is none of", 2),
        (("add", "x", "no.jsonl"), "no.jsonl cannot be read: No such file", 1),
        (("add", "x", "empty.jsonl"), "empty.jsonl hold no rows", 1),
        (("show",), "`show` takes one key", 2),
        (("show", "sum"), "has no dataset `sum`; did you mean `sums`?; it has sums", 1),
        (("rm", "sums", "no"), "has no dataset `no`", 1),
        (("list", "--replace"), "`--replace` belongs to `add`", 2),
        (("rm", "sums", "--json"), "`--json` belongs to `list` and `show`", 2),
    ],
)
def test_what_is_refused(
    words: tuple[str, ...], said: str, code: int, harmonyc: Harmonyc, house: Path
) -> None:
    (house / "empty.jsonl").write_text("\n", encoding="utf-8")
    harmonyc("datasets", "add", "sums", rows(house / "a.jsonl", 1))
    told = harmonyc("datasets", *words)
    assert said in told.err
    assert told.code == code
    assert DATASETS.keys(house.parent / "home" / "datasets") == ["sums"]


def test_a_key_that_is_taken(harmonyc: Harmonyc, house: Path, datasets: Path) -> None:
    harmonyc("datasets", "add", "sums", rows(house / "a.jsonl", 1))
    again = harmonyc("datasets", "add", "sums", str(house / "a.jsonl"))
    assert again.code == 0
    other = rows(house / "b.jsonl", 2)
    told = harmonyc("datasets", "add", "sums", other)
    assert (told.code, "add `--replace`" in told.err) == (1, True)
    assert harmonyc("datasets", "add", "sums", other, "--replace").code == 0
    held = DATASETS.at(datasets, "sums")
    assert held is not None and list(held.files) == ["b.jsonl"]
    assert [folder.name for folder in datasets.iterdir()] == ["sums"]


def test_a_registered_dataset_is_what_is_in_it(harmonyc: Harmonyc, house: Path, datasets: Path) -> None:
    def digest() -> str:
        graph = compile_(RECIPE).graph
        assert graph is not None
        return training_digest(graph, content_hash, datasets.parent / "models")

    harmonyc("datasets", "add", "sums", rows(house / "a.jsonl", 1, 2))
    first = digest()
    harmonyc("datasets", "rm", "sums")
    harmonyc("datasets", "add", "sums", rows(house / "moved.jsonl", 1, 2))
    assert digest() == first
    harmonyc("datasets", "add", "sums", rows(house / "a.jsonl", 1, 3), "--replace")
    assert digest() != first


def test_a_recipe_is_checked_against_it_and_trains_on_it(
    harmonyc: Harmonyc, house: Path, write: Write
) -> None:
    (house / "r.recipe").write_text(RECIPE, encoding="utf-8")
    told = harmonyc("check", "r.recipe")
    assert (told.code, "error[E0542" in told.out) == (1, True)
    harmonyc("datasets", "add", "sums", rows(house / "a.jsonl", 1, 2))
    (house / "r.recipe").write_text(RECIPE.replace("{{ answer", "{{ anser"), encoding="utf-8")
    assert "not a column of sums" in harmonyc("check", "r.recipe").out
    (house / "r.recipe").write_text(RECIPE, encoding="utf-8")
    told = harmonyc("run", "r.recipe", "--out", "out")
    assert told.code == 0, told.err
    stage = json.loads((house / "out" / "manifest.json").read_text())["stages"]["adder"]
    assert stage["rows"]["read"] == 2


def test_many_who_add_at_once_never_mix(house: Path, datasets: Path) -> None:
    code = "import sys; from harmony_dsl.cli.main import main; sys.exit(main(sys.argv[1:]))"
    files = [rows(house / f"{n}.jsonl", *range(n * 100, n * 100 + 50)) for n in range(4)]
    started = [
        subprocess.Popen([sys.executable, "-c", code, "datasets", "add", "sums", file, "--replace"])
        for file in files
    ]
    assert [process.wait() for process in started] == [0] * 4
    held = DATASETS.at(datasets, "sums")
    assert held is not None
    ((name, hash_),) = held.files.items()
    assert content_hash(str(datasets / "sums" / name)) == hash_ == content_hash(str(house / name))
    assert [folder.name for folder in datasets.iterdir()] == ["sums"]


def test_a_dataset_that_goes_while_it_is_looked_at(
    house: Path, datasets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process replaces it: between a look and the next it is not there."""
    looked = []

    def gone(root: Path, key: str) -> Path | None:
        looked.append(key)
        return root / key / "gone.json" if len(looked) == 1 else None

    monkeypatch.setattr(DATASETS, "manifest", gone)
    file = Path(rows(house / "1.jsonl", 1, 2))
    held = store.add(datasets, "sums", [file], "jsonl", rows=2, created="", replace=True)
    assert [*held.files] == ["1.jsonl"]
    assert (datasets / "sums" / "1.jsonl").read_bytes() == file.read_bytes()
