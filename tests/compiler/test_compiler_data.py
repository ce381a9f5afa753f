"""Data: formats of files, types of columns, known layouts, filters, and what graders need of rows."""

from __future__ import annotations

import gzip
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from compiler_support import GOOD, MODEL, REINFORCED, check_text, codes, graph_of, replaced
from hypothesis import given, settings
from hypothesis import strategies as st

from harmony_compiler.compile import compile_recipe
from harmony_compiler.files import SETTLED, Disk
from harmony_compiler.graph.column_types import fits, read_type_text, type_of_values, type_text
from harmony_compiler.graph.datasets import JsonLines, Rows
from harmony_compiler.graph.types import JSON
from harmony_compiler.plan.shown import fields
from harmony_compiler.store.lock import Lock, Locked, hub_key, lock_text, read_lock
from harmony_compiler.store.tables import Table, csv_rows, json_array, json_lines
from harmony_grammar.rendering import render_text
from harmony_grammar.source import Source

SHARED = Path(__file__).parents[3] / "shared" / "data"
"""Real data, where a copy of it stands beside the repository."""


def said(text: str) -> list[str]:
    return [f"{finding.code} {finding.words.message}" for finding in check_text(text).diagnostics]


# --- formats --------------------------------------------------------------------------------------------

LINES = [
    (b'{"a": 1}\n{"b": 2}\n', [{"a": 1}, {"b": 2}]),
    (b'{"a": [{"b": 1}, {"b": 2}]}\n', [{"a": [{"b": 1}, {"b": 2}]}]),
    (b'{"a": "}, {"}\r\n\r\n {"b": 2} \r\n', [{"a": "}, {"}, {"b": 2}]),
    # Three items on three lines, and yet none is a line.
    (b'{"a": [{"x": 1}\n{"y": 2}]}\n{"b": 1}, {"c": 1}\n', []),
    (b'{"a": 1} {"b": 2}\n', []),
    (b"", []),
]


@pytest.mark.parametrize(("content", "rows"), LINES)
def test_each_line_is_a_row(content: bytes, rows: list[object]) -> None:
    table = json_lines(content, True)
    assert list(table.rows) == rows
    assert table.whole
    assert bool(table.faults) == (bool(content) and not rows)


def test_rows_stand_on_their_lines() -> None:
    table = json_lines(b'\n{"a": 1}\n\nbad\n{"b": 2}', True)
    assert table.places is not None
    assert [table.places(row).line for row in range(2)] == [2, 5]
    assert [fault(Path("f.jsonl")).span.first.line for fault in table.faults] == [4]


def test_an_array_is_read_as_far_as_it_is_whole() -> None:
    text = json.dumps([{"a": n, "b": [n]} for n in range(20)], indent=1).encode()
    whole = json_array(text, True)
    assert (len(whole.rows), whole.count) == (20, 20)
    for cut in range(1, len(text), 7):
        part = json_array(text[:cut], False)
        assert list(part.rows) == list(whole.rows[: len(part.rows)])
        assert (part.count, part.faults) == (None, [])
    assert whole.places is not None
    assert whole.places(1).line == text.decode()[: text.decode().index('"a": 1,')].count("\n")


def test_values_of_csv_are_texts() -> None:
    table = csv_rows(b'\xef\xbb\xbfquestion,answer\r\n"1,\n1",2\r\n\r\nx,\r\n', True)
    assert list(table.rows) == [{"question": "1,\n1", "answer": "2"}, {"question": "x", "answer": ""}]
    assert table.places is not None
    assert [table.places(row).line for row in range(2)] == [2, 5]


def test_a_long_value_of_csv_is_no_fault() -> None:
    table = csv_rows(b"a\n" + b"x" * 200_000 + b"\n", True)
    assert (len(table.rows), table.faults) == (1, [])


def test_a_cut_row_of_csv_is_left_out() -> None:
    assert list(csv_rows(b'a,b\n1,2\n3,"4', False).rows) == [{"a": "1", "b": "2"}]


