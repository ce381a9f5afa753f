"""What the tests of this folder share: a folder of data, a small recipe, and the compiler called on text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from harmony_compiler.compile import Compilation, compile_recipe
from harmony_compiler.declared.given import Setting
from harmony_compiler.graph.graph import Graph, Launch
from harmony_compiler.plan.overflow import bytes_of, overflowing
from harmony_compiler.plan.plan import Where, plan_of
from harmony_compiler.store.datasets import add
from harmony_compiler.store.registry import Entry, write_manifest
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.source import Source

RECIPE = "case.recipe"

DATA = """\
dataset sums = jsonl("sums.jsonl") {
  prompt = "{{ question }}"
  completion = "{{ answer }}"
}
"""
MODEL = """\
model tiny = scratch {
  hidden_size = 8
  layers = 1
  heads = 2
  context = 24
}
"""
TRAIN = """\
train adder = sft {
  model = tiny
  dataset = sums
  lr = 1e-2
  samples_per_batch = 4
  steps = 3
}
"""
SAVE = 'save adder as "adder"\n'

GOOD = DATA + MODEL + TRAIN + SAVE
"""A recipe without findings."""

ASKED = """\
dataset asked = jsonl("sums.jsonl") {
  prompt = "{{ question }}"
  metadata = { answer = "{{ answer }}" }
}
"""
GRADER = 'grader right = equals { expected = "{{ metadata.answer }}" }\n'
REINFORCE = """\
train adder = grpo {
  model = tiny
  dataset = asked
  grader = right
  completions_per_sample = 2
  samples_per_batch = 4
  samples_per_mini_batch = 2
  sampling { max_tokens = 8 }
  steps = 3
}
"""

REINFORCED = ASKED + MODEL + GRADER + REINFORCE + SAVE
"""A recipe that reinforces, without findings."""

COMPARED = """\
evaluate report = compare {
  models = [tiny, adder]
  dataset = asked { path = "held.jsonl" }
  graders = [right, words(completion)]
  sampling { max_tokens = 8 }
}
"""
"""Behind `REINFORCED`, an evaluation without findings."""

FILES: dict[str, bytes] = {
    "sums.jsonl": b'{"question": "1+1", "answer": "2"}\n{"question": "1+2", "answer": "3"}\n',
    "held.jsonl": b'{"question": "2+2", "answer": "4"}\n',
    "broken.jsonl": b'{"question": "1+1", "answer": "2"}\n{"question": "1+2", "answer": }\n',
    "lists.jsonl": b'{"question": "1+1", "answer": "2"}\n["1+2", "3"]\n',
    "hopeless.jsonl": b"1+1 = 2\n" * 12,
    "empty.jsonl": b"\n\n",
    "graders.py": b"""\
import re
from scoring import shared


def score(completion, metadata):
    return float(metadata["answer"] in completion)


async def patient(completion, *, reference, turns=(), **rest):
    return 1.0


def hinted(completion, metadata):
    return float(completion == metadata["hint"])


class Scorer:
    pass
""",
    "broken.py": b"def score(completion):\n    return (1.0\n",
    "latin.jsonl": b'{"question": "1+1", "answer": "2"}\n{"question": "caf\xe9", "answer": "3"}\n',
}
"""The files beside every recipe of these tests."""

TAKEN = "sorter"
"""The key that the registry of these tests holds, with another recipe's model."""

REGISTERED = "numbers"
"""The key under which `sums.jsonl` is registered."""

Check = Callable[..., Compilation]


def replaced(text: str, *changes: tuple[str, str]) -> str:
    """`text` with each change made; what is changed must be there, once."""
    for old, new in changes:
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in the text"
        text = text.replace(old, new)
    return text


def fill(folder: Path) -> Path:
    """Put the data and a registry into a folder; gives the registry."""
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    registry = folder / "home" / "models"
    (registry / TAKEN).mkdir(parents=True)
    entry = Entry(TAKEN, "0" * 32, recipe="sorting", stage="sorter", created="2026-01-31T12:00:00+00:00")
    write_manifest(registry / TAKEN, entry)
    datasets, files = folder / "home" / "datasets", [folder / "sums.jsonl"]
    add(datasets, REGISTERED, files, "jsonl", rows=2, created="2026-01-31T12:00:00+00:00")
    return registry


PPO = replaced(
    REINFORCED,
    ("= grpo", "= ppo"),
    ("  model = tiny\n", "  policy_model = tiny\n"),
    ("  completions_per_sample = 2\n", ""),
    ("  steps = 3", "  max_num_ppo_steps = 3"),
)
"""`REINFORCED` by `ppo`, without findings."""


def check_text(
    text: str,
    sets: Sequence[str] = (),
    *,
    world_size: int = 1,
    nodes: int = 1,
    registry: Path | None = None,
    wanted: str | None = None,
) -> Compilation:
    """Compile a recipe in the working directory; `sets` are written `NAME=TEXT`."""
    source = Source(RECIPE, text, Path.cwd() / RECIPE)
    settings = [Setting(*one.split("=", 1)) for one in sets]
    launch = Launch(world_size, nodes)
    return compile_recipe(source, settings=settings, launch=launch, registry=registry, wanted=wanted)


def codes(compilation: Compilation) -> list[str]:
    return [finding.code for finding in compilation.diagnostics]


def places(compilation: Compilation) -> list[tuple[str, int]]:
    """Code and line of every finding, by line."""
    found = [(finding.code, finding.span.first.line) for finding in compilation.diagnostics]
    return sorted(found, key=lambda place: (place[1], place[0]))


def pointed_at(compilation: Compilation) -> list[str]:
    """The text that each finding blames."""
    return [finding.span.text for finding in compilation.diagnostics]


def graph_of(text: str, sets: Sequence[str] = (), **launch: int) -> Graph:
    """The graph of a recipe without errors."""
    compilation = check_text(text, sets, **launch)
    assert compilation.graph is not None, [finding.words.message for finding in compilation.diagnostics]
    return compilation.graph


def too_large(compilation: Compilation, device: Any, memory: str | None) -> Sequence[Diagnostic]:
    """What `plan` says of stages that do not fit into the memory of a device, where one is given."""
    if memory is None or compilation.graph is None or compilation.looked is None:
        return ()
    limit, plan = bytes_of(memory), plan_of(compilation, Where(device=device))
    assert limit is not None
    memories = {ref: part.memory for ref, part in plan.parts.items()}
    return tuple(overflowing(plan.graph, memories, compilation.looked.made, limit))
