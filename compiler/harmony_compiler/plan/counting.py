"""Counts: how many rows a dataset has, how many steps a stage takes, how much they write and ask.

All is counted from what the compiler reads anyway; of a large file of JSON lines, the lines. What nobody can
know before the run is None, and what is only bounded says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harmony_compiler.data.heads import Heads
from harmony_compiler.files import Files
from harmony_compiler.graph.algorithms import Algorithm, Grpo, Ppo
from harmony_compiler.graph.datasets import JsonLines
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

    kept: int | None = None
    """Rows that are left when those that are too long are dropped."""
    steps: int | None = None
    at_most: bool = False
    """Whether the rows, and what follows from them, are a bound."""
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
    """Completions to generate for validations; with `validated_at_most`, no more than that."""
    validated_at_most: bool = False
    updates: int | None = None
    calls: tuple[Calls, ...] = ()


class Known(Record):
    """What is known of a stage's or an evaluation's data."""

    rows: Mapping[Ref, Rows]
    lengths: Lengths | None
    """Of the rows that it learns from, or answers."""
    held_out: Lengths | None = None
    """Of those that it is validated on."""

    def kept(
        self, dataset: Ref, lengths: Lengths | None, limit: int | None = None
    ) -> tuple[int | None, bool]:
        """How many rows of a dataset are left, of its first `limit`, and whether that is a bound."""
        held = self.rows.get(dataset, Rows(None, None))
        taken = held.taken
        if taken is not None and limit is not None:
            taken = min(taken, limit)
        if taken is None or lengths is None or not lengths.dropped:
            return taken, held.at_most
        if lengths.exact and lengths.whole:
            return taken - lengths.dropped, held.at_most
        return taken, True


def work_of(graph: Graph, ref: Ref, known: Known) -> Work:
    """What a stage or an evaluation does."""
    node: Any = graph.nodes[ref]
    if isinstance(node, Compare):
        return _of_evaluation(graph, node, known)
    assert isinstance(node, Algorithm)
    kept, at_most = known.kept(node.dataset, known.lengths)  # type: ignore[attr-defined]  # each has one
    steps = node.steps_given if node.steps_given is not None else (node.steps_over(kept) if kept else None)
    if steps is None or kept == 0:
        return Work(kept=kept, at_most=at_most)
    in_all = steps * node.rows_per_step
    completions, updates = None, steps
    if isinstance(node, Grpo | Ppo):
        completions = steps * node.samples_per_batch
        updates = steps * node.mini_epochs * -(-node.samples_per_batch // node.samples_per_mini_batch)
    validated, bounded = _validated(node, known, steps)
    at_most = at_most and node.steps_given is None
    return Work(
        kept=kept,
        steps=steps,
        at_most=at_most,
        passes=in_all / kept if kept and not at_most else None,
        rows=in_all,
        tokens=_learnt(known.lengths, in_all) if completions is None else None,
        prompts=in_all if completions is not None else None,
        completions=completions,
        validated=validated,
        validated_at_most=bounded,
        updates=updates,
        calls=_calls(graph, _asked(node, completions or 0, validated or 0)),
    )


def _learnt(lengths: Lengths | None, rows: int) -> int | None:
    """Tokens of so many rows, about."""
    left = lengths.looked_at - lengths.dropped if lengths is not None else 0
    return round(lengths.learnt / left * rows) if lengths is not None and left else None


def _of_evaluation(graph: Graph, node: Compare, known: Known) -> Work:
    rows, at_most = known.kept(node.dataset, known.lengths, node.limit)
    if not rows:
        return Work(kept=rows, at_most=at_most)
    completions = rows * node.samples * len(node.models)
    return Work(
        kept=rows,
        at_most=at_most,
        rows=rows,
        completions=completions,
        calls=_calls(graph, [(node.graders, completions)]),
    )


def _validated(node: Algorithm, known: Known, steps: int) -> tuple[int | None, bool]:
    """Completions that validations ask for, and whether that is a bound: none where they measure the loss,
    None where nobody can say."""
    validation = node.validation
    if validation is None or not validates_by_answers(node):
        return 0, False
    rows, at_most = known.kept(validation.dataset, known.held_out)
    if isinstance(validation.every, Duration) or rows is None:
        return None, False
    every = validation.every.of(steps) if isinstance(validation.every, Percent) else validation.every
    return -(-steps // every) * rows, at_most


def validates_by_answers(node: Algorithm) -> bool:
    """Whether a stage's validation generates completions, which a grader scores."""
    validation = node.validation
    return validation is not None and (isinstance(node, Grpo | Ppo) or validation.grader is not None)


def _asked(node: Algorithm, completions: int, validated: int) -> list[tuple[list[Ref], int]]:
    """Graders, and how many completions they are asked about: those of the steps, those of validations."""
    reward: Ref | None = getattr(node, "grader", None)
    examiner = node.validation.grader or reward if node.validation is not None else None
    return [
        ([grader for grader in (one, *node.metrics) if grader is not None], number)
        for one, number in ((reward, completions), (examiner, validated))
    ]


def _calls(graph: Graph, asked: Sequence[tuple[Sequence[Ref], int]]) -> tuple[Calls, ...]:
    """What graders ask, each once a completion: tries that fail ask again, equal completions may not."""
    numbers: dict[Ref, int] = {}
    for roots, number in asked:
        for grader in dict.fromkeys(part for root in roots for part in (root, *graders_of(graph, root))):
            if number and _whom(graph, grader):
                numbers[grader] = numbers.get(grader, 0) + number
    return tuple(Calls(grader, number, _whom(graph, grader)) for grader, number in numbers.items())


def _whom(graph: Graph, grader: Ref) -> str:
    """Whom a grader itself asks, in words; "" where it computes."""
    match graph.nodes[grader]:
        case Judge(model=model) if isinstance(graph.nodes[model], Endpoint):
            return "the endpoint"
        case Remote():
            return "the reward server"
        case PythonGrader():
            return "the function"
        case Grader() if asks(graph, grader) is not None:
            return "the model"
    return ""
