"""Real data: each file as somebody would name it, loaded or refused by one finding that says what to add."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from runtime_support import ROOT

from harmony_compiler.compile import Compilation, compile_recipe
from harmony_compiler.graph.algorithms import Algorithm
from harmony_grammar.source import Source
from harmony_runtime.data.faults import Faults
from harmony_runtime.data.turns.threads import RowPair, RowThread, each, threads_of

SHARED = ROOT.parent / "shared" / "data"
FOLDERS = ("gsm8k", "sft", "chat", "preference")
FILES = sorted(str(path.relative_to(SHARED)) for name in FOLDERS for path in (SHARED / name).glob("*.json*"))

pytestmark = pytest.mark.skipif(not FILES, reason="the real data is not here")

ADDED = {
    "gsm8k/train_1000.jsonl": ["{{ question }}", "{{ answer }}"],
    "gsm8k/model_solutions_200.jsonl": ["{{ question }}", "{{ ground_truth }}"],
    "sft/dolly_hhrlhf_1000.jsonl": ["{{ prompt }}", "{{ response }}"],
    "sft/self_instruct_seed_175.jsonl": [
        "{{ instruction }}{% if instances[0].input %}\\n\\n{{ instances[0].input }}{% endif %}",
        "{{ instances[0].output }}",
    ],
    "chat/tau_airline_messages_12.jsonl": ["traj"],
}
"""What the finding says to add, where a file is refused as it is."""


def compiled(name: str, stage: str, fields: str = "") -> Compilation:
    algorithm = {"sft": "sft { ", "dpo": "dpo { ", "grpo": "grpo { grader = words(completion), "}[stage]
    text = f"""
model base = scratch {{ architecture = "gpt2", hidden_size = 8, layers = 1, heads = 1, context = 4096 }}
dataset data = {name.rpartition(".")[2]}("{SHARED}/{name}"){fields}
train tuned = {algorithm}model = base, dataset = data, epochs = 1 }}
save tuned as "tuned"
"""
    return compile_recipe(Source("real.recipe", text, Path("real.recipe").absolute()))


def errors(compilation: Compilation) -> list[str]:
    return [finding.code for finding in compilation.diagnostics if finding.severity != "note"]


def threads(compilation: Compilation) -> list[RowThread]:
    """All rows of the one dataset, none of them at fault and none left out."""
    assert compilation.graph is not None, compilation.diagnostics
    (stage,) = (node for node in compilation.graph.nodes.values() if isinstance(node, Algorithm))
    faults, rows = Faults(""), threads_of(compilation.graph, getattr(stage, "dataset"))  # noqa: B009
    found = list(each(rows, faults))
    faults.raise_any()
    assert rows.counts == {"read": len(found)}
    return found


def rows_of(name: str) -> int:
    """How many rows a file has by the list of sources."""
    table = (SHARED / "SOURCES.md").read_text(encoding="utf-8")
    (row,) = re.findall(rf"^\| {re.escape(name)} \|(.*)$", table, re.MULTILINE)
    return int(row.split("|")[3].strip().replace(",", ""))


@pytest.mark.parametrize("name", FILES)
def test_a_file_loads_or_one_finding_says_exactly_what_to_add(name: str) -> None:
    stage = "dpo" if {"hh", "dpo"} & set(re.split(r"[/_]", name)) else "sft"
    compilation, fields = compiled(name, stage), ""
    if name in ADDED:
        (finding,) = compilation.diagnostics
        assert finding.code == "E0550"
        assert "a row: {" in finding.words.notes[0]
        lines = re.findall(r"`(\w+ = [^`]*)`", finding.words.help)
        assert [re.findall(r'"(.*?)"', line)[0] for line in lines] == ADDED[name]
        fields = f" {{\n  {chr(10).join(lines)}\n}}"
        assert len(fields.splitlines()) <= 4
        compilation = compiled(name, stage, fields)
    assert errors(compilation) == []
    found = threads(compilation)
    assert len(found) == rows_of(name)
    assert all(isinstance(row, RowPair) == (stage == "dpo") for row in found)


def test_hh_transcripts_are_pairs_with_equal_prompts() -> None:
    name = "preference/hh_rlhf_pairs_500.jsonl"
    found = threads(compiled(name, "dpo"))
    assert len(found) == 500
    several = empty = 0
    for row in found:
        assert isinstance(row, RowPair)
        columns = row.origin.columns()
        assert isinstance(columns, dict)
        asked = "".join(
            f"\n\n{'Human' if turn['role'] == 'user' else 'Assistant'}: {turn['content']}"
            for turn in row.turns
        )
        for side, answer in ((columns["chosen"], row.chosen), (columns["rejected"], row.rejected)):
            prompt, _, reply = side.rpartition("\n\nAssistant:")
            assert prompt.split() == asked.split()
            assert [(turn["role"], turn["content"]) for turn in answer] == [("assistant", reply.strip())]
        several += sum(turn["role"] == "user" for turn in row.turns) > 1
        empty += not row.chosen[0]["content"]
    assert (several, empty) == (298, 3)


def test_dpo_conversations_are_pairs_after_their_turns() -> None:
    found = threads(compiled("preference/dpo_en_sharegpt_150.json", "dpo"))
    assert sum(row.turns[0]["role"] == "system" for row in found) == 37
    assert {row.turns[-1]["role"] for row in found} == {"user"}


def test_unpaired_answers_are_no_pairs_and_that_is_one_error() -> None:
    compilation = compiled("preference/kto_en_messages_100.json", "dpo")
    (finding,) = (finding for finding in compilation.diagnostics if finding.severity == "error")
    assert finding.code == "E0301"
    assert "`messages`" in finding.words.notes[0]
    assert finding.words.help == "no column here holds a second, worse answer: take other rows"


def test_roles_of_tools_are_those_of_turns() -> None:
    found = threads(compiled("chat/glaive_toolcall_sharegpt_100.json", "sft"))
    assert {turn["role"] for row in found for turn in row.turns} == {"user", "assistant", "tool"}
    found = threads(compiled("chat/tau_airline_messages_12.jsonl", "sft", ' { messages = column("traj") }'))
    silent = [turn for row in found for turn in row.turns if turn["content"] is None]
    assert silent
    assert all(isinstance(turn["tool_calls"][0]["function"]["arguments"], dict) for turn in silent)
    assert all("tool_call_id" in turn for row in found for turn in row.turns if turn["role"] == "tool")


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("chat/oasst_en_100_messages.jsonl", ' { prompt = column("messages") }'),
        ("gsm8k/train_1000.jsonl", ' { prompt = "{{ question }}" }'),
    ],
)
def test_rows_as_prompts_end_with_a_question(name: str, field: str) -> None:
    (finding,) = (f for f in compiled(name, "grpo").diagnostics if f.severity == "error")
    assert field[3:-2] in finding.words.help
    found = threads(compiled(name, "grpo", field))
    assert len(found) == rows_of(name)
    assert {row.turns[-1]["role"] for row in found} == {"user"}
