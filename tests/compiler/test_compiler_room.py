"""Prompts and completions together: what fits into the context of a model, and what does not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest
from compiler_support import ASKED, COMPARED, GRADER, MODEL, PPO, REINFORCED, check_text, codes, replaced

from harmony_compiler.compile import compile_recipe
from harmony_compiler.files import Disk
from harmony_grammar.source import Source

WHOLE = REINFORCED + COMPARED


def asked_of(prompts: Sequence[str]) -> None:
    lines = [json.dumps({"question": prompt, "answer": "1"}) for prompt in prompts]
    Path("sums.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


# The context is 24: 3 marks, 8 tokens for the completion, so 13 characters.
FITTING = [(["a" * 13], []), (["a" * 14], ["E0702"]), (["", "a" * 30], ["E0702"]), (["<user>" * 13], [])]


@pytest.mark.parametrize(("prompts", "said"), FITTING)
def test_prompts_are_counted_in_characters(prompts: list[str], said: list[str]) -> None:
    asked_of(prompts)
    assert codes(check_text(REINFORCED)) == said


def test_the_longest_row_is_named() -> None:
    asked_of(["a", "b" * 20, "c" * 21, "d" * 20])
    (finding,) = check_text(REINFORCED).diagnostics
    assert finding.words.message.startswith("the longest prompt has 24 tokens, which with `max_tokens` = 8")
    row = finding.labels[0].span
    assert (row.source.name, row.first.line) == ("sums.jsonl", 3)
    assert finding.words.notes == ("3 of 4 prompts do not fit",)
    assert "`on_too_long" in finding.words.help


def test_a_system_turn_counts() -> None:
    asked_of(["a" * 11])
    system = replaced(REINFORCED, ('prompt = "{{ question }}"', 'system = "b"\n  prompt = "{{ question }}"'))
    assert codes(check_text(system)) == []
    asked_of(["a" * 12])
    assert codes(check_text(system)) == ["E0702"]


DROPPED = [(["a", "b" * 20], []), (["b" * 20, "c" * 20], ["E0702"])]


@pytest.mark.parametrize(("prompts", "said"), DROPPED)
def test_rows_may_be_dropped_on_purpose_but_not_all(prompts: list[str], said: list[str]) -> None:
    asked_of(prompts)
    text = replaced(REINFORCED, ("metadata =", 'on_too_long = "drop"\n  metadata ='))
    assert codes(check_text(text)) == said


SPARED = [
    # What makes it unknown which prompts are asked, or how long they are.
    ('split = "train[:1]"', REINFORCED),
    ("shuffle = true, limit = 1", REINFORCED),
    ("limit = 1", REINFORCED),
    ("", replaced(REINFORCED, ('"{{ question }}"', '"{{ question | trim }}"'))),
    ("", replaced(REINFORCED, ("context = 24", 'context = 24\n  chat_template = "plain"'))),
    ("", replaced(REINFORCED, ("model = tiny", 'model = tiny { chat_template = "plain" }'))),
]


@pytest.mark.parametrize(("field", "text"), SPARED)
def test_what_cannot_be_counted_is_left_to_the_run(field: str, text: str) -> None:
    asked_of(["a", "b" * 20])
    assert codes(check_text(replaced(text, ("metadata =", f"{field}\n  metadata =")))) == []


def test_a_limit_of_the_evaluation_counts() -> None:
    asked_of(["a", "b" * 20])
    path = ' { path = "held.jsonl" }'
    alone = ASKED + MODEL + GRADER + replaced(COMPARED, ("tiny, adder", "tiny"), (path, ""))
    assert codes(check_text(alone)) == ["E0702"]
    assert codes(check_text(replaced(alone, ("  sampling", "  limit = 1\n  sampling")))) == []


def test_a_row_that_fills_no_template_is_not_counted() -> None:
    Path("sums.jsonl").write_text('{"question": "1", "answer": "2"}\n{"question": null, "answer": "2"}\n')
    assert codes(check_text(REINFORCED)) == []


def test_rows_of_the_recipe_are_counted_too() -> None:
    rows = f'rows([{{ question = "{"a" * 14}", answer = "1" }}])'
    (finding,) = check_text(replaced(REINFORCED, ('jsonl("sums.jsonl")', rows))).diagnostics
    assert finding.labels[0].span.text.startswith("{ question")


def test_the_context_is_that_of_the_model_at_the_beginning() -> None:
    asked_of(["a" * 14])
    more = REINFORCED.replace("model = tiny", "model = taught { tp = 1 }") + (
        'dataset lessons = asked { completion = "{{ answer }}" }\n'
        "train taught = sft { model = tiny, dataset = lessons, steps = 1 }\n"
    )
    assert codes(check_text(more)) == ["E0702"]


CONFIGS = [
    ({"max_position_embeddings": 8}, ["E0701"]),
    ({"n_positions": 8}, ["E0701"]),
    ({"text_config": {"max_position_embeddings": 8}}, ["E0701"]),
    ({"max_position_embeddings": 9}, []),
    ({}, []),
    ([], []),
]


@pytest.mark.parametrize(("config", "said"), CONFIGS)
def test_the_context_of_a_folder_is_in_its_configuration(config: object, said: list[str]) -> None:
    folder = Path("home") / "config.json"
    folder.write_text(json.dumps(config))
    text = replaced(REINFORCED, (MODEL, 'model tiny = local("home")\n'))
    assert codes(check_text(text)) == said
    folder.write_bytes(b"\xff")
    assert codes(check_text(text)) == []


def test_the_tightest_model_decides() -> None:
    asked_of(["a" * 14])
    Path("held.jsonl").write_bytes(Path("sums.jsonl").read_bytes())
    large = replaced(MODEL, ("tiny", "large"), ("context = 24", "context = 240"))
    text = large + replaced(WHOLE, ("model = tiny", "model = large"), ("[tiny, adder]", "[adder, tiny]"))
    found = check_text(text)
    assert (codes(found), found.diagnostics[0].span.first.line) == (
        ["E0702"],
        text[: text.rindex("max_tokens")].count("\n") + 1,
    )


def test_the_critic_reads_what_the_policy_writes() -> None:
    asked_of(["a" * 14])
    large = replaced(MODEL, ("tiny", "large"), ("context = 24", "context = 240"))
    apart = replaced(PPO, ("policy_model = tiny", "policy_model = large\n  value_model = tiny"))
    assert codes(check_text(large + apart)) == ["E0702"]
    assert codes(check_text(large + replaced(apart, ("value_model = tiny", "value_model = large")))) == [
        "W0201"
    ]


def test_each_file_is_read_once() -> None:
    class Counting(Disk):
        read: ClassVar[list[str]] = []

        def head(self, path: Path, limit: int) -> bytes:
            self.read.append(path.name)
            return super().head(path, limit)

    path = Path.cwd() / "case.recipe"
    assert compile_recipe(Source("case.recipe", WHOLE, path), files=Counting()).graph is not None
    assert Counting.read == ["sums.jsonl", "held.jsonl"]
