"""What findings offer as a mend: the change is right, and safe only where nothing else can be meant."""

from __future__ import annotations

import pytest
from compiler_support import COMPARED, GOOD, REINFORCED, check_text, codes, replaced

from harmony_compiler.checking import habits
from harmony_compiler.checking.belonging import Block, unknown_field
from harmony_compiler.graph.catalogue import ALGORITHMS, CONSTRUCTORS
from harmony_compiler.graph.node import Constructor, schema
from harmony_compiler.naming.near import nearest
from harmony_grammar.diagnostics import Diagnostic, Fix
from harmony_grammar.parser import parse_expression
from harmony_grammar.source import Source
from harmony_grammar.syntax import Field, Record


def the_finding(text: str) -> Diagnostic:
    [finding] = check_text(text).diagnostics
    return finding


def with_fix(text: str, fix: Fix) -> str:
    for edit in sorted(fix.edits, key=lambda edit: -edit.span.start):
        text = text[: edit.span.start] + edit.text + text[edit.span.end :]
    return text


SAFE = [
    # in a recipe without findings: what is written instead, and the text once it is mended
    (GOOD, "samples_per_batch = 4", "samples_per_bacth = 4", "samples_per_batch = 4"),
    (GOOD, "samples_per_batch = 4", "samplesPerBatch = 4", "samples_per_batch = 4"),
    (GOOD, "samples_per_batch = 4", 'samples_per_batch = "4"', "samples_per_batch = 4"),
    (GOOD, "steps = 3", "steps = 3.0", "steps = 3"),
    (GOOD, "steps = 3", "max_steps = 3", "steps = 3"),
    (GOOD, "lr = 1e-2", "learning_rate = 1e-2", "lr = 1e-2"),
    (GOOD, "lr = 1e-2", "lr = 1e-2\n  lr = 1e-2", "lr = 1e-2"),
    (GOOD, "lr = 1e-2", "lr = 1e-2, lr = 0.01", "lr = 1e-2"),
    (GOOD, "lr = 1e-2", "lr = 1e-2, reduce = sequences", 'lr = 1e-2, reduce = "sequences"'),
    (GOOD, "lr = 1e-2", "lr = 1e-2, reduce = sequnces", 'lr = 1e-2, reduce = "sequences"'),
    (GOOD, "lr = 1e-2", 'lr = 1e-2, reduce = "sequence"', 'lr = 1e-2, reduce = "sequences"'),
    (GOOD, "lr = 1e-2", "lr = 1e-2, schedule = linaer", "lr = 1e-2, schedule = linear"),
    (GOOD, "lr = 1e-2", "lr = 1e-2\n  warmup = 5%", "lr = 1e-2\n  schedule = cosine { warmup = 5% }"),
    (
        GOOD,
        "lr = 1e-2",
        "lr = 1e-2\n  schedule = linear\n  warmup = 5%",
        "lr = 1e-2\n  schedule = linear { warmup = 5% }",
    ),
    (
        GOOD,
        "lr = 1e-2",
        "warmup = 5%\n  lr = 1e-2\n  schedule = linear {\n    floor = 1%  # low\n  }",
        "lr = 1e-2\n  schedule = linear {\n    floor = 1%  # low\n    warmup = 5%\n  }",
    ),
    (
        GOOD,
        "lr = 1e-2",
        "lr = 1e-2, warmup_steps = 5, schedule = constant { }",
        "lr = 1e-2, schedule = constant { warmup = 5 }",
    ),
    (GOOD, "lr = 1e-2", "lr = 1e-2, adam_beta1 = 0.8", "lr = 1e-2, optimizer = adamw { beta1 = 0.8 }"),
    (GOOD, "lr = 1e-2", "lr = 1e-2 * ctx.world_sise", "lr = 1e-2 * ctx.world_size"),
    (GOOD, "lr = 1e-2", "lr = mni(1e-2, 1)", "lr = min(1e-2, 1)"),
    (GOOD, "context = 24", "context = 24, tied = True", "context = 24, tied = true"),
    (GOOD, "context = 24", 'context = 24, tied = "false"', "context = 24, tied = false"),
    (GOOD, "context = 24", "max_position_embeddings = 24", "context = 24"),
    (GOOD, "context = 24", "context = 24, kv_heads = null", "context = 24, kv_heads = none"),
    (GOOD, "scratch", "scrach", "scratch"),
    (GOOD, "jsonl(", "josnl(", "jsonl("),
    (GOOD, "= sft", "= sfft", "= sft"),
    (GOOD, "{{ answer }}", "{{ answer | trmi }}", "{{ answer | trim }}"),
    (GOOD, "{{ answer }}", r"{{ answer }}\d", r"{{ answer }}\\d"),
    (GOOD, "{{ answer }}", r"\u0041 {{ answer }}", r"\u{41} {{ answer }}"),
    (GOOD, "{{ answer }}", r"it\'s {{ answer }}", "it's {{ answer }}"),
    (GOOD, 'as "adder"', 'as "adder" { if_exists = rename }', 'as "adder" { if_exists = "rename" }'),
    (REINFORCED, "{ max_tokens = 8 }", "{ max_new_tokens = 8 }", "{ max_tokens = 8 }"),
    (
        REINFORCED,
        "  sampling { max_tokens = 8 }",
        "  max_new_tokens = 8\n  temperature = 0.5",
        "  sampling { max_tokens = 8, temperature = 0.5 }",
    ),
    (
        REINFORCED,
        "  sampling { max_tokens = 8 }",
        "  temperature = 0.5\n  sampling { max_tokens = 8 }",
        "  sampling { max_tokens = 8, temperature = 0.5 }",
    ),
    (REINFORCED, "completions_per_sample", "num_generations", "completions_per_sample"),
    (REINFORCED, "{{ metadata.answer }}", "{{ metdata.answer }}", "{{ metadata.answer }}"),
    (REINFORCED + COMPARED, "[right, words(completion)]", "right", "[right]"),
    (REINFORCED + COMPARED, "words(completion)", "wrods(completion)", "words(completion)"),
    (REINFORCED + COMPARED, "words(completion)", "words(complition)", "words(completion)"),
]


