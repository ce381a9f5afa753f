"""Masks: which part of a thread is trained on, with templates that do what templates do."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_chat import THREAD
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast

from harmony_runtime.models.chars import chars_tokenizer
from harmony_runtime.models.chat import Chat, ChatError, Segment
from harmony_runtime.models.templates import ChatTemplate, with_values

ASKED = "{% if add_generation_prompt %}<assistant>{% endif %}"
BARE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}<eos>{% endfor %}" + ASKED
TRIMMED = BARE.replace("m.content", "m.content | trim")
CLOSED = BARE.replace(ASKED, "{% if add_generation_prompt %}<assistant>{% else %}<eos>{% endif %}")
"""As Phi-3.5's: what it makes of the first turns is not the beginning of what it makes of all."""
CALLS = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content or '' }}"
    "{% for call in m.tool_calls or [] %}[{{ call.function.name }} {{ call.function.arguments | tojson }}]"
    "{% endfor %}<eos>{% endfor %}" + ASKED
)


def chat(template: str, ends: str = "<eos>", **settings: Any) -> Chat:
    tokenizer = chars_tokenizer()
    tokenizer.chat_template = template
    return Chat(tokenizer, [ends], **settings)


def turns(*said: str) -> list[dict[str, Any]]:
    """`"user: 1+1"`, each."""
    return [dict(zip(("role", "content"), words.split(": ", 1), strict=True)) for words in said]


def trained(chat: Chat, thread: list[dict[str, Any]], train_on: Any = "all") -> list[str]:
    segments = chat.segments(thread, train_on)
    args = chat._template_args
    whole = chat.tokenizer.apply_chat_template(
        [{key: value for key, value in turn.items() if key != "weight"} for turn in thread],
        tokenize=False,
        **args,
    )
    if "tool_calls" not in str(thread):
        assert "".join(segment.text for segment in segments) == whole
    return [segment.text for segment in segments if segment.weight]


def refused(chat: Chat, thread: list[dict[str, Any]], train_on: Any = "all") -> str:
    with pytest.raises(ChatError) as caught:
        chat.segments(thread, train_on)
    return str(caught.value)


@pytest.mark.parametrize("template", [BARE, TRIMMED, CLOSED])
@pytest.mark.parametrize("generation_prompt", ["strict", "as_trained"])
def test_words_and_end_token_of_each_reply(template: str, generation_prompt: Any) -> None:
    own = chat(template, generation_prompt=generation_prompt)
    assert trained(own, THREAD) == ["2<eos>", "4!<eos>"]
    assert trained(own, THREAD, "last") == ["4!<eos>"]
    assert trained(own, [*THREAD, {"role": "user", "content": "3+3"}], "last") == ["4!<eos>"]


@pytest.mark.parametrize("words", ["", " ", "2<eos>", "<user>2<eos>", "1+1", "a\nb", "<eos><eos>"])
def test_a_reply_may_say_what_the_template_says(words: str) -> None:
    thread = turns("user: 1+1", "assistant: " + words, "user: 1+1", "assistant: 2")
    assert trained(chat(BARE), thread) == [words + "<eos>", "2<eos>"]
    assert trained(chat(CLOSED), thread) == [words + "<eos>", "2<eos>"]
    assert trained(chat(TRIMMED), thread) == [words.strip() + "<eos>", "2<eos>"]


SAID = st.text(st.sampled_from("ab 0\n<>\ue000\ue001"), max_size=6) | st.sampled_from(
    ["<eos>", "<user>", "1"]
)
THREADS = st.lists(st.tuples(SAID, SAID), min_size=1, max_size=4)


@given(THREADS, st.booleans(), st.sampled_from([BARE, TRIMMED, CLOSED]), st.booleans())
def test_whatever_is_said(
    said: list[tuple[str, str]], one_by_one: bool, template: str, as_trained: bool
) -> None:
    own = chat(template, generation_prompt="as_trained" if as_trained else "strict")
    thread = [
        {"role": role, "content": words}
        for pair in said
        for role, words in zip(("user", "assistant"), pair, strict=True)
    ]
    with pytest.MonkeyPatch.context() as patch:
        if one_by_one:
            patch.setattr(ChatTemplate, "_as_framed", lambda *_: None)
        expected = [(words.strip() if template == TRIMMED else words) + "<eos>" for _, words in said]
        assert trained(own, thread) == expected


