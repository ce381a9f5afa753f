"""`harmonyc models`: what the registry holds, how it came about, and making room in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from dsl_support import Harmonyc, Write

from harmony_compiler.store.lineage import Data, Lineage, Trained
from harmony_compiler.store.registry import Entry, Weights, keys, write_manifest

DEMOS = Data("demos", "jsonl demos.jsonl", "d" * 32)
WARM = Lineage(
    "hub", "Qwen/Qwen3-0.6B", "c0ffee" * 7, None, (Trained("warm", "sft", "a" * 32, 1000, True, (DEMOS,)),)
)
SUMS = Data("sums", "rows of the recipe", "e" * 32)
TUNED = Lineage("registry", "warm", "a" * 32, WARM, (Trained("tuned", "grpo", "b" * 32, 1, False, (SUMS,)),))


@pytest.fixture
def models(house: Path) -> Path:
    return house.parent / "home" / "models"


def put(
    models: Path, key: str, lineage: Lineage | None = None, weights: Weights = "full", base: str = ""
) -> Path:
    folder = models / key
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(bytes(1_240_000))
    if base:
        (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    entry = Entry(key, "b" * 32, "gsm8k", "tuned", "2026-01-31T12:34:56+00:00", weights, base)
    if lineage is not None:
        entry = Entry(**{**vars(entry), "file": "gsm8k.recipe", "harmony": "0.1", "lineage": lineage})
    write_manifest(folder, entry)
    return folder


def test_an_empty_registry(harmonyc: Harmonyc, models: Path) -> None:
    told = harmonyc("models")
    assert told.code == 0
    assert told.out == f"the registry {models} is empty; `save` in a recipe puts models there\n"
    assert json.loads(harmonyc("models", "--json").out) == {"format_version": 1, "models": []}


def test_the_list(harmonyc: Harmonyc, models: Path) -> None:
    put(models, "tuned", TUNED)
    put(models, "lean", weights="adapter", base="gpt2")
    (models / "notes").mkdir()
    (models / ".unfinished-abc").mkdir()
    told = harmonyc("models")
    assert told.code == 0
    head, lean, tuned = (line.split("  ") for line in told.out.splitlines())
    assert [word.strip() for word in head if word] == ["key", "weights", "size", "saved", "by", "base"]
    assert [word.strip() for word in tuned if word] == [
        *("tuned", "full", "1.2 MB", "2026-01-31 12:34", "gsm8k.recipe: tuned")
    ]
    assert [word.strip() for word in lean if word][-2:] == ["gsm8k: tuned", "gpt2"]
    assert harmonyc("models", "list").out == told.out


def test_show_tells_the_lineage(harmonyc: Harmonyc, models: Path) -> None:
    folder = put(models, "tuned", TUNED)
    told = harmonyc("models", "show", "tuned")
    assert told.code == 0
    facts, _, tree = told.out.partition("\n\n")
    assert facts.splitlines() == [
        "tuned",
        "  weights    full, 1.2 MB",
        "  saved      2026-01-31 12:34 UTC, by gsm8k.recipe: tuned, Harmony 0.1",
        f"  folder     {folder}",
        f"  identity   {'b' * 32}",
    ]
    assert tree.splitlines() == [
        "tuned: grpo, 1 step (bbbbbbbbbbbb)",
        "├─ sums: rows of the recipe (eeeeeeeeeeee)",
        "└─ registry warm (aaaaaaaaaaaa)",
        "   └─ warm: sft, 1,000 steps of an adapter (aaaaaaaaaaaa)",
        "      ├─ demos: jsonl demos.jsonl (dddddddddddd)",
        "      └─ hub Qwen/Qwen3-0.6B (c0ffeec0ffee)",
    ]
    data = json.loads(harmonyc("models", "show", "tuned", "--json").out)
    assert data["key"] == "tuned" and data["path"] == str(folder) and data["bytes"] > 1_240_000
    assert data["lineage"]["parent"]["stages"][0]["data"] == [vars(DEMOS)]
    assert data.pop("format_version") == 1
    assert json.loads(harmonyc("models", "--json").out)["models"] == [data]


def test_a_model_of_an_earlier_version(harmonyc: Harmonyc, models: Path) -> None:
    put(models, "old")
    told = harmonyc("models", "show", "old")
    assert told.code == 0
    assert told.out.endswith("\n\nan earlier version of Harmony saved it, which kept no lineage\n")


def test_a_run_is_shown(harmonyc: Harmonyc, write: Write) -> None:
    assert harmonyc("run", str(write())).code == 0
    told = harmonyc("models", "show", "small")
    assert told.code == 0
    assert "by small.recipe: adder, Harmony" in told.out
    assert "\nadder: sft, 3 steps (" in told.out
    assert "├─ sums: jsonl " in told.out
    assert "└─ scratch qwen3 (" in told.out


def test_rm(harmonyc: Harmonyc, models: Path) -> None:
    for key in ("a", "b", "c"):
        put(models, key)
    told = harmonyc("models", "rm", "a", "c", "a")
    assert (told.code, told.err) == (0, "")
    assert told.out == "removed a, 1.2 MB\nremoved c, 1.2 MB\n"
    assert [folder.name for folder in models.iterdir()] == keys(models) == ["b"]


def test_rm_of_an_unknown_key_removes_nothing(harmonyc: Harmonyc, models: Path) -> None:
    for key in ("sorter", "adder"):
        put(models, key)
    told = harmonyc("models", "rm", "adder", "sortr")
    assert told.code == 1
    assert told.err.startswith(
        f"harmonyc: the registry {models} has no model `sortr`; did you mean `sorter`?"
    )
    assert keys(models) == ["adder", "sorter"]


def test_the_base_of_an_adapter_stays(harmonyc: Harmonyc, models: Path) -> None:
    base = put(models, "base")
    put(models, "lean", weights="adapter", base=str(base))
    assert "  needed by  lean\n" in harmonyc("models", "show", "base").out
    told = harmonyc("models", "rm", "base")
    assert told.code == 1
    assert "`base` holds the base of `lean`" in told.err
    assert keys(models) == ["base", "lean"]
    told = harmonyc("models", "rm", "base", "--force")
    assert (told.code, told.err) == (0, "note: `lean` no longer loads: its base is gone\n")
    assert keys(models) == ["lean"]


def test_an_adapter_goes_with_its_base(harmonyc: Harmonyc, models: Path) -> None:
    base = put(models, "base")
    put(models, "lean", weights="adapter", base=str(base / "inner"))
    assert harmonyc("models", "rm", "base", "lean").code == 0
    assert keys(models) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lst"], "`models` cannot `lst`; did you mean `list`?"),
        (["list", "a"], "`list` takes no key"),
        (["show"], "`show` takes one key"),
        (["show", "a", "b"], "`show` takes one key"),
        (["rm"], "`rm` takes one key or more"),
        (["rm", "a", "--json"], "`--json` belongs to"),
        (["show", "a", "--force"], "`--force` belongs to `rm`"),
    ],
)
def test_usage(harmonyc: Harmonyc, words: list[str], said: str) -> None:
    told = harmonyc("models", *words)
    assert told.code == 2
    assert said in told.err


@pytest.mark.parametrize("key", ["../models/a", "..", "a/../a", ""])
def test_a_key_is_no_path(harmonyc: Harmonyc, models: Path, key: str) -> None:
    put(models, "a")
    assert harmonyc("models", "rm", key).code == 1
    assert keys(models) == ["a"]
