"""The folder in which everything is tried: recipes, what they name, registries and a cache."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

from harmony_compiler.compile import compile_recipe
from harmony_compiler.store.cache import write_about
from harmony_compiler.store.grades import connect
from harmony_compiler.store.lineage import Data, Lineage, Trained
from harmony_compiler.store.lock import Lock, Locked, lock_text
from harmony_compiler.store.registry import Entry, write_manifest
from harmony_dsl.testing import write_data
from harmony_grammar.source import Source

ROOT = Path(__file__).parents[2]

HOME = "home"
MODELS = f"{HOME}/models"
DATASETS = f"{HOME}/datasets"
GRADERS = f"{HOME}/graders"
CACHE = f"{HOME}/cache"

MODEL = "model tiny = scratch { hidden_size = 8, layers = 1, heads = 2, context = 24 }\n"

MAPPED = """\
dataset asked = {constructor}("{file}") {{
  split = "train[-40%:]"
  filter = answer != "two" and len(question) > 3
  prompt = "{{{{ question | trim }}}}"
  metadata = {{ answer = "{{{{ answer | lower }}}}", better = "{{{{ chosen }}}}" }}
}}
dataset told = {constructor}("{file}") {{ prompt = "{{{{ question }}}}", completion = "{{{{ answer }}}}" }}
dataset pairs = told {{ completion = none, chosen = "{{{{ chosen }}}}", rejected = "{{{{ rejected }}}}" }}
grader right = equals {{ expected = "{{{{ metadata.answer }}}}" }}
{model}train first = sft {{ model = tiny, dataset = told, samples_per_batch = 2, epochs = 1 }}
train second = dpo {{ model = first, dataset = pairs, samples_per_batch = 2, epochs = 1 }}
evaluate report = compare {{
  models = [second]
  dataset = asked
  graders = [right, agreement(completion, metadata.better)]
  sampling {{ max_tokens = 4 }}
}}
save second as "second"
"""
"""Rows that are mapped, filtered, cut, counted and compared with one another."""

GUESSED = """\
dataset told = {constructor}("{file}") {{ messages = column("messages") }}
dataset bare = {constructor}("{file}")
{model}train first = sft {{ model = tiny, dataset = told, samples_per_batch = 2, epochs = 1 }}
train second = dpo {{ model = first, dataset = bare, samples_per_batch = 2, epochs = 1 }}
save second as "second"
"""
"""The same rows as threads, and as pairs without a mapping."""

STATED = """\
dataset all = hf("openai/gsm8k", config = "main") {
  prompt = "{{ question | trim }}"
  completion = "{{ answer }}"
}
dataset bare = hf("openai/gsm8k", config = "main", split = "test")
train first = sft { model = hf("Qwen/Qwen3-0.6B"), dataset = all, epochs = 1 }
save first as "first"
"""

INPUTS = """\
import "part.recipe" as part
input whole: int = 3 where 0 < whole <= 100
input part_of: float = 0.5
input share: percent = 5%
input long: duration = 5min
input flag: bool = true
input text: str = "x"
input path: Path = "rows.jsonl"
input key: Secret = env("KEY")
input model: Model = scratch { hidden_size = 8, layers = 1, heads = 2, context = 24 }
input asked: Dataset[Prompt{answer: str}] = jsonl("rows.jsonl") {
  prompt = "{{ question }}"
  metadata = { answer = "{{ answer }}" }
}
input grader: Grader = contains("a")
input several: list[int] = [1, 2]
input choice: "a" | "b" | none = none
input pattern: Regex = r"a+"
save model as text
"""

PART = """\
input size: int = 8 where size > 0
let model = scratch { hidden_size = size, layers = 1, heads = 2, context = 24 }
"""

ROWS = {
    "rows.jsonl": "jsonl",
    "rows.json": "json",
    "rows.csv": "csv",
    "rows.parquet": "parquet",
    "rows.jsonl.gz": "jsonl",
}
"""Files of rows, and the constructor that reads each."""

RECIPES = {
    **{
        f"{kind}-{file}.recipe": text.format(constructor=constructor, file=file, model=MODEL)
        for file, constructor in ROWS.items()
        for kind, text in (("mapped", MAPPED), ("guessed", GUESSED))
    },
    "lock.recipe": STATED,
    "inputs.recipe": INPUTS,
    "part.recipe": PART,
    "importing.recipe": 'import "part.recipe" as part { size = 16 }\nsave part.model as "part"\n',
    "chat.recipe": 'model m = local("tiny-model") { chat_template = "chat.jinja" }\nsave m as "copy"\n',
    "python.recipe": """\
dataset asked = jsonl("rows.jsonl") { prompt = "{{ question }}", metadata = { answer = "{{ answer }}" } }
train t = grpo {
  model = local("tiny-model")
  dataset = asked
  grader = 0.5 * python("scoring.py:score") + 0.5 * python("scoring.py:both")
  completions_per_sample = 2
  samples_per_batch = 4
  samples_per_mini_batch = 4
  sampling { max_tokens = 4 }
  steps = 1
}
save t as "t"
""",
    "config.recipe": """\