FORMATS = {
    "rows.jsonl": b'{"question": "1+1", "answer": "2"}\n',
    "rows.jsonl.gz": gzip.compress(b'{"question": "1+1", "answer": "2"}\n'),
    "rows.json": b'[{"question": "1+1", "answer": "2"}]',
    "rows.csv": b"question,answer\n1+1,2\n",
}


@pytest.mark.parametrize("name", FORMATS)
def test_columns_are_checked_in_every_format(name: str) -> None:
    Path(name).write_bytes(FORMATS[name])
    source = f'{name.split(".")[1]}("{name}")'
    assert said(f'dataset d = {source} {{ prompt = "{{{{ question }}}}" }}\n') == []
    (finding,) = check_text(f'dataset d = {source} {{ prompt = "{{{{ qestion }}}}" }}\n').diagnostics
    assert (finding.code, finding.words.help) == ("E0502", "did you mean `question`?")


def test_a_damaged_file_is_said_to_be_one() -> None:
    Path("rows.jsonl.gz").write_bytes(FORMATS["rows.jsonl.gz"][:-12])
    assert said('dataset d = jsonl("rows.jsonl.gz")\n') == [
        "E0507 `rows.jsonl.gz` cannot be read: it ends in the middle"
    ]


def test_parquet_has_columns_with_types() -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [{"question": "1+1", "level": 1, "tags": ["a"]}, {"question": "1+2", "level": None, "tags": []}]
    parquet.write_table(arrow.Table.from_pylist(rows), "rows.parquet")
    text = 'dataset d = parquet("rows.parquet") { filter = FILTER, prompt = "{{ question }}" }\n'
    assert said(text.replace("FILTER", 'level > 0 and "a" in tags')) == []
    assert [line[:5] for line in said(text.replace("FILTER", "words(level) > 0"))] == ["E0301"]
    Path("rows.parquet").write_bytes(b"nothing")
    assert [line[:5] for line in said(text.replace("FILTER", "true"))] == ["E0507"]


def test_without_pyarrow_nobody_can_look(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("rows.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert said('dataset d = parquet("rows.parquet") { prompt = "{{ x }}" }\n') == [
        "N0501 could not look at `rows.parquet`: pyarrow is not installed"
    ]


def test_a_settled_file_is_read_once_for_several_checks(folder: Path) -> None:
    class Counting(Disk):
        reads = 0

        def head(self, path: Path, limit: int) -> bytes:
            self.reads += 1
            return super().head(path, limit)

    files, file = Counting(), folder / "sums.jsonl"
    source = Source("case.recipe", GOOD, folder / "case.recipe")
    long_ago = file.stat().st_mtime_ns - 3 * SETTLED
    os.utime(file, ns=(long_ago, long_ago))
    for expected in (1, 1, 1):
        assert compile_recipe(source, files=files).graph is not None
        assert files.reads == expected
    file.write_text('{"question": "1+1"}\n')  # a moment ago: it may change again
    for expected in (2, 3):
        assert codes(compile_recipe(source, files=files)) == ["E0502"]
        assert files.reads == expected


# --- types ----------------------------------------------------------------------------------------------

TYPES = [
    (["a", "b"], "str"),
    ([1, 2], "int"),
    ([1, 2.5], "float"),
    ([True], "bool"),
    ([True, 1], "json"),
    (["a", None], "str | none"),
    ([None], "none"),
    ([["a"], []], "list[str]"),
    ([[]], "list"),
    ([[1], None, [2.5]], "list[float] | none"),
    ([{"a": 1}], "record"),
    ([[{"a": 1}]], "list[record]"),
    (["a", 1], "json"),
    ([], "json"),
]


@pytest.mark.parametrize(("values", "text"), TYPES)
def test_columns_have_the_type_of_their_values(values: list[object], text: str) -> None:
    found = type_of_values(values)
    assert type_text(found) == text
    assert read_type_text(text) == found
    assert fits(found, found)


@pytest.mark.parametrize("text", ["", "text", "list[", "list[x]", "str |", "list]"])
def test_other_texts_are_no_types(text: str) -> None:
    assert read_type_text(text) is None


FITTING = [
    ("int", "float", True),
    ("float", "int", False),
    ("str | none", "str", True),
    ("str", "int", False),
    ("list[int]", "list[float]", True),
    ("list[str]", "list[float]", False),
    ("list", "list[float]", True),
    ("json", "str", True),
    ("record", "str", False),
]


@pytest.mark.parametrize(("found", "wanted", "holds"), FITTING)
def test_a_type_is_held_against_another(found: str, wanted: str, holds: bool) -> None:
    assert fits(read_type_text(found) or JSON, read_type_text(wanted) or JSON) is holds


# --- the hub and its lock -------------------------------------------------------------------------------

HUB = 'dataset d = hf("openai/gsm8k", config = "main") { prompt = "{{ qestion }}" FIELDS }\n'
LOCK = Lock({hub_key("openai/gsm8k", "main", None): Locked({"question": "str"}, {"train": 7473})})


def test_a_lock_goes_to_its_file_and_back() -> None:
    assert read_lock(lock_text(LOCK).encode()) == LOCK


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"format_version": 2, "datasets": {"a": 1}}', b"\xff"]
)
def test_other_files_are_no_locks(content: bytes) -> None:
    with pytest.raises(ValueError, match="it"):
        read_lock(content)