@pytest.mark.parametrize("role", ["system", "user", "tool", "assistant"])
def test_a_turn_that_is_left_out(role: str) -> None:
    own = chat("{% for m in messages if m.role != '" + role + "' %}{{ m.content }}<eos>{% endfor %}")
    thread = turns("system: s", "user: u", "tool: t", "assistant: a")
    assert f"leaves out what the {role} says in turn" in refused(own, thread)
    for generation_prompt in ("strict", "as_trained")[role == "assistant" :]:
        asking = chat(own.tokenizer.chat_template, generation_prompt=generation_prompt)
        with pytest.raises(ChatError, match=f"leaves out what the {role} says"):
            asking.prompt(thread[:3])


def test_a_turn_without_words_may_be_left_out() -> None:
    own = chat("{% for m in messages if m.content %}<{{ m.role }}>{{ m.content }}<eos>{% endfor %}" + ASKED)
    assert trained(own, turns("system: ", "user: u", "assistant: a")) == ["a<eos>"]
    assert "assistant" in refused(own, turns("user: u", "assistant: "))


def test_the_end_token_of_another_turn_ends_nothing() -> None:
    own = chat(
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}"
        "{{ '<pad>' if m.role == 'assistant' else '<eos>' }}{% endfor %}" + ASKED
    )
    reason = refused(own, THREAD)
    assert "without the end token '<eos>', and writes '<pad>' there" in reason
    assert 'add `end_token = "<pad>"`' in reason
    assert trained(chat(own.tokenizer.chat_template, "<pad>"), THREAD) == ["2<pad>", "4!<pad>"]


def test_words_of_others_inside_of_a_reply() -> None:
    own = chat(
        "{% for m in messages[1:] %}<{{ m.role }}>{{ m.content }}{{ messages[0].content }}<eos>{% endfor %}"
        + ASKED
    )
    assert "writes the words of other turns" in refused(own, turns("system: s", "user: u", "assistant: a"))


def test_a_prompt_that_is_not_what_is_trained_on() -> None:
    template = BARE.replace(ASKED, "{% if add_generation_prompt %}<assistant>!?{% endif %}")
    reason = refused(chat(template), THREAD)
    assert "asks for a completion with '!' where the thread that is trained on has '2'" in reason
    assert '`generation_prompt = "as_trained"` begins completions by the words trained on' in reason
    own = chat(template, generation_prompt="as_trained")
    assert trained(own, THREAD) == ["2<eos>", "4!<eos>"]
    assert own.prompt(THREAD[:2]) == [Segment("<system>add<eos><user>1+1<eos><assistant>", 0.0)]


def test_what_is_written_twice_has_no_one_place() -> None:
    own = chat(BARE.replace("m.content }}", "m.content }}{{ m.content }}"), generation_prompt="as_trained")
    for asking in (own.prompt, lambda thread: own.segments(thread, "all")):
        with pytest.raises(ChatError, match="does not write what the assistant says just once"):
            asking(THREAD[1:3])


def test_a_prompt_may_begin_the_reply() -> None:
    """As templates of models that think do: what the prompt says is not trained on."""
    own = chat(BARE.replace(ASKED, "{% if add_generation_prompt %}<assistant>So {% endif %}"))
    assert trained(own, turns("user: 1+1", "assistant: So 2")) == ["2<eos>"]


def test_a_reply_that_opens_the_thread() -> None:
    thread = turns("assistant: hello", "user: 1+1", "assistant: 2")
    assert "has no prompt for an assistant turn that opens the thread" in refused(chat(BARE), thread)
    assert trained(chat(BARE), thread, "last") == ["2<eos>"]
    assert trained(chat(BARE), [{**thread[0], "weight": 0}, *thread[1:]]) == ["2<eos>"]
    assert trained(chat(BARE, generation_prompt="as_trained"), thread) == ["hello<eos>", "2<eos>"]


def test_weights() -> None:
    thread = [dict(turn) for turn in THREAD]
    thread[2]["weight"], thread[4]["weight"] = 0.25, 0
    assert chat(BARE).segments(thread, "all")[1] == Segment("2<eos>", 0.25)
    assert trained(chat(BARE), thread) == ["2<eos>"]
    assert trained(chat(BARE), thread, "last") == []
    weights = [segment.weight for segment in chat(BARE).segments(thread, "everything")]
    assert weights == [1.0, 0.25, 1.0, 0.0]


