"""Data: rows as they were written, faults at their lines, the order of training."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from runtime_support import DATA, Told, Train, graph_of, json_lines, sums, tiny, training

from harmony_compiler.graph.datasets import JsonLines, LiteralRows, Rows
from harmony_runtime.data.faults import Faults
from harmony_runtime.data.order import Order, micro_batches
from harmony_runtime.data.turns.threads import each, threads_of
from harmony_runtime.failures import RunFailed

Refused = Callable[..., RunFailed]
GOOD = {"q": "1+1", "a": "2"}


def prompts(data: Rows) -> list[str]:
    """The prompts of a dataset's threads."""
    faults = Faults("")
    threads = list(each(threads_of(graph_of({DATA: data}, ()), DATA), faults))
    faults.raise_any()
    return [thread.turns[0]["content"] for thread in threads]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ('"2020-01-01"', "2020-01-01"),  # no timestamp
        ("1", "1"),  # no 1.0, although the next row has a fraction
        ("2.50", "2.5"),
        ("12345678901234567890123", "12345678901234567890123"),
        ('{"y": 2}', "{'y': 2}"),  # no keys of other rows
        ('"\\u2028 \\u00e9"', "\u2028 é"),
        ("true", "True"),
    ],
)
def test_json_values_stay_what_they_are(value: str, text: str, tmp_path: Path) -> None:
    others = '{"q": {"x": 1}}\n{"q": 2.5}\n{"q": "x"}\n'
    data = json_lines(tmp_path / "data.jsonl", f'{others}{{"q": {value}}}\n')
    assert prompts(JsonLines(path=data.path, prompt="{{ q }}", seed=7))[-1] == text


def test_files_marks_and_blank_lines(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"q": "a"}\r\n\r\n   \n{"q": "b"}')
    (tmp_path / "b[1].jsonl").write_bytes(b'{"q": "c\xe2\x80\xa8"}\n\n')
    paths = (str(tmp_path / "a.jsonl"), str(tmp_path / "b[1].jsonl"))
    assert prompts(JsonLines(path=paths, prompt="{{ q }}", seed=7)) == ["a", "b", "c\u2028"]


def test_a_compressed_file_is_read_as_what_is_in_it(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl.gz"
    file.write_bytes(gzip.compress(b'{"q": "1"}\n\n{"q": "2"}\n'))
    assert prompts(JsonLines(path=str(file), prompt="{{ q }}", seed=0)) == ["1", "2"]


def test_split_shuffle_limit() -> None:
    data = {"items": tuple({"q": n} for n in range(10)), "prompt": "{{ q }}", "seed": 7}
    numbers = list(map(str, range(10)))
    assert prompts(LiteralRows(**data)) == numbers
    assert prompts(LiteralRows(**data, split="train[:30%]+train[-1:]")) == [*numbers[:3], "9"]
    shuffled = prompts(LiteralRows(**data, shuffle=True))
    assert sorted(shuffled) == numbers != shuffled
    assert prompts(LiteralRows(**data, shuffle=True)) == shuffled
    assert prompts(LiteralRows(**data | {"seed": 8}, shuffle=True)) != shuffled
    assert prompts(LiteralRows(**data, shuffle=True, limit=3)) == shuffled[:3]
    assert prompts(LiteralRows(**data, limit=30)) == numbers


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"split": "train[10:]"}, "has no rows after `split` = 'train[10:]'; 10 were read"),
        ({"split": "test"}, 'Unknown split "test"'),
        ({"split": "train["}, "`split` = 'train['"),
        ({"items": ()}, "has no rows; 0 were read"),
        ({"prompt": "{{ 'long' * 40 }}"}, "all of 10 rows are longer than 40 tokens"),
    ],
)
def test_nothing_to_train_on(change: dict[str, Any], words: str, refused: Refused) -> None:
    fault = refused(training(data=sums(**change)))
    assert words in fault.message
    assert fault.message.startswith("small.recipe:2: `data`: ")
    assert fault.exit_code == 1


def test_each_faulty_line_is_shown_at_its_place(tmp_path: Path, refused: Refused) -> None:
    lines = ['{"q": "1", "a": "2"}', '{"q": "1", "a"', "[1]", '{"q": "1"}', '{"q": "1", "a": null}', "\udcff"]
    file = tmp_path / "data.jsonl"
    file.write_bytes("\n".join(lines).encode(errors="surrogateescape"))
    fault = refused(training(data=JsonLines(path=str(file), prompt="{{ q }}", completion="{{ a }}", seed=7)))
    found = [(d.code, d.span.first.line, d.words.message) for d in fault.diagnostics]
    assert [(code, line) for code, line, _ in found] == [
        *(("E0505", 2), ("E0506", 3), ("E0520", 4), ("E0520", 5), ("E0505", 6))
    ]
    assert "'a' is undefined" in found[2][2]
    assert "null" in found[3][2]
    assert fault.diagnostics[0].span.source.path == file
    assert "small.recipe:2" in fault.diagnostics[2].words.notes[0]
    assert str(file) in str(fault)