def test_the_columns_of_the_hub_come_from_the_lock() -> None:
    assert [line[:5] for line in said(HUB.replace("FIELDS", ""))] == ["N0501"]
    Path("case.recipe.lock").write_text(lock_text(LOCK))
    assert [line[:5] for line in said(HUB.replace("FIELDS", ""))] == ["E0502"]
    assert [line[:5] for line in said(HUB.replace("FIELDS", ', revision = "old"'))] == ["N0501", "W0502"]


def test_the_columns_of_the_hub_come_from_the_recipe() -> None:
    stated = ', columns = { qestion = "str" }'
    assert said(HUB.replace("FIELDS", stated)) == []
    assert [line[:5] for line in said(HUB.replace("FIELDS", stated).replace("qestion }}", "x }}"))] == [
        "E0502"
    ]


def test_what_could_not_be_looked_at_is_said_once() -> None:
    text = HUB.replace("FIELDS", "") + 'dataset e = d { completion = "{{ answer }}" }\n'
    assert [line[:5] for line in said(text)] == ["N0501"]
    assert said('dataset d = hf("openai/gsm8k") { prompt = "Say something." }\n') == []


# --- layouts --------------------------------------------------------------------------------------------

TURNS = [{"role": "user", "content": "1+1"}, {"role": "assistant", "content": "2"}]
SHARED_TURNS = [{"from": "human", "value": "1+1"}, {"from": "gpt", "value": "2"}]
CHAT = "\n\nHuman: 1+1\n\nAssistant: "

LAYOUTS = {
    "messages": ({"messages": TURNS}, "Thread"),
    "ShareGPT": ({"conversations": SHARED_TURNS, "id": "7"}, "Thread"),
    "prompt and completion": ({"prompt": "1+1", "completion": "2"}, "Thread"),
    "prompt and completion as turns": ({"prompt": TURNS[:1], "completion": TURNS[1:]}, "Thread"),
    "Alpaca": ({"instruction": "Add.", "input": "1+1", "output": "2"}, "Thread"),
    "Alpaca without input": ({"instruction": "1+1", "output": "2"}, "Thread"),
    "pairs of texts": ({"prompt": "1+1", "chosen": "2", "rejected": "3"}, "Preference"),
    "pairs of answers": ({"prompt": "1+1", "chosen": TURNS[1:], "rejected": TURNS[1:]}, "Preference"),
    "pairs of conversations": ({"prompt": "1+1", "chosen": TURNS, "rejected": TURNS}, "Preference"),
    "pairs of Alpaca": ({"instruction": "Add.", "input": "1", "chosen": "2", "rejected": "3"}, "Preference"),
    "pairs after a prompt of turns": (
        {"prompt": TURNS[:1], "chosen": TURNS[1:], "rejected": TURNS[1:]},
        "Preference",
    ),
    "pairs of texts after turns": ({"messages": TURNS[:1], "chosen": "2", "rejected": "3"}, "Preference"),
    "pairs after turns": (
        {"conversations": SHARED_TURNS[:1], "chosen": SHARED_TURNS[1], "rejected": SHARED_TURNS[1]},
        "Preference",
    ),
    "calls without a text": ({"messages": [*TURNS, {"role": "assistant", "tool_calls": [{}]}]}, "Thread"),
    "pairs with a system turn": (
        {"chosen": [{"role": "system", "content": "Add."}, *TURNS], "rejected": TURNS},
        "Preference",
    ),
    "pairs of transcripts": ({"chosen": CHAT + "2", "rejected": CHAT + "3"}, "Preference"),
}
PLAIN = {
    "a question": {"question": "1+1", "answer": "2"},
    "texts without a prompt": {"chosen": "2", "rejected": "3"},
    "numbers": {"prompt": 1, "completion": 2},
    "other roles": {"messages": [{"role": "wizard", "content": "2"}]},
    "other keys": {"messages": [{"who": "user", "text": "2"}]},
    "no turns": {"messages": "1+1"},
    "a prompt alone": {"prompt": "1+1"},
}


