"""One fault gives one finding, at its own line; and one run gives all of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from compiler_support import (
    DATA,
    GOOD,
    MODEL,
    RECIPE,
    SAVE,
    TAKEN,
    TRAIN,
    check_text,
    codes,
    places,
    replaced,
)

from harmony_compiler.compile import Compilation


def line_of(text: str, part: str) -> int:
    assert text.count(part) == 1, part
    return text[: text.index(part)].count("\n") + 1


def test_the_recipe_that_every_fault_is_planted_in_has_none() -> None:
    assert codes(check_text(GOOD)) == []


RENAMED = [
    # what is misspelt or wrong, what it is made of, and the code
    ("steps = 3", "stepss = 3", "E0401"),
    ("hidden_size = 8", "hiden_size = 8", "E0401"),
    ("lr = 1e-2", 'lr = "fast"', "E0301"),
    ("lr = 1e-2", "lr = true", "E0301"),
    ("steps = 3", "steps = 2.5", "E0301"),
    ("steps = 3", "steps = [3]", "E0301"),
    ("model = tiny", "model = sums", "E0301"),
    ("model = tiny", "model = tinny", "E0204"),
    ("model = tiny", "model = tiny.weights", "E0308"),
    ('jsonl("sums.jsonl")', 'jsonl("nowhere/sums.jsonl")', "E0501"),
    ('jsonl("sums.jsonl")', 'jsonl("a\\u{0}b")', "E0501"),
    ('jsonl("sums.jsonl")', f'jsonl("{"x" * 5000}")', "E0501"),
    ('jsonl("sums.jsonl")', 'jsonl("~nobody-of-this-name/sums.jsonl")', "E0501"),
    ('jsonl("sums.jsonl")', "jsonl([])", "E0406"),
    ('jsonl("sums.jsonl")', "rows([])", "E0406"),
    ('jsonl("sums.jsonl")', 'rows([{ question = "1+1", answer = 10% }])', "E0301"),
    ('jsonl("sums.jsonl")', 'rows([{ question = "1+1", answer = [env("A")] }])', "E0301"),
    ("{{ answer }}", "{{ anser }}", "E0502"),
    ("{{ answer }}", "{{ anser | trim }}", "E0502"),
    ("{{ answer }}", "{{ answer | trimm }}", "E0504"),
    ("{{ answer }}", "{{ answer is strng }}", "E0504"),
    ("{{ answer }}", "{% if answer %}{{ answer }}", "E0503"),
    ("{{ answer }}", "{% include 'other' %}", "E0503"),
    ("steps = 3", "steps = 3, epochs = 1", "E0407"),
    ("steps = 3", "steps = 3, lr = 1e-3", "E0402"),
    ("lr = 1e-2", "lr = -1", "E0404"),
    ("context = 24", "context = 1", "E0404"),
    ("steps = 3", "steps = 3, schedule = cosine { warmup = 0.1 }", "E0303"),
    ("steps = 3", "steps = 3, schedule = cosine { floor = 0.1 }", "E0303"),
    ("steps = 3", "steps = 3, schedule = linear { warmup = 101% }", "E0404"),
    ("steps = 3", "steps = 3, optimizer { beta1 = 1 }", "E0404"),
    ("heads = 2", "heads = 3", "E0406"),
    ("heads = 2", "heads = 8", "E0406"),
    ("heads = 2", 'heads = 2, architecture = "gpt2", kv_heads = 2', "E0406"),
    ("heads = 2", "heads = 4, kv_heads = 3", "E0406"),
    ("heads = 2", "heads = 2, vocab_size = 50", "E0406"),
    ("context = 24", 'context = 24, tokenizer = "sums.jsonl"', "E0507"),
    ("steps = 3", "steps = 3 / 0 * 2 + 1", "E0309"),
    ("steps = 3", "steps = 9223372036854775807 + 1", "E0309"),
    ("lr = 1e-2", "lr = 1e200 * 1e200", "E0309"),
    ("lr = 1e-2", "lr = ctx.learning_rate", "E0308"),
    ("lr = 1e-2", "lr = completion", "E0312"),
    ("lr = 1e-2", "lr = words(prompt) / 2", "E0312"),
    ("lr = 1e-2", 'lr = env("RATE")', "E0301"),
    ("lr = 1e-2", "lr = -tiny", "E0306"),
    ("lr = 1e-2", "lr = if tiny then 1 else 2", "E0310"),
    ("lr = 1e-2", 'lr = if true then 0.1 else "slow"', "E0301"),
    ("lr = 1e-2", "lr = if true then 0.1 else rate", "E0204"),
    ("model = tiny", "model = if ctx.nodes == 1 then tiny else tiny { end_token = 'x' }", "E0605"),
    ("model = tiny", 'model = [tiny, local(".")][ctx.nodes - 1]', "E0605"),
    ("model = tiny", "model = tiny { lr = 1 }", "E0401"),
    ("model = tiny", "model = tiny { hidden_size = 4 }", "E0405"),
    ('as "adder"', 'as "../adder"', "E0410"),
    ('as "adder"', 'as "adder" { if_exists = "keep" }', "E0304"),
    ('as "adder"', f'as "{TAKEN}"', "E0603"),
    ("save adder", "save sums", "E0301"),
    ("train adder", "dataset adder", "E0302"),
    ("steps = 3", "steps = 3, reduce = tokens", "E0204"),
    ("steps = 3", "steps = words", "E0311"),
    ("steps = 3", "steps = 3, warmup = 10%", "E0401"),
    ("lr = 1e-2", "lr = !(3)", "E0101"),
]


@pytest.mark.parametrize(
    ("good", "bad", "code"), RENAMED, ids=[f"{code} {bad[:40]}" for _, bad, code in RENAMED]
)
def test_one_fault_gives_one_finding(good: str, bad: str, code: str, registry: Path) -> None:
    # A language without single quotes: they spare the table above its backslashes.
    bad = bad if "{%" in bad else bad.replace("'", '"')
    text = replaced(GOOD, (good, bad))
    assert places(check_text(text, registry=registry)) == [(code, line_of(text, bad))]


ADDED = [
    ("let a = sft { model = tiny, dataset = sums }\n", "E0408", 1),
    ("let a = b + 1\nlet b = a - 1\n", "E0205", 1),
    ("let a = a\n", "E0205", 1),
    ("input a: int = a\n", "E0205", 1),
    ("recipe twice { seed = 1 }\nrecipe again { seed = 2 }\n", "E0203", 2),
    ("recipe negative { seed = -1 }\n", "E0404", 1),
    ("recipe future { edition = 2 }\n", "E0304", 1),
    ("let sft = 3\n", "E0202", 1),
    ("let metadata = 3\n", "E0202", 1),
    ("let x = 1\nlet x = tiny\nlet y = x + x { a = 1 }\n", "E0201", 2),
    ("input a: int\n", "E0421", 1),
    ("input a: int = 3 where a > 3\n", "E0422", 1),
    ("input a: floot = 3\n", "E0305", 1),
    ("input a: list = [3]\n", "E0305", 1),
    ('input a: Secret = "abc"\n', "E0424", 1),
    ('input a: "x" | "y" = "z"\n', "E0304", 1),
    ("input a: Endpoint\n", "E0421", 1),
    ("let a = 3 { b = 1 }\n", "E0411", 1),
    ('let a = jsonl("sums.jsonl", "sums.jsonl")\n', "E0409", 1),
    ("let a = tiny(3)\n", "E0307", 1),
    ("let a = 3(4)\n", "E0307", 1),
    ("let a = tiny.words(4)\n", "E0307", 1),
    ("train a = adder { lr = 1 }\n", "E0405", 1),
    ('train a = adder { dtype = "float32" }\n', "E0302", 1),
    ('grader a = contains("")\n', "E0406", 1),
    ("let a = registry(3)\n", "E0315", 1),
    ("model a = registry(3)\n", "E0301", 1),
    ("let a = env(3)\n", "E0311", 1),
    ('let a = env("A") { b = 1 }\n', "E0311", 1),
    ('model a = local("nowhere")\n', "E0501", 1),
    ('model a = local("sums.jsonl")\n', "E0507", 1),
    ('dataset a = jsonl("home")\n', "E0507", 1),
    ('dataset a = jsonl("sums.jsonl") { split = "validation" }\n', "E0406", 1),
    ('save tiny as "adder"\n', "E0604", 19),
]


@pytest.mark.parametrize(("more", "code", "line"), ADDED, ids=[f"{c} {m[:30]}" for m, c, _ in ADDED])
def test_one_faulty_declaration_gives_one_finding(more: str, code: str, line: int) -> None:
    assert places(check_text(more + GOOD)) == [(code, line)]


ABSORBED = [
    'train other = sft { model = base, dataset = base, epochs = 1 }\nsave other as "other"\n',
    "let other = base { tp = 2 }\n",
    "let other = base.weights + base[3]\n",
    "let other = if base then base else base\n",
    "let other = not base and base < 3\n",
    'dataset other = base { prompt = "{{ x }}" }\n',
]


@pytest.mark.parametrize("use", ABSORBED)
def test_what_could_not_be_found_out_absorbs_what_follows(use: str) -> None:
    assert codes(check_text(f"let base = nothing\n{use}")) == ["E0204"]


LOST_MAPPINGS = ["promt", "query", "messages"]


@pytest.mark.parametrize("key", LOST_MAPPINGS)
def test_a_faulty_mapping_is_not_blamed_on_the_training(key: str) -> None:
    text = replaced(GOOD, ("prompt", key))
    copied = (
        text
        + "dataset more = sums { limit = 3 }\ntrain b = sft { model = tiny, dataset = more, steps = 1 }\n"
    )
    assert len(codes(check_text(text))) == len(codes(check_text(copied))) == 1


def test_copies_share_a_fault_that_is_said_once() -> None:
    text = DATA.replace('"{{ answer }}"', '"{{ anser }}"') + "".join(
        f"dataset copy{i} = sums {{ limit = {i + 1} }}\n" for i in range(5)
    )
    assert codes(check_text(text)) == ["E0502"]


def test_every_missing_field_is_named() -> None:
    said = [finding.words.message for finding in check_text("model tiny = scratch").diagnostics]
    assert said == [f"`scratch` needs `{name}`" for name in ("hidden_size", "layers", "heads", "context")]


def test_every_wrong_item_is_blamed() -> None:
    text = 'dataset a = rows([{ x = 1 }, 2, { x = 3% }]) { metadata = { p = "{{ x }}", q = 4, r = none } }\n'
    found = check_text(text)
    assert [finding.span.text for finding in found.diagnostics] == ["2", "3%", "4", "none"]


SEVEN = """\
recipe seven { sead = 3 }

