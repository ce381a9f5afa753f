"""From turns to tokens: what is trained on, and the built-in character tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runtime_support import GPT2
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from harmony_compiler.graph.models import CHARS_VOCABULARY
from harmony_runtime.models.chars import chars_tokenizer
from harmony_runtime.models.chat import Chat, ChatError, plain_template

CHARS = chars_tokenizer()
THREAD = [
    {"role": "system", "content": "add"},
    {"role": "user", "content": "1+1"},
    {"role": "assistant", "content": "2"},
    {"role": "user", "content": "2+2"},
    {"role": "assistant", "content": "4!"},
]

needs_gpt2 = pytest.mark.skipif(
    not GPT2.is_dir(), reason="the gpt2 tokenizer's files are not beside the repository"
)


def trained_text(chat: Chat, messages: list[dict[str, str]], train_on: Any) -> tuple[str, list[str]]:
    """The whole text that the tokens of a thread spell, and its trained pieces."""
    (pieces,) = chat.tokens([chat.segments(messages, train_on)])
    texts = [(chat.tokenizer.decode(ids), trained) for ids, trained in pieces]
    return "".join(text for text, _ in texts), [text for text, trained in texts if trained]


@pytest.mark.parametrize(
    ("train_on", "expected"), [("last", ["4!<eos>"]), ("all", ["2<eos>", "4!<eos>"]), ("everything", None)]
)
def test_what_is_trained_on_with_characters(train_on: str, expected: list[str] | None) -> None:
    whole = "<bos><system>add<user>1+1<assistant>2<eos><user>2+2<assistant>4!<eos>"
    text, trained = trained_text(Chat(CHARS, ["<eos>"]), THREAD, train_on)
    assert text == whole
    assert trained == expected if expected else "".join(trained) == whole


@needs_gpt2
def test_what_is_trained_on_with_a_real_tokenizer_and_plain_turns() -> None:
    tokenizer = AutoTokenizer.from_pretrained(GPT2)
    tokenizer.chat_template = plain_template(tokenizer)
    chat = Chat(tokenizer, [tokenizer.eos_token])
    chat.check()
    text, trained = trained_text(chat, THREAD, "all")
    assert text == "add\n\n1+1\n\n2<|endoftext|>\n\n2+2\n\n4!<|endoftext|>"
    assert trained == ["2<|endoftext|>", "4!<|endoftext|>"]
    # Training sees before a completion exactly the ids that generation begins with.
    (pieces,) = chat.tokens([chat.segments(THREAD, "last")])
    prompt = tokenizer.apply_chat_template(THREAD[:-1], add_generation_prompt=True, return_dict=False)
    assert pieces[0] == (prompt, 0.0)
    assert pieces[1] == ([*tokenizer("4!").input_ids, tokenizer.eos_token_id], 1.0)


def test_text_that_a_template_writes_behind_the_end_token_is_not_trained_on() -> None:
    tokenizer = chars_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}<eos>\n{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    text, trained = trained_text(Chat(tokenizer, ["<eos>"]), THREAD, "all")
    assert trained == ["2<eos>", "4!<eos>"]
    assert text.endswith("4!<eos>\n")


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (
            "{% for m in messages %}{{ m.content }}{% endfor %}",
            "closes a completion without the end token '<eos>'",
        ),
        (
            "{% for m in messages %}{{ m.content }}<eos>{% endfor %}"
            "{% if add_generation_prompt %}?{% endif %}",
            "asks for a completion with '[?]' where the thread that is trained on has 'a', so training and "
            'generation would see different prompts: `generation_prompt = "as_trained"` begins',
        ),
        ("{{ raise_exception('no') }}", "refuses a thread: no"),
        ("{{ messages | count_of }}", "cannot be read: No filter named 'count_of', in line 1"),
        ("{{ messages.nothing.at_all }}", "refuses a thread: "),
        ("{{ ''.__class__.__mro__ }}", "refuses a thread"),
    ],
)
def test_templates_that_cannot_be_trained_on(template: str, reason: str) -> None:
    tokenizer = chars_tokenizer()
    tokenizer.chat_template = template
    with pytest.raises(ChatError, match=reason):
        Chat(tokenizer, ["<eos>"]).check()


@pytest.mark.parametrize("in_template", [True, False])
def test_a_beginning_token_comes_once(in_template: bool) -> None:
    words = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "a": 2, "b": 3}, unk_token="b"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="</s>")
    template = (
        "{% for m in messages %}{{ m.content }}{% if m.role == 'assistant' %}</s>{% endif %}{% endfor %}"
    )
    tokenizer.chat_template = plain_template(tokenizer) if in_template else template
    chat = Chat(tokenizer, ["</s>"])
    (pieces,) = chat.tokens(
        [chat.segments([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "last")]
    )
    assert pieces == [([0, 2], 0.0), ([3, 1], 1.0)]
    assert chat.prompts([[{"role": "user", "content": "a"}]]) == [[0, 2]]


def test_the_character_tokenizer_has_the_size_that_the_catalogue_says() -> None:
    assert len(CHARS) == CHARS_VOCABULARY
    assert sorted(CHARS.get_vocab().values()) == list(range(CHARS_VOCABULARY))


@given(st.text(st.sampled_from(["\n", *map(chr, range(32, 127))])))
def test_characters_come_back(text: str) -> None:
    ids = CHARS(text, add_special_tokens=False).input_ids
    assert CHARS.decode(ids) == text
    if "<" not in text:
        assert len(ids) == len(text)


def test_other_characters_are_unknown() -> None:
    assert CHARS("é\t", add_special_tokens=False).input_ids == [CHARS.unk_token_id] * 2


@pytest.mark.parametrize("model_type", [None, "qwen3", "llama", "gpt2"])
def test_the_character_tokenizer_survives_saving(model_type: str | None, tmp_path: Path) -> None:
    CHARS.save_pretrained(tmp_path)
    if model_type:  # transformers chooses a tokenizer's class by the model beside it
        (tmp_path / "config.json").write_text(f'{{"model_type": "{model_type}"}}')
    back = AutoTokenizer.from_pretrained(tmp_path)
    text = "<user>  a  b\n\n c<assistant>~"
    assert back.get_vocab() == CHARS.get_vocab()
    assert back(text).input_ids == CHARS(text).input_ids
    assert back.decode(back(text).input_ids) == text
    assert back.chat_template == CHARS.chat_template
    assert back.apply_chat_template(THREAD, return_dict=False) == CHARS.apply_chat_template(
        THREAD, return_dict=False
    )
    for mark in ("bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id"):
        assert getattr(back, mark) == getattr(CHARS, mark)