def kind_of(row: object, fields: str = "") -> tuple[str, list[str]]:
    """The kind of rows, as an input that asks for another one is told; and the codes beside."""
    Path("rows.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    text = f'input rows_in: Dataset[Table] = jsonl("rows.jsonl") {{ {fields} }}\n'
    found = [finding for finding in check_text(text).diagnostics if finding.code != "E0301"]
    wrong = [finding for finding in check_text(text).diagnostics if finding.code == "E0301"]
    kind = wrong[0].words.message.partition("not `Dataset[")[2].rstrip("]`") if wrong else "Table"
    return kind, [finding.code for finding in found]


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_known_layout_is_recognised(name: str) -> None:
    row, kind = LAYOUTS[name]
    found, beside = kind_of(row)
    assert kind in found
    assert beside == ["N0502"]


@pytest.mark.parametrize("name", LAYOUTS)
def test_what_is_said_to_be_the_same_is_the_same(name: str) -> None:
    Path("rows.jsonl").write_text(json.dumps(LAYOUTS[name][0]) + "\n", encoding="utf-8")
    compilation = check_text('dataset d = jsonl("rows.jsonl")\n', wanted=None)
    (note,) = compilation.diagnostics
    mapping = note.words.notes[0].removeprefix("the same as writing ").strip("`").split("`, `")
    written = 'dataset d = jsonl("rows.jsonl") {\n' + "\n".join(mapping) + "\n}\n"
    again = check_text(written)
    assert codes(again) == []


@pytest.mark.parametrize("name", PLAIN)
def test_other_rows_are_plain(name: str) -> None:
    assert kind_of(PLAIN[name]) == ("Table", [])


def test_a_mapping_of_ones_own_takes_the_place_of_a_layout() -> None:
    row = {"prompt": "1+1", "completion": "2", "text": "3"}
    assert kind_of(row, 'prompt = "{{ text }}"') == ("Prompt", [])
    text = 'dataset d = jsonl("rows.jsonl")\n'
    text += 'dataset e = d { prompt = "{{ text }}" }\ndataset f = d { limit = 1 }\n'
    inputs = "input a: Dataset[Prompt] = e\ninput b: Dataset[Thread] = f\n"
    assert codes(check_text(text + inputs)) == ["N0502"]


def test_prompts_with_completions_are_templates_of_the_graph() -> None:
    Path("sums.jsonl").write_text('{"prompt": "1+1", "completion": "2"}\n')
    bare = replaced(GOOD, ('  prompt = "{{ question }}"\n  completion = "{{ answer }}"\n', ""))
    mapped = replaced(GOOD, ("question", "prompt"), ("answer", "completion"))
    rows = [
        node for text in (bare, mapped) for node in graph_of(text).nodes.values() if isinstance(node, Rows)
    ]
    assert rows[0] == rows[1]


def test_an_unreadable_file_says_nothing_about_kinds() -> None:
    text = replaced(GOOD, ('  prompt = "{{ question }}"\n  completion = "{{ answer }}"\n', ""))
    assert codes(check_text(replaced(text, ("sums.jsonl", "none.jsonl")))) == ["E0501"]
    assert codes(check_text(text)) == ["E0550"]


REAL = {
    "gsm8k/train_1000.jsonl": "",
    "sft/alpaca_en_999.json": "Thread",
    "sft/dolly_hhrlhf_1000.jsonl": "",
    "sft/self_instruct_seed_175.jsonl": "",
    "chat/fastchat_dummy_sharegpt_500.json": "Thread",
    "chat/glaive_toolcall_sharegpt_100.json": "Thread",
    "chat/oasst_en_100_messages.jsonl": "Thread",
    "chat/tau_airline_messages_12.jsonl": "",
    "chat/tinker_conversations_128.jsonl": "Thread",
    "preference/dpo_en_sharegpt_150.json": "Preference",
    "preference/hh_rlhf_pairs_500.jsonl": "Preference",
    "preference/kto_en_messages_100.json": "Thread",
}


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real data is not here")
@pytest.mark.parametrize("name", REAL)
def test_real_data_is_recognised(name: str) -> None:
    asked = REAL[name] or "Table"
    source = f'{name.rpartition(".")[2]}("{SHARED}/{name}")'
    found = codes(check_text(f"input rows_in: Dataset[{asked}] = {source}\n"))
    assert found == (["N0502"] if REAL[name] else [])


CONFLICTS = [
    ('messages = column("turns"), prompt = "{{ text }}"', ["E0406"]),
    ('messages = column("turns"), completion = "{{ text }}"', ["E0406"]),
    ('prompt = "a", chosen = "{{ text }}", rejected = "b", completion = "c"', ["E0406"]),
    ('prompt = "a", chosen = "{{ text }}"', ["E0414"]),
    ('prompt = "a", rejected = "{{ text }}"', ["E0414"]),
    ('messages = column("turns"), chosen = "{{ text }}", rejected = "b"', []),
    ('messages = column("turn")', ["E0502"]),
    ('messages = column("text")', ["E0536"]),
    ('prompt = "a", chosen = column("turns"), rejected = column("text", transcript = true)', []),
    ('prompt = column("turns")', []),
    ('prompt = column("turns"), completion = column("turns")', []),
    ('prompt = column("text")', ["E0536"]),
    ('messages = column("turns", content = "typo")', ["E0536"]),
    ('messages = column("turns", content = missing)', ["E0204"]),
    ('completion = column("turn")', ["E0502"]),
    ('messages = column("turns", roles = { user = "user" })', []),
    ('messages = column("calls")', ["E0552"]),
    ('messages = column("calls", roles = { robot = "assistant" })', []),
    ('filter = text != "", messages = column("calls")', []),
    ('metadata = { a = column("txt") }', ["E0502"]),
    ('metadata = { a = column("text"), b = "{{ txt }}" }', ["E0502"]),
    ("metadata = columns", []),
]


@pytest.mark.parametrize(("fields", "expected"), CONFLICTS)
def test_a_mapping_says_each_turn_once(fields: str, expected: list[str]) -> None:
    row = {"turns": TURNS, "text": "a", "calls": [{"role": "robot", "content": "2"}]}
    Path("rows.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    assert codes(check_text(f'dataset d = jsonl("rows.jsonl") {{ {fields} }}\n')) == expected


# --- filters --------------------------------------------------------------------------------------------

FILTERS = [
    ("len(answer) > 3 and level == 2", []),
    ("level > least", []),
    ("tags[0] == answer", []),
    ('"a" in tags', []),
    ("done", []),
    ("not done or level + 1 > 2 * least", []),
    ("words(question) > 3", []),
    ("info.depth > 3", []),
    ("note == none", []),
    ("true", []),
    ("none", []),
    ("words(level) > 3", ["E0301"]),
    ("level > answer", ["E0306"]),
    ("level", ["E0310"]),
    ("answr == question", ["E0502"]),
    ("len(completion) > 3", ["E0515"]),
    ('metadata.answer == "2"', ["E0515"]),
    ("turns[0].content == answer", ["E0515"]),
]


def row_file() -> None:
    row = {"question": "1+1", "answer": "2", "level": 2, "tags": ["a"], "done": True, "note": None}
    Path("rows.jsonl").write_text(json.dumps({**row, "info": {"depth": 1}}) + "\n", encoding="utf-8")


@pytest.mark.parametrize(("condition", "expected"), FILTERS)
def test_columns_are_names_in_a_filter(condition: str, expected: list[str]) -> None:
    row_file()
    fields = f'filter = {condition}, prompt = "{{{{ question }}}}"'
    text = f'let least = 1\ndataset d = jsonl("rows.jsonl") {{ {fields} }}\n'
    assert codes(check_text(text)) == expected


def test_columns_shadow_the_names_of_the_recipe() -> None:
    row_file()
    text = 'let answer = 5\ndataset d = jsonl("rows.jsonl") { filter = words(answer) > 0 }\n'
    assert codes(check_text(text)) == []


def test_a_filter_is_a_formula_of_the_graph() -> None:
    text = replaced(GOOD, ("  prompt", '  filter = len(question) > 2 and answer != "9"\n  prompt'))
    graph = graph_of(text)
    (rows,) = (node for node in graph.nodes.values() if isinstance(node, JsonLines))
    length = (">", ("len", ("read", "column", "question")), ("constant", 2))
    assert rows.filter == ("and", length, ("!=", ("read", "column", "answer"), ("constant", "9")))
    assert type(graph).from_json(json.loads(json.dumps(graph.to_json()))) == graph
    (ref,) = (ref for ref, node in graph.nodes.items() if node is rows)
    shown = {field.name: field.value for field in fields(graph, ref)}
    assert shown["filter"] == 'len(question) > 2 and answer != "9"'


def test_a_filter_is_read_behind_the_source_wherever_it_stands() -> None:
    text = 'dataset d = rows { filter = len(question) > 2, items = [{ question = "1+1" }] }\n'
    assert codes(check_text(text)) == []
    copied = 'dataset e = d { items = [{ answer = "2" }] }\n'
    assert codes(check_text(text + copied)) == ["E0502"]
    assert codes(check_text(text + copied.replace(" }\n", ", filter = none }\n"))) == []
    assert codes(check_text(text + copied.replace(" }\n", ", filter = len(answer) > 2 }\n"))) == []


def test_where_columns_are_not_known_names_are_columns() -> None:
    condition = 'len(prompt) > 3 and level > 2 and kind == "x" and done'
    text = f'dataset d = hf("a/b") {{ filter = {condition}, prompt = "a" }}\n'
    assert codes(check_text(text)) == ["N0501"]


# --- metadata -------------------------------------------------------------------------------------------

NEEDS = [
    ("words(metadata.answer)", 'answer = "{{ answer }}"', []),
    ("words(metadata.answer)", 'answer = column("answer")', []),
    ("words(metadata.answer)", 'answer = column("level")', ["E0514"]),
    ("metadata.level * words(completion)", 'level = column("level")', []),
    ("metadata.level * words(completion)", 'level = "{{ level }}"', ["E0514"]),
    ("number(metadata.level) * words(completion)", 'level = "{{ level }}"', []),
    ("words(completion) > metadata.level", 'level = "{{ level }}"', ["E0514"]),
    ("completion == metadata.level", 'level = column("level")', ["E0514"]),
    ("completion in metadata.tags", 'tags = column("tags")', []),
    ("completion == metadata.tags[0]", 'tags = column("tags")', []),
    ("len(metadata.tags) + words(completion)", 'tags = column("tags")', []),
    ("if metadata.done then words(completion) else 0", 'done = column("done")', []),
    ("if metadata.done then words(completion) else 0", 'done = column("answer")', ["E0514"]),
    ("words(completion) / metadata.nothing", 'level = column("level")', ["E0512"]),
    ('equals("{{ metadata.level }}")', 'level = column("level")', []),
    ("instructions", 'instruction_id_list = column("tags"), kwargs = column("tags")', []),
    ("instructions", 'instruction_id_list = column("answer"), kwargs = column("tags")', ["E0514"]),
    ("instructions", 'kwargs = column("tags")', ["E0512"]),
]


@pytest.mark.parametrize(("grader", "metadata", "expected"), NEEDS)
def test_graders_and_rows_meet_by_type(grader: str, metadata: str, expected: list[str]) -> None:
    row_file()
    fields = f'prompt = "{{{{ question }}}}", metadata = {{ {metadata} }}'
    rows = f'dataset asked = jsonl("rows.jsonl") {{ {fields} }}\n'
    fields = f"models = [tiny], dataset = asked, graders = [{grader}], sampling {{ max_tokens = 8 }}"
    compare = f"evaluate report = compare {{ {fields} }}\n"
    assert codes(check_text(rows + MODEL + compare)) == expected


def test_a_whole_row_is_metadata() -> None:
    row_file()
    text = 'input a: Dataset[Table{level: int, note: str}] = jsonl("rows.jsonl") { metadata = columns }\n'
    assert codes(check_text(text)) == []
    assert codes(check_text(replaced(text, ("level: int", "level: str")))) == ["E0301"]
    assert codes(check_text(replaced(text, ("level: int", "depth: int")))) == ["E0301"]


def test_metrics_and_validation_meet_their_rows_too() -> None:
    more = "  metrics = [words(metadata.hint)]\n  steps = 3"
    assert codes(check_text(replaced(REINFORCED, ("  steps = 3", more)))) == ["E0512"]
    held = (
        '  validation { dataset = asked { path = "held.jsonl", metadata = none }, grader = right, every = 1 }'
    )
    held += "\n"
    assert codes(check_text(replaced(REINFORCED, ("  steps = 3", held + "  steps = 3")))) == ["E0512"]
    # Without a grader of its own, that of the stage grades its answers.
    own = replaced(held, (", grader = right", ""))
    assert codes(check_text(replaced(REINFORCED, ("  steps = 3", own + "  steps = 3")))) == ["E0512"]


def test_what_imitates_is_graded_on_the_rows_of_its_validation_only() -> None:
    own = '{ path = "held.jsonl", completion = none, metadata = { hint = "{{ answer }}" } }'
    held = f"  validation {{ dataset = sums {own}, grader = words(metadata.hint) }}\n"
    held += "  metrics = [words(metadata.hint)]\n"
    assert codes(check_text(replaced(GOOD, ("  steps = 3", held + "  steps = 3")))) == []


def test_a_mixture_has_what_all_its_parts_have() -> None:
    text = replaced(REINFORCED, ("dataset = asked", "dataset = mix([asked, asked { metadata = none }])"))
    assert codes(check_text(text)) == ["E0512"]


def test_a_table_finds_a_fact_once() -> None:
    table, found = Table([{"a": 1}]), []
    for _ in range(2):
        assert table.fact("key", lambda: found.append(1) or 7) == 7
    assert found == [1]


PIECES = st.sampled_from(
    ["[", "]", "{", "}", '"a"', ":", ",", "1", "null", "\n", "\r\n", '"', " ", "a,b", "é", "\0", "\\ud800"]
)
CONTENT = st.binary(max_size=60) | st.lists(PIECES, max_size=16).map(lambda parts: "".join(parts).encode())


@pytest.mark.parametrize("read", [json_lines, json_array, csv_rows])
@settings(deadline=None, derandomize=True, database=None, max_examples=300)
@given(content=CONTENT, whole=st.booleans())
def test_any_bytes_are_rows_or_faults(
    read: Callable[[bytes, bool], Table], content: bytes, whole: bool
) -> None:
    table = read(content, whole)
    for fault in table.faults:
        found = fault(Path("rows"))
        assert 0 <= found.span.start <= found.span.end
        render_text([found])
    for row in range(len(table.rows)):
        assert table.places is not None
        place = table.places(row)
        assert 0 <= place.start <= place.end <= len(place.text)
