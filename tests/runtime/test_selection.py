"""Selection: split, filter, shuffle and limit, in this order; stated columns; what is counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runtime_support import DATA, graph_of

from harmony_compiler.graph.datasets import JsonLines, LiteralRows, Rows
from harmony_runtime.data.rows.raw import RawRow
from harmony_runtime.data.rows.sources import RawRows
from harmony_runtime.failures import RunFailed

N = ("read", "column", "n")
EVEN = ("==", ("//", N, ("constant", 2)), ("/", N, ("constant", 2)))


def opened(node: Rows) -> RawRows:
    return RawRows(graph_of({DATA: node}, ()), DATA)


def numbers(node: Rows) -> list[Any]:
    rows = opened(node)
    found = [rows[number].columns() for number in range(len(rows))]
    return [row["n"] for row in found if isinstance(row, dict)]


def rows(count: int = 10, **fields: Any) -> LiteralRows:
    return LiteralRows(**({"items": tuple({"n": n} for n in range(count)), "seed": 7} | fields))


def refusal(node: Rows) -> RunFailed:
    with pytest.raises(RunFailed) as caught:
        len(opened(node))
    return caught.value


def test_a_filter_keeps_the_rows_for_which_it_holds() -> None:
    node = rows(filter=EVEN)
    assert numbers(node) == [0, 2, 4, 6, 8]
    assert opened(node).counts == {"read": 10, "filtered_out": 5}


@given(
    st.integers(1, 12),
    st.sampled_from(["train", "train[3:]", "train[:50%]", "train[-4:]", "train[:2]+train[1:]"]),
    st.booleans(),
    st.booleans(),
    st.none() | st.integers(1, 12),
)
@settings(deadline=None)  # the first split with a slice loads `datasets`
def test_split_then_filter_then_shuffle_then_limit(
    count: int, split: str, filtered: bool, shuffle: bool, limit: int | None
) -> None:
    """Against the same, done one after another by `datasets`' own slicing."""
    from datasets import Dataset, ReadInstruction

    parts = ReadInstruction.from_spec(split).to_absolute({"train": count})
    table = Dataset.from_dict({"n": list(range(count))})
    sliced = [n for part in parts for n in table["n"][part.from_ : max(part.from_, part.to)]]
    passing = [n for n in sliced if not filtered or n % 2 == 0]
    node = rows(count, split=split, filter=EVEN if filtered else None, shuffle=shuffle, limit=limit)
    if not passing:
        assert "has no rows" in refusal(node).message
        return
    found, counts = numbers(node), opened(node).counts
    if shuffle:
        whole = numbers(rows(count, split=split, filter=EVEN if filtered else None, shuffle=True))
        assert sorted(whole) == sorted(passing)
        assert found == whole[:limit]
    else:
        assert found == passing[:limit]
    assert counts["read"] == count
    assert counts.get("outside_split", 0) == count - len(set(sliced))
    left = count + counts.get("taken_again", 0) - sum(counts.get(name, 0) for name in LEFT_OUT)
    assert left == len(found)
    if limit is None or shuffle:
        assert counts.get("filtered_out", 0) == len(sliced) - len(passing)


LEFT_OUT = ("outside_split", "filtered_out", "beyond_limit")


def test_the_shuffle_is_that_of_what_the_filter_leaves() -> None:
    among = LiteralRows(items=tuple({"n": n} for n in range(0, 10, 2)), seed=7, shuffle=True)
    assert numbers(rows(filter=EVEN, shuffle=True)) == numbers(among)


def test_a_limit_reads_no_more_than_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "data.jsonl"
    file.write_text("".join(json.dumps({"n": n}) + "\n" for n in range(1000)) + "broken\n")
    read: list[int] = []
    columns = RawRow.columns
    monkeypatch.setattr(RawRow, "columns", lambda row: read.append(row.line) or columns(row))
    found = opened(JsonLines(path=str(file), seed=0, filter=EVEN, limit=3))
    assert len(found) == 3
    assert read == [1, 2, 3, 4, 5]
    assert found.counts == {"read": 1001, "filtered_out": 2, "beyond_limit": 996}
    assert "E0505" in str(refusal(JsonLines(path=str(file), seed=0, filter=EVEN)))


