"""`harmonyc explain`: pages of findings, the reference of names, and help with words that mean nothing."""

from __future__ import annotations

import re

import pytest
from dsl_support import Harmonyc

from harmony_compiler.explain.examples import text_of
from harmony_compiler.explain.pages import given_out
from harmony_compiler.explain.reference import names, owners
from harmony_compiler.graph.catalogue import CONSTRUCTORS, class_of
from harmony_compiler.graph.node import Constructor, schema, summary
from harmony_grammar._tables import RESERVED

UNKNOWN_COLUMN = """\
E0502 unknown-column

A template or a filter reads a column that the rows do not have."""


def explained(harmonyc: Harmonyc, *words: str) -> str:
    told = harmonyc("explain", *words)
    assert (told.code, told.err) == (0, "")
    return told.out


@pytest.mark.parametrize(
    "words",
    [
        *(("E0502",), ("e0502",), ("unknown-column",), ("unknown", "column"), ("UNKNOWN-COLUMN",)),
        *(("error[E0502 unknown-column]:",), ("E0502", "unknown-column"), ("[E0502]",)),
    ],
    ids=" ".join,
)
def test_a_finding_is_found_by_code_and_slug_as_people_paste_them(
    words: tuple[str, ...], harmonyc: Harmonyc
) -> None:
    assert explained(harmonyc, *words).startswith(UNKNOWN_COLUMN)


def test_every_page_is_shown(harmonyc: Harmonyc) -> None:
    for code, entry in given_out().items():
        text = explained(harmonyc, code)
        assert text.startswith(f"{code} {entry.slug}\n\n")
        assert ("retired" in text.splitlines()[2]) == entry.retired


def test_a_page_shows_what_is_typed_and_what_lies_beside(harmonyc: Harmonyc) -> None:
    assert "\n  $ harmonyc check FILE --set lr=0.5\n    input lr: float" in explained(harmonyc, "E0422")
    assert "\n  $ harmonyc grade FILE right\n    grader right = " in explained(harmonyc, "E0610")
    assert '\n  rows.jsonl:\n    {"question": "1+1", ' in explained(harmonyc, "E0505")


def test_a_retired_code_says_so(harmonyc: Harmonyc) -> None:
    text = explained(harmonyc, "E0602")
    assert "This code is retired" in text
    assert "E0602" not in explained(harmonyc)


def test_without_a_word_all_codes_and_names_are_listed(harmonyc: Harmonyc) -> None:
    text = explained(harmonyc)
    for code, entry in given_out().items():
        assert entry.retired or f"{code} {entry.slug}" in text
    said = set(text.partition("harmonyc explain NAME")[2].split())
    assert said >= {cls.constructor for cls in CONSTRUCTORS} | {"clamp", "words", "save", "recipe"}
    assert max(map(len, text.splitlines())) <= 100


def test_every_name_has_a_reference(harmonyc: Harmonyc) -> None:
    for group, members in names().items():
        for name in members:
            text = explained(harmonyc, name)
            assert text.startswith(f"{name}: "), group
            # A word that cannot be broken, such as the type of a field, may reach further.
            assert all(len(line) <= 100 or len(line.split()) == 1 for line in text.splitlines()), name


@pytest.mark.parametrize("cls", CONSTRUCTORS, ids=lambda cls: cls.tag or cls.constructor)
def test_a_reference_tells_what_the_class_says(cls: type[Constructor], harmonyc: Harmonyc) -> None:
    text = " ".join(explained(harmonyc, cls.constructor).split())
    assert summary(cls) in text
    for name, spec in schema(cls).items():
        assert f" {name} {spec.type}{', required' if spec.required else ' = '}" in text
        assert spec.doc in text


def test_the_reference_of_an_algorithm(harmonyc: Harmonyc) -> None:
    text = explained(harmonyc, "grpo")
    assert "\n  train NAME = grpo { field = value, … }\n" in text
    beginning = re.findall(r"^  (\w+) +\S", text.partition("\nfields\n")[2], re.MULTILINE)
    assert beginning[:4] == ["model", "dataset", "grader", "completions_per_sample"]
    margin = " " * 26
    assert f"\n  lr                      float = 7.5e-7\n{margin}peak learning rate (above 0; usually" in text
    assert "\n  seed                    int = the recipe's seed\n" in text
    assert "\nA recipe gives exactly one of `epochs` and `steps`.\n" in text
    assert (
        "\nerrors\n"
        "  - `samples_per_batch` is no multiple of `completions_per_sample`\n"
        "    both count completions: a step takes `samples_per_batch / completions_per_sample` prompts\n"
    ) in text
    warnings = text.partition("\nwarnings\n")[2]
    assert "  - `samples_per_mini_batch` is all of `samples_per_batch`: one update a batch\n" in warnings