@pytest.mark.parametrize(("good", "old", "bad", "mended"), SAFE, ids=[case[2][:40] for case in SAFE])
def test_a_safe_fix_mends(good: str, old: str, bad: str, mended: str) -> None:
    text = replaced(good, (old, bad))
    findings = check_text(text).diagnostics
    fix = findings[0].fixes[0]
    assert fix.applicability == "safe"
    assert all(finding.fixes == (fix,) for finding in findings)  # of fields that move together
    after = with_fix(text, fix)
    assert after == replaced(good, (old, mended))
    assert codes(check_text(after)) == []


UNSAFE = [
    # and all texts that are offered, none of them without asking
    (GOOD, "model = tiny", "model = tinny", ["model = tiny"]),
    (GOOD, "{{ answer }}", "{{ anser }}", ["{{ answer }}"]),
    (GOOD, '"sums.jsonl"', '"sum.jsonl"', ['"sums.jsonl"']),
    (GOOD, "model = tiny", 'model = "gpt2"', ['model = hf("gpt2")', 'model = local("gpt2")']),
    (GOOD, "model = tiny", 'model = "./m"', ['model = local("./m")', 'model = hf("./m")']),
    (GOOD, "model tiny", "dataset tiny", ["model tiny"]),
    (GOOD, "samples_per_batch = 4", "batch_size = 4", ["samples_per_batch = 4"]),
    (
        GOOD,
        "steps = 3",
        "steps = 3, schedule = linear { warmup = 0.1 }",
        ["steps = 3, schedule = linear { warmup = 10% }"],
    ),
    (GOOD, "steps = 3", "steps = 3, patience = 2", ["steps = 3, early_stop { patience = 2 }"]),
    (GOOD, "steps = 3", "steps = 3, optimizer { beta3 = 0.9 }", ["steps = 3, optimizer { beta2 = 0.9 }"]),
    (GOOD, "lr = 1e-2", "lr = 1e-2, lr = 3e-2", []),
    (GOOD, "lr = 1e-2", 'lr = "fast"', []),
    (REINFORCED, "  steps = 3", "  steps = 3\n  beta = 0.1", ["  steps = 3\n  kl_beta = 0.1"]),
    (REINFORCED, "  steps = 3", "  steps = 3\n  max_new_tokens = 4", []),
    (REINFORCED, "grader = right", 'grader = "right"', ["grader = right"]),
    (REINFORCED, "grader = right", "grader = rihgt", ["grader = right"]),
    (REINFORCED, "{{ metadata.answer }}", "{{ metadata.anser }}", ["{{ metadata.answer }}"]),
]


