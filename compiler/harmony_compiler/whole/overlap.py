"""Overlap: rows that a model is trained on and then measured by.

Said only where it is certain: of the same source, and by slices that share rows. A filter, or a limit on
shuffled rows, makes it uncertain.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

from harmony_compiler.data.heads import Heads
from harmony_compiler.data.slices import read_slices, shared, taken
from harmony_compiler.findings.data import OverlappingRows
from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.datasets import Files, HubRows, LiteralRows, Mix, RegistryRows
from harmony_compiler.graph.evaluations import Compare
from harmony_compiler.graph.models import Reloaded
from harmony_compiler.typed import UNKNOWN_DATA, Made
from harmony_compiler.whole.counts import counts_of
from harmony_compiler.whole.meeting import sources_of
from harmony_grammar.diagnostics import Diagnostic, Label
from harmony_grammar.records import Record


def overlapping(made: Sequence[Made], heads: Heads) -> Iterator[Diagnostic]:
    """Evaluations and validations by rows that were trained on."""
    for item in made:
        if issubclass(item.cls, Compare):
            models = item.values["models"] if isinstance(item.values["models"], tuple) else ()
            stages = dict.fromkeys(stage for model in models for stage in _stages(model))
            yield from _judged(item, list(stages), heads, "evaluated")
        elif issubclass(item.cls, Algorithm) and isinstance(held := item.values.get("validation"), Made):
            yield from _judged(held, [item], heads, "validated")


def _stages(model: Any) -> Iterator[Made]:
    """The stages that made a model."""
    at = model
    while isinstance(at, Made) and issubclass(at.cls, Algorithm | Reloaded):
        if issubclass(at.cls, Algorithm):
            yield at
            at = at.values[at.cls.trains]
        else:
            at = at.values["source"]


def _judged(measure: Made, stages: Sequence[Made], heads: Heads, use: str) -> Iterator[Diagnostic]:
    labels: list[Label] = []
    rows: set[int | None] = set()
    measured = _parts(measure.values["dataset"], heads, measure.values.get("limit"))
    for stage in stages:
        counts = [_common(a, b) for a in measured for b in _parts(stage.values["dataset"], heads, None)]
        found = [count for count in counts if count != 0]
        if found and "dataset" in stage.given:
            known = [count for count in found if count is not None]
            rows.add(sum(known) if len(known) == len(found) else None)
            label = f"`{stage.cls.constructor}` is trained on them"
            labels.append(Label(stage.given["dataset"].span, label))
    if labels and "dataset" in measure.given:
        count = next(iter(rows)) if len(rows) == 1 else None
        yield OverlappingRows(
            span=measure.given["dataset"].span,
            rows="rows that were trained on" if count is None else f"{_counted(count)} trained on",
            use="are" if count != 1 else "is",
            how=use,
            labels=tuple(labels),
        )


def _counted(count: int) -> str:
    return "1 row that was" if count == 1 else f"{count:,} rows that were"


class _Part(Record):
    """What a dataset takes of one source."""

    source: tuple[Hashable, ...]
    """What it reads; of several files each."""
    chosen: tuple[Hashable, ...]
    """How rows are chosen: equal ones of one source are the same rows."""
    split: str
    limit: int | None
    counts: dict[str, int]
    """By split, how many rows there are, as far as that is known."""
    certain: bool
    """Whether nothing but the split and the limit decide which rows are taken."""

    @property
    def everything(self) -> bool:
        return self.certain and self.limit is None and self.split == "train"


def _parts(dataset: Any, heads: Heads, limit: int | None) -> list[_Part]:
    """The sources of a dataset. `limit` is that of an evaluation, which counts its first rows."""
    parts: list[_Part] = []
    outer = isinstance(dataset, Made) and issubclass(dataset.cls, Mix)
    cut = outer and (limit is not None or dataset.values["limit"] is not None)
    for rows in sources_of(dataset):
        values = rows.values
        source = _source(rows)
        limits = [one for one in (values["limit"], None if outer else limit) if one is not None]
        asked = (*limits, values["split"], values["filter"], values["shuffle"])
        if source is None or rows.lost or UNKNOWN_DATA in asked or not isinstance(values["split"], str):
            continue
        shuffled = values["shuffle"] and bool(limits)
        order = (values["shuffle"], values["seed"]) if shuffled else ()
        chosen = (values["split"], values["filter"], min(limits, default=None), *order)
        chosen = (*chosen, id(dataset)) if cut else chosen  # the same mixture draws the same rows
        certain = values["filter"] is None and not shuffled and not cut
        counts = counts_of(rows, heads)
        parts.append(_Part(source, chosen, values["split"], min(limits, default=None), counts, certain))
    return parts


def _source(rows: Made) -> tuple[Hashable, ...] | None:
    values = rows.values
    if issubclass(rows.cls, Files):
        path = values["path"]
        paths = path if isinstance(path, tuple) else (path,)
        return None if UNKNOWN_DATA in paths else tuple((rows.cls, one) for one in paths)
    if issubclass(rows.cls, HubRows):
        asked = tuple(values[name] for name in ("repo", "config", "revision"))
        return None if UNKNOWN_DATA in asked else (("hf", *asked),)
    if issubclass(rows.cls, RegistryRows):
        return None if values["key"] is UNKNOWN_DATA else (("registry", values["key"]),)
    if issubclass(rows.cls, LiteralRows) and isinstance(values["items"], tuple):
        return (("rows", repr(values["items"])),)
    return None


def _common(one: _Part, other: _Part) -> int | None:
    """How many rows two parts certainly share; None where there are some, nobody knows how many."""
    if one.source != other.source:
        some = set(one.source) & set(other.source) and one.everything and other.everything
        return None if some else 0
    slices, others = read_slices(one.split), read_slices(other.split)
    if slices is not None and others is not None and one.certain and other.certain:
        mine = taken(slices, one.counts, one.limit)
        theirs = taken(others, other.counts, other.limit)
        if mine is not None and theirs is not None:
            return shared(mine, theirs)
    same = one.chosen == other.chosen
    inside = one.split == other.split and one.certain and other.certain  # the first rows of the same ones
    return None if same or inside else 0