@pytest.mark.parametrize("name", ["sft", "dpo", "grpo", "ppo", "cosine", "linear", "constant"])
def test_the_reference_of_what_computes_has_its_formula(name: str, harmonyc: Harmonyc) -> None:
    text = explained(harmonyc, name).partition("\nformula\n")[2].partition("\nfields\n")[0]
    told = class_of(name).formula
    equations, _, words = told.partition("\n\n")
    assert text.startswith("".join(f"  {line}\n" for line in equations.splitlines()) + "\n")
    assert " ".join(words.split()) in " ".join(text.split())


def test_the_reference_of_settings_says_where_they_stand(harmonyc: Harmonyc) -> None:
    text = explained(harmonyc, "sampling")
    assert "\n  sampling { field = value, … }\n  in the field `sampling` of `grpo`, " in text


def test_a_field_that_only_some_options_read_says_so(harmonyc: Harmonyc) -> None:
    assert '; read only with `loss = "sigmoid"`)' in explained(harmonyc, "dpo")
    text = explained(harmonyc, "compare")
    assert "\n`sampling.top_p` is not read with `sampling.temperature = 0.0`.\n" in text


def test_a_name_with_several_meanings_tells_each(harmonyc: Harmonyc) -> None:
    def heads(name: str) -> list[str]:
        return re.findall(rf"^{name}: (.*)$", explained(harmonyc, name), re.MULTILINE)

    assert heads("hf") == ["a model", "a dataset"]
    assert heads("registry") == ["a model", "a dataset", "a grader"]
    assert heads("contains") == ["a grader", "a function"]


def test_the_reference_of_a_function(harmonyc: Harmonyc) -> None:
    text = explained(harmonyc, "clamp")
    assert text.startswith(
        "clamp: a function\n\n"
        "kept between two bounds\n\n"
        "  clamp(float, float, float) -> float\n\n"
        "It takes graders as well, and is a grader then: their scores, combined.\n\n"
        "example\n"
    )


def test_a_reference_ends_with_an_example(harmonyc: Harmonyc) -> None:
    text = explained(harmonyc, "dpo").partition("\nexample\n")[2]
    assert [line.removeprefix("  ") for line in text.splitlines()] == text_of("dpo").splitlines()


def test_meanings_that_one_example_shows_share_it(harmonyc: Harmonyc) -> None:
    assert explained(harmonyc, "registry").count("\nexample\n") == 1
    assert explained(harmonyc, "contains").count("\nexample\n") == 2


def test_a_word_that_declares_lists_what_it_can_make(harmonyc: Harmonyc) -> None:
    text = explained(harmonyc, "train")
    assert text.startswith("train: what `train NAME = …` can make\n\n  sft   Supervised fine-tuning:")
    assert "\nexample\n" in text


@pytest.mark.parametrize(
    ("name", "beginning"),
    [
        ("input", "input: a declaration\n\nA value that a caller may set"),
        ("ctx", "ctx: a name of the language\n\nWhat the launch decides."),
        ("Template", "Template: a type\n\nA text with parts that are filled in"),
        ("template", "Template: a type\n") if False else ("Model", "Model: a type\n"),
        ("MODEL", "model: what `model NAME = …` can make\n"),
        ("types", "types\n\n  bool "),
    ],
)
def test_words_without_a_class_are_told_of_too(name: str, beginning: str, harmonyc: Harmonyc) -> None:
    assert explained(harmonyc, name).startswith(beginning)


