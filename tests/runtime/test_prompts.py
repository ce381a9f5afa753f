"""Prompts of a dataset in tokens: the same as training sees, with room for a completion."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from runtime_support import DATA, GPT2, MODEL, Told, graph_of, json_lines, tiny
from test_chat import CHARS, THREAD
from transformers import AutoTokenizer

from harmony_compiler.graph.datasets import LiteralRows, Rows
from harmony_runtime.data.prompts import Prompts, prompts_of
from harmony_runtime.failures import RunFailed
from harmony_runtime.models.blueprint import Blueprints
from harmony_runtime.models.chat import Chat, plain_template

ITEMS = tuple({"q": "1" * length, "a": length} for length in (1, 5, 9))
"""A prompt has three marks beside its text."""


def rows(**changes: Any) -> LiteralRows:
    fields = {"items": ITEMS, "prompt": "{{ q }}", "metadata": {"answer": "{{ a }}"}, "seed": 7}
    return LiteralRows(**(fields | changes))


def prompts(data: Rows, max_tokens: int = 4, told: Told | None = None, **options: Any) -> Prompts:
    graph = graph_of({MODEL: tiny(context=16), DATA: data}, ())
    run: Any = SimpleNamespace(graph=graph, watcher=told or Told(), shared={})
    blueprint = Blueprints(graph, {}, Path("no registry")).of(MODEL)
    return prompts_of(run, DATA, blueprint, max_tokens, **options)


def refused(data: Rows, max_tokens: int = 4) -> RunFailed:
    with pytest.raises(RunFailed) as caught:
        prompts(data, max_tokens)
    return caught.value


def test_rows_ready_to_be_answered() -> None:
    found = prompts(rows(system="be {{ a }}"))
    assert [prompt.turns[-1] for prompt in found.rows] == [
        {"role": "user", "content": item["q"]} for item in ITEMS[:1]
    ]
    (first,) = found.rows
    assert first.turns[0] == {"role": "system", "content": "be 1"}
    assert CHARS.decode(list(first.ids)) == "<bos><system>be 1<user>1<assistant>"
    assert first.metadata == {"answer": "1"}
    assert (found.counts.read, found.counts.kept, found.counts.too_long_and_dropped) == (3, 1, 2)


@pytest.mark.parametrize(
    ("max_tokens", "kept"), [(4, [1, 5, 9]), (5, [1, 5]), (8, [1, 5]), (9, [1]), (12, [1])]
)
def test_a_completion_must_fit_behind_a_prompt(max_tokens: int, kept: list[int]) -> None:
    told = Told()
    found = prompts(rows(), max_tokens, told)
    assert [len(prompt.ids) - 3 for prompt in found.rows] == kept
    dropped = len(ITEMS) - len(kept)
    assert found.counts.too_long_and_dropped == dropped
    assert told.texts == [
        f"small.recipe:2: `data`: {dropped} of 3 prompts leave no room for {max_tokens} tokens of "
        "completion in the model's context of 16: dropped"
    ] * bool(dropped)


def test_prompts_that_do_not_fit_as_errors(tmp_path: Path) -> None:
    data = json_lines(tmp_path / "data.jsonl", list(ITEMS), completion=None, on_too_long="error")
    fault = refused(data, 9)
    assert [(d.code, d.span.first.line) for d in fault.diagnostics] == [("E0523", 2), ("E0523", 3)]
    assert fault.diagnostics[1].words.message == (
        "this prompt has 12 tokens; with 9 of a completion that is more than the model's context of 16"
    )


def test_a_prompt_is_never_cut() -> None:
    assert len(prompts(rows(on_too_long="truncate")).rows) == 3
    fault = refused(rows(on_too_long="truncate"), 5)
    assert "1 of 3 prompts leave no room for 5 tokens" in fault.message
    assert "a prompt that is cut asks another question" in fault.message
    assert fault.diagnostics == ()


def test_nothing_left() -> None:
    assert "all of 3 prompts leave no room for 13 tokens" in refused(rows(), 13).message


def test_faults_of_all_rows_come_out_together(tmp_path: Path) -> None:
    text = '{"q": "1"}\nnothing\n{"q": null}\n'
    fault = refused(json_lines(tmp_path / "data.jsonl", text, completion=None))
    assert [(d.code, d.span.first.line) for d in fault.diagnostics] == [("E0505", 2), ("E0520", 3)]


def test_a_limit_takes_the_first_rows() -> None:
    assert [len(prompt.ids) - 3 for prompt in prompts(rows(), limit=2).rows] == [1, 5]
    assert len(prompts(rows(), limit=9).rows) == 3
    assert prompts(rows(), 9, limit=2).counts.read == 2


def test_an_empty_prompt_is_no_prompt(tmp_path: Path) -> None:
    (tmp_path / "bare.jinja").write_text(
        "{% for m in messages %}{{ m.content }}{% if m.role == 'assistant' %}<eos>{% endif %}{% endfor %}"
    )
    graph = graph_of({MODEL: tiny(chat_template=str(tmp_path / "bare.jinja")), DATA: rows(prompt="")}, ())
    blueprint = Blueprints(graph, {}, Path("no registry")).of(MODEL)
    with pytest.raises(RunFailed) as caught:
        prompts_of(SimpleNamespace(graph=graph, watcher=Told(), shared={}), DATA, blueprint, 4)  # type: ignore[arg-type]
    assert [d.code for d in caught.value.diagnostics] == ["E0522"] * 3
    assert "a model cannot answer nothing" in str(caught.value)


def test_unknown_characters_are_told() -> None:
    told = Told()
    prompts(rows(items=({"q": "é1", "a": 1},)), told=told)
    assert told.texts == ["small.recipe:2: `data`: 1 of 5 tokens are unknown to the tokenizer"]


@pytest.mark.parametrize("real", [False, True], ids=["characters", "gpt2"])
def test_generation_begins_with_the_ids_that_training_sees(real: bool) -> None:
    if real and not GPT2.is_dir():
        pytest.skip("the gpt2 tokenizer's files are not beside the repository")
    tokenizer = AutoTokenizer.from_pretrained(GPT2) if real else CHARS
    if real:
        tokenizer.chat_template = plain_template(tokenizer)
    chat = Chat(tokenizer, [tokenizer.eos_token])
    threads = [THREAD, THREAD[:3], THREAD[1:3]]
    trained = chat.tokens([chat.segments(thread, "last") for thread in threads])
    assert chat.prompts([thread[:-1] for thread in threads]) == [pieces[0][0] for pieces in trained]
