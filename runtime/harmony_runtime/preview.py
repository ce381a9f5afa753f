"""A preview: rows of a dataset as a model will see them, with what is known of all its rows.

Nothing is trained and no weight is read: a stage's dataset goes through mapping, chat template and tokenizer
as in a run, and a few of its rows are spelled out token by token. What fails is part of the view, beside
everything that can still be shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy
import torch

from harmony_compiler.graph.algorithms import Algorithm, Dpo, Sft
from harmony_compiler.graph.datasets import Drawn, Mix
from harmony_compiler.graph.evaluations import Compare
from harmony_compiler.graph.graders import Grader, Judge
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.identity import identities
from harmony_compiler.graph.models import Endpoint
from harmony_compiler.graph.values import Ref
from harmony_compiler.store.cache import HASHES
from harmony_compiler.store.hashes import Hashes
from harmony_grammar.diagnostics import Diagnostic
from harmony_runtime.data.shown import Eyes, ShownRow, room_of, shown_row
from harmony_runtime.data.tokens.cache import MANY
from harmony_runtime.data.tokens.pairs import pairs_of
from harmony_runtime.data.tokens.prompts import prompts_of
from harmony_runtime.data.tokens.proofs import Proof, Unproven
from harmony_runtime.data.tokens.trained import tokens_of
from harmony_runtime.data.turns.threads import Threads, threads_of
from harmony_runtime.failures import RunFailed, machine_faults, place
from harmony_runtime.graders.judging.dialogue import Dialogue
from harmony_runtime.graders.protocol import Failure, Sample
from harmony_runtime.models.blueprint import Blueprint, Blueprints
from harmony_runtime.rooms import Desk
from harmony_runtime.watch import Silent

_T = TypeVar("_T")


@dataclass(frozen=True)
class Reading:
    """A dataset, and who reads it: a stage, through the template and the tokenizer of a model."""

    dataset: Ref
    stage: Ref | None = None
    models: tuple[Ref, ...] = ()
    """Those of an evaluation whose tokens and contexts are the same."""
    judge: Ref | None = None
    """A judge that is asked about completions of its rows."""


@dataclass(frozen=True)
class Lengths:
    """How long rows are, in tokens."""

    shortest: int
    median: int
    most: int
    """95 of 100 rows are no longer."""
    longest: int

    @staticmethod
    def of(lengths: Any) -> Lengths | None:
        if not len(lengths):
            return None
        return Lengths(*(int(n) for n in numpy.quantile(lengths, (0, 0.5, 0.95, 1), method="higher")))


@dataclass(frozen=True)
class View:
    """A dataset as one stage reads it."""

    reading: Reading
    counts: Mapping[str, int] = field(default_factory=dict)
    """What became of all rows, by name."""
    context: int | None = None
    room: int = 0
    """Tokens of the context that a completion takes."""
    lengths: Lengths | None = None
    trained: tuple[int, int] | None = None
    """Trained tokens, and all tokens, of the rows kept."""
    proofs: tuple[Proof, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    faults: tuple[Diagnostic | str, ...] = ()
    rows: tuple[ShownRow, ...] = ()

    @property
    def sound(self) -> bool:
        """Whether a run would not be refused for what is seen here."""
        faulty = self.faults or any(row.faults for row in self.rows)
        return not faulty and all(proof.holds for proof in self.proofs)


def readings(graph: Graph, ref: Ref) -> list[Reading]:
    """How a stage reads its dataset, or how a dataset is read by the stages of its recipe; a judge is asked
    about the datasets of the stages that ask it.

    A dataset that no stage reads is read by nobody.
    """
    match node := graph.nodes[ref]:
        case Algorithm():
            dataset: Ref = node.dataset  # type: ignore[attr-defined]  # each algorithm has one
            return [Reading(dataset, ref, (getattr(node, node.trains),))]
        case Compare():
            models = [(model,) for model in node.models if not isinstance(graph.nodes[model], Endpoint)]
            return [Reading(node.dataset, ref, model) for model in models or ((),)]
        case Judge():
            stages = [stage for stage in graph.nodes if _asks(graph, stage, ref)]
            datasets = dict.fromkeys(part for stage in stages for part in _graded(graph, stage))
            return [Reading(dataset, judge=ref) for dataset in datasets]
    stages = [stage for stage, node in graph.nodes.items() if isinstance(node, Algorithm | Compare)]
    seen = [reading for stage in stages for reading in readings(graph, stage)]
    return [replace(r, dataset=ref) for r in seen if ref in _parts(graph, r.dataset)] or [Reading(ref)]


def _asks(graph: Graph, ref: Ref, judge: Ref) -> bool:
    """Whether a part of a graph asks a judge, by itself or through graders."""
    graders = [need for need in graph.needs(ref) if isinstance(graph.nodes[need], Grader)]
    return judge in graders or any(_asks(graph, grader, judge) for grader in graders)


def _graded(graph: Graph, stage: Ref) -> Iterator[Ref]:
    """The datasets of whose rows a stage grades answers."""
    node = graph.nodes[stage]
    for need in graph.needs(stage):
        learned = isinstance(node, Sft | Dpo) and need == node.dataset
        if isinstance(graph.nodes[need], Drawn) and not learned:
            yield need


def views(
    graph: Graph,
    asked: Sequence[Reading],
    *,
    registry: Path,
    cache: Path,
    first: int,
    count: int,
    busy: Callable[[str], None] = lambda _: None,
) -> Iterator[View]:
    """Of each reading, `count` rows from the row `first` on, counted from 1.

    `busy` is told what takes a while, before it does.

    Raises:
        RunFailed: the machine is at fault.
    """
    blueprints = Blueprints(graph, dict.fromkeys(graph.nodes, _NOT_TRAINED), registry)
    content = Hashes(cache / HASHES).content
    for reading in _grouped(asked, blueprints):
        with machine_faults("reading data"):
            parts = _parts(graph, reading.dataset)
            alone = Graph(graph.name, graph.seed, {ref: graph.nodes[ref] for ref in parts}, ())
            desk = Desk(graph, identities(alone, content, registry), blueprints, cache, _Heard())
            yield _Looking(desk, reading, busy).view(first, count)


def _grouped(asked: Sequence[Reading], blueprints: Blueprints) -> list[Reading]:
    """Models of one evaluation that see the same are shown once."""
    groups: dict[tuple[Any, ...], Reading] = {}
    for reading in asked:
        eyes: tuple[Any, ...] = reading.models
        with suppress(RunFailed):  # what is wrong with a model, its own view says
            drawn = [blueprints.of(model) for model in reading.models]
            eyes = tuple((blueprint.chat.digest, blueprint.context) for blueprint in drawn)
        alike = (reading.dataset, reading.stage, reading.judge, eyes)
        known = groups.setdefault(alike, reading)
        if known is not reading:
            groups[alike] = replace(known, models=tuple(dict.fromkeys((*known.models, *reading.models))))
    return list(groups.values())


_NOT_TRAINED = Path("no stage has been trained")
"""Where a stage's model is not, so that all but its weights is taken from the model that it trains."""


