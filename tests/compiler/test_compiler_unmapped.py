"""Unmapped rows: what the finding guesses, and that what it says to add is right."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from compiler_support import check_text, codes

from harmony_compiler.store.guesses import shown
from harmony_grammar.diagnostics import Diagnostic

TALK = [{"speaker": "me", "text": "1+1"}, {"speaker": "assistant", "text": "2"}]
TRANSCRIPT = "\n\nHuman: 1+1\n\nAssistant: 2"

GUESSES = {
    "names": ("Thread", {"question": "1+1", "answer": "2"}, ["{{ question }}", "{{ answer }}"]),
    "capitals": ("Thread", {"Question": "1+1", "Answer": "2"}, ["{{ Question }}", "{{ Answer }}"]),
    "parts": ("Thread", {"user_query": "1", "model_reply": "2"}, ["{{ user_query }}", "{{ model_reply }}"]),
    "whole names first": ("Prompt", {"question_id": "a", "query": "1+1"}, ["{{ query }}"]),
    "inside": ("Thread", {"q": {"problem": "1", "solution": "2"}}, ["{{ q.problem }}", "{{ q.solution }}"]),
    "first item": ("Thread", {"query": "1", "a": [{"answer": "2"}]}, ["{{ query }}", "{{ a[0].answer }}"]),
    "no texts": ("Thread", {"question": 1, "answer": 2}, None),
    "one side": ("Thread", {"question": "1+1", "note": "2"}, None),
    "no name for a template": ("Prompt", {"the question": "1+1"}, None),
    "turns": ("Thread", {"talk": TALK}, ["talk", "speaker", "text", "…"]),
    "prompts of turns": ("Prompt", {"talk": TALK[:1]}, ["talk", "speaker", "text", "…"]),
    "a transcript": ("Thread", {"id": "a", "text": TRANSCRIPT}, ["text"]),
    "pairs": (
        "Preference",
        {"question": "1", "better": "2", "worse": "3"},
        ["{{ question }}", "{{ better }}", "{{ worse }}"],
    ),
    "pairs of turns": (
        "Preference",
        {"winner": TALK[1:], "loser": TALK[1:]},
        ["winner", "speaker", "text", "loser", "speaker", "text"],
    ),
    "no worse answer": ("Preference", {"question": "1", "answer": "2"}, None),
    "many speakers": ("Thread", {"talk": [{"role": str(n), "content": "a"} for n in range(20)]}, None),
}  # fmt: skip


def finding(kind: str, row: object) -> Diagnostic:
    Path("rows.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    (found,) = check_text(f'input d: Dataset[{kind}] = jsonl("rows.jsonl")\n').diagnostics
    assert found.code == "E0550"
    return found


@pytest.mark.parametrize("name", GUESSES)
def test_columns_are_guessed_by_name_and_content(name: str) -> None:
    kind, row, expected = GUESSES[name]
    help_ = finding(kind, row).words.help
    if expected is None:
        assert help_.startswith("say it by `")
        assert help_.endswith(f"with the columns {', '.join(row)}")
    else:
        assert [
            text for text in re.findall(r'"(.*?)"', help_) if text not in ("user", "assistant")
        ] == expected


@pytest.mark.parametrize(
    "name", [name for name, (*_, guess) in GUESSES.items() if guess and "…" not in guess]
)
def test_what_the_finding_adds_is_right(name: str) -> None:
    kind, row, _ = GUESSES[name]
    text = f'input d: Dataset[{kind}] = jsonl("rows.jsonl")\n'
    (fix,) = finding(kind, row).fixes
    (edit,) = fix.edits
    assert codes(check_text(text[: edit.span.start] + edit.text + text[edit.span.end :])) == []


def test_stated_columns_are_guessed_from_without_a_row() -> None:
    fields = 'columns = { question = "str", answer = "str" }'
    (found,) = check_text(f'input d: Dataset[Thread] = hf("a/b") {{ {fields} }}\n').diagnostics
    assert found.code == "E0550"
    assert found.words.notes == ("columns: question, answer",)
    assert 'add `prompt = "{{ question }}"`' in found.words.help


def test_a_dataset_of_several_stages_is_refused_once() -> None:
    text = """
dataset d = rows([{ question = "1+1", answer = "2" }])
input a: Dataset[Thread] = d
input b: Dataset[Thread] = d { limit = 1 }
"""
    assert codes(check_text(text)) == ["E0550"]


def test_a_row_is_shown_in_one_short_line() -> None:
    row = {"text": "a" * 999, "list": [1, 2], "deep": {"a": {"b": {"c": {"d": 1}}}}, "half": "\ud800\n"}
    line = shown(row | {str(n): n for n in range(99)})
    assert len(line) < 410
    assert "\n" not in line
    line.encode()
    assert shown({"a": 1}) == '{"a": 1}'
