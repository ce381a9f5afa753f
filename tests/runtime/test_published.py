"""Published graders in a run: what the key holds when the run starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from runtime_support import Train, read_lines

from harmony_compiler.compile import compile_recipe
from harmony_compiler.graph.graders import RegistryGrader
from harmony_compiler.graph.graph import Graph
from harmony_compiler.store.graders import SavedGrader, add
from harmony_compiler.store.registry import remove
from harmony_grammar.source import Source
from harmony_runtime.failures import RunFailed
from harmony_runtime.published import with_published
from harmony_runtime.watch import Silent

TONE = """\
grader short = clamp(1 - chars(completion) / 8, 0, 1)
grader polite = 0.5 * short + 0.5 * contains("a") + equals("{{ metadata.answer }}")
"""

USE = """\
dataset asked = rows([{ q = "1+1", a = "2" }, { q = "1+2", a = "3" }]) {
  prompt = "{{ q }}"
  metadata = { answer = "{{ a }}" }
}
model tiny = scratch { hidden_size = 16, layers = 1, heads = 2, context = 40 }
train tuned = grpo {
  model = tiny
  dataset = asked
  grader = 0.25 * POLITE + 0.75 * contains("b")
  completions_per_sample = 4
  samples_per_batch = 8
  samples_per_mini_batch = 4
  lr = 1e-2
  steps = 3
  sampling { max_tokens = 6 }
}
"""

KEY = 'registry("politeness")'


def graph_of(text: str, registry: Path | None = None, wanted: str | None = None) -> Graph:
    found = compile_recipe(Source("use.recipe", text), registry=registry, wanted=wanted)
    assert found.graph is not None, [finding.words.message for finding in found.diagnostics]
    return found.graph


def publish(registry: Path, text: str = TONE) -> None:
    graph = graph_of(text, wanted="polite")
    needs = (("answer", "str"),) if "metadata" in text else ()
    made = SavedGrader("polite", "", "r", "r.recipe", "", "0", (0.0, 2.0), needs, {}, graph.to_json())
    add(registry.parent / "graders", "politeness", made, replace=True)


def rewards(run: Path) -> list[Any]:
    return [row["reward"] for row in read_lines(run / "samples.jsonl")]


def test_it_trains_bit_by_bit_as_the_recipe_with_the_grader_in_it(
    train: Train, registry: Path, tmp_path: Path
) -> None:
    publish(registry)
    used = with_published(graph_of(USE.replace("POLITE", KEY), registry), registry.parent)
    whole = graph_of(TONE + USE.replace("POLITE", "polite"))
    summaries = [train(used, "used"), train(whole, "whole")]
    assert summaries[0].stages[0].identity == summaries[1].stages[0].identity
    metrics = [read_lines(tmp_path / name / "metrics.jsonl") for name in ("used", "whole")]
    assert len(metrics[0]) == 3
    assert [row["reward"] for row in metrics[0]] == [row["reward"] for row in metrics[1]]
    assert [row["loss"] for row in metrics[0]] == [row["loss"] for row in metrics[1]]
    assert rewards(tmp_path / "used") == rewards(tmp_path / "whole")
    assert len(set(rewards(tmp_path / "used"))) > 1


def test_a_key_that_is_replaced_meanwhile_changes_nothing(
    train: Train, registry: Path, tmp_path: Path
) -> None:
    publish(registry)
    graph = graph_of(USE.replace("POLITE", KEY), registry)
    train(with_published(graph, registry.parent), "alone")

    class Replaces(Silent):
        def step(
            self, name: str, step: int, metrics: Mapping[str, float], timing: Mapping[str, float]
        ) -> None:
            if step == 1:
                publish(registry, 'grader polite = contains("nothing like it")\n')
            if step == 2:
                remove(registry.parent / "graders", "politeness")

    train(with_published(graph, registry.parent), "replaced", watcher=Replaces())
    assert rewards(tmp_path / "replaced") == rewards(tmp_path / "alone")


def test_what_the_key_holds_when_the_run_starts(registry: Path) -> None:
    publish(registry)
    graph = graph_of(USE.replace("POLITE", KEY), registry)
    first = with_published(graph, registry.parent)
    publish(registry, 'grader polite = contains("other")\n')
    second = with_published(graph, registry.parent)
    assert first != second
    assert not any(isinstance(node, RegistryGrader) for node in second.nodes.values())


def test_a_key_without_a_grader_is_said_at_its_place(registry: Path) -> None:
    graph = graph_of(USE.replace("POLITE", KEY))
    with pytest.raises(
        RunFailed, match=r'use.recipe:9: `registry\("politeness"\)`: the registry .* Publish it'
    ):
        with_published(graph, registry.parent)