@pytest.mark.parametrize("as_text", [False, True])
def test_tool_calls_are_trained_on_and_what_tools_say_is_not(as_text: bool) -> None:
    call = {
        "id": "123456789",
        "function": {"name": "add", "arguments": '{"a": 1, "b": [2]}' if as_text else {"a": 1, "b": [2]}},
    }
    thread = [
        *turns("user: 1+2"),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "3", "tool_call_id": "123456789"},
        *turns("assistant: It is 3."),
    ]
    assert trained(chat(CALLS), thread) == ['[add {"a": 1, "b": [2]}]<eos>', "It is 3.<eos>"]
    thread[1]["content"] = "let me see: "
    assert trained(chat(CALLS), thread)[0] == 'let me see: [add {"a": 1, "b": [2]}]<eos>'
    assert "leaves out what the assistant says in turn 2" in refused(
        chat(BARE.replace("m.content", "m.content or ''")),
        [thread[0], {"role": "assistant", "content": None, "tool_calls": [call]}],
    )


def test_the_values_that_a_recipe_adds() -> None:
    template = BARE.replace("<eos>", "{{ sign }}<eos>")
    assert trained(chat(template, template_args={"sign": "~"}), THREAD) == ["2~<eos>", "4!~<eos>"]
    assert (
        chat(template, template_args={"sign": "~"}).prompt(THREAD[3:4])[0].text
        == "<user>2+2~<eos><assistant>"
    )


@pytest.mark.parametrize("begin", ["", "\n", "\n\n ", "{# a note #}"])
def test_values_may_stand_in_the_template(begin: str) -> None:
    """As a saved model has them, of which nobody knows the recipe."""
    values = {"a": "x\n\"'\\{{ é", "b": {"c": [1, 2.5, None, True]}, "in": 1, "no name": 2}
    template = begin + "{{ a }}{{ b | tojson }}{{ d }}" + BARE
    own, told = chat(template, template_args=values), chat(with_values(template, values))
    for thread in (THREAD, THREAD[1:3]):
        assert told.segments(thread, "all") == own.segments(thread, "all")
        assert told.prompt(thread[:2]) == own.prompt(thread[:2])
    other = chat(with_values(template, values), template_args={"a": "y"})
    assert other.prompt(THREAD[:2])[0].text.startswith(begin.replace("{# a note #}", "") + "y")
    assert with_values(template, {}) == template


def test_a_completion_that_others_would_begin_otherwise_is_told() -> None:
    template = BARE.replace(ASKED, "{% if add_generation_prompt %}<assistant>!?{% endif %}")
    (note,) = chat(template, generation_prompt="as_trained").notes
    assert "would begin a completion by 'on<eos><assistant>!?'" in note
    assert chat(BARE, generation_prompt="as_trained").notes == ()


def test_two_answers_to_one_prompt() -> None:
    own = chat(CLOSED)
    prompt, chosen, rejected = own.pair(THREAD[:4], turns("assistant: 4"), turns("assistant: 5"))
    assert prompt == own.prompt(THREAD[:4])
    assert (chosen, rejected) == ([Segment("4<eos>", 1.0)], [Segment("5<eos>", 1.0)])
    _, longer, _ = own.pair(
        THREAD[:2], turns("assistant: 2", "user: sure?", "assistant: Yes."), turns("assistant: 3")
    )
    assert longer == [
        Segment("2<eos>", 1.0),
        Segment("<user>sure?<eos><assistant>", 0.0),
        Segment("Yes.<eos>", 1.0),
    ]


def test_answers_that_do_not_follow_their_prompt() -> None:
    with pytest.raises(ChatError, match="before an answer"):
        chat(BARE).pair(THREAD[:2], turns("user: more", "assistant: 2"), turns("assistant: 2"))


