"""`harmonyc preview`: rows as the model will see them; what people see is what training reads."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from dsl_support import Harmonyc, Write

SHOWN = """\
⟦trained on⟧  ⟦0.5 × counts less⟧  only read  ‹a token of its own›  ↵ newline  · blank  ⇥ tab

adder: sft of sums, as tiny sees it
  sums = jsonl  (small.recipe:3)
    prompt = "{{ question }}"
    completion = "{{ answer }}"
    path = "sums.jsonl"
  rows     10 read · 10 kept
  lengths  8 to 9 tokens, half of the rows up to 9, 95% up to 9
  context  24 tokens
  trained  25 of 85 tokens of the rows kept (29%)
PROOFS

── row 2 · sums.jsonl:2 · 8 tokens · 2 trained ─────────────────────────────────────────────────────
  turns     user, assistant
  ‹<bos>›‹<user>›1+1‹<assistant>›⟦2‹<eos>›⟧

── row 3 · sums.jsonl:3 · 8 tokens · 2 trained ─────────────────────────────────────────────────────
  turns     user, assistant
  ‹<bos>›‹<user>›2+2‹<assistant>›⟦4‹<eos>›⟧
"""

ADDED = """\
grader right = equals { expected = "{{ metadata.answer }}" }
dataset asked = jsonl("sums.jsonl") { prompt = "{{ question }}", metadata = { answer = "{{ answer }}" } }
evaluate report = compare {
  models = [tiny, adder]
  dataset = asked
  graders = [right]
  sampling { max_tokens = 4 }
}
dataset lonely = jsonl("sums.jsonl") { prompt = "{{ question }} = ?" }
"""


@pytest.fixture
def more(write: Write, house: Path) -> None:
    """The small recipe, with an evaluation and a dataset that no stage reads."""
    recipe = write()
    recipe.write_text(recipe.read_text(encoding="utf-8") + ADDED, encoding="utf-8")


def seen(harmonyc: Harmonyc, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
    told = harmonyc("preview", "small.recipe", *arguments, "--json")
    assert told.code == code, told.err
    found: list[dict[str, Any]] = json.loads(told.out)["views"]
    return found


def test_what_people_see(harmonyc: Harmonyc, write: Write) -> None:
    write()
    told = harmonyc("preview", "small.recipe", "--from", "2", "--rows", "2")
    assert (told.err, told.code) == ("", 0)
    proofs = "\n".join(line for line in told.out.splitlines() if line.startswith("  ✓ "))
    assert len(proofs.splitlines()) >= 6
    assert "✗" not in told.out
    assert told.out == SHOWN.replace("PROOFS", proofs)


@pytest.mark.parametrize("train_on", ["last", "everything"])
def test_it_shows_the_very_tokens_that_training_reads(
    train_on: str, harmonyc: Harmonyc, write: Write
) -> None:
    from harmony_runtime import preview
    from harmony_runtime.data.tokens.trained import TokenRows

    write(("dataset = sums", f'dataset = sums\n  train_on = "{train_on}"'))
    read: list[TokenRows] = []
    tokens_of = preview.tokens_of
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preview, "tokens_of", lambda *asked: read.append(tokens_of(*asked)) or read[-1])
        (view,) = seen(harmonyc, "--rows", "10")
    (rows,) = read
    for number, row in enumerate(view["rows"]):
        ids, weights = rows.row(number)
        tokens = row["tokens"]["thread"]
        assert [token["id"] for token in tokens] == ids.tolist()
        assert [token["weight"] for token in tokens] == weights.tolist()
        trained = "".join(token["text"] for token in tokens if token["weight"])
        answer = f"{number + number}<eos>"
        question = f"<user>{number}+{number}<assistant>"
        assert trained == (answer if train_on == "last" else question + answer)


def test_without_a_name_each_training_is_shown_else_each_evaluation(harmonyc: Harmonyc, more: None) -> None:
    assert [(view["stage"], view["dataset"]) for view in seen(harmonyc)] == [("adder", "sums")]
    text = Path("small.recipe").read_text(encoding="utf-8")
    untrained = re.sub(r"train adder .*?\nsave adder as key\n", "", text, flags=re.DOTALL)
    Path("small.recipe").write_text(untrained.replace("[tiny, adder]", "[tiny]"), encoding="utf-8")
    assert [(view["stage"], view["dataset"]) for view in seen(harmonyc)] == [("report", "asked")]


def test_models_of_an_evaluation_that_see_the_same_are_shown_once(harmonyc: Harmonyc, more: None) -> None:
    (view,) = seen(harmonyc, "report", "--rows", "1")
    assert view["models"] == ["tiny", "adder"]
    assert view["room"] == 4
    assert view["rows"][0]["metadata"] == {"answer": "0"}
    tokens = view["rows"][0]["tokens"]["prompt"]
    assert "".join(token["text"] for token in tokens) == "<bos><user>0+0<assistant>"
    assert not any(token["weight"] for token in tokens)
    told = harmonyc("preview", "small.recipe", "report", "--rows", "1")
    assert "‹<assistant>› ▸ generation begins here\n" in told.out
    assert "report: compare of asked, as tiny, adder see it" in told.out


def test_a_dataset_is_shown_as_the_stages_read_it(harmonyc: Harmonyc, more: None) -> None:
    assert [(view["stage"], view["dataset"]) for view in seen(harmonyc, "sums")] == [("adder", "sums")]


def test_a_dataset_that_no_stage_reads_is_shown_as_turns(harmonyc: Harmonyc, more: None) -> None:
    told = harmonyc("preview", "small.recipe", "lonely", "--rows", "1")
    assert told.code == 0
    assert "lonely: no stage reads it" in told.out
    assert "  user\n    0+0 = ?\n" in told.out
    (view,) = seen(harmonyc, "lonely", "--rows", "1")
    assert (view["stage"], view["rows"][0]["tokens"]) == (None, {})


def test_a_name_that_is_none_is_refused(harmonyc: Harmonyc, more: None) -> None:
    told = harmonyc("preview", "small.recipe", "adde")
    assert told.code == 1
    assert "called `adde`; did you mean `adder`?; it has sums, adder, asked, report, lonely" in " ".join(
        told.err.split()
    ), told.err
    assert harmonyc("preview", "small.recipe", "tiny").code == 1


def test_a_row_that_is_not_there_is_said(harmonyc: Harmonyc, write: Write) -> None:
    write()
    told = harmonyc("preview", "small.recipe", "--from", "11")
    assert (told.code, told.err) == (0, "note: there is no row 11\n")


def test_a_row_that_is_too_long_is_shown_with_its_fate(harmonyc: Harmonyc, write: Write, house: Path) -> None:
    write()
    rows = [{"question": "1+1", "answer": "2"}, {"question": "1+1", "answer": "2" * 40}]
    (house / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows * 2), encoding="utf-8")
    (view,) = seen(harmonyc)
    assert view["counts"]["too_long_and_dropped"] == 2
    assert [row["fate"] for row in view["rows"]] == [
        "",
        "dropped: 47 tokens, and the model's context is 24",
        "",
    ]
    assert len(view["rows"][1]["tokens"]["thread"]) == 47


def test_what_is_cut_is_shown_and_not_trained_on(harmonyc: Harmonyc, write: Write, house: Path) -> None:
    write(('  prompt = "{{ question }}"', '  on_too_long = "truncate"\n  prompt = "{{ question }}"'))
    row = {"question": "1+1", "answer": "2" * 17 + "333"}
    (house / "sums.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    told = harmonyc("preview", "small.recipe")
    assert told.code == 0
    assert "row 1 · sums.jsonl:1 · 27 tokens · 18 trained" in told.out
    assert "  truncated: 27 tokens, and the model's context is 24\n" in told.out
    assert f"⟦{'2' * 17}3⟧‹cut: 33<eos>›\n" in told.out
    (view,) = seen(harmonyc)
    assert view["trained"] == {"trained": 18, "all": 24}


def test_faulty_rows_are_shown_beside_the_sound_ones(harmonyc: Harmonyc, write: Write, house: Path) -> None:
    write()
    lines = ['{"question": "1+1", "answer": "2"}', '{"question": "1+1", "answer', '{"question": "2+2"}']
    (house / "sums.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    # The checker sees it first; what it does not look at is left to the preview.
    assert harmonyc("preview", "small.recipe").code == 1
    rows = [json.dumps({"question": f"{n}", "answer": f"{n}", "idle": "-" * 4_000}) for n in range(1_200)]
    (house / "sums.jsonl").write_text("\n".join([*rows, *lines]) + "\n", encoding="utf-8")
    (view,) = seen(harmonyc, "--from", "1201", code=1)
    shown = view["rows"]
    assert shown[0]["tokens"]["thread"]
    assert shown[0]["faults"] == []
    assert shown[1]["faults"]
    assert shown[2]["faults"]
    assert len(view["faults"]) == 2
    told = harmonyc("preview", "small.recipe", "--from", "1201")
    assert told.code == 1
    assert told.out.count("error: ") == 4


def test_where_the_template_fails_the_turns_are_shown(harmonyc: Harmonyc, write: Write, house: Path) -> None:
    write(("context = 24", 'context = 24\n  chat_template = "chat.jinja"'))
    template = "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}?{% endif %}"
    (house / "chat.jinja").write_text(template, encoding="utf-8")
    told = harmonyc("preview", "small.recipe", "--rows", "1")
    assert told.code == 1
    assert "error: small.recipe:7: `tiny`: the chat template " in " ".join(told.out.split())
    assert "  0+0? ▸ generation begins here\n  user\n    0+0\n  assistant\n    0\n" in told.out


def test_pairs_are_shown_as_a_prompt_and_two_answers(harmonyc: Harmonyc, write: Write, house: Path) -> None:
    write(
        ('  completion = "{{ answer }}"', '  chosen = "{{ answer }}"\n  rejected = "{{ answer }}0"'),
        ("train adder = sft {", "train adder = dpo {"),
    )
    (view,) = seen(harmonyc, "--rows", "2")
    tokens = view["rows"][1]["tokens"]
    texts = {name: "".join(token["text"] for token in part) for name, part in tokens.items()}
    assert texts == {"prompt": "<bos><user>1+1<assistant>", "chosen": "2<eos>", "rejected": "20<eos>"}
    assert {name: {token["weight"] for token in part} for name, part in tokens.items()} == {
        "prompt": {0.0},
        "chosen": {1.0},
        "rejected": {1.0},
    }
    assert view["rows"][1]["rejected"] == [{"role": "assistant", "content": "20"}]
    told = harmonyc("preview", "small.recipe", "--rows", "2")
    assert "  chosen\n  ⟦2‹<eos>›⟧\n  rejected\n  ⟦20‹<eos>›⟧\n" in told.out


def test_no_weights_are_made_and_nothing_is_left_to_save(
    harmonyc: Harmonyc, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write()
    assert harmonyc("run", "small.recipe").code == 0
    write(("lr = 1e-2", "lr = 1e-3"))
    assert harmonyc("check", "small.recipe").code == 1  # the key is taken now
    from harmony_runtime.models import weights

    monkeypatch.setattr(weights, "load", None)
    told = harmonyc("preview", "small.recipe")
    assert (told.code, told.err) == (0, "")


def test_what_was_looked_at_is_ready_for_the_run(
    harmonyc: Harmonyc, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second time, no row is read but those that are shown and proven."""
    from harmony_runtime.data.rows.sources import RawRows

    write()
    first = harmonyc("preview", "small.recipe", "--rows", "1")
    rows = [{"question": f"{n}", "answer": f"{n}"} for n in range(500)]
    Path("sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    read: list[int] = []
    one = RawRows.__getitem__
    monkeypatch.setattr(RawRows, "__getitem__", lambda rows, n: read.append(n) or one(rows, n))
    harmonyc("preview", "small.recipe", "--rows", "1")
    assert len(read) >= 500
    read.clear()
    assert harmonyc("preview", "small.recipe", "--rows", "1").code == first.code == 0
    assert 0 < len(read) <= 66


def test_a_source_that_cannot_be_read_is_part_of_its_view(
    write: Write, harmonyc: Harmonyc, house: Path
) -> None:
    recipe, hub = write(), house / "hub"
    hub.mkdir()
    (hub / "train.csv").write_text("alpha,beta\n1,2\n", encoding="utf-8")
    stages = {"unmapped": "", "unfiltered": ' { prompt = "a", completion = "b", filter = gamma == 1 }'}
    added = [
        f'dataset {name} = hf("{hub}"){fields}\n'
        f"train by_{name} = sft {{ model = tiny, dataset = {name}, steps = 1 }}\n"
        f'save by_{name} as "{name}"\n'
        for name, fields in stages.items()
    ]
    recipe.write_text(recipe.read_text(encoding="utf-8") + "".join(added), encoding="utf-8")
    views = {view["stage"]: view for view in seen(harmonyc, code=1)}
    assert len(views["adder"]["rows"]) == 3 and not views["adder"]["faults"]
    (unmapped,), (unfiltered,) = (views[f"by_{name}"]["faults"] for name in stages)
    assert "nothing says what is asked and what is answered" in unmapped
    assert "`filter` reads `gamma`, which no row has" in unfiltered