class _Looking:
    """One reading, looked at; gathers what is found on the way."""

    def __init__(self, desk: Desk, reading: Reading, busy: Callable[[str], None]) -> None:
        self._busy = busy
        self._desk = desk
        self._graph = desk.graph
        self._reading = reading
        self._stage = desk.graph.nodes[reading.stage] if reading.stage else None
        self._faults: list[Diagnostic | str] = []

    def view(self, first: int, count: int) -> View:
        heard = self._desk.watcher
        assert isinstance(heard, _Heard)
        found: dict[str, Any] = {}
        threads = self._tried(self._threads)
        blueprint = self._tried(self._blueprint) if self._reading.models else None
        rows: tuple[ShownRow, ...] = ()
        if threads is not None:
            found["counts"] = dict(threads.counts)
            eyes = Eyes(self._stage, blueprint) if blueprint else None
            rows = tuple(
                shown_row(threads, n, eyes) for n in range(first - 1, min(first - 1 + count, len(threads)))
            )
            if (dialogue := self._tried(self._dialogue)) is not None:
                rows = tuple(_asked(dialogue, row) for row in rows)
            if blueprint and eyes:
                if len(threads) >= MANY:
                    name = self._graph.stage_name(self._reading.dataset)
                    self._busy(
                        f"looking at all {len(threads):,} rows of `{name}`, which the run need not again"
                    )
                surveyed = self._tried(partial(self._survey, blueprint))
                found |= surveyed or {"proofs": eyes.proofs(threads)}
        if blueprint:
            found |= {"context": blueprint.context, "room": room_of(self._stage)}
        notes = (*(threads.notes if threads else ()), *(blueprint.notes if blueprint else ()))
        return View(
            reading=self._reading,
            notes=tuple(dict.fromkeys((*notes, *heard.notes))),
            warnings=tuple(dict.fromkeys(heard.warnings)),
            faults=tuple(self._faults),
            rows=rows,
            **found,
        )

    def _tried(self, look: Callable[[], _T]) -> _T | None:
        try:
            return look()
        except RunFailed as failure:
            if failure.exit_code == 2:
                raise
            said = {str(RunFailed(fault)) for fault in self._faults}
            self._faults += [fault for fault in failure.faults if str(RunFailed(fault)) not in said]
            return None

    def _threads(self) -> Threads:
        dataset = self._reading.dataset
        threads = threads_of(self._graph, dataset, self._desk.datasets)
        # Nothing is opened before somebody asks, and what is wrong with a source belongs to its view.
        _ = threads.counts, threads.notes
        return threads

    def _blueprint(self) -> Blueprint:
        return self._desk.blueprints.of(self._reading.models[0])

    def _dialogue(self) -> Dialogue | None:
        """How the judge is asked; None where the reading has none."""
        judge = self._reading.judge
        if judge is None:
            return None
        node = self._graph.nodes[judge]
        assert isinstance(node, Judge)
        try:
            return Dialogue(node)
        except RunFailed as fault:
            raise RunFailed(f"{place(self._graph, judge)}{fault}", exit_code=fault.exit_code) from fault

    def _survey(self, blueprint: Blueprint) -> dict[str, Any]:
        """What holds for all rows: they are put into tokens, and kept, as the stage will ask for them."""
        try:
            return self._counted(blueprint)
        except Unproven as failure:
            return {"proofs": failure.proofs}

    def _counted(self, blueprint: Blueprint) -> dict[str, Any]:
        desk, dataset, stage = self._desk, self._reading.dataset, self._stage
        if isinstance(stage, Sft):
            rows = tokens_of(desk, dataset, blueprint, stage.train_on)
            return {
                "counts": rows.counts,
                "lengths": Lengths.of(rows.lengths(torch.arange(len(rows)))),
                "trained": (rows.tokens["trained"], rows.tokens["all"]),
                "proofs": rows.proofs,
            }
        if isinstance(stage, Dpo):
            pairs = pairs_of(desk, dataset, blueprint)
            return {"counts": pairs.counts, "lengths": Lengths.of(pairs.lengths), "proofs": pairs.proofs}
        limit = stage.limit if isinstance(stage, Compare) else None
        prompts = prompts_of(desk, dataset, blueprint, room_of(stage), limit=limit)
        return {"counts": prompts.counts, "lengths": Lengths.of(prompts.lengths), "proofs": prompts.proofs}


_NOT_WRITTEN = "[what the model writes]"


def _asked(dialogue: Dialogue, row: ShownRow) -> ShownRow:
    """A row as a judge is asked about it."""
    if row.faults:
        return row
    prompt = next((turn["content"] for turn in reversed(row.turns) if turn["role"] == "user"), "")
    question = dialogue.question(Sample(_NOT_WRITTEN, prompt, turns=row.turns, metadata=row.metadata))
    if isinstance(question, Failure):
        return replace(row, faults=(question.reason,))
    return replace(row, turns=tuple(question), metadata={})


def _parts(graph: Graph, dataset: Ref) -> tuple[Ref, ...]:
    """The datasets that one is mixed of, and itself behind them."""
    node = graph.nodes[dataset]
    mixed = node.datasets if isinstance(node, Mix) else ()
    return (*(part for each in mixed for part in _parts(graph, each)), dataset)


class _Heard(Silent):
    """Keeps what would be told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warning(self, text: str) -> None:
        self.warnings.append(text)
