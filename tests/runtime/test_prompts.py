"""Prompts of a dataset in tokens: the same as training sees, with room for a completion."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from runtime_support import DATA, GPT2, MODEL, Told, desk_of, graph_of, json_lines, tiny
from test_chat import CHARS, THREAD
from transformers import AutoTokenizer

from harmony_compiler.graph.datasets import LiteralRows, Rows
from harmony_runtime.data.tokens.prompts import Prompts, prompts_of
from harmony_runtime.failures import RunFailed
from harmony_runtime.models.chat import Chat, plain_template

ITEMS = tuple({"q": "1" * length, "a": length} for length in (1, 5, 9))
"""A prompt has three marks beside its text."""


def rows(**changes: Any) -> LiteralRows:
    fields = {"items": ITEMS, "prompt": "{{ q }}", "metadata": {"answer": "{{ a }}"}, "seed": 7}
    return LiteralRows(**(fields | changes))


@pytest.fixture
def prompts(tmp_path: Path) -> Callable[..., Prompts]:
    def call(data: Rows, max_tokens: int = 4, told: Told | None = None, **options: Any) -> Prompts:
        model = tiny(context=16, **options.pop("model", {}))
        desk = desk_of(graph_of({MODEL: model, DATA: data}, ()), tmp_path / "home", told)
        return prompts_of(desk, DATA, desk.blueprints.of(MODEL), max_tokens, **options)

    return call


@pytest.fixture
def refused(prompts: Callable[..., Prompts]) -> Callable[..., RunFailed]:
    def call(*given: Any, **options: Any) -> RunFailed:
        with pytest.raises(RunFailed) as caught:
            prompts(*given, **options)
        return caught.value

    return call


Look = Callable[..., Prompts]
Refused = Callable[..., RunFailed]


def test_rows_ready_to_be_answered(prompts: Look) -> None:
    found = prompts(rows(system="be {{ a }}"))
    (first,) = found
    assert first.turns[-1] == {"role": "user", "content": "1"}
    assert first.turns[0] == {"role": "system", "content": "be 1"}
    assert CHARS.decode(list(first.ids)) == "<bos><system>be 1<user>1<assistant>"
    assert first.metadata == {"answer": "1"}
    assert found.counts == {"read": 3, "kept": 1, "too_long_and_dropped": 2}
    assert (found.longest, found.lengths.tolist()) == (len(first.ids), [len(first.ids)])
    with pytest.raises(IndexError):
        found[1]


@pytest.mark.parametrize(
    ("max_tokens", "kept"), [(4, [1, 5, 9]), (5, [1, 5]), (8, [1, 5]), (9, [1]), (12, [1])]
)
def test_a_completion_must_fit_behind_a_prompt(prompts: Look, max_tokens: int, kept: list[int]) -> None:
    told = Told()
    found = prompts(rows(), max_tokens, told)
    assert [len(prompt.ids) - 3 for prompt in found] == kept
    dropped = len(ITEMS) - len(kept)
    assert found.counts["too_long_and_dropped"] == dropped
    assert told.texts == [
        f"small.recipe:2: `data`: {dropped} of 3 prompts leave no room for {max_tokens} tokens of "
        f"completion in the model's context of 16: dropped, which is {33 * dropped + dropped // 2}% of the "
        "dataset"
    ] * bool(dropped)


def test_prompts_that_do_not_fit_as_errors(refused: Refused, tmp_path: Path) -> None:
    data = json_lines(tmp_path / "data.jsonl", list(ITEMS), completion=None, on_too_long="error")
    fault = refused(data, 9)
    assert [(d.code, d.span.first.line) for d in fault.diagnostics] == [("E0523", 2), ("E0523", 3)]
    assert fault.diagnostics[1].words.message == (
        "this prompt has 12 tokens; with 9 of a completion that is more than the model's context of 16"
    )


def test_a_prompt_is_never_cut(prompts: Look, refused: Refused) -> None:
    assert len(prompts(rows(on_too_long="truncate"))) == 3
    fault = refused(rows(on_too_long="truncate"), 5)
    assert "1 of 3 prompts leave no room for 5 tokens" in fault.message
    assert "a prompt that is cut asks another question" in fault.message
    assert fault.diagnostics == ()


def test_nothing_left(refused: Refused) -> None:
    assert "all of 3 prompts leave no room for 13 tokens" in refused(rows(), 13).message


def test_faults_of_all_rows_come_out_together(refused: Refused, tmp_path: Path) -> None:
    text = '{"q": "1"}\nnothing\n{"q": null}\n'
    fault = refused(json_lines(tmp_path / "data.jsonl", text, completion=None))
    assert [(d.code, d.span.first.line) for d in fault.diagnostics] == [("E0505", 2), ("E0520", 3)]


def test_a_limit_takes_the_first_rows(prompts: Look) -> None:
    assert [len(prompt.ids) - 3 for prompt in prompts(rows(), limit=2)] == [1, 5]
    assert len(prompts(rows(), limit=9)) == 3
    dropped = prompts(rows(), 9, limit=2).counts
    assert dropped == {"read": 3, "kept": 1, "too_long_and_dropped": 1, "beyond_limit": 1}


def test_an_empty_prompt_is_no_prompt(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "bare.jinja").write_text(
        "{% for m in messages %}{{ m.content }}{% if m.role == 'assistant' %}<eos>{% endif %}{% endfor %}"
    )
    fault = refused(rows(prompt=""), model={"chat_template": str(tmp_path / "bare.jinja")})
    assert [d.code for d in fault.diagnostics] == ["E0522"] * 3
    assert "a model cannot answer nothing" in str(fault)


def test_unknown_characters_are_told(prompts: Look) -> None:
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
