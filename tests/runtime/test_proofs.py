"""Proofs: rows in tokens that are right, and each way in which they may not be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from runtime_support import DATA, MODEL, STAGE, Told, desk_of, graph_of, sft, sums, tiny
from test_chat import THREAD
from test_chat_masks import BARE, CLOSED, TRIMMED, chat, sentencepiece, turns
from tokenizers import normalizers
from tokenizers.processors import TemplateProcessing

from harmony_runtime.data.rows.raw import RawRow
from harmony_runtime.data.tokens.proofs import (
    SAMPLE,
    Pieces,
    Proof,
    Proofs,
    Unproven,
    proven,
    refuse_unproven,
)
from harmony_runtime.data.tokens.trained import tokens_of
from harmony_runtime.data.turns.threads import RowPair, RowThread
from harmony_runtime.failures import RunFailed
from harmony_runtime.models.chars import chars_tokenizer
from harmony_runtime.models.chat import Chat, TrainOn

ROW = RawRow(b"{}", "data.jsonl", None, 1)
BOS = "{{ bos_token }}" + BARE


def proofs(
    chat: Chat,
    *threads: list[dict[str, Any]],
    train_on: TrainOn | None = "all",
    spoil: Callable[[Pieces], Pieces] = lambda pieces: pieces,
) -> Proofs:
    found = Proofs(chat, train_on)
    for thread in threads or (THREAD,):
        segments = chat.prompt(thread) if train_on is None else chat.segments(thread, train_on)
        (pieces,) = chat.tokens([segments])
        found.add(RowThread(turns=tuple(thread), origin=ROW), [segments], [spoil(pieces)])
    return found


def failing(found: Proofs) -> dict[str, str]:
    return {proof.name: proof.says for proof in found.results if not proof.holds}


def with_bos() -> Chat:
    """Its tokenizer adds `<bos>` itself."""
    tokenizer = chars_tokenizer()
    tokenizer.chat_template = BARE
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", tokenizer.bos_token_id)]
    )
    return Chat(tokenizer, ["<eos>"])


@pytest.mark.parametrize("train_on", ["last", "all", "everything", None])
@pytest.mark.parametrize("template", [BARE, TRIMMED, CLOSED, BOS])
def test_rows_that_are_right(template: str, train_on: TrainOn | None) -> None:
    found = proofs(chat(template), THREAD[:4] if train_on is None else THREAD, train_on=train_on)
    assert failing(found) == {}
    assert (found.warnings, found.notes) == ((), ())
    names = [proof.name for proof in found.results]
    trained = ["end", "padding", "mask"]
    masked = ["prompt", "others"]
    assert (
        names
        == ["beginning", "spelling"]
        + (train_on is not None) * trained
        + (train_on in ("last", "all")) * masked
    )


def test_what_people_read() -> None:
    assert [str(proof) for proof in proofs(chat(BARE)).results] == [
        "no row begins with a doubled beginning token, and the tokenizer would add none",
        "the tokens spell the text that the template writes",
        "each completion ends with '<eos>', which is trained on and ends generation",
        "'<pad>' pads, and ends nothing",
        "23% of the tokens are trained on",
        "generation begins with the tokens that training reads before a completion",
        "nothing that others say is trained on",
    ]
    assert str(proofs(with_bos()).results[0]) == "each row begins with one '<bos>'"


def test_no_rows_prove_nothing() -> None:
    assert Proofs(chat(BARE), "all").results == ()


def first(ids: Sequence[int], *more: int) -> Callable[[Pieces], Pieces]:
    return lambda pieces: [([*more, *pieces[0][0][len(ids) :]], pieces[0][1]), *pieces[1:]]


def weights(weigh: Callable[[float], float]) -> Callable[[Pieces], Pieces]:
    return lambda pieces: [(ids, weigh(weight)) for ids, weight in pieces]


@pytest.mark.parametrize(
    ("spoil", "name", "says"),
    [
        (first([], 2), "beginning", "1 of 1 rows begin with two '<bos>'"),
        (first([0]), "beginning", "1 of 1 rows do not begin with '<bos>', which the tokenizer would add"),
        (
            lambda pieces: [(ids[:-1] if weight else ids, weight) for ids, weight in pieces],
            "end",
            "2 of 2 completions do not end with the token '<eos>'",
        ),
        (weights(lambda _: 0.0), "mask", "no row has a token to train on"),
        (weights(lambda _: 1.0), "mask", "every token of 1 of 1 rows would be trained on"),
        (
            first([0, 0], 2, 30),
            "prompt",
            "would see different tokens before a completion: generation has '<system>' where training has",
        ),
        (
            lambda pieces: [*pieces[:-2], ([*pieces[-2][0][:-1], 40, 3], 1.0), pieces[-1]],
            "spelling",
            "the tokenizer cannot spell the text of these rows",
        ),
    ],
)
def test_rows_that_are_not_right(spoil: Callable[[Pieces], Pieces], name: str, says: str) -> None:
    own = with_bos()
    own.tokenizer.chat_template = BARE + "{% if not add_generation_prompt %}\n{% endif %}"
    found = failing(proofs(own, spoil=spoil))
    assert says in found[name]


def test_a_template_that_doubles_the_beginning() -> None:
    found = proofs(chat("{{ bos_token }}" + BOS))
    assert failing(found) == {
        "beginning": "1 of 1 rows begin with two '<bos>': take one out of template or data"
    }


def test_a_mask_that_moves_with_what_others_say() -> None:
    own, found = chat(BARE), Proofs(chat(BARE), "all")
    segments = own.segments(THREAD, "all")
    segments[0] = segments[0]._replace(weight=0.5)
    found.add(RowThread(turns=tuple(THREAD), origin=ROW), [segments], own.tokens([segments]))
    assert "what others say would be trained on" in failing(found)["others"]


def test_a_few_rows_are_told_and_not_refused() -> None:
    """A reply that begins with what its prompt ends with is one token in a prompt that is asked anew."""
    tokenizer = sentencepiece()
    tokenizer.chat_template = (
        "{% for m in messages %}<{{ m.role }}>b{{ m.content }}<eos>\n{% endfor %}"
        "{% if add_generation_prompt %}<assistant>b{% endif %}"
    )
    own = Chat(tokenizer, ["<eos>"])
    joined = turns("user: a", "assistant: ca", "user: a", "assistant: a")
    plain = turns("user: a", "assistant: a", "user: a", "assistant: a")
    found = proofs(own, joined, plain)
    assert failing(found) == {}
    (warning,) = found.warnings
    assert warning == (
        "1 of the first 4 completions follow other tokens than those that generation would begin with: "
        "generation has 'bc' where training has 'b'"
    )
    only = proofs(own, *[turns("user: a", *["assistant: ca", "user: a"] * 3, "assistant: a")] * 2)
    assert "generation has 'bc' where training has 'b'" in failing(only)["prompt"]


def test_control_tokens_in_the_data_are_told() -> None:
    rows = [turns("user: 1<eos>1", "assistant: 2"), THREAD, turns("user: <user><eos>", "assistant: 2")]
    (warning,) = proofs(chat(BARE), *rows).warnings
    assert warning == (
        "2 of 3 rows have control tokens in the text of the data (<eos>, <user>), and a model reads these as "
        "if the template had written them"
    )


def test_words_that_the_template_changes_are_told() -> None:
    rows = [turns("user: 1", "assistant:  2"), THREAD]
    assert proofs(chat(TRIMMED), *rows).notes == (
        "the chat template changes the words of 1 of 2 rows: it trims blanks, or leaves out reasoning",
    )


def test_characters_that_are_lost() -> None:
    tokenizer = sentencepiece()
    words = tokenizer.backend_tokenizer
    words.normalizer = normalizers.Sequence([normalizers.Replace("b", ""), words.normalizer])
    own = Chat(tokenizer, ["<eos>"])
    found = proofs(own, *[turns(f"user: {said}", "assistant: c") for said in ("ab", "a", "c")])
    assert failing(found) == {}
    assert found.warnings == (
        "1 of the first 3 rows hold characters that the tokenizer cannot spell: 'b' is read as '<'",
    )
    assert "cannot spell" in failing(proofs(own, turns("user: ab", "assistant: c")))["spelling"]


def test_only_the_first_rows_are_shown_and_all_are_counted() -> None:
    bad = weights(lambda _: 1.0)
    calls = 0

    def later(pieces: Pieces) -> Pieces:
        nonlocal calls
        calls += 1
        return bad(pieces) if calls > SAMPLE + 3 else pieces

    found = proofs(chat(BARE), *[turns("user: 1", "assistant: 2")] * (SAMPLE + 5), spoil=later)
    assert list(failing(found)) == ["end", "padding", "mask"]
    assert f"every token of 2 of {SAMPLE + 5} rows" in failing(found)["mask"]


def test_both_answers_of_a_pair() -> None:
    own = chat(CLOSED)
    chosen, rejected = turns("assistant: 2", "user: sure?", "assistant: Yes."), turns("assistant: 3")
    prompt, *answers = own.pair(THREAD[:2], chosen, rejected)
    texts = [prompt + answer for answer in answers]
    pair = RowPair(turns=tuple(THREAD[:2]), chosen=tuple(chosen), rejected=tuple(rejected), origin=ROW)
    found = Proofs(own, "all")
    found.add(pair, texts, own.tokens(texts))
    assert failing(found) == {}
    spoilt = Proofs(own, "all")
    pieces = own.tokens(texts)
    spoilt.add(pair, texts, [pieces[0], [(ids, 1.0) for ids, _ in pieces[1]]])
    assert "every token of 1 of 2 answers" in failing(spoilt)["mask"]


def test_what_is_kept_says_the_same() -> None:
    about = proofs(chat("{{ bos_token }}" + BOS)).about
    kept = {**about, "results": [list(proof) for proof in about["results"]]}
    assert proven(kept) == about["results"]
    assert all(isinstance(proof, Proof) for proof in proven(kept))
    with pytest.raises(Unproven) as caught:
        refuse_unproven(kept, "small.recipe:2: `data`: ")
    assert caught.value.message == (
        "small.recipe:2: `data`: 1 of 1 rows begin with two '<bos>': take one out of template or data"
    )
    assert caught.value.proofs == about["results"]


def look(tmp_path: Path, told: Told, template: str, **data: Any) -> Any:
    (tmp_path / "own.jinja").write_text(template)
    model = tiny(chat_template=str(tmp_path / "own.jinja"))
    desk = desk_of(graph_of({MODEL: model, DATA: sums(**data), STAGE: sft()}, (STAGE,)), tmp_path, told)
    return tokens_of(desk, DATA, desk.blueprints.of(MODEL), "last")


def test_a_run_is_refused_before_it_trains(tmp_path: Path) -> None:
    with pytest.raises(RunFailed) as caught:
        look(tmp_path, Told(), "{{ bos_token }}" + BOS)
    assert caught.value.message == (
        "small.recipe:2: `data`: 10 of 10 rows begin with two '<bos>': take one out of template or data"
    )
    with pytest.raises(RunFailed) as caught:
        look(tmp_path, Told(), BARE.replace("<assistant>", "<assistant>?"))
    assert caught.value.diagnostics == ()  # the template is at fault, and no row is
    assert "small.recipe:1: `base`: the chat template asks for a completion with '?'" in caught.value.message


def test_each_run_hears_what_was_found(tmp_path: Path) -> None:
    items = ({"q": "1<eos>", "a": "1"}, {"q": "2", "a": "2"})
    for _ in range(2):
        told = Told()
        rows = look(tmp_path, told, BARE, items=items)
        assert [text for text in told.texts if "1 of 2 rows have control tokens" in text]
        assert len(rows.proofs) == 7 and all(proof.holds for proof in rows.proofs)


def test_replies_in_the_prompt_of_a_pair_are_not_asked_for() -> None:
    own, found = chat(CLOSED), Proofs(chat(CLOSED), "all")
    answers = {"chosen": tuple(turns("assistant: 4")), "rejected": tuple(turns("assistant: 5"))}
    prompt, *texts = own.pair(THREAD[:4], **answers)
    texts = [prompt + text for text in texts]
    found.add(RowPair(turns=tuple(THREAD[:4]), **answers, origin=ROW), texts, own.tokens(texts))
    assert failing(found) == {}