def test_many_faulty_lines_are_counted(tmp_path: Path, refused: Refused) -> None:
    data = json_lines(tmp_path / "data.jsonl", "nothing\n" * 25)
    fault = refused(training(data=data))
    assert len(fault.diagnostics) == 10
    assert fault.message == "small.recipe:2: `data`: 25 rows are faulty; the first 10 are shown"


def test_faults_of_all_parts_come_out_together(tmp_path: Path, refused: Refused, registry: Path) -> None:
    (registry / "small").mkdir(parents=True)
    fault = refused(training(data=json_lines(tmp_path / "data.jsonl", [{"q": "1"}])))
    assert [d.code for d in fault.diagnostics] == ["E0520"]
    assert "holds no saved model" in fault.message


def test_a_missing_file(refused: Refused, tmp_path: Path) -> None:
    fault = refused(
        training(data=JsonLines(path=str(tmp_path / "no.jsonl"), prompt="a", completion="b", seed=7))
    )
    assert (
        fault.message
        == f"small.recipe:2: `data`: {tmp_path / 'no.jsonl'} cannot be read: No such file or directory"
    )


@pytest.mark.parametrize(
    "template", ["{{ q.__class__ }}", "{{ q + 1 }}", "{{ 1 // 0 }}", "{{ q['x'] }}", "{{ p }}"]
)
def test_a_template_that_fails_is_a_finding(template: str, refused: Refused) -> None:
    fault = refused(training(data=sums(prompt=template)))
    assert {d.code for d in fault.diagnostics} == {"E0520"}
    assert "rows of small.recipe:2: `data`" in str(fault)


def test_metadata_is_checked_too(refused: Refused) -> None:
    (first, *_) = refused(training(data=sums(metadata={"x": "{{ p }}"}))).diagnostics
    assert "`metadata.x`" in first.words.message


@pytest.mark.parametrize(
    ("fate", "kept", "name"),
    [("drop", 2, "too_long_and_dropped"), ("truncate", 3, "too_long_and_truncated")],
)
def test_long_rows_are_counted(fate: str, kept: int, name: str, tmp_path: Path, train: Train) -> None:
    rows = [GOOD, {"q": "1", "a": "2" * 99}, {"q": "1", "a": ""}]
    told = Told()
    summary = train(
        training(data=json_lines(tmp_path / "data.jsonl", rows, on_too_long=fate), steps=1), watcher=told
    )
    counts = summary.stages[0].rows
    assert (counts["read"], counts["kept"], counts[name]) == (3, kept, 1)
    assert counts["with_an_empty_completion"] == 1
    assert any("1 of 3 rows are longer than 40 tokens" in text for text in told.texts)
    assert any(f"1 of {kept} rows have an empty completion" in text for text in told.texts)


def test_long_rows_as_an_error(tmp_path: Path, refused: Refused) -> None:
    rows = [GOOD, {"q": "1", "a": "2" * 99}]
    data = json_lines(tmp_path / "data.jsonl", rows, on_too_long="error")
    (found,) = refused(training(data=data)).diagnostics
    assert (found.code, found.span.first.line) == ("E0521", 2)
    assert "104 tokens" in found.words.message


def test_unknown_characters_are_counted(tmp_path: Path, train: Train) -> None:
    told = Told()
    train(training(data=json_lines(tmp_path / "data.jsonl", [{"q": "é\t", "a": "ü"}]), steps=1), watcher=told)
    assert any("3 of 7 tokens are unknown" in text for text in told.texts)


def test_a_row_that_fits_no_micro_batch(refused: Refused) -> None:
    fault = refused(training(tiny(max_batch_tokens=13)))
    assert "small.recipe:1: `base`: `max_batch_tokens` = 13" in fault.message
    assert "longest row of 14" in fault.message


@given(st.integers(1, 30), st.lists(st.integers(1, 40), max_size=12), st.integers(0, 9))
def test_every_row_comes_once_an_epoch_without_a_gap(rows: int, takes: list[int], seed: int) -> None:
    order, parts, resumed = Order(rows, seed), [], Order(rows, seed)
    for count in takes:
        part = order.take(count)
        assert torch.equal(part, resumed.take(count))
        state, resumed = resumed.state(), Order(rows, seed)
        resumed.restore(state)
        parts += part.tolist()
    assert len(parts) == sum(takes)
    for start in range(0, len(parts), rows):
        epoch = Counter(parts[start : start + rows])
        assert max(epoch.values()) == 1
    assert order.epochs == len(parts) / rows


def test_epochs_differ_and_seeds_differ() -> None:
    order, other = Order(20, 1), Order(20, 2)
    first, second = order.take(20), order.take(20)
    assert not torch.equal(first, second)
    assert not torch.equal(first, other.take(20))


@given(st.lists(st.integers(1, 20), min_size=1, max_size=30), st.integers(20, 100))
def test_micro_batches_hold_every_row_once_within_the_limit(lengths: list[int], limit: int) -> None:
    rows, lengths_ = torch.arange(len(lengths)) + 100, torch.tensor(lengths)
    parts = micro_batches(rows, lengths_, limit)
    assert sorted(torch.cat(parts).tolist()) == rows.tolist()
    for part in parts:
        assert len(part) * int(lengths_[part - 100].max()) <= limit