dataset lessons = jsonl("rows.jsonl") { prompt = "{{ question }}", completion = "{{ answer }}" }
model m = local("tiny-model")
train t = sft { model = m { adapter = lora { rank = 4 } }, dataset = lessons, steps = 1 }
save t as "t"
""",
    "registered.recipe": """\
dataset lessons = registry("problems") { prompt = "{{ question }}", completion = "{{ answer }}" }
train t = sft { model = registry("sorter"), dataset = lessons, steps = 1 }
train u = grpo {
  model = t
  dataset = registry("problems") { prompt = "{{ question }}" }
  grader = 0.5 * registry("politeness") + 0.1
  completions_per_sample = 2
  samples_per_batch = 4
  samples_per_mini_batch = 4
  sampling { max_tokens = 4 }
  steps = 1
}
save u as "sorter" { if_exists = "rename" }
""",
}

SCORING = '''\
"""Graders of `python.recipe`."""

import re
from statistics import mean


def score(completion, metadata):
    return float(metadata["answer"] in completion)


async def both(completion, *, prompt="", turns=(), metadata):
    return mean([score(completion, metadata), float(bool(re.search("a", metadata.get("answer", ""))))])
'''

OTHERS = {
    "scoring.py": SCORING,
    "inputs.toml": (
        'whole = 4\nshare = "6%"\ntext = "y"\nseveral = [1, 2]\nchoice = "a"\n'
        'key = "env(\\"K\\")"\n[part]\nsize = 16\n'
    ),
    "inputs.json": json.dumps(
        {"whole": 4, "part_of": 0.25, "flag": False, "text": "y", "several": [3], "part": {"size": 16}}
    ),
    "inputs.yaml": "whole: 4\nflag: no\ntext: >-\n  two-lines\nseveral: [1, 2]\npart: &p\n  size: 16\n",
    "template.txt": "{{ 'a' | trim }} of this",
    "settings.txt": 'whole=4\nshare=6%\ntext=y-z\nseveral=[1, 2]\npart.size=16\nkey=env("K")\n',
}

LOCK = Lock(
    datasets={
        "hf:openai/gsm8k:main": Locked(
            columns={"question": "str", "answer": "str"}, rows={"train": 7473, "test": 1319}, commit="e" * 40
        )
    },
    models={"hf:Qwen/Qwen3-0.6B": Locked(commit="c" * 40)},
    graders={"registry:politeness": Locked(content="0" * 64)},
    files={"scoring.py": Locked(content="5" * 64, size=412)},
)

CREATED = "2026-01-31T12:00:00+00:00"


def furnish(folder: Path) -> None:
    """Write everything that a target reads; `folder` is empty."""
    (folder / MODELS / "sorter").mkdir(parents=True)
    rows = Data("lessons", "sums.jsonl", "1" * 32)
    lineage = Lineage(
        "hub", "Qwen/Qwen3-0.6B", "2" * 40, None, (Trained("t", "sft", "3" * 32, 5, True, (rows,)),)
    )
    lineage = Lineage("registry", "taught", "4" * 32, lineage, lineage.stages)
    entry = Entry(
        *("sorter", "0" * 32, "sorting", "sorter", CREATED),
        weights="adapter",
        base="../base",
        file="sorting.recipe",
        lineage=lineage,
    )
    write_manifest(folder / MODELS / "sorter", entry)
    adapter = {"base_model_name_or_path": "../base", "peft_type": "LORA", "r": 8}
    (folder / MODELS / "sorter" / "adapter_config.json").write_text(json.dumps(adapter), encoding="utf-8")
    write_data(folder)
    for name, text in {**RECIPES, **OTHERS, "lock.recipe.lock": lock_text(LOCK)}.items():
        (folder / name).write_text(text, encoding="utf-8")
    _examples(folder)
    _run(folder / "kept", folder / "config.recipe")
    kept = folder / CACHE / "tokens" / ("5" * 32)
    kept.mkdir(parents=True)
    (kept / "data.arrow").write_bytes(b"rows")
    about = {"kind": "threads", "dataset": "lessons", "recipe": "sorting", "created": 1.7e9}
    write_about(kept, {**about, "rows": {"kept": 7, "all": 8}, "tokens": {"all": 99}})
    connect(folder / CACHE / "grades.sqlite").close()


def _run(kept: Path, recipe: Path) -> None:
    """A run's folder, as far as it tells what was run."""
    kept.mkdir()
    graph = compile_recipe(Source(recipe.name, recipe.read_text(encoding="utf-8"), recipe)).graph
    assert graph is not None
    (kept / "graph.json").write_text(json.dumps(graph.to_json()), encoding="utf-8")


def _examples(folder: Path) -> None:
    """The project's own recipes, with the first of their rows."""
    data = folder / "examples" / "data"
    data.mkdir(parents=True)
    for path in (ROOT / "examples").glob("*.recipe"):
        (folder / "examples" / path.name).write_bytes(path.read_bytes())
    for path in (ROOT / "examples" / "data").glob("*.jsonl"):
        with path.open("rb") as lines:
            (data / path.name).write_bytes(b"".join(islice(lines, 20)))