input rate: float = 1e-2 where rate <

dataset sums = jsonl("sums.jsonl") {
  prompt = "{{ question | trimm }}"
  completion = "{{ anser }}"
}
model tiny = scratch {
  hidden_size = 8
  layers: 1
  heads = 2
  context = "long"
}
train adder = sft {
  model = tiny
  dataset = sums
  lr = rate
  samples_per_bach = 4
  steps = 3
}
save adder as "adder"
"""


def test_seven_faults_give_seven_findings() -> None:
    assert places(check_text(SEVEN)) == [
        ("E0401", 1),
        ("E0121", 3),
        ("E0504", 6),
        ("E0502", 7),
        ("E0123", 11),
        ("E0301", 13),
        ("E0401", 19),
    ]


MANY = """\
recipe many { seed = "seven" }
recipe more { seed = 7 }
input rate: floot = 1e-2
input size: int = 3 where size > 4
input rate: int = 5
let mean = 3
let width = depth
let depth = width
let share = 1 / 0
let broken = (1 + 2
let text = "a" + 1
dataset sums = jsonl("sums.jsonl") {
  promt = "{{ question }}"
  completion = "{{ answr }}"
  limit = 0
}
dataset more = jsonl("more.jsonl")
model tiny = scratch {
  hidden_size = 8
  layers = 1.5
  heads = 3
  architecture = "gpt3"
  context = 24; tp = 1
}
train adder = sft {
  model = tinny
  dataset = sums
  lr = rate
  epochs = 1
  steps = 3
  schedule = cosine { warmup = 0.1 }
  weight_decay = -1
}
save adder as "a/b"
grader short = length { max = 3 }
"""


def test_one_run_finds_them_all() -> None:
    assert places(check_text(MANY)) == [
        ("E0301", 1),
        ("E0203", 2),
        ("E0305", 3),
        ("E0422", 4),
        ("E0201", 5),
        ("E0202", 6),
        ("E0205", 7),
        ("E0309", 9),
        ("E0112", 10),
        ("E0306", 11),
        ("E0401", 13),
        ("E0502", 14),
        ("E0404", 15),
        ("E0501", 17),
        ("E0301", 20),
        ("E0406", 21),
        ("E0304", 22),
        ("E0118", 23),
        ("E0204", 26),
        ("E0407", 30),
        ("E0303", 31),
        ("E0404", 32),
        ("E0410", 34),
    ]


def test_findings_come_in_the_order_of_the_text() -> None:
    found = [finding.span.start for finding in check_text(MANY).diagnostics]
    assert found == sorted(found)


def test_a_fault_that_only_a_number_causes_is_not_said_of_a_guarded_part() -> None:
    guarded = [
        "lr = if ctx.world_size > 1 then 1 / 0 else 1e-2",
        "lr = if 1 == 2 and 1 / 0 > 1 then 1 else 1e-2",
        "lr = if 1 == 1 or 1 / 0 > 1 then 1e-2 else 1",
        "lr = 1e-2, schedule = if ctx.world_size > 1 then linear { warmup = -1 } else linear",
    ]
    for change in guarded:
        assert codes(check_text(replaced(GOOD, ("lr = 1e-2", change)))) == [], change


def compile_good_with(**launch: int) -> Compilation:
    return check_text(DATA + MODEL + TRAIN + SAVE, **launch)


def test_the_launch_is_checked_too() -> None:
    assert codes(compile_good_with(world_size=4)) == []
    assert places(compile_good_with(world_size=3)) == [("E0406", 15)]
    with_tp = replaced(GOOD, ("context = 24", "context = 24\n  tp = 2"))
    assert places(check_text(with_tp)) == [("E0406", 10)]
    assert codes(check_text(with_tp, world_size=2)) == []


def test_a_recipe_is_named_as_it_was_given() -> None:
    finding = check_text(replaced(GOOD, ("lr = 1e-2", "lr = 0"))).diagnostics[0]
    assert (finding.span.source.name, finding.span.first.line) == (RECIPE, 14)


def test_none_gives_neither_of_two() -> None:
    assert codes(check_text(replaced(GOOD, ("steps = 3", "epochs = none")))) == ["E0408"]
    assert codes(check_text(replaced(GOOD, ("steps = 3", "epochs = none, steps = 3")))) == []


def test_columns_in_the_filter_of_an_unknown_constructor_are_no_names() -> None:
    text = 'dataset d = parqut("sums.jsonl") { filter = question != "" }\n'
    assert codes(check_text(text)) == ["E0204"]