def test_a_name_that_is_a_field_too_says_so(harmonyc: Harmonyc) -> None:
    text = explained(harmonyc, "grader")
    assert text.endswith(
        "\n\n`grader` is a field of `grpo`, `ppo` and `validation`, too.\n"
        "`harmonyc explain grpo.grader` tells more.\n"
    )
    assert explained(harmonyc, "grpo.grader").startswith("grader: a field of `grpo`\n")
    told = 0
    for name in {name for group, members in names().items() for name in (group, *members)}:
        text = " ".join(explained(harmonyc, name).split())
        having = owners(name)
        assert (f"`{name}` is a field of " in text) == bool(having), name
        told += bool(having)
        assert all(f"`{owner.name}`" in text.partition("is a field of")[2] for owner in having), name
    assert told >= 8


def test_what_stands_behind_a_dot_is_told_of(harmonyc: Harmonyc) -> None:
    text = explained(harmonyc, "ctx.world_size")
    assert text == (
        "world_size: a member of `ctx`\n\n  int\n  processes in all, one a device\n\n"
        "`harmonyc explain ctx` tells more.\n"
    )
    assert explained(harmonyc, "world_size") == text
    assert explained(harmonyc, "turns.content").startswith("content: a member of `turns`\n")


def test_reserved_words_are_told_of(harmonyc: Harmonyc) -> None:
    for word in RESERVED:
        assert explained(harmonyc, word).startswith(f"{word}: ")
    assert explained(harmonyc, "then") == (
        "then: a reserved word\n\n"
        "The value where the condition holds: `if CONDITION then VALUE else VALUE`.\n"
    )
    assert explained(harmonyc, "not", "in").startswith("not in: a reserved word\n")


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        *(("e502", "E0502"), ("W201:", "W0201"), ("Grpo.lr", "grpo.lr"), ("Dataset[Prompt]", "Dataset")),
        *(("list[int]", "list"), ('env("KEY")', "env"), ("lora { rank = 8 }", "lora"), ("`if`", "if")),
        *(("IF", "if"), ("Prompt{answer: str}", "Prompt"), ("error[E0502]: `x` is no column", "E0502")),
    ],
)
def test_what_is_nearly_said_is_understood(asked: str, meant: str, harmonyc: Harmonyc) -> None:
    assert explained(harmonyc, asked) == explained(harmonyc, meant)


def test_a_field_is_told_of_for_all_that_have_it(harmonyc: Harmonyc) -> None:
    shared = "\n\n  of `equals`, `contains` and `one_of`\n    list["
    assert shared in explained(harmonyc, "ignore")
    text = explained(harmonyc, "lr")
    assert re.findall(r"^  of (.*)\n    (.*)$", text, re.MULTILINE) == [
        ("`sft`", "float = 1e-5"),
        ("`dpo`", "float = 1e-6"),
        ("`grpo`", "float = 7.5e-7"),
    ]


def test_a_field_of_one_owner_has_its_rules(harmonyc: Harmonyc) -> None:
    assert explained(harmonyc, "grpo.kl_beta") == (
        "kl_beta: a field of `grpo`\n\n"
        "  float = 0.01\n"
        "  weight of the distance from the stage's start; 0 asks for none (at least 0)\n\n"
        "`harmonyc explain grpo` tells more.\n"
    )
    text = explained(harmonyc, "grpo.completions_per_sample")
    assert "\nerrors\n  - `samples_per_batch` is no multiple of `completions_per_sample`\n" in text
    assert "temperature" not in text


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("grop", "there is nothing called `grop`; did you mean `grpo`? `harmonyc explain` alone lists"),
        ("unknown-colum", "did you mean `unknown-column`?"),
        ("zzzzz", "there is nothing called `zzzzz`. `harmonyc explain` alone lists what there is."),
        ("E0999", "no finding has the code `E0999`"),
        ("reloaded", "there is nothing called `reloaded`"),
        ("grpo.nothing", "called `grpo.nothing`. `harmonyc explain grpo` lists what it has."),
        ("grpo.lrr", "there is nothing called `grpo.lrr`; did you mean `grpo.lr`? `harmonyc explain grpo`"),
        ("ctx.nodess", "there is nothing called `ctx.nodess`; did you mean `ctx.nodes`?"),
        ("train.lr", "there is nothing called `train.lr`; did you mean `lr`?"),
        ("e9", "there is nothing called `e9`"),
    ],
)
def test_an_unknown_word_is_one_paragraph(word: str, words: str, harmonyc: Harmonyc) -> None:
    told = harmonyc("explain", word)
    assert (told.code, told.out) == (2, "")
    assert words in told.err
    assert told.err.count("\n") == 1
