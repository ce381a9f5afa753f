"""Sources: rows of every format, with their places, one at a time."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from runtime_support import DATA, graph_of

from harmony_compiler.graph.datasets import Csv, Json, JsonLines, LiteralRows, Parquet, RegistryRows, Rows
from harmony_compiler.store import streams
from harmony_compiler.store.datasets import add
from harmony_runtime.data.rows.lines import Lines
from harmony_runtime.data.rows.sources import RawRows
from harmony_runtime.failures import RunFailed

SHARED = Path(__file__).parents[3] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the folder of real data is not here")

ROWS = [{"q": "é \u2028", "n": 12345678901234567890123, "x": [1, {"y": None}]}, {"q": "", "n": 2, "x": []}]


def opened(node: Rows, datasets: Path | None = None) -> RawRows:
    return RawRows(graph_of({DATA: node}, ()), DATA, datasets)


def read(node: Rows) -> list[Any]:
    rows = opened(node)
    return [rows[number].columns() for number in range(len(rows))]


def refusal(node: Rows) -> RunFailed:
    with pytest.raises(RunFailed) as caught:
        len(opened(node))
    return caught.value


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("node", "data"),
    [
        (JsonLines, "\n".join(map(json.dumps, ROWS)).encode()),
        (Json, json.dumps(ROWS, indent=2).encode()),
        (Json, b"\xef\xbb\xbf " + json.dumps(ROWS, ensure_ascii=False).encode() + b"\n\n"),
    ],
)
def test_rows_are_as_they_were_written(
    node: type[JsonLines | Json], data: bytes, packed: bool, tmp_path: Path
) -> None:
    (tmp_path / "data").write_bytes(gzip.compress(data) if packed else data)
    assert read(node(path=str(tmp_path / "data"), seed=0)) == ROWS


@pytest.mark.parametrize("packed", [False, True])
def test_values_of_a_table_are_texts(packed: bool, tmp_path: Path) -> None:
    data = b'\xef\xbb\xbfq,n\r\n"a ""b"", c",007\r\n\r\n"two\nlines",\r\n'
    (tmp_path / "data.csv").write_bytes(gzip.compress(data) if packed else data)
    rows = opened(Csv(path=str(tmp_path / "data.csv"), seed=0))
    held = [rows[number] for number in range(len(rows))]
    assert [row.columns() for row in held] == [{"q": 'a "b", c', "n": "007"}, {"q": "two\nlines", "n": ""}]
    assert [row.line for row in held] == [2, 4]


@pytest.mark.parametrize("packed", [False, True])
def test_parquet_is_said_in_json(packed: bool, tmp_path: Path) -> None:
    columns = {
        "text": ["a", None],
        "day": [date(2020, 1, 2), None],
        "at": [datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC), None],
        "hour": [time(1, 2), None],
        "price": [Decimal("1.50"), None],
        "turns": [[{"role": "user", "content": "é"}], []],
        "big": [2**60, None],
    }
    table = pyarrow.table(columns).append_column(
        "map", pyarrow.array([[("k", 1)], None], pyarrow.map_(pyarrow.string(), pyarrow.int64()))
    )
    file = tmp_path / "data.parquet"
    parquet.write_table(table, file)
    if packed:
        file.write_bytes(gzip.compress(file.read_bytes()))
    first, second = read(Parquet(path=str(file), seed=0))
    assert first == {
        "text": "a",
        "day": "2020-01-02",
        "at": "2020-01-02T03:04:05+00:00",
        "hour": "01:02:00",
        "price": "1.50",
        "turns": [{"role": "user", "content": "é"}],
        "big": 2**60,
        "map": {"k": 1},
    }
    assert second == dict.fromkeys(first) | {"turns": []}


def test_bytes_in_parquet_are_refused_by_their_column(tmp_path: Path) -> None:
    table = pyarrow.table({"q": ["a"], "image": [{"bytes": b"\x00", "path": "x"}]})
    parquet.write_table(table, tmp_path / "data.parquet")
    fault = refusal(Parquet(path=str(tmp_path / "data.parquet"), seed=0))
    assert "`image` (bytes)" in fault.message
    assert fault.message.startswith("small.recipe:1: `data`: ")


def test_files_of_a_list_are_one_dataset(tmp_path: Path) -> None:
    paths = []
    for name, rows in (("a", [{"q": 1}, {"q": 2}]), ("b", [{"q": 3}])):
        (tmp_path / name).write_text(json.dumps(rows))
        paths.append(str(tmp_path / name))
    rows = opened(Json(path=tuple(paths), seed=0))
    assert [rows[n].columns() for n in range(3)] == [{"q": 1}, {"q": 2}, {"q": 3}]
    assert [rows[n].path for n in range(3)] == [tmp_path / "a", tmp_path / "a", tmp_path / "b"]
    assert rows.counts == {"read": 3}
    assert rows.pinned == ""


@pytest.mark.parametrize(
    ("node", "data", "found"),
    [
        (Json, b'[{"q": 1},\n 2,\n {"q": 3}, "x"]', [("E0532", 2), ("E0532", 3)]),
        (Json, b'[{"q": 1},\n {"q": }]', [("E0530", 2)]),
        (Json, b'{"q": 1}\n{"q": 2}\n', [("E0530", 2)]),
        (Json, b'{"q": 1}', [("E0531", 1)]),
        (Csv, b"q,a\n1,2\n1\n1,2,3\n", [("E0533", 3), ("E0533", 4)]),
        (Csv, b'q,a\n1,2\n"1" 2,3\n', [("E0533", 3)]),
        (Csv, b"q,q\n1,2\n", [("E0534", 1)]),
    ],
)
def test_every_faulty_row_is_a_finding(
    node: type[Json | Csv], data: bytes, found: list[tuple[str, int]], tmp_path: Path
) -> None:
    file = tmp_path / "data"
    file.write_bytes(data)
    fault = refusal(node(path=str(file), seed=0))
    assert [(d.code, d.span.first.line) for d in fault.diagnostics] == found
    assert {d.span.source.name for d in fault.diagnostics} == {str(file)}


@pytest.mark.parametrize(
    ("node", "data", "words"),
    [
        (Json, b'[{"q": "a"},\n{"q": "\xff"}]', "line 2 is not UTF-8 text"),
        (Csv, b"q\na\n\xff\n", "line 3 is not UTF-8 text"),
        (Parquet, b"no parquet", "is no Parquet file that can be read"),
        (JsonLines, gzip.compress(b'{"q": 1}', mtime=0)[:-9], "cannot be decompressed"),
        (Json, b"", "the dataset has no rows; 0 were read"),
    ],
)
def test_a_file_that_cannot_be_read(
    node: type[Json | Csv | Parquet | JsonLines], data: bytes, words: str, tmp_path: Path
) -> None:
    (tmp_path / "data").write_bytes(data)
    fault = refusal(node(path=str(tmp_path / "data"), seed=0))
    assert words in fault.message
    assert fault.message.startswith("small.recipe:1: `data`: ")


def test_many_faulty_rows_are_counted(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a,b\n" + "1\n" * 25)
    fault = refusal(Csv(path=str(tmp_path / "data"), seed=0))
    assert len(fault.diagnostics) == 10
    assert fault.message == "small.recipe:1: `data`: 25 rows are faulty; the first 10 are shown"


def test_nothing_is_opened_before_a_row_is_asked_for(tmp_path: Path) -> None:
    rows = opened(JsonLines(path=str(tmp_path / "no.jsonl"), seed=0))
    assert rows.pinned == ""
    with pytest.raises(RunFailed, match="No such file"):
        len(rows)


def test_a_row_that_was_cut_meanwhile_is_a_finding(tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    file.write_text('{"q": "a"}\n{"q": "b"}\n')
    rows = opened(JsonLines(path=str(file), seed=0))
    assert len(rows) == 2
    file.write_text('{"q": "a"}\n{"q"')
    assert getattr(rows[1].columns(), "code", None) == "E0505"


# --- lines ----------------------------------------------------------------------------------------------

PIECES = st.sampled_from(['{"a": 1}', '{"a": "é"}', " ", "\t", "\r", "\u3000", "", "x", " {}", "\x00", "é"])


@given(st.lists(PIECES, max_size=12), st.booleans(), st.integers(1, 9), st.booleans())
def test_lines_stand_where_a_simple_reader_finds_them(
    pieces: list[str], ends: bool, chunk: int, marked: bool
) -> None:
    from io import BytesIO

    text = "\n".join(pieces) + "\n" * ends
    data = b"\xef\xbb\xbf" * marked + text.encode()
    expected = [
        (line.encode().rstrip(b"\r"), number)
        for number, line in enumerate(text.split("\n"), 1)
        if line.strip()
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harmony_runtime.data.rows.lines._CHUNK", chunk)
        lines = Lines(BytesIO(data), "x", None)
        found = [(lines[n].text, lines[n].line) for n in range(len(lines))]
    assert found == expected


def test_a_row_takes_eight_bytes(tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    file.write_bytes(b'{"q": "some text of a row, which nobody keeps"}\n' * 50_000)
    lines = Lines(file.open("rb"), "x", None)
    held = sum(part.buffer_info()[1] * part.itemsize for part in (lines._starts, lines._blanks))
    assert held <= 8 * (len(lines) + 1)


# --- streams of other formats ---------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.lists(st.dictionaries(st.text(max_size=3), VALUES, max_size=3), max_size=5),
    st.sampled_from([None, 1]),
    st.integers(1, 30),
    st.booleans(),
)
def test_an_array_is_read_in_any_pieces(
    rows: list[Any], indent: int | None, chunk: int, ascii_: bool
) -> None:
    from io import StringIO

    text = json.dumps(rows, indent=indent, ensure_ascii=ascii_)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "CHUNK", chunk)
        found = list(streams.json_items(StringIO(text).read))
    assert all(isinstance(row, streams.Row) and "\n" not in row.text for row in found)
    assert [json.loads(row.text) for row in found if isinstance(row, streams.Row)] == rows


def test_a_large_item_is_not_begun_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from io import StringIO

    reads: list[int] = []
    source = StringIO(json.dumps([{"a": "x" * 100_000}, {"b": 1}]))

    def counted(size: int) -> str:
        reads.append(size)
        return source.read(size)

    monkeypatch.setattr(streams, "CHUNK", 10)
    assert len(list(streams.json_items(counted))) == 2
    assert len(reads) < 40


# --- the registry ---------------------------------------------------------------------------------------


def test_a_registered_dataset_is_read_from_its_folder(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("q\n1\n2\n")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "a.csv").write_text("q\n3\n")
    files = [tmp_path / "a.csv", tmp_path / "b" / "a.csv"]
    add(tmp_path / "datasets", "numbers", files, "csv", rows=3, created="2026-01-31T12:00:00+00:00")
    rows = opened(RegistryRows(key="numbers", seed=0), tmp_path / "datasets")
    assert [rows[n].columns() for n in range(len(rows))] == [{"q": "1"}, {"q": "2"}, {"q": "3"}]


def test_a_dataset_that_is_not_registered(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="has no dataset `no`: `harmonyc datasets add no FILE`"):
        len(opened(RegistryRows(key="no", seed=0), tmp_path))


def test_a_manifest_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "no").mkdir()
    (tmp_path / "no" / "harmony.json").write_text('{"format_version": 1, "files": {"../x": "y"}, "rows": 1}')
    with pytest.raises(RunFailed, match="it is no manifest of a dataset"):
        len(opened(RegistryRows(key="no", seed=0), tmp_path))


# --- real files -----------------------------------------------------------------------------------------


@needs_shared
@pytest.mark.parametrize(
    ("node", "file", "count"),
    [
        (JsonLines, "gsm8k/train_1000.jsonl", 1000),
        (Json, "sft/alpaca_en_999.json", 999),
        (Json, "chat/fastchat_dummy_sharegpt_500.json", 500),
        (JsonLines, "rl/HumanEval.jsonl.gz", 164),
        (JsonLines, "chat/tau_airline_messages_12.jsonl", 12),
    ],
)
def test_real_files(node: Callable[..., Rows], file: str, count: int) -> None:
    rows = read(node(path=str(SHARED / file), seed=0))
    assert len(rows) == count
    assert all(isinstance(row, dict) for row in rows)


def test_rows_of_the_recipe_have_places() -> None:
    rows = opened(LiteralRows(items=({"q": 1}, {"q": 2}), seed=0))
    assert (rows[1].name, rows[1].line) == ("rows of small.recipe:1: `data`", 2)