@pytest.mark.parametrize(("good", "old", "bad", "offered"), UNSAFE, ids=[case[2][:40] for case in UNSAFE])
def test_what_may_mean_something_else_is_only_offered(
    good: str, old: str, bad: str, offered: list[str]
) -> None:
    text = replaced(good, (old, bad))
    fixes = the_finding(text).fixes
    assert {fix.applicability for fix in fixes} <= {"unsafe"}
    assert [with_fix(text, fix) for fix in fixes] == [replaced(good, (old, mended)) for mended in offered]


def test_no_fix_is_offered_where_a_value_is_written_elsewhere() -> None:
    text = replaced(GOOD, ("lr = 1e-2", "lr = rate"), ("steps = 3", "steps = count"))
    text = f'input rate: str = "0.1"\nlet count = 3.0\n{text}'
    assert [finding.fixes for finding in check_text(text).diagnostics] == [(), ()]


# --- names ----------------------------------------------------------------------------------------------

SUGGESTED = [
    # a name, and what is suggested: what can stand there
    (REINFORCED, "model = tiny", "model = askd", ""),
    (REINFORCED, "dataset = asked", "dataset = askd", "asked"),
    (REINFORCED, "grader = right", "grader = asked + rigt", "right"),
    (REINFORCED, "grader = right", "grader = words(promt)", "prompt"),
    (REINFORCED, "grader = right", "grader = equls", "equals"),
    (REINFORCED, "model = tiny", "model = equls", ""),
    (GOOD, "model = tiny", "model = locl", "local"),
    (GOOD, "lr = 1e-2", "lr = tny", ""),
    (GOOD, "lr = 1e-2", "lr = cosin", ""),
]


@pytest.mark.parametrize(("good", "old", "bad", "suggested"), SUGGESTED, ids=[case[2] for case in SUGGESTED])
def test_a_suggestion_can_stand_in_its_place(good: str, old: str, bad: str, suggested: str) -> None:
    said = the_finding(replaced(good, (old, bad.replace("asked + ", "")))).words.help
    assert said == (f"did you mean `{suggested}`?" if suggested else "")


NEAR = [
    ("stepss", ["steps", "stop"], "steps", True),
    ("learningRate", ["learning_rate", "lr"], "learning_rate", True),
    ("tpo_k", ["top_k", "top_p"], "top_k", True),
    ("top_x", ["top_k", "top_p"], "top_p", False),
    ("l", ["lr", "tp"], "lr", True),
    ("xr", ["lr", "tr"], "lr", False),
    ("completions", ["completions_per_sample"], "", False),
    ("samples_pro_batch", ["samples_per_batch"], "samples_per_batch", True),
    ("quite other", ["steps", "lr"], "", False),
    ("", ["lr"], "", False),
    ("x", [], "", False),
]


@pytest.mark.parametrize(("word", "known", "name", "certain"), NEAR, ids=[case[0] for case in NEAR])
def test_the_nearest_name(word: str, known: list[str], name: str, certain: bool) -> None:
    found = nearest(word, known)
    assert (found.name, found.certain) == (name, certain)


# --- fields from elsewhere ------------------------------------------------------------------------------

