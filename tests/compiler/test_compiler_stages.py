"""What the fields of a stage ask of one another, and of the models and rows that it names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from compiler_support import (
    ASKED,
    COMPARED,
    DATA,
    GOOD,
    GRADER,
    MODEL,
    PPO,
    REINFORCED,
    SAVE,
    TRAIN,
    check_text,
    codes,
    graph_of,
    pointed_at,
    replaced,
)

from harmony_compiler.graph.models import Reloaded

HELD = 'let held = sums { path = "held.jsonl" }\n'
AGAIN = """\
train more = sft {
  model = adder
  dataset = sums
  lr = 1e-2
  samples_per_batch = 4
  steps = 2
}
save more as "more"
"""
PAIRS = """\
dataset pairs = rows([{ q = "1+1", good = "2", bad = "3" }]) {
  prompt = "{{ q }}"
  chosen = "{{ good }}"
  rejected = "{{ bad }}"
}
"""
PREFER = "train adder = dpo {\n  model = tiny\n  dataset = pairs\n  samples_per_batch = 4\n  steps = 3\n}\n"
JUDGED = replaced(
    REINFORCED, (GRADER, 'grader right = judge {\n  model = tiny\n  criteria = "The sum is right."\n}\n')
)


def test_the_recipes_that_every_fault_is_planted_in_have_none() -> None:
    for text in (GOOD + AGAIN, PAIRS + MODEL + PREFER + SAVE, PPO, JUDGED):
        assert codes(check_text(text)) == []


# --- fields that nothing reads --------------------------------------------------------------------------


def preferring(*fields: str) -> str:
    return PAIRS + MODEL + replaced(PREFER, ("steps = 3", "\n  ".join(("steps = 3", *fields)))) + SAVE


@pytest.mark.parametrize("loss", ["", 'loss = "sigmoid"'])
def test_a_field_that_is_read(loss: str) -> None:
    assert codes(check_text(preferring(loss, "label_smoothing = 0.1"))) == []


@pytest.mark.parametrize("loss", ["ipo", "hinge"])
def test_a_field_that_is_not_read(loss: str) -> None:
    found = check_text(preferring(f'loss = "{loss}"', "label_smoothing = 0.1"))
    assert (codes(found), pointed_at(found)) == (["E0413"], ["label_smoothing"])


def test_what_is_wrong_with_a_field_is_said_once() -> None:
    assert codes(check_text(preferring('loss = "ipo"', "label_smoothing = 0.9"))) == ["E0404"]
    assert codes(check_text(preferring('loss = "ipoo"', "label_smoothing = 0.1"))) == ["E0304"]
    judged = replaced(JUDGED, ("criteria", "scale = [5, 1]\n  criteria"))
    assert codes(check_text(judged)) == ["E0413"]


UNREAD = [
    # a recipe, a change to it, and the field that nothing reads then
    (GOOD, ("split", "split"), None),
    (GOOD, ('completion = "{{ answer }}"', 'completion = "{{ answer }}"\n  seed = 1'), "seed"),
    (GOOD, ('completion = "{{ answer }}"', 'completion = "{{ answer }}"\n  seed = 1, shuffle = true'), None),
    (
        GOOD,
        ("context = 24", 'context = 24\n  chat_template = "plain"\n  template_args = { a = 1 }'),
        "template_args",
    ),
    (GOOD, ("context = 24", "context = 24\n  template_args = { a = 1 }"), None),
    (JUDGED, ("criteria", "raw = true\n  criteria"), "raw"),
    (JUDGED, ("criteria", 'raw = true\n  answer = "scale"\n  criteria'), None),
    (JUDGED, ("criteria", 'scale = [1, 9]\n  answer = { type = "object" }\n  criteria'), "scale"),
    (JUDGED, ("criteria", 'on_failure = "stop"\n  max_failure_rate = 20%\n  criteria'), "max_failure_rate"),
    (JUDGED, ("criteria", 'on_failure = "zero"\n  max_failure_rate = 20%\n  criteria'), None),
]


@pytest.mark.parametrize(("text", "change", "unread"), UNREAD)
def test_each_option_reads_what_is_declared(text: str, change: tuple[str, str], unread: str | None) -> None:
    found = check_text(text.replace(*change))
    assert (codes(found), pointed_at(found)) == (([], []) if unread is None else (["E0413"], [unread]))


def test_a_copy_that_changes_the_option_is_blamed_for_it() -> None:
    scaled = replaced(JUDGED, ("criteria", 'answer = "scale"\n  scale = [1, 9]\n  criteria'))
    copied = replaced(scaled, ("grader = right", 'grader = right { answer = "pass_fail" }'))
    found = check_text(copied)
    assert (codes(found), pointed_at(found)) == (["E0413"], ['"pass_fail"'])
    assert [label.span.text for label in found.diagnostics[0].labels] == ["[1, 9]"]
    unrelated = replaced(scaled, ("grader = right", 'grader = right { on_failure = "zero" }'))
    assert codes(check_text(unrelated)) == []


def test_a_fault_of_the_original_is_not_repeated_for_its_copies() -> None:
    text = replaced(JUDGED, ("criteria", "scale = [1, 9]\n  criteria"))
    copied = replaced(text, ("grader = right", 'grader = right { on_failure = "zero" }'))
    assert codes(check_text(copied)) == ["E0413"]


def test_an_evaluation_is_greedy_and_reads_no_other_sampling() -> None:
    drawn = replaced(COMPARED, ("max_tokens = 8", "max_tokens = 8, top_p = 0.5"))
    found = check_text(REINFORCED + drawn)
    assert (codes(found), pointed_at(found)) == (["E0413"], ["0.5"])
    warm = drawn.replace("top_p = 0.5", "top_p = 0.5, temperature = 0.7")
    assert codes(check_text(REINFORCED + warm)) == []
    # settings that a name stands for may be read elsewhere: here by `grpo`, which does not take all of them
    shared = "let drawing = sampling { max_tokens = 8, top_p = %s }\n" + REINFORCED + COMPARED
    shared = shared.replace("sampling { max_tokens = 8 }", "sampling = drawing")
    assert codes(check_text(shared % "1.0")) == []
    assert codes(check_text(shared % "0.5")) == ["E0406"]


def test_a_length_has_a_bound() -> None:
    text = replaced(REINFORCED, (GRADER, 'grader right = length { unit = "chars" }\n'))
    assert codes(check_text(text)) == ["E0408"]
    for bound in ("min = 1", "max = 9", "min = 1, max = 9"):
        assert codes(check_text(replaced(text, ('unit = "chars"', bound)))) == []


# --- the names of other algorithms ----------------------------------------------------------------------

ELSEWHERE = [
    (PPO, "policy_model = tiny", "model = tiny", "`ppo` calls it `policy_model`"),
    (PPO, "max_num_ppo_steps = 3", "steps = 3", "`ppo` calls it `max_num_ppo_steps`"),
    (PPO, "grader = right", "grader = right, lr = 1e-6", "`ppo` calls it `lr_policy`"),
    (REINFORCED, "  model = tiny", "  policy_model = tiny", "`grpo` calls it `model`"),
    (REINFORCED, "steps = 3", "max_num_ppo_steps = 3", "`grpo` calls it `steps`"),
    (REINFORCED, "grader = right", "grader = right, gae_lambda = 0.5", "it is a field of `ppo`"),
]


@pytest.mark.parametrize(("text", "old", "new", "mend"), ELSEWHERE)
def test_a_field_of_another_algorithm(text: str, old: str, new: str, mend: str) -> None:
    (finding,) = check_text(replaced(text, (old, new))).diagnostics
    assert (finding.code, finding.words.help) == ("E0401", mend)


# --- devices --------------------------------------------------------------------------------------------


def sized(tp: str, heads: int = 8, kv_heads: int | None = None) -> str:
    shape = f"heads = {heads}" if kv_heads is None else f"heads = {heads}\n  kv_heads = {kv_heads}"
    return replaced(GOOD, ("hidden_size = 8", "hidden_size = 48"), ("heads = 2", f"{shape}\n  tp = {tp}"))


FITS = [
    # `tp`, heads, those of keys and values, samples, processes on machines; what is blamed
    (("1", 8, 4, 4), (4, 1), ""),
    (("2", 8, 4, 4), (8, 1), ""),
    (("ctx.world_size", 8, 4, 4), (4, 1), ""),
    (("4", 8, 4, 4), (8, 2), ""),
    (("8", 8, 8, 4), (8, 2), "E0406"),  # reaches across machines
    (("2", 8, 4, 6), (6, 2), "E0406"),  # so does the second copy
    (("3", 8, 4, 4), (4, 1), "E0406"),  # does not divide the world
    (("3", 8, 4, 4), (3, 1), "E0703"),
    (("4", 8, 2, 4), (4, 1), "E0703"),  # divides the heads, not those of keys and values
    (("3", 12, 12, 4), (6, 1), ""),
    (("2", 8, 4, 6), (8, 1), "E0406"),  # six rows over four copies
    (("4", 8, 4, 6), (8, 1), ""),
]


@pytest.mark.parametrize(("recipe", "launch", "code"), FITS)
def test_devices_heads_and_batches(
    recipe: tuple[str, int, int, int], launch: tuple[int, int], code: str
) -> None:
    tp, heads, kv_heads, samples = recipe
    text = replaced(sized(tp, heads, kv_heads), ("samples_per_batch = 4", f"samples_per_batch = {samples}"))
    world, nodes = launch
    assert codes(check_text(text, world_size=world, nodes=nodes)) == [code] * bool(code)


def test_a_fault_of_heads_is_not_blamed_on_tp() -> None:
    assert codes(check_text(sized("2", heads=7), world_size=2)) == ["E0406"]
    assert pointed_at(check_text(sized("2", heads=8, kv_heads=3), world_size=2)) == ["3"]


def test_a_trained_model_is_loaded_as_the_one_that_it_came_from() -> None:
    wide = replaced(GOOD, ("context = 24", "context = 24\n  tp = 2"))
    assert codes(check_text(wide + AGAIN, world_size=8)) == []  # four copies of both
    narrow = replaced(AGAIN, ("model = adder", "model = adder { tp = 1 }"))
    found = check_text(wide + narrow, world_size=8)
    assert (codes(found), pointed_at(found)) == (["E0406"], ["4"])
    assert "8 copies" in found.diagnostics[0].words.message
    uneven = replaced(AGAIN, ("model = adder", "model = adder { tp = 4 }"))
    found = check_text(wide + uneven, world_size=8)
    assert (codes(found), pointed_at(found)) == (["E0703"], ["4"])


def test_the_policy_of_ppo_is_the_one_that_is_trained() -> None:
    wide = replaced(PPO, ("context = 24", "context = 24\n  tp = 2"))
    assert codes(check_text(wide, world_size=4)) == []
    assert codes(check_text(wide, world_size=8)) == ["E0406"]
    later = wide + replaced(AGAIN, ("dataset = sums", 'dataset = asked { completion = "{{ answer }}" }'))
    assert codes(check_text(later, world_size=4)) == []


def test_policy_and_critic_stand_on_the_same_devices() -> None:
    wide = replaced(PPO, ("context = 24", "context = 24\n  tp = 2"))
    narrow = replaced(wide, ("grader = right\n", "grader = right\n  value_model = tiny { tp = 1 }\n"))
    found = check_text(narrow, world_size=2)
    assert (codes(found), pointed_at(found)) == (["E0406"], ["1"])
    other = replaced(PPO, ("grader = right\n", "grader = right\n  value_model = tiny { tp = 2 }\n"))
    assert codes(check_text(other, world_size=2)) == ["E0406"]
    alike = replaced(narrow, ("tiny { tp = 1 }", "tiny { tp = 2 }"))
    assert codes(check_text(alike, world_size=2)) == []


WARMUPS = [
    ("max_num_ppo_steps = 3", "value_warmup = 2", []),
    ("max_num_ppo_steps = 3", "value_warmup = 3", ["E0406"]),
    ("max_num_ppo_steps = 3", "value_warmup = 66%", []),
    ("max_num_ppo_steps = 3", "value_warmup = 67%", ["E0406"]),
    ("max_num_ppo_steps = 3", "value_warmup = 100%", ["E0406"]),
    ("max_num_ppo_steps = 1", "", ["E0406"]),  # 25 %, rounded up
    ("max_num_ppo_steps = 1", "value_warmup = 0", []),
    ("epochs = 3", "value_warmup = 3", []),  # nobody has counted the steps yet
    ("epochs = 3", "value_warmup = 99%", []),
    ("epochs = 3", "value_warmup = 100%", ["E0406"]),
]


@pytest.mark.parametrize(("length", "warmup", "said"), WARMUPS)
def test_the_policy_learns_after_the_warm_up_of_the_critic(length: str, warmup: str, said: list[str]) -> None:
    found = check_text(replaced(PPO, ("max_num_ppo_steps = 3", f"{length}\n  {warmup}")))
    assert codes(found) == said


def test_a_copy_of_a_trained_model_keeps_what_it_does_not_change() -> None:
    text = replaced(GOOD, ("context = 24", 'context = 24\n  end_token = "<eos>"\n  attention = "eager"'))
    text += replaced(AGAIN, ("model = adder", 'model = adder { dtype = "float32" } { attention = "sdpa" }'))
    nodes = [node for node in graph_of(text).nodes.values() if isinstance(node, Reloaded)]
    assert [(node.dtype, node.attention, node.end_token) for node in nodes[-1:]] == [
        ("float32", "sdpa", "<eos>")
    ]


def local(folder: Path, config: object) -> str:
    (folder / "home" / "config.json").write_text(json.dumps(config))
    return replaced(GOOD, (MODEL, 'model tiny = local("home") { tp = 2 }\n'), ("1e-2", "1e-5"))


CONFIGS = [
    ({"num_attention_heads": 4, "num_key_value_heads": 2}, ""),
    ({"num_attention_heads": 4, "num_key_value_heads": 1}, "key and value heads"),
    ({"num_attention_heads": 3}, "attention heads"),
    ({"n_head": 3}, "attention heads"),
    ({"text_config": {"num_attention_heads": 3}}, "attention heads"),
    ({"num_attention_heads": "three"}, ""),
    ([], ""),
]


@pytest.mark.parametrize(("config", "uneven"), CONFIGS)
def test_the_heads_of_a_model_in_a_folder(config: object, uneven: str, folder: Path) -> None:
    found = check_text(local(folder, config), world_size=2)
    assert codes(found) == ["E0703"] * bool(uneven)
    assert all(uneven in finding.words.message for finding in found.diagnostics)


# --- validation -----------------------------------------------------------------------------------------

VALIDATED = [
    ("dataset = held", ""),
    ("dataset = held { limit = 1 }", ""),
    ("dataset = held { completion = none }", "E0316"),
    ("dataset = held { completion = none }, grader = words(completion)", ""),
    ("dataset = held, grader = words(completion)", "E0316"),
    ("dataset = heldd", "E0204"),
    ("dataset = held, grader = none", ""),
]


@pytest.mark.parametrize(("validation", "code"), VALIDATED)
def test_validation_has_rows_of_its_stage_or_prompts(validation: str, code: str) -> None:
    text = HELD + replaced(GOOD, ("steps = 3", f"steps = 3\n  validation {{ {validation} }}"))
    assert codes(check_text(text)) == [code] * bool(code)


def test_prompts_validate_a_stage_that_answers_prompts() -> None:
    text = replaced(
        REINFORCED, ("steps = 3", 'steps = 3\n  validation { dataset = asked { path = "held.jsonl" } }')
    )
    assert codes(check_text(text)) == []


STOPS = [
    ("validation_loss", ""),
    ("loss", ""),
    ("validation_reward", "E0416"),
    ("validaton_loss", "E0416"),
    ("reward", "E0416"),
    ("lr", "E0416"),
    ("validation_grade/right", "E0416"),
]


@pytest.mark.parametrize(("metric", "code"), STOPS)
def test_an_early_stop_watches_a_metric_of_its_stage(metric: str, code: str) -> None:
    stop = f'steps = 3\n  early_stop {{ metric = "{metric}", patience = 2 }}'
    assert codes(check_text(replaced(GOOD, ("steps = 3", stop)))) == ["E0414"]
    watched = HELD + replaced(GOOD, ("steps = 3", f"{stop}\n  validation {{ dataset = held }}"))
    assert codes(check_text(watched)) == [code] * bool(code)


GRADED_STOPS = [
    ("validation_reward", ""),
    ("validation_grade/right", ""),
    ("validation_completion_tokens", "E0416"),
    ("grade/right", ""),
    ("reward", ""),
    ("kl", ""),
    ("validation_loss", "E0416"),
    ("epoch", "E0416"),
]


@pytest.mark.parametrize(("metric", "code"), GRADED_STOPS)
def test_an_early_stop_watches_a_grade(metric: str, code: str) -> None:
    held = 'validation { dataset = asked { path = "held.jsonl" } }'
    stop = f'steps = 3\n  {held}\n  early_stop {{ metric = "{metric}", patience = 2 }}'
    assert codes(check_text(replaced(REINFORCED, ("steps = 3", stop)))) == [code] * bool(code)
    # A stage that draws no completions has the grades of its validation alone.
    held = "validation { dataset = held { completion = none }, grader = words(completion) }"
    stop = f'steps = 3\n  {held}\n  early_stop {{ metric = "{metric}", patience = 2 }}'
    unknown = code or ("" if metric.startswith("validation") else "E0416")
    assert codes(check_text(HELD + replaced(GOOD, ("steps = 3", stop)))) == [unknown] * bool(unknown)


def test_a_distance_that_nobody_measures_cannot_be_watched() -> None:
    held = 'validation { dataset = asked { path = "held.jsonl" } }'
    stop = f'steps = 3\n  kl_beta = 0\n  {held}\n  early_stop {{ metric = "kl", patience = 2 }}'
    assert codes(check_text(replaced(REINFORCED, ("steps = 3", stop)))) == ["E0416"]


EVERY = [("5", ""), ("20%", ""), ("5min", "E0406")]


@pytest.mark.parametrize(("every", "code"), EVERY)
def test_no_clock_decides_when_a_stage_ends(every: str, code: str) -> None:
    stop = 'early_stop { metric = "loss", patience = 2 }'
    watched = f"steps = 3\n  validation {{ dataset = held, every = {every} }}"
    assert codes(check_text(HELD + replaced(GOOD, ("steps = 3", watched)))) == []
    text = HELD + replaced(GOOD, ("steps = 3", f"{watched}\n  {stop}"))
    assert codes(check_text(text)) == [code] * bool(code)


@pytest.mark.parametrize("field", ["metrics = [words(completion)]", "log_samples = 2"])
def test_what_needs_completions_needs_a_grader_that_asks_for_them(field: str) -> None:
    alone = replaced(GOOD, ("steps = 3", f"steps = 3\n  {field}"))
    assert codes(check_text(alone)) == ["E0414"]
    held = "validation {{ dataset = held{} }}"
    unasked = replaced(alone, ("steps = 3", f"steps = 3\n  {held.format('')}"))
    assert codes(check_text(HELD + unasked)) == ["E0414"]
    asked = held.format(" { completion = none }, grader = words(completion)")
    assert codes(check_text(HELD + replaced(alone, ("steps = 3", f"steps = 3\n  {asked}")))) == []
    assert codes(check_text(replaced(REINFORCED, ("steps = 3", f"steps = 3\n  {field}")))) == []


def test_prompts_of_a_validation_have_room_for_their_answers() -> None:
    def held(split: str) -> str:
        validation = f'validation {{ dataset = asked {{ path = "long.jsonl", {split} }} }}'
        return replaced(REINFORCED, ("steps = 3", f"steps = 3\n  {validation}"))

    line = '{{"question": "{}", "answer": "1"}}\n'
    Path("long.jsonl").write_text(line.format("1") + line.format("1" * 500), encoding="utf-8")
    assert codes(check_text(held('split = "train[:1]"'))) == []
    assert codes(check_text(held('split = "train"'))) == ["E0702"]
    assert codes(check_text(held('on_too_long = "truncate"'))) == ["E0702", "E0513"]


# --- mixtures -------------------------------------------------------------------------------------------

MIXED = [
    ("sums, sums { limit = 1 }", ""),
    ("sums, asked", "asked"),
    ("asked, sums, sums { limit = 1 }", "asked"),
    ("sums, sumz", "sumz"),
]


@pytest.mark.parametrize(("parts", "odd"), MIXED)
def test_a_mixture_has_rows_of_one_kind(parts: str, odd: str) -> None:
    text = DATA + ASKED + MODEL + replaced(TRAIN, ("dataset = sums", f"dataset = mix([{parts}])")) + SAVE
    found = [finding for finding in check_text(text).diagnostics if finding.severity == "error"]
    assert [finding.span.text for finding in found] == [odd] * bool(odd)


# --- learning rates -------------------------------------------------------------------------------------

RATES = [
    # a model, a rate, and whether it is unusual
    ('hf("Qwen/Qwen3-0.6B")', "1e-3", False),
    ('hf("Qwen/Qwen3-0.6B")', "1e-7", False),
    ('hf("Qwen/Qwen3-0.6B")', "2e-3", True),
    ('hf("Qwen/Qwen3-0.6B")', "1e-8", True),
    ('hf("Qwen/Qwen3-0.6B") { adapter = lora { rank = 4 } }', "2e-3", False),
    ('hf("Qwen/Qwen3-0.6B") { adapter = lora { rank = 4 } }', "2e-2", True),
    ('registry("sorter")', "1", True),
    ("scratch { hidden_size = 8, layers = 1, heads = 2, context = 24 }", "1", False),
]


@pytest.mark.parametrize(("model", "rate", "unusual"), RATES)
def test_a_rate_is_unusual_for_pretrained_weights(model: str, rate: str, unusual: bool) -> None:
    text = replaced(GOOD, (MODEL, f"model tiny = {model}\n"), ("1e-2", rate))
    assert codes(check_text(text)) == ["W0402"] * unusual
    chained = replaced(text, ("1e-2", rate)) if "1e-2" in text else text
    chained = replaced(chained, (f"lr = {rate}", "lr = 1e-4")) + AGAIN.replace("1e-2", rate)
    assert codes(check_text(chained)) == ["W0402"] * unusual


# --- what is saved --------------------------------------------------------------------------------------

SAVED = [
    # how the first and the second model are saved under one key, and whether they collide
    ("", "", True),
    ('{ if_exists = "overwrite" }', '{ if_exists = "overwrite" }', True),
    ("", '{ if_exists = "rename" }', False),
    ('{ if_exists = "rename" }', '{ if_exists = "rename" }', False),
    ('{ if_exists = "rename" }', "", True),
]


@pytest.mark.parametrize(("first", "second", "collide"), SAVED)
def test_two_models_under_one_key(first: str, second: str, collide: bool) -> None:
    text = replaced(GOOD, (SAVE, f'save adder as "adder" {first}\n'))
    text += replaced(AGAIN, ('save more as "more"', f'save more as "adder" {second}'))
    assert codes(check_text(text)) == ["E0604"] * collide


def test_one_model_may_be_saved_twice() -> None:
    assert codes(check_text(GOOD + SAVE)) == []
    assert codes(check_text(GOOD + 'save adder as "adder" { if_exists = "overwrite" }\n')) == []


@pytest.mark.parametrize("what", ["sums", 'endpoint("http://localhost:8000/v1", model = "a")'])
def test_only_models_are_saved(what: str) -> None:
    found = check_text(GOOD + f'let thing = {what}\nsave thing as "thing"\n')
    assert (codes(found), pointed_at(found)) == (["E0301"], ["thing"])