def test_without_a_filter_no_row_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "data.jsonl"
    file.write_text('{"n": 1}\n' * 10)
    monkeypatch.setattr(RawRow, "columns", None)
    found = opened(JsonLines(path=str(file), seed=0, shuffle=True, limit=5, split="train[2:]"))
    assert len(found) == 5
    assert found.counts == {"read": 10, "outside_split": 2, "beyond_limit": 3}


@pytest.mark.parametrize(
    ("tree", "kept"),
    [
        (("<", N, ("constant", 2)), [0, 1]),  # where `n` is missing or null it is none, and does not hold
        (("==", N, ("constant", None)), [None]),
        (("!=", N, ("constant", None)), [0, 1, 3]),
        (("not", ("<", N, ("constant", 2))), [3]),
    ],
)
def test_a_missing_value_is_none(tree: Any, kept: list[Any]) -> None:
    items = ({"n": 0}, {"n": 1}, {"n": None}, {"n": 3})
    node = LiteralRows(items=items, seed=0, filter=tree)
    assert numbers(node) == kept
    ragged = LiteralRows(items=(*items[:2], {"m": 0}, items[3]), seed=0, filter=tree)
    assert len(opened(ragged)) == len(kept)


def test_a_row_without_a_value_is_a_finding(tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    file.write_text('{"n": 1}\n\n{"n": "x"}\nno\n{"n": 2}\n{"n": []}\n')
    fault = refusal(JsonLines(path=str(file), seed=0, filter=("<", N, ("constant", 2))))
    assert [(d.code, d.span.first.line) for d in fault.diagnostics] == [
        *(("E0540", 3), ("E0505", 4), ("E0540", 6))
    ]
    assert "`<` compares two numbers or two texts, not a text and a number" in str(fault)


def test_a_condition_is_true_or_false() -> None:
    fault = refusal(rows(2, filter=N))
    assert [d.code for d in fault.diagnostics] == ["E0540", "E0540"]
    assert "a condition is true or false, not a number" in str(fault)


def test_a_column_that_no_row_has() -> None:
    fault = refusal(rows(filter=("==", ("read", "column", "m"), ("constant", None))))
    assert fault.message == "small.recipe:1: `data`: `filter` reads `m`, which no row has; the columns are: n"


def test_a_filter_that_leaves_nothing() -> None:
    fault = refusal(rows(filter=("<", N, ("constant", 0))))
    assert fault.message.endswith("has no rows after `filter`, which holds for none; 10 were read")


# --- stated columns -------------------------------------------------------------------------------------


def test_stated_columns_that_hold() -> None:
    items = ({"n": 1, "x": ["a"]}, {"n": 2.5, "x": None}, {"n": None})
    node = LiteralRows(items=items, seed=0, columns={"n": "float", "x": "list[str] | none"})
    assert len(opened(node)) == 3


def test_a_row_that_is_not_as_stated_is_a_finding() -> None:
    items = ({"n": 1}, {"n": "2"}, {"n": True})
    fault = refusal(LiteralRows(items=items, seed=0, columns={"n": "int"}))
    assert [(d.code, d.span.first.line) for d in fault.diagnostics] == [("E0541", 2), ("E0541", 3)]
    assert "the column `n` is `str` in this row, not `int`" in str(fault)


def test_a_stated_column_that_no_row_has() -> None:
    fault = refusal(rows(columns={"n": "int", "m": "str"}))
    words = "`columns` states `m`, which none of the first 10 rows has; the columns are: n"
    assert fault.message.endswith(words)


def test_of_stated_columns_the_first_rows_are_looked_at() -> None:
    items = (*({"n": n} for n in range(1000)), {"n": "late"})
    assert len(opened(LiteralRows(items=items, seed=0, columns={"n": "int"}))) == 1001
