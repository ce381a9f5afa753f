"""Recognition at run time: rows that the compiler could not look at map themselves, or say what to add."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runtime_support import DATA, MODEL, STAGE, graph_of, json_lines, sft, tiny

from harmony_compiler.graph.algorithms import Grpo
from harmony_compiler.graph.datasets import JsonLines, LiteralRows, Mix
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.types import RowKind
from harmony_compiler.graph.values import Ref
from harmony_compiler.store.guesses import unmapped
from harmony_runtime.data.faults import Faults
from harmony_runtime.data.rows.sources import RawRows
from harmony_runtime.data.turns.recognition import FirstRows, wanted_kind
from harmony_runtime.data.turns.threads import RowPair, RowThread, each, threads_of
from harmony_runtime.failures import RunFailed

USER, ANSWER = {"role": "user", "content": "1+1"}, {"role": "assistant", "content": "2"}
ASKED, GIVEN = {"from": "human", "value": "1+1"}, {"from": "gpt", "value": "2"}
TRANSCRIPT = "\n\nHuman: 1+1\n\nAssistant: "

THREADS: dict[str, dict[str, Any]] = {
    "conversations": {"messages": [USER, ANSWER]},
    "ShareGPT conversations": {"conversations": [ASKED, GIVEN], "id": 1},
    "prompts with completions": {"prompt": "1+1", "completion": "2"},
    "prompts with completions, as turns": {"prompt": [USER], "completion": [ANSWER]},
    "Alpaca's instructions": {"instruction": "1+1", "input": "", "output": "2"},
}
PAIRS: dict[str, dict[str, Any]] = {
    "texts": {"prompt": "1+1", "chosen": "2", "rejected": "3"},
    "turns": {"prompt": [USER], "chosen": [ANSWER], "rejected": [ANSWER]},
    "whole conversations": {"prompt": "1+1", "chosen": [USER, ANSWER], "rejected": [USER, ANSWER]},
    "ShareGPT": {"conversations": [ASKED], "chosen": GIVEN, "rejected": GIVEN},
    "Alpaca": {"instruction": "1+1", "chosen": "2", "rejected": "3"},
    "texts after turns": {"messages": [USER], "chosen": "2", "rejected": "3"},
    "transcripts beside their prompt": {
        "prompt": "1+1",
        "chosen": f"{TRANSCRIPT}2",
        "rejected": f"{TRANSCRIPT}3",
    },
    "transcripts": {"chosen": f"{TRANSCRIPT}2", "rejected": f"{TRANSCRIPT}3"},
}


def rows(*items: dict[str, Any], **fields: Any) -> LiteralRows:
    return LiteralRows(items=items, seed=7, **fields)


def alone(data: LiteralRows | JsonLines) -> Graph:
    return graph_of({DATA: data}, ())


def found(graph: Graph) -> tuple[list[RowThread], tuple[str, ...]]:
    faults, threads = Faults(""), threads_of(graph, DATA)
    read = list(each(threads, faults))
    faults.raise_any()
    return read, threads.notes


def refused(graph: Graph) -> RunFailed:
    with pytest.raises(RunFailed) as caught:
        found(graph)
    return caught.value


@pytest.mark.parametrize("name", THREADS)
def test_conversations_map_themselves_and_that_is_said(name: str) -> None:
    (thread,), (note,) = found(alone(rows(THREADS[name])))
    assert [dict(turn) for turn in thread.turns] == [USER, ANSWER]
    assert f"recognised as {name.partition(',')[0]}: the same as writing `" in note


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_map_themselves(name: str) -> None:
    (thread,), (note,) = found(alone(rows(PAIRS[name])))
    assert isinstance(thread, RowPair)
    assert [dict(turn) for turn in thread.turns] == [USER]
    assert dict(thread.chosen[0]) == ANSWER
    assert "recognised as" in note


def test_what_is_mapped_is_left_as_it_is() -> None:
    (thread,), notes = found(alone(rows(THREADS["conversations"], prompt="{{ messages | length }}")))
    assert thread.turns == ({"role": "user", "content": "2"},)
    assert notes == ()


def test_nothing_is_opened_before_a_row_is_asked_for(tmp_path: Path) -> None:
    data = JsonLines(path=str(tmp_path / "none.jsonl"), seed=7)
    threads = threads_of(alone(data), DATA)
    with pytest.raises(RunFailed, match="cannot be read"):
        threads.at(0, Faults(""))


def test_rows_without_a_layout_say_the_lines_to_add(tmp_path: Path) -> None:
    text = 'nothing\n{"question": "1+1", "answer": "2"}\n'
    data = json_lines(tmp_path / "data.jsonl", text, prompt=None, completion=None)
    (finding,) = refused(alone(data)).diagnostics
    assert finding.code == "E0550"
    assert finding.span.source.name.endswith("data.jsonl")
    assert 'add `prompt = "{{ question }}"` and `completion = "{{ answer }}"`' in finding.words.help
    row, place = finding.words.notes
    assert row == 'a row: {"question": "1+1", "answer": "2"}'
    assert place == "the dataset stands in small.recipe:1: `data`"


def test_rows_that_are_all_faulty_say_so(tmp_path: Path) -> None:
    data = json_lines(tmp_path / "data.jsonl", "nothing\n[1]\n", prompt=None, completion=None)
    assert [finding.code for finding in refused(alone(data)).diagnostics] == ["E0505", "E0506"]


def answering(data: LiteralRows) -> Graph:
    stage = Grpo(model=MODEL, dataset=DATA, grader=Ref("grader"), clip_range_high=0.1, steps=1, seed=7)
    return graph_of({MODEL: tiny(), DATA: data, STAGE: stage}, (STAGE,))


def test_the_stage_says_what_kind_of_rows_it_wants() -> None:
    fault = refused(answering(rows(THREADS["conversations"])))
    assert "recognised as conversations" in fault.message
    assert "conversations to imitate, and prompts to answer are asked for" in fault.message
    assert 'add `prompt = column("messages")`, without its last answer' in fault.message
    (finding,) = refused(answering(rows({"question": "1+1", "answer": "2"}))).diagnostics
    assert finding.words.help.startswith('add `prompt = "{{ question }}"`,')


def test_a_mixture_hands_on_what_is_wanted_of_it() -> None:
    mix = Ref("mix")
    nodes = {MODEL: tiny(), DATA: rows(THREADS["conversations"])}
    nodes |= {mix: Mix(datasets=(DATA, DATA), seed=7), STAGE: sft(dataset=mix)}
    assert wanted_kind(graph_of(nodes, (STAGE,)), DATA) == "Thread"
    assert wanted_kind(alone(nodes[DATA]), DATA) is None


def test_every_token_can_be_learnt_of_a_thread_without_answers() -> None:
    data = rows({"messages": [USER]})
    for train_on, fine in (("last", False), ("everything", True)):
        graph = graph_of({MODEL: tiny(), DATA: data, STAGE: sft(train_on=train_on)}, (STAGE,))
        if fine:
            assert len(found(graph)[0]) == 1
        else:
            assert [finding.code for finding in refused(graph).diagnostics] == ["E0554"]


NAMES = st.sampled_from(
    [
        *("messages", "conversations", "prompt", "completion", "chosen", "rejected", "instruction"),
        "output",
        "q a",
    ]
)
TURNS = st.lists(
    st.fixed_dictionaries(
        {}, optional={"role": st.sampled_from(["user", "bot"]), "from": st.just("gpt"), "content": st.text()}
    ),
    max_size=2,
)
VALUES = st.none() | st.integers() | st.text() | TURNS | st.dictionaries(NAMES, st.text(), max_size=2)
ROWS = st.lists(st.dictionaries(NAMES, VALUES | st.just(TRANSCRIPT), max_size=4), min_size=1, max_size=3)


@given(ROWS, st.sampled_from(["Thread", "Prompt", "Preference"]))
def test_whatever_the_rows_hold_they_are_recognised_or_refused_in_words(items: Any, kind: RowKind) -> None:
    looked = FirstRows(RawRows(alone(rows(*items)), DATA))
    assert all(unmapped(looked, kind)[word] for word in ("what", "rows", "row", "mend"))
    try:
        found(alone(rows(*items)))
    except RunFailed as fault:
        assert str(fault)
