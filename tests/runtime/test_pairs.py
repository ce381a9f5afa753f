"""Pairs of a dataset in tokens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from runtime_support import DATA, MODEL, Told, desk_of, graph_of, json_lines, tiny
from test_chat import CHARS

from harmony_compiler.graph.datasets import Rows
from harmony_compiler.graph.settings import Column
from harmony_runtime.data.tokens.pairs import PairRows, Side, pairs_of
from harmony_runtime.failures import RunFailed

ITEMS = [{"q": "1" * length, "good": "yes", "bad": "n" * length} for length in (1, 3, 9)]


@pytest.fixture
def pairs(tmp_path: Path) -> Callable[..., PairRows]:
    def call(items: list[Any], told: Told | None = None, context: int = 40, **fields: Any) -> PairRows:
        mapping: dict[str, Any] = {"completion": None, "chosen": "{{ good }}", "rejected": "{{ bad }}"}
        data: Rows = json_lines(tmp_path / "data.jsonl", items, **(mapping | fields))
        desk = desk_of(graph_of({MODEL: tiny(context=context), DATA: data}, ()), tmp_path / "home", told)
        return pairs_of(desk, DATA, desk.blueprints.of(MODEL))

    return call


Look = Callable[..., PairRows]


def text(ids: Any) -> str:
    found: str = CHARS.decode(ids.tolist())
    return found


def answer(side: Side) -> tuple[str, list[float]]:
    return text(side.ids), side.weights.tolist()


def test_both_answers_stand_behind_one_prompt(pairs: Look) -> None:
    found = pairs(ITEMS)
    assert len(found) == 3
    second = found[1]
    assert text(second.prompt) == "<bos><user>111<assistant>"
    assert answer(second.chosen) == ("yes<eos>", [1.0] * 4)
    assert answer(second.rejected) == ("nnn<eos>", [1.0] * 4)
    assert found.lengths.tolist() == [8, 10, 22]
    assert found.longest == 22
    assert {name: found.counts[name] for name in ("read", "kept")} == {"read": 3, "kept": 3}
    with pytest.raises(IndexError):
        found[3]


@pytest.mark.parametrize(("context", "kept"), [(22, 3), (21, 2), (8, 1)])
def test_a_pair_is_too_long_where_either_answer_is(context: int, kept: int, pairs: Look) -> None:
    told = Told()
    found = pairs(ITEMS, told, context)
    assert len(found) == kept == found.counts["kept"]
    assert found.counts["too_long_and_dropped"] == 3 - kept
    assert [f"{3 - kept} of 3 pairs are longer than {context} tokens" in text for text in told.warnings] == [
        True
    ] * (kept < 3)


def test_answers_are_cut_and_prompts_are_not(pairs: Look) -> None:
    found = pairs(ITEMS, context=15, on_too_long="truncate")
    assert text(found[2].prompt) == "<bos><user>111111111<assistant>"
    assert answer(found[2].chosen) == ("yes", [1.0] * 3)
    assert answer(found[2].rejected) == ("nnn", [1.0] * 3)
    assert found.counts["too_long_and_truncated"] == 1
    # A prompt that fills the context leaves nothing to prefer.
    assert pairs(ITEMS, context=12, on_too_long="truncate").counts["too_long_and_dropped"] == 1


def test_a_long_pair_as_an_error(pairs: Look) -> None:
    with pytest.raises(RunFailed) as caught:
        pairs(ITEMS, context=12, on_too_long="error")
    assert [(d.code, d.span.first.line) for d in caught.value.diagnostics] == [("E0521", 3)]


def test_all_too_long(pairs: Look) -> None:
    with pytest.raises(RunFailed, match="all of 3 pairs are longer than 7 tokens"):
        pairs(ITEMS, context=7)


def test_equal_answers_are_said(pairs: Look) -> None:
    told = Told()
    assert pairs([*ITEMS, {"q": "1", "good": "yes", "bad": "yes"}], told).counts["with_equal_answers"] == 1
    assert any("1 of 4 pairs have the same answer twice" in text for text in told.warnings)


TURNS = [
    {"role": "assistant", "content": "yes", "weight": 0.5},
    {"role": "user", "content": "?"},
    {"role": "assistant", "content": "y", "weight": 2},
]


@pytest.mark.parametrize("rows", [[2, 0, 1, 2], [1], [299, 0, 256]])
def test_a_batch_has_both_rows_of_each_pair(rows: list[int], pairs: Look) -> None:
    """Those of the better answers first, padded on the right; counted is what the answers' turns count."""
    items = [{"q": "1" * (1 + n % 7), "good": TURNS[: 1 + n % 3], "bad": TURNS[2:]} for n in range(300)]
    found = pairs(items, chosen=Column(name="good"), rejected=Column(name="bad"))
    batch = found.batch(torch.tensor(rows))
    expected = []
    for name in ("chosen", "rejected"):
        for row in rows:
            prompt, side = found[row].prompt.tolist(), getattr(found[row], name)
            expected.append((prompt + side.ids.tolist(), [0.0] * len(prompt) + side.weights.tolist()))
    longest = max(len(ids) for ids, _ in expected)
    assert batch.ids_BT.shape == batch.weights_BT.shape == (2 * len(rows), longest)
    for ids, weights, (row, counted) in zip(*batch, expected, strict=True):
        padding = longest - len(row)
        assert ids.tolist() == row + [0] * padding
        assert weights.tolist() == counted + [0.0] * padding
    both = list(zip(expected, expected[len(rows) :], strict=False))
    assert found.sizes[rows].tolist() == [len(one) + len(other) for (one, _), (other, _) in both]
    trained = [sum(weight > 0 for side in pair for weight in side[1]) for pair in both]
    assert found.trained[rows].tolist() == trained
    assert found.tokens["trained"] == found.trained.sum()
