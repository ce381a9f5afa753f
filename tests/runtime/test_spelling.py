"""From tokens to the text that each stands for: nothing doubled, nothing left out, nothing made up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from runtime_support import GPT2
from transformers import AutoTokenizer

from harmony_runtime.data.tokens.trained import unknown_id
from harmony_runtime.models.chars import chars_tokenizer
from harmony_runtime.models.chat import Chat, Segment
from harmony_runtime.models.spelling import Speller, Token

TINY_BPE = GPT2.parent / "tiny-bpe-2k"


def spelled(tokenizer: Any, *segments: tuple[str, float]) -> list[list[Token]]:
    chat = Chat(tokenizer, [tokenizer.eos_token])
    return Speller(chat, unknown_id(tokenizer)).pieces([Segment(*segment) for segment in segments])


def of(folder: Path) -> Any:
    if not folder.is_dir():
        pytest.skip("the real tokenizers are not at hand")
    return AutoTokenizer.from_pretrained(folder)


def test_every_token_has_its_text_weight_and_kind() -> None:
    first, second = spelled(chars_tokenizer(), ("<bos>a\n", 0.0), ("b<eos>", 0.5))
    assert [(token.text, token.weight, token.kind) for token in (*first, *second)] == [
        ("<bos>", 0.0, "mark"),
        ("a", 0.0, "text"),
        ("\n", 0.0, "text"),
        ("b", 0.5, "text"),
        ("<eos>", 0.5, "mark"),
    ]


def test_what_the_tokenizer_does_not_know_keeps_its_text() -> None:
    (tokens,) = spelled(chars_tokenizer(), ("aé\t", 1.0))
    assert [(token.text, token.kind) for token in tokens] == [
        ("a", "text"),
        ("é", "unknown"),
        ("\t", "unknown"),
    ]


TEXTS = ["Hello  world\n\n tab\there", "  blanks  ", "é 日本 🦄🦄", "a<|endoftext|>b", "don't\r\n", ""]


@pytest.mark.parametrize("text", TEXTS)
def test_the_texts_of_all_tokens_are_the_text(text: str) -> None:
    tokenizer = of(GPT2)
    first, second = spelled(tokenizer, (text, 0.0), ("42<|endoftext|>", 1.0))
    assert "".join(token.text for token in first) == text
    assert [token.id for token in first] == tokenizer(text).input_ids
    assert [token.text for token in second] == ["42", "<|endoftext|>"]


def test_the_bytes_of_one_character_are_shown_with_the_first_of_them() -> None:
    (tokens,) = spelled(of(GPT2), ("日", 0.0))
    assert len(tokens) == 2
    assert [token.text for token in tokens] == ["日", ""]


def test_what_vanishes_is_told() -> None:
    tokenizer = of(TINY_BPE)
    first, second = spelled(tokenizer, ("go日本", 0.0), ("日4<|im_end|>", 1.0))
    lost = [(token.text, token.weight) for token in (*first, *second) if token.kind == "lost"]
    assert "".join(text for text, _ in lost) == "日本日"
    assert {weight for _, weight in lost} == {0.0}
    assert "".join(token.text for token in (*first, *second)) == "go日本日4<|im_end|>"
    assert [token.id for token in second if token.id is not None] == tokenizer("4<|im_end|>").input_ids


def test_a_tokenizer_that_begins_texts_with_its_bos_shows_it_once() -> None:
    from tokenizers import processors

    tokenizer = chars_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", tokenizer.bos_token_id)]
    )
    first, second = spelled(tokenizer, ("a", 0.0), ("b", 1.0))
    assert [token.text for token in (*first, *second)] == ["<bos>", "a", "b"]
    (again,) = spelled(tokenizer, ("<bos>a", 0.0))
    assert [token.text for token in again] == ["<bos>", "a"]


def test_a_tokenizer_that_puts_a_blank_before_words_shows_them_apart() -> None:
    """Of SentencePiece's kind: a piece behind another one has no blank of its own."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {text: number for number, text in enumerate(["<unk>", "</s>", "▁one", "▁two", "one", "▁"])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    inner.decoder = decoders.Metaspace(prepend_scheme="first")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", eos_token="</s>")
    first, second = spelled(tokenizer, ("one two", 0.0), (" one", 1.0))
    assert [token.text for token in (*first, *second)] == ["one", " two", " one"]
    assert [token.weight for token in (*first, *second)] == [0.0, 0.0, 1.0]
