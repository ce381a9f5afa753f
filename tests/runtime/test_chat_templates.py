"""Masks of real chat templates on real threads, against what a search of the rendered text finds."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from runtime_support import GPT2
from transformers import AutoTokenizer

from harmony_runtime.models.chat import Chat, ChatError, Segment

TEMPLATES = GPT2.parents[1] / "chat_templates"
CHATS = GPT2.parents[1] / "chat"

pytestmark = pytest.mark.skipif(
    not (GPT2.is_dir() and TEMPLATES.is_dir() and CHATS.is_dir()),
    reason="the real templates and threads are not beside the repository",
)

SYSTEM = {"role": "system", "content": "You answer in verse."}
IM_START, IM_END = "<|im_start|>", "<|im_end|>"

REPLIES: dict[str, tuple[str, list[str], str]] = {
    "Qwen-Qwen2.5-7B-Instruct": (IM_END, [IM_START], r"<\|im_start\|>assistant\n(.*?<\|im_end\|>)"),
    "qwen3_training": (IM_END, [IM_START], r"<\|im_start\|>assistant\n(.*?<\|im_end\|>)"),
    "meta-llama-Llama-3.1-8B-Instruct": (
        "<|eot_id|>",
        ["<|start_header_id|>", "<|end_header_id|>"],
        r"assistant<\|end_header_id\|>\n\n(.*?<\|eot_id\|>)",
    ),
    "google-gemma-2-2b-it": (
        "<end_of_turn>",
        ["<start_of_turn>"],
        r"<start_of_turn>model\n(.*?<end_of_turn>)",
    ),
    "mistralai-Mistral-Nemo-Instruct-2407": ("</s>", ["[INST]", "[/INST]"], r"\[/INST\](.*?</s>)"),
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": (
        "<｜end▁of▁sentence｜>",
        ["<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"],
        r"<｜Assistant｜>(.*?<｜end▁of▁sentence｜>)",
    ),
    "microsoft-Phi-3.5-mini-instruct": (
        "<|end|>",
        ["<|user|>", "<|assistant|>", "<|system|>"],
        r"<\|assistant\|>\n(.*?<\|end\|>)",
    ),
}
"""The end token, the other marks, and where a reply stands in the rendered text."""

TRIM = ("google", "meta")
REFUSED_STRICT = {"deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": "asks for a completion with '<think>'"}
REFUSED_SYSTEM = {
    "google-gemma-2-2b-it": "refuses a thread: System role not supported",
    "mistralai-Mistral-Nemo-Instruct-2407": "leaves out what the system says",
}


def chat_of(name: str, generation_prompt: Any = "strict", **args: Any) -> Chat:
    end, marks, _ = REPLIES[name]
    tokenizer = AutoTokenizer.from_pretrained(GPT2)
    tokenizer.add_special_tokens({"eos_token": end, "bos_token": "<s>", "extra_special_tokens": marks})
    tokenizer.chat_template = (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")
    return Chat(tokenizer, [end], args, generation_prompt)


@pytest.fixture(scope="module")
def threads() -> list[list[dict[str, Any]]]:
    lines = (CHATS / "oasst_en_100_messages.jsonl").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line)["messages"] for line in lines]
    assert len(found) == 100 and sum(len(thread) > 2 for thread in found) > 30
    return found


def spans(segments: list[Segment]) -> list[tuple[int, int]]:
    """Where the trained text begins and ends in the whole."""
    found, at = [], 0
    for text, weight in segments:
        if weight:
            found.append((at, at + len(text)))
        at += len(text)
    return found


def searched(name: str, text: str, generation_prompt: str) -> list[tuple[int, int]]:
    found = [match.span(1) for match in re.finditer(REPLIES[name][2], text, re.DOTALL)]
    if name == "qwen3_training" and generation_prompt == "as_trained":
        thinking = "<think>\n\n</think>\n\n"  # the template writes it before each reply
        assert all(text[begin:].startswith(thinking) for begin, _ in found)
        found = [(begin + len(thinking), end) for begin, end in found]
    return found


@pytest.mark.parametrize("generation_prompt", ["strict", "as_trained"])
@pytest.mark.parametrize("system", [False, True], ids=["without system", "with system"])
@pytest.mark.parametrize("name", REPLIES)
def test_the_mask_covers_the_words_and_the_end_token_of_each_reply(
    name: str, system: bool, generation_prompt: str, threads: list[list[dict[str, Any]]]
) -> None:
    chat = chat_of(name, generation_prompt)
    reason = REFUSED_SYSTEM.get(name) if system else None
    if generation_prompt == "strict":
        reason = reason or REFUSED_STRICT.get(name)
    end = REPLIES[name][0]
    for thread in ([SYSTEM, *thread] if system else thread for thread in threads):
        if reason is not None:
            with pytest.raises(ChatError, match=re.escape(reason)):
                chat.segments(thread, "all")
            continue
        text = chat.tokenizer.apply_chat_template(thread, tokenize=False)
        segments = chat.segments(thread, "all")
        assert "".join(segment.text for segment in segments) == text
        assert spans(segments) == searched(name, text, generation_prompt)
        assert spans(chat.segments(thread, "last")) == spans(segments)[-1:]

        said = [turn["content"] for turn in thread if turn["role"] == "assistant"]
        said = [words.strip() if name.startswith(TRIM) else words for words in said]
        trained = [segment.text.split("</think>\n\n")[-1] for segment in segments if segment.weight]
        assert trained == [words + end for words in said]


@pytest.mark.parametrize("name", REPLIES)
def test_no_token_that_others_say_is_trained_on(name: str, threads: list[list[dict[str, Any]]]) -> None:
    chat = chat_of(name, "as_trained")
    tokenizer = chat.tokenizer
    end = tokenizer.eos_token_id
    for thread in threads:
        (pieces,) = chat.tokens([chat.segments(thread, "all")])
        trained = [ids for ids, weight in pieces if weight]
        said = [turn["content"] for turn in thread if turn["role"] == "assistant"]
        assert [ids[-1] for ids in trained] == [end] * len(said)
        assert [tokenizer.decode(ids[:-1]).strip() for ids in trained] == [words.strip() for words in said]
        # Generation begins with what training reads before the first reply.
        assert chat.prompts([thread[:1]]) == [pieces[0][0]]
        assert pieces[0][0].count(tokenizer.bos_token_id) <= 1


def test_reasoning_that_a_template_takes_out_is_not_trained_on() -> None:
    chat = chat_of("deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", "as_trained")
    thread = [
        {"role": "user", "content": "1+1"},
        {"role": "assistant", "content": "<think>easy</think>2"},
        {"role": "user", "content": "2+2"},
        {"role": "assistant", "content": "<think>easier</think>4"},
    ]
    trained = [segment.text for segment in chat.segments(thread, "all") if segment.weight]
    assert trained == ["2<｜end▁of▁sentence｜>", "4<｜end▁of▁sentence｜>"]


def test_reasoning_that_a_template_keeps_is_trained_on() -> None:
    thread = [
        {"role": "user", "content": "1+1"},
        {"role": "assistant", "content": "<think>\neasy\n</think>\n\n2"},
    ]
    segments = chat_of("qwen3_training").segments(thread, "all")
    assert [segment.text for segment in segments if segment.weight] == [thread[1]["content"] + IM_END]
    # What a completion would be asked by where nothing was thought is no prompt of this one.
    with pytest.raises(ChatError, match="asks for a completion with"):
        chat_of("qwen3_training", "as_trained").segments(thread, "all")


@pytest.mark.parametrize("thinking", [True, False])
def test_values_of_the_recipe_reach_the_template(thinking: bool) -> None:
    chat = chat_of("qwen3_training", enable_thinking=thinking)
    (prompt,) = chat.prompt([{"role": "user", "content": "1+1"}])
    assert prompt.text.endswith("<think>\n\n</think>\n\n") != thinking


def test_the_end_token_that_a_template_writes_is_named() -> None:
    name = "microsoft-Phi-3.5-mini-instruct"
    tokenizer = chat_of(name).tokenizer
    tokenizer.eos_token = "<|endoftext|>"
    chat = Chat(tokenizer, ["<|endoftext|>"])
    thread = [{"role": role, "content": words} for role, words in zip("uaua", "1234", strict=True)]
    thread = [turn | {"role": {"u": "user", "a": "assistant"}[turn["role"]]} for turn in thread]
    with pytest.raises(ChatError, match=re.escape("""add `end_token = "<|end|>"`""")):
        chat.segments(thread, "all")
    both = Chat(tokenizer, ["<|endoftext|>", "<|end|>"])
    assert [s.text for s in both.segments(thread, "all") if s.weight] == ["2<|end|>", "4<|end|>"]
    # At the very end Phi-3.5 does write it.
    assert chat.segments(thread, "last")[1].text == "4<|end|>\n<|endoftext|>"


@pytest.mark.parametrize(
    "name", ["Qwen-Qwen2.5-7B-Instruct", "qwen3_training", "meta-llama-Llama-3.1-8B-Instruct"]
)
def test_tool_calls_are_trained_on_and_what_tools_say_is_not(name: str) -> None:
    chat = chat_of(name)
    lines = (CHATS / "tau_airline_messages_12.jsonl").read_text(encoding="utf-8").splitlines()
    calls = 0
    for line in lines[:4]:
        thread = json.loads(line)["traj"]
        text = chat.tokenizer.apply_chat_template([message_of(turn) for turn in thread], tokenize=False)
        segments = chat.segments(thread, "all")
        assert spans(segments) == searched(name, text, "strict")
        trained = [segment.text for segment in segments if segment.weight]
        for turn, words in zip((t for t in thread if t["role"] == "assistant"), trained, strict=True):
            for call in turn.get("tool_calls") or ():
                calls += 1
                arguments = json.loads(call["function"]["arguments"])
                assert call["function"]["name"] in words
                assert json.dumps(arguments, ensure_ascii=False) in words
    assert calls > 10


def message_of(turn: dict[str, Any]) -> dict[str, Any]:
    """A turn with the arguments of its calls as templates expect them."""
    calls = [
        call | {"function": call["function"] | {"arguments": json.loads(call["function"]["arguments"])}}
        for call in turn.get("tool_calls") or ()
    ]
    return turn | ({"tool_calls": calls} if calls else {})