@pytest.mark.parametrize(
    ("template", "args", "dated"),
    [
        (BARE, {}, False),
        ("{{ strftime_now('%Y') }}" + BARE, {}, True),
        ("{{ date_string or strftime_now('%Y') }}" + BARE, {}, True),
        ("{{ date_string or strftime_now('%Y') }}" + BARE, {"date_string": "1999"}, False),
        ("{% if messages[0].role == 'system' %}{{ strftime_now('%Y') }}{% endif %}" + BARE, {}, True),
        ("{% if False %}{{ strftime_now('%Y') }}{% endif %}" + BARE, {}, False),
    ],
)
def test_todays_date_is_told(template: str, args: dict[str, Any], dated: bool) -> None:
    (own, *told) = (chat(template, template_args=args), *chat(template, template_args=args).notes)
    assert len(told) == dated
    if dated:
        mend = "`template_args = { date_string" if "date_string" in template else "without `strftime_now`"
        assert "writes today's date into threads" in told[0] and mend in told[0]
    assert trained(own, THREAD) == ["2<eos>", "4!<eos>"]


def test_the_digest_is_of_all_that_decides_the_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    class Tomorrow:
        @staticmethod
        def today() -> Any:
            return type("Day", (), {"isoformat": staticmethod(lambda: "2999-01-01")})

    other_words = chars_tokenizer()
    other_words.chat_template = BARE
    other_words.add_tokens(["ab"])
    dated = "{{ strftime_now('%Y') }}" + BARE
    chats = [
        chat(BARE),
        chat(TRIMMED),
        chat(dated),
        chat(BARE, "<pad>"),
        chat(BARE, template_args={"a": 1}),
        chat(BARE, generation_prompt="as_trained"),
        Chat(other_words, ["<eos>"]),
    ]
    assert len({own.digest for own in chats}) == len(chats)
    used = chat(BARE)
    used.tokenizer(["a", "abc"], padding=True, truncation=True, max_length=9)
    assert used.digest == chats[0].digest
    today = chats[2].digest
    monkeypatch.setattr("harmony_runtime.models.chat.date", Tomorrow)
    assert chat(BARE).digest == chats[0].digest
    assert chat(dated).digest != today


def sentencepiece() -> Any:
    """Puts a blank before each text, as tokenizers of SentencePiece's kind do, and joins `▁a` and `bc`."""
    letters = ["<unk>", "<eos>", "<user>", "<assistant>", "▁", "\n", "a", "b", "c", "bc", "▁a"]
    vocabulary = {text: number for number, text in enumerate(letters)}
    words = Tokenizer(models.BPE(vocabulary, [("b", "c"), ("▁", "a")], unk_token="<unk>"))
    words.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    words.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words,
        unk_token="<unk>",
        eos_token="<eos>",
        extra_special_tokens=["<user>", "<assistant>"],
    )
    tokenizer.chat_template = (
        "{% for m in messages %}<{{ m.role }}>\n{{ m.content }}<eos>\n{% endfor %}"
        "{% if add_generation_prompt %}<assistant>\n{% endif %}"
    )
    return tokenizer


def test_a_completion_has_the_tokens_that_it_has_behind_its_prompt() -> None:
    tokenizer = sentencepiece()
    own = Chat(tokenizer, ["<eos>"])
    thread = turns("user: a", "assistant: abc", "user: b", "assistant: a c")
    (pieces,) = own.tokens([own.segments(thread, "all")])
    spelled = [tokenizer.convert_ids_to_tokens(ids) for ids, _ in pieces]
    assert spelled[1] == ["a", "bc", "<eos>"]  # alone it would begin with a blank
    assert spelled[3] == ["a", "▁", "c", "<eos>"]
    whole = tokenizer.apply_chat_template(thread, return_dict=False)
    assert [token for ids, _ in pieces for token in ids] == whole
    for number, read in ((1, pieces[:1]), (3, pieces[:3])):
        assert own.prompts([thread[:number]]) == [[token for ids, _ in read for token in ids]]


def test_a_completion_that_the_tokenizer_would_join_with_its_prompt_is_tokenised_alone() -> None:
    tokenizer = sentencepiece()
    tokenizer.chat_template = (
        "{% for m in messages %}<{{ m.role }}>b{{ m.content }}<eos>\n{% endfor %}"
        "{% if add_generation_prompt %}<assistant>b{% endif %}"
    )
    own = Chat(tokenizer, ["<eos>"])
    thread = turns("user: a", "assistant: ca")
    (pieces,) = own.tokens([own.segments(thread, "all")])
    assert own.prompts([thread[:1]]) == [pieces[0][0]]
    assert tokenizer.convert_ids_to_tokens(pieces[0][0])[-2:] == ["▁", "b"]
    assert tokenizer.convert_ids_to_tokens(pieces[1][0]) == ["▁", "c", "a", "<eos>"]