STAGE = {"sft": GOOD, "grpo": REINFORCED}

SAID = [
    # where, what is written, and what helps
    ("grpo", "temperature = 0.5", "it belongs to `sampling`: write `sampling { temperature = … }`"),
    ("grpo", "tp = 2", "it belongs to the model: write `model = tiny { tp = … }`"),
    ("grpo", "rank = 8", "it belongs to the model: write `model = tiny { adapter = lora { rank = … } }`"),
    ("grpo", "lora_r = 8", "it belongs to the model: write `model = tiny { adapter = lora { rank = … } }`"),
    ("grpo", "limit = 8", "it belongs to the dataset: write `dataset = asked { limit = … }`"),
    ("grpo", "timeout = 8s", "it belongs to the grader: write `grader = right { timeout = … }`"),
    (
        "grpo",
        "schedule = cosine { lr = 3 }",
        "it belongs to the stage around it: write it beside `schedule`, not inside",
    ),
    ("sft", 'prompt = "x"', "it belongs to the dataset: write `dataset = sums { prompt = … }`"),
    ("sft", "tensor_parallel_size = 2", "it belongs to the model: write `model = tiny { tp = … }`"),
    ("sft", "warmup = 5%", "it belongs to `schedule`: write `schedule = cosine { warmup = … }`"),
    (
        "sft",
        "schedule = linear, warmup = 5%",
        "it belongs to `schedule`: write `schedule = linear { warmup = … }`",
    ),
    ("sft", "every = 5", "it belongs to `validation` or `checkpoint`"),
    ("sft", "warmup_ratio = 0.1", "a share of the steps is a percent: `schedule = cosine { warmup = 10% }`"),
    ("sft", "num_train_epochs = 3", "here it is called `epochs`"),
]


@pytest.mark.parametrize(("stage", "line", "said"), SAID, ids=[f"{case[0]} {case[1]}" for case in SAID])
def test_a_field_that_belongs_elsewhere_is_sent_there(stage: str, line: str, said: str) -> None:
    steps = "" if "epochs" in line else "\n  steps = 3"
    text = replaced(STAGE[stage], ("\n  steps = 3", f"\n  {line}{steps}"))
    assert the_finding(text).words.help == said


NAMES = [
    *((name, fields) for fields, names in habits._RENAMED.items() for name in names.split()),
    *((name, habit.fields) for habit, names in habits._ADVISED.items() for name in names.split()),
]


def advice_on(cls: type[Constructor], name: str) -> str:
    """What helps with a field of that name in a constructor."""
    expression, _ = parse_expression(Source("a.recipe", f"{{ {name} = 1 }}"))
    assert isinstance(expression, Record)
    [field] = expression.fields
    assert isinstance(field, Field)
    finding, _ = unknown_field(Block(cls, schema(cls), [field]), field, None)
    return finding.words.help


def test_what_other_trainers_call_it_is_answered() -> None:
    """In each constructor that has the field meant, or without one in every training stage."""
    for name, fields in NAMES:
        owners = [cls for cls in CONSTRUCTORS if schema(cls).keys() & set(fields)] if fields else ALGORITHMS
        assert owners, f"{name}: nothing has a field of {fields}"
        for cls in owners:
            if name not in schema(cls):
                said = advice_on(cls, name)
                assert said and not said.startswith("did you mean"), (cls.constructor, name)
                assert "{{" not in said.replace('"{{ … }}"', ""), said


def test_renaming_is_safe_only_where_the_value_means_the_same() -> None:
    for line, applicability in (
        ("learning_rate = 1e-3", "safe"),
        ("gradient_clipping = 1", "safe"),
        ("batch_size = 8", "unsafe"),
        ("per_device_train_batch_size = 8", "unsafe"),
    ):
        text = replaced(GOOD, ("  lr = 1e-2\n  samples_per_batch = 4\n", f"  {line}\n"))
        assert [fix.applicability for fix in the_finding(text).fixes] == [applicability], line
