"""Mapping: rows as turns, pairs and metadata; what cannot be mapped, at its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runtime_support import DATA, graph_of

from harmony_compiler.graph.datasets import JsonLines, LiteralRows
from harmony_compiler.graph.settings import AllColumns, Column
from harmony_grammar.diagnostics import Diagnostic
from harmony_runtime.data.faults import Faults
from harmony_runtime.data.rows.raw import RawRow
from harmony_runtime.data.turns.places import place_of
from harmony_runtime.data.turns.threads import RowPair, RowThread, Threads, each, threads_of
from harmony_runtime.failures import RunFailed

USER, ANSWER = {"role": "user", "content": "1+1"}, {"role": "assistant", "content": "2"}
SYSTEM, WORSE = {"role": "system", "content": "Add."}, {"role": "assistant", "content": "3"}
CALL = {"id": "a", "type": "function", "function": {"name": "add", "arguments": '{"x": 1}'}}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
TOOL = {"role": "tool", "content": "2", "name": "add", "tool_call_id": "a"}
TALK = Column(name="talk")


def opened(*rows: Any, **fields: Any) -> Threads:
    return threads_of(graph_of({DATA: LiteralRows(items=rows, seed=7, **fields)}, ()), DATA)


def threads(*rows: Any, **fields: Any) -> list[RowThread]:
    faults = Faults("")
    found = list(each(opened(*rows, **fields), faults))
    faults.raise_any()
    return found


def turns(talk: Any, column: Column = TALK, **fields: Any) -> list[dict[str, Any]]:
    (thread,) = threads({"talk": talk}, **({"messages": column} | fields))
    return [dict(turn) for turn in thread.turns]


def pair(**row: Any) -> tuple[list[Any], list[Any], list[Any]]:
    """Prompt, better and worse answer of a row whose columns are fields of the same name."""
    fields = {name: Column(name=name) for name in row if name != "prompt"}
    asked = {"prompt": "{{ prompt }}"} if "prompt" in row else {}
    (found,) = threads(row, **fields, **asked)
    assert isinstance(found, RowPair)
    return list(found.turns), list(found.chosen), list(found.rejected)


def fault(*rows: Any, **fields: Any) -> Diagnostic:
    with pytest.raises(RunFailed) as caught:
        threads(*rows, **fields)
    (found,) = caught.value.diagnostics
    return found


# --- turns ----------------------------------------------------------------------------------------------


def test_a_list_of_turns_is_what_it_says() -> None:
    assert turns([SYSTEM, USER, ANSWER]) == [SYSTEM, USER, ANSWER]


def test_keys_and_roles_of_the_data() -> None:
    column = Column(name="talk", role="from", content="value", roles={"human": "user", "gpt": "assistant"})
    talk = [{"from": "human", "value": "1+1"}, {"from": "gpt", "value": "2"}, {"from": "tool", "value": "x"}]
    assert turns(talk, column) == [USER, ANSWER, {"role": "tool", "content": "x"}]


def test_tool_calls_have_their_arguments_as_objects() -> None:
    found = turns([USER, CALLING, TOOL, {**ANSWER, "reasoning_content": "easy"}])
    assert found[1]["content"] is None
    assert found[1]["tool_calls"] == [{**CALL, "function": {"name": "add", "arguments": {"x": 1}}}]
    assert found[2] == TOOL
    assert found[3]["reasoning_content"] == "easy"
    broken = {"name": "add", "arguments": "{"}
    assert turns([USER, {**CALLING, "tool_calls": [broken]}])[1]["tool_calls"] == [broken]


def test_a_content_in_parts_is_one_text() -> None:
    parts = [{"type": "text", "text": "1"}, {"type": "text", "text": "+1"}]
    assert turns([{"role": "user", "content": parts}, ANSWER])[0] == USER


def test_a_weight_is_kept_where_it_counts() -> None:
    found = turns([USER, {**ANSWER, "weight": 0}, {**USER, "weight": None}, {**ANSWER, "weight": 0.5}])
    assert [turn.get("weight") for turn in found] == [None, 0.0, None, 0.5]


def test_keys_that_nothing_reads_are_said_once_with_their_names() -> None:
    data = opened(
        {"talk": [USER, {**ANSWER, "loss": True, "id": 3, "audio": None, "notes": []}]}, messages=TALK
    )
    assert data.notes == ()
    assert data.at(0, Faults("")) is not None
    (note,) = data.notes
    assert note.endswith("nothing reads `loss`, `id` of the turns in `messages`")


FAULTY = {
    "a text": ("1+1", "a list of turns should stand here, and this is a text"),
    "null": (None, "a list of turns should stand here, and this is null"),
    "no object": ([USER, "2"], "a turn is an object, and this is a text"),
    "no role": ([{"content": "2"}], "the turn has no `role`"),
    "no content": ([{"role": "user"}], "the turn has no `content`"),
    "a role that is a number": ([{"role": 1, "content": "2"}], "a role is a text, and this is a number"),
    "null without calls": ([USER, {**ANSWER, "content": None}], "`content` is null"),
    "a number": ([USER, {**ANSWER, "content": 2}], "what is said is a text, and this is a number"),
    "a picture": ([{**USER, "content": [{"type": "image"}]}, ANSWER], "a part of the content is `image`"),
    "calls of a user": ([{**CALLING, "role": "user"}], "only an assistant calls tools"),
    "calls that are none": ([{**CALLING, "tool_calls": "add"}], "`tool_calls` is a list of objects"),
    "a weight of a user": ([{**USER, "weight": 1}, ANSWER], "only an assistant's turn has a `weight`"),
    "a weight below 0": ([USER, {**ANSWER, "weight": -1}], "a `weight` is at least 0"),
    "a weight that is none": ([USER, {**ANSWER, "weight": True}], "a `weight` is a number"),
}


@pytest.mark.parametrize("name", FAULTY)
def test_what_is_no_turn_is_a_fault_that_says_why(name: str) -> None:
    talk, words = FAULTY[name]
    found = fault({"talk": talk}, messages=TALK)
    assert found.code == "E0551"
    assert words in found.words.message


def test_a_fault_points_into_the_row(tmp_path: Path) -> None:
    rows = [{"talk": [USER, ANSWER]}, {"id": 1, "talk": [USER, {**ANSWER, "weight": "x"}]}]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    data = JsonLines(path=str(file), messages=TALK, seed=7)
    faults = Faults("")
    assert len(list(each(threads_of(graph_of({DATA: data}, ()), DATA), faults))) == 1
    with pytest.raises(RunFailed) as caught:
        faults.raise_any()
    (found,) = caught.value.diagnostics
    assert found.span.first.line == 2
    assert found.span.text == '"x"'


def test_an_unknown_role_says_the_line_to_add() -> None:
    column = Column(name="talk", roles={"human": "user"})
    talk = [{"role": "human", "content": "1"}, {"role": "the wizard", "content": "2"}]
    found = fault({"talk": talk}, messages=column)
    assert (found.code, found.span.text) == ("E0552", '"the wizard"')
    assert 'roles = { human = "user", "the wizard" = "…" }' in found.words.help


def test_a_column_that_a_row_lacks_is_a_fault_of_this_row() -> None:
    found = fault({"talk": [USER, ANSWER]}, {"text": "x"}, messages=TALK)
    assert "the row has no column `talk`" in found.words.message


# --- transcripts ----------------------------------------------------------------------------------------


def told(text: str) -> list[tuple[str, str]]:
    column = Column(name="talk", transcript=True)
    return [(turn["role"], turn["content"]) for turn in turns(text, column)]


def test_a_transcript_is_split_at_its_last_reply() -> None:
    assert told("\n\nHuman: a\n\nAssistant: b\n\nHuman: c\nd\n\ne\n\nAssistant: f") == [
        *(("user", "a"), ("assistant", "b"), ("user", "c\nd\n\ne"), ("assistant", "f"))
    ]
    assert told("Human: a\n\nAssistant:") == [("user", "a"), ("assistant", "")]
    assert told("\n\nHuman: a\n\nAssistant: b\n\nHuman: c")[-1] == ("assistant", "b\n\nHuman: c")
    assert told("Human: say Human: and Assistant:\n\nAssistant: no")[0] == (
        "user",
        "say Human: and Assistant:",
    )


@pytest.mark.parametrize("text", ["", "hello", "hello\n\nHuman: a\n\nAssistant: b"])
def test_a_text_without_speakers_is_no_transcript(text: str) -> None:
    found = fault({"talk": text}, messages=Column(name="talk", transcript=True))
    assert "does not begin with a speaker" in found.words.message


# --- kinds of rows --------------------------------------------------------------------------------------


def test_prompts_end_with_a_question() -> None:
    column = {"prompt": TALK}
    assert turns([SYSTEM, USER, ANSWER, USER], messages=None, **column) == [SYSTEM, USER, ANSWER, USER]
    data = opened({"talk": [USER, ANSWER, USER, CALLING, TOOL, ANSWER, ANSWER]}, prompt=TALK)
    thread = data.at(0, Faults(""))
    assert thread is not None
    assert [turn["role"] for turn in thread.turns] == ["user", "assistant", "user", "assistant", "tool"]
    assert "asked without it" in data.notes[0]
    for nothing in ([], [ANSWER], [SYSTEM, ANSWER]):
        found = fault({"talk": nothing}, prompt=TALK)
        assert (found.code, "nothing to answer" in found.words.message) == ("E0554", True)


def test_prompts_with_completions_as_turns() -> None:
    row = {"prompt": [SYSTEM, USER], "completion": [CALLING, TOOL, ANSWER]}
    (thread,) = threads(row, prompt=Column(name="prompt"), completion=Column(name="completion"))
    roles = ["system", "user", "assistant", "tool", "assistant"]
    assert [turn["role"] for turn in thread.turns] == roles
    found = fault(row, prompt=Column(name="completion"), completion=Column(name="prompt"))
    assert "nothing to imitate" in found.words.message


def test_a_thread_without_an_answer_is_a_fault() -> None:
    found = fault({"talk": [SYSTEM, USER]}, messages=TALK)
    assert (found.code, "nothing to imitate" in found.words.message) == ("E0554", True)


def test_a_system_turn_of_the_recipe_and_one_of_the_row() -> None:
    assert turns([USER, ANSWER], system="Be {{ talk | length }}.")[0]["content"] == "Be 2."
    found = fault({"talk": [SYSTEM, USER, ANSWER]}, messages=TALK, system="Be brief.")
    assert "begins with a system turn of its own" in found.words.message


# --- pairs ----------------------------------------------------------------------------------------------


def test_pairs_of_texts() -> None:
    fields = {"prompt": "{{ q }}", "chosen": "{{ a }}", "rejected": "{{ b }}", "system": "Add."}
    (found,) = threads({"q": "1+1", "a": "2", "b": "3"}, **fields)
    assert isinstance(found, RowPair)
    assert found.turns == (SYSTEM, USER)
    assert (found.chosen, found.rejected) == ((ANSWER,), (WORSE,))


PAIRS = {
    "single turns": {"prompt": "1+1", "chosen": ANSWER, "rejected": WORSE},
    "lists": {"prompt": "1+1", "chosen": [ANSWER], "rejected": [WORSE]},
    "after turns": {"messages": [USER], "chosen": ANSWER, "rejected": [WORSE]},
    "whole conversations": {"chosen": [USER, ANSWER], "rejected": [USER, WORSE]},
    "whole ones beside their prompt": {
        "prompt": "1+1",
        "chosen": [USER, ANSWER],
        "rejected": [USER, WORSE],
    },
}


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_of_turns(name: str) -> None:
    assert pair(**PAIRS[name]) == ([USER], [ANSWER], [WORSE])


def test_the_shared_prompt_is_what_both_begin_with() -> None:
    before = [SYSTEM, USER, ANSWER, {"role": "user", "content": "sure?"}]
    assert pair(chosen=[*before, ANSWER], rejected=[*before, WORSE]) == (before, [ANSWER], [WORSE])
    assert pair(chosen=[*before, ANSWER], rejected=[*before, ANSWER]) == (before, [ANSWER], [ANSWER])
    calling = [*before, CALLING, TOOL, ANSWER]
    asked, chosen, rejected = pair(chosen=calling, rejected=[*before, WORSE])
    assert (asked, len(chosen), rejected) == (before, 3, [WORSE])


UNEQUAL = {
    "other questions": {"chosen": [USER, ANSWER], "rejected": [{**USER, "content": "1+2"}, ANSWER]},
    "an answer before": {"chosen": [USER, ANSWER, USER, ANSWER], "rejected": [USER, WORSE, USER, ANSWER]},
    "a tool before": {"chosen": [USER, ANSWER], "rejected": [USER, TOOL, ANSWER]},
    "one turn more": {"chosen": [SYSTEM, USER, ANSWER], "rejected": [USER, ANSWER]},
    "another prompt": {"prompt": "1+2", "chosen": [USER, ANSWER], "rejected": [USER, WORSE]},
}


@pytest.mark.parametrize("name", UNEQUAL)
def test_unequal_prompts_are_a_fault_of_the_row(name: str) -> None:
    with pytest.raises(RunFailed) as caught:
        pair(**UNEQUAL[name])
    assert [found.code for found in caught.value.diagnostics] == ["E0553"]


@pytest.mark.parametrize(
    "row",
    [
        {"chosen": [USER], "rejected": [USER]},
        {"messages": [USER, ANSWER], "chosen": [ANSWER], "rejected": [WORSE]},
        {"prompt": "1+1", "chosen": [], "rejected": [WORSE]},
        {"chosen": [], "rejected": []},
    ],
)
def test_pairs_without_two_answers_are_a_fault(row: dict[str, Any]) -> None:
    with pytest.raises(RunFailed) as caught:
        pair(**row)
    assert [found.code for found in caught.value.diagnostics] == ["E0554"]


def test_pairs_of_transcripts() -> None:
    row = {
        "chosen": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d",
        "rejected": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: ",
    }
    fields = {name: Column(name=name, transcript=True) for name in row}
    (found,) = threads(row, **fields)
    assert isinstance(found, RowPair)
    assert [turn["content"] for turn in (*found.turns, *found.chosen, *found.rejected)] == [*"abcd", ""]


@given(
    st.lists(st.sampled_from(["user", "assistant", "tool"]), max_size=4),
    st.lists(st.sampled_from("abc"), min_size=1, max_size=3),
    st.lists(st.sampled_from("abc"), min_size=1, max_size=3),
)
def test_prompt_and_answers_together_are_the_conversations(
    before: list[str], better: list[str], worse: list[str]
) -> None:
    shared = [{"role": role, "content": str(n)} for n, role in enumerate(before)] + [USER]
    sides = [[*shared, *({"role": "assistant", "content": c} for c in side)] for side in (better, worse)]
    asked, chosen, rejected = pair(chosen=sides[0], rejected=sides[1])
    assert [asked + chosen, asked + rejected] == sides
    assert asked[: len(shared)] == shared
    assert chosen
    assert rejected


# --- metadata -------------------------------------------------------------------------------------------


def test_metadata_of_texts_and_of_values() -> None:
    row = {"q": "1+1", "tests": [{"in": 1}], "n": None}
    fields = {"a": "{{ q }}!", "b": Column(name="tests"), "c": Column(name="n")}
    (thread,) = threads(row, prompt="{{ q }}", metadata=fields)
    assert thread.metadata == {"a": "1+1!", "b": [{"in": 1}], "c": None}
    (thread,) = threads(row, prompt="{{ q }}", metadata=AllColumns())
    assert thread.metadata == row


def test_a_column_that_rows_lack_is_said() -> None:
    data = opened({"q": "1", "x": 1}, {"q": "2"}, prompt="{{ q }}", metadata={"x": Column(name="x")})
    faults = Faults("")
    assert [thread.metadata for thread in each(data, faults)] == [{"x": 1}, {"x": None}]
    assert "rows without `x` have none in their metadata" in data.notes[0]


# --- places ---------------------------------------------------------------------------------------------


def test_a_value_is_found_in_the_text_of_its_row() -> None:
    text = '{ "a" : [1, {"b]": "x, }"}, [] ], "a\\"": -2.5, "e": {}, "t": [ ] }'
    row = RawRow(text.encode(), "rows.jsonl", None, 3)
    found = {
        ("a",): '[1, {"b]": "x, }"}, [] ]',
        ("a", 1): '{"b]": "x, }"}',
        ("a", 1, "b]"): '"x, }"',
        ("a", 2): "[]",
        ('a"',): "-2.5",
        ("t",): "[ ]",
        (): text,
        ("e", "x"): text,
        ("t", 0): text,
        ("a", 9): text,
    }
    assert {path: place_of(row, path).text for path in found} == found
    assert place_of(row, ("a",)).first.line == 3


def test_a_value_in_a_row_that_is_no_object_is_the_row() -> None:
    for text in (b"", b"{", b'{"a"', b"[1, 2", b"\xff", b"3"):
        row = RawRow(text, "rows.jsonl", None, 1)
        assert place_of(row, ("a", 0)).start == 0


# --- anything -------------------------------------------------------------------------------------------

KEYS = st.sampled_from(["role", "content", "type", "text", "tool_calls", "weight", "function", "name", "x"])
WORDS = st.sampled_from(
    ["user", "assistant", "system", "tool", "text", "\n\nHuman: a", "\n\nAssistant:", "", "é"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.floats(allow_nan=False) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
TURNS = st.fixed_dictionaries(
    {"role": WORDS | VALUES, "content": WORDS | VALUES},
    optional={"weight": VALUES, "tool_calls": VALUES, "x": VALUES, "name": VALUES},
)
TALKS = VALUES | st.lists(TURNS | VALUES, max_size=5)


@given(TALKS, TALKS, st.booleans())
def test_whatever_stands_in_a_column_is_turns_or_a_fault(talk: Any, other: Any, transcript: bool) -> None:
    column, worse = (Column(name=name, transcript=transcript) for name in ("talk", "other"))
    for fields in (
        {"messages": column},
        {"prompt": column},
        {"prompt": column, "completion": worse},
        {"chosen": column, "rejected": worse},
        {"messages": column, "chosen": worse, "rejected": worse, "system": "Add."},
    ):
        data, faults = opened({"talk": talk, "other": other}, **fields), Faults("")
        thread = data.at(0, faults)
        if thread is None:
            with pytest.raises(RunFailed) as caught:
                faults.raise_any()
            assert str(caught.value)
            continue
        faults.raise_any()
        assert {turn["role"] for turn in thread.turns} <= {"system", "user", "assistant", "tool"}
        assert all(isinstance(turn["content"], str) or turn["tool_calls"] for turn in thread.turns)
