"""Counts: how many rows a dataset has, how many steps a stage takes, how much they write and ask.

All is counted from what the compiler reads anyway; of a large file of JSON lines, the lines. What nobody can
know before the run is None, and what is only bounded says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harmony_compiler.data.heads import Heads
from harmony_compiler.files import Files
from harmony_compiler.graph.algorithms import Algorithm, Grpo, Ppo
from harmony_compiler.graph.datasets import Drawn, JsonLines
from harmony_compiler.graph.evaluations import Compare
from harmony_compiler.graph.graders import Grader, Judge, PythonGrader, Remote
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.models import Endpoint
from harmony_compiler.graph.spawning import asks, graders_of
from harmony_compiler.graph.values import Duration, Percent, Ref
from harmony_compiler.plan.lengths import Lengths
from harmony_compiler.typed import Made
from harmony_compiler.whole.counts import count_of, counts_of
from harmony_grammar.records import Record


class Rows(Record):
    """What becomes of a dataset's rows before anybody knows how long they are."""

    source: int | None
    """Rows in its files."""
    taken: int | None
    """What split, filter and limit leave of them; with `at_most`, no more than that."""
    at_most: bool = False


def rows_of(dataset: Made, heads: Heads, files: Files) -> Rows:
    """The rows of a dataset."""

    def counts(rows: Made) -> dict[str, int]:
        return counts_of(rows, heads) or _lines(rows, files)

    known = counts(dataset) if "split" in dataset.values else {}
    source = sum(known.values()) if known else None
    if (taken := count_of(dataset, heads, counts)) is not None:
        return Rows(source, taken)
    bounded = [most for most in (source, dataset.values["limit"]) if isinstance(most, int)]
    return Rows(source, min(bounded, default=None), at_most=True)


def _lines(rows: Made, files: Files) -> dict[str, int]:
    """Of files of JSON lines that are too long to be read, the lines are counted."""
    if not issubclass(rows.cls, JsonLines):
        return {}
    paths = rows.values["path"]
    try:
        return {
            "train": sum(files.filled_lines(Path(p)) for p in ((paths,) if isinstance(paths, str) else paths))
        }
    except (OSError, TypeError):
        return {}


class Calls(Record):
    """How often a grader asks somebody else."""

    grader: Ref
    number: int
    whom: str
    """In words: `the endpoint`, `the reward server`, `the model`."""


class Work(Record):
    """What a stage or an evaluation does, as far as it can be counted; None where it cannot."""

    steps: int | None = None
    at_most: bool = False
    """Whether the steps, and what follows from them, are a bound: how many rows are kept is not known."""
    passes: float | None = None
    """How often each row comes."""
    rows: int | None = None
    """Rows that are trained on, in all steps; of an evaluation, its rows."""
    tokens: int | None = None
    """Tokens of the rows that are trained on, in all steps, about."""
    prompts: int | None = None
    completions: int | None = None
    """Completions to generate, without those of validations."""
    validated: int | None = None
    """Completions to generate for validations."""
    updates: int | None = None
    calls: tuple[Calls, ...] = ()


def work_of(graph: Graph, ref: Ref, rows: Mapping[Ref, Rows], lengths: Lengths | None) -> Work:
    """What a stage or an evaluation does."""
    node: Any = graph.nodes[ref]
    held = rows.get(node.dataset, Rows(None, None))
    kept, at_most = held.taken, held.at_most
    if kept is not None and lengths is not None and lengths.exact and lengths.whole:
        kept -= lengths.too_long if _drops(graph, node.dataset) else 0
    if isinstance(node, Compare):
        return _of_evaluation(graph, ref, node, kept, at_most)
    assert isinstance(node, Algorithm)
    steps = node.steps_given if node.steps_given is not None else (node.steps_over(kept) if kept else None)
    if steps is None:
        return Work()
    in_all = steps * node.rows_per_step
    completions = steps * node.samples_per_batch if isinstance(node, Grpo | Ppo) else None
    updates = steps
    if isinstance(node, Grpo | Ppo):
        updates = steps * node.mini_epochs * -(-node.samples_per_batch // node.samples_per_mini_batch)
    return Work(
        steps=steps,
        at_most=at_most and node.steps_given is None,
        passes=in_all / kept if kept and not at_most else None,
        rows=in_all,
        tokens=round(lengths.mean * in_all) if lengths is not None and completions is None else None,
        prompts=in_all if completions is not None else None,
        completions=completions,
        validated=_validated(graph, node, rows, steps),
        updates=updates,
        calls=_calls(graph, ref, completions or 0) if completions else (),
    )


def _of_evaluation(graph: Graph, ref: Ref, node: Compare, rows: int | None, at_most: bool) -> Work:
    if rows is not None and node.limit is not None:
        rows = min(rows, node.limit)
    if rows is None:
        return Work()
    completions = rows * node.samples * len(node.models)
    return Work(at_most=at_most, rows=rows, completions=completions, calls=_calls(graph, ref, completions))


def _validated(graph: Graph, node: Algorithm, rows: Mapping[Ref, Rows], steps: int) -> int | None:
    """Completions that validations ask for: none where they measure the loss, None where nobody can say."""
    validation = node.validation
    if validation is None or not (isinstance(node, Grpo | Ppo) or validation.grader is not None):
        return 0
    held = rows.get(validation.dataset, Rows(None, None))
    if isinstance(validation.every, Duration) or held.taken is None:
        return None
    every = validation.every.of(steps) if isinstance(validation.every, Percent) else validation.every
    return -(-steps // every) * held.taken


def _calls(graph: Graph, ref: Ref, completions: int) -> tuple[Calls, ...]:
    """What the graders of these completions ask, each once: tries that fail ask again, equal ones may not."""
    found: list[Calls] = []
    for grader in graders_of(graph, ref):
        match graph.nodes[grader]:
            case Judge(model=model) if isinstance(graph.nodes[model], Endpoint):
                found.append(Calls(grader, completions, "the endpoint"))
            case Remote():
                found.append(Calls(grader, completions, "the reward server"))
            case PythonGrader():
                found.append(Calls(grader, completions, "the function"))
            case Grader() if asks(graph, grader) is not None:
                found.append(Calls(grader, completions, "the model"))
    return tuple(found)


def _drops(graph: Graph, dataset: Ref) -> bool:
    node = graph.nodes[dataset]
    return isinstance(node, Drawn) and getattr(node, "on_too_long", None) in ("drop", None)
