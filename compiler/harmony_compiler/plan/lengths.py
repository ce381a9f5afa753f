"""Lengths: how long the rows of a stage's dataset are in tokens, and how many have no room.

Counted from the first megabytes of the data, by the built-in tokenizer or by the files of a folder, as the
runtime counts. How many rows are looked at depends on the data alone and never on a clock, so that the same
recipe has the same plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from harmony_compiler.data.characters import filled
from harmony_compiler.data.heads import Head, Heads
from harmony_compiler.data.slices import Slice, read_slices
from harmony_compiler.files import Files
from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.datasets import MAPPED, Mix, Rows, kind_of_rows
from harmony_compiler.graph.settings import Sampling
from harmony_compiler.lineage import origin, setting
from harmony_compiler.plan.reading import chat_of, counter_of
from harmony_compiler.plan.turns import mapping_of
from harmony_compiler.typed import UNKNOWN_DATA, Made
from harmony_compiler.whole.counts import count_of
from harmony_compiler.whole.model_config import context_of
from harmony_compiler.whole.room import counts_characters, most_tokens
from harmony_grammar.records import Record, replace

MOST_ROWS = 1_000
"""So many rows are made into turns, spread over those that are taken. Where a look at the columns is enough,
all of them are counted."""


class Lengths(Record):
    """How long rows are in tokens. A pair is as long as its prompt with the longer answer."""

    looked_at: int
    """Rows whose length is known."""
    whole: bool
    """Whether these are all rows of the dataset."""
    longest: int
    mean: float
    room: int
    """How long a row may be: the context, without the tokens of a completion where one is asked for."""
    too_long: int
    """Rows longer than that."""
    tokens: int
    """Of all rows that were looked at; of a pair, those of the prompt with either answer."""
    dropped: int
    """Rows that are too long, and of which nothing is left."""
    learnt: int
    """Tokens of the others, as far as there is room for them."""
    exact: bool
    """Whether a run counts the same."""
    by: str
    """What they were counted by: "characters", or a file of a folder."""


class Row(Record):
    length: int
    tokens: int


class _Counted(Record):
    """What is known of the rows that a dataset takes."""

    rows: Sequence[Row]
    whole: bool
    exact: bool
    by: str
    drops: Sequence[bool] = ()
    """Row by row, whether it is dropped where it is too long."""

    def on_too_long(self, what: str | None) -> _Counted:
        """The same rows, with what happens to those that are too long; None leaves it as it is."""
        return self if what is None else replace(self, drops=[what == "drop"] * len(self.rows))


def lengths_of(stage: Made, dataset: Made, heads: Heads, files: Files) -> Lengths | None:
    """The lengths of a stage's rows for its model; of several models, for the one that has the least room for
    them. None where nothing is known."""
    known = [_by(model, stage, dataset, heads, files) for model in _models(stage)]
    found = [lengths for lengths in known if lengths is not None]
    return max(found, key=lambda one: (one.too_long, one.longest - one.room), default=None)


def _models(stage: Made) -> Iterator[Made]:
    """Those that read a stage's rows and whose context decides which are too long."""
    value = stage.values.get(stage.cls.trains if issubclass(stage.cls, Algorithm) else "models")
    for model in value if isinstance(value, tuple) else (value,):
        if isinstance(model, Made):
            yield model


def _by(model: Made, stage: Made, dataset: Made, heads: Heads, files: Files) -> Lengths | None:
    source = origin(model)
    context = None if source is None else context_of(source, files)
    asked = any(_kind(part) == "Prompt" for part in _parts(dataset))
    taken = _asked_for(stage, context) if asked and context is not None else 0
    limit = stage.values.get("limit")
    if context is None or taken is None or limit is UNKNOWN_DATA:
        return None
    reader = _Reader(model, stage.values.get("train_on", "last"), heads, files)
    counted = reader.of(dataset, limit, MOST_ROWS)
    if counted is None or not counted.rows:
        return None
    lengths, room = [row.length for row in counted.rows], context - taken
    return Lengths(
        looked_at=len(lengths),
        whole=counted.whole,
        longest=max(lengths),
        mean=sum(lengths) / len(lengths),
        room=room,
        too_long=sum(length > room for length in lengths),
        tokens=sum(row.tokens for row in counted.rows),
        dropped=sum(_is_dropped(counted, room)),
        learnt=sum(
            min(row.tokens, room * (2 if row.tokens > row.length else 1))
            for row, gone in zip(counted.rows, _is_dropped(counted, room), strict=True)
            if not gone
        ),
        exact=counted.exact,
        by=counted.by,
    )


def _is_dropped(counted: _Counted, room: int) -> list[bool]:
    return [row.length > room and drops for row, drops in zip(counted.rows, counted.drops, strict=True)]


def _asked_for(stage: Made, context: int) -> int | None:
    """The tokens that a completion may take; None where nobody can say."""
    if "sampling" not in stage.values:  # a validation by a grader, of a stage that draws no completions
        return min(Sampling().max_tokens, context // 2)
    return most_tokens(stage)


def _parts(dataset: Made) -> tuple[Made, ...]:
    parts = dataset.values["datasets"] if issubclass(dataset.cls, Mix) else (dataset,)
    return tuple(part for part in parts if isinstance(part, Made)) if isinstance(parts, tuple) else ()


def _kind(dataset: Made) -> str:
    if issubclass(dataset.cls, Mix):
        return next((kind for part in _parts(dataset) if (kind := _kind(part))), "")
    return kind_of_rows({field: dataset.values[field] for field in MAPPED})


class _Reader:
    """Counts rows for one model."""

    def __init__(self, model: Made, train_on: Any, heads: Heads, files: Files) -> None:
        self._train_on = train_on
        self._heads = heads
        self._by_columns = counts_characters(model) and setting(model, "template_args") is None
        self._counter = counter_of(model, files)
        self._chat = None if self._counter is None else chat_of(model, self._counter, files)

    def of(self, dataset: Made, limit: int | None, most: int) -> _Counted | None:
        """The rows of a dataset, of which `limit` more takes the first ones; at most about `most` of them."""
        limits = [one for one in (dataset.values["limit"], limit) if one is not None]
        if self._chat is None or UNKNOWN_DATA in limits or dataset.lost:
            return None
        least = min(limits, default=None)
        if issubclass(dataset.cls, Mix):
            return self._of_mix(dataset, least, most)
        if not issubclass(dataset.cls, Rows):
            return None
        head = self._heads.of(dataset)
        numbers, whole = _taken(dataset, head, least)
        found = self._by_column(dataset, head)
        if found is None:
            spread = numbers[:: max(1, -(-len(numbers) // most))]
            counted = self._row_by_row(dataset, [head.rows[number] for number in spread], most)
            sampled = counted is not None and len(counted.rows) < len(numbers)
            of_all = counted and replace(counted, whole=whole and not sampled)
            return of_all and of_all.on_too_long(dataset.values["on_too_long"])
        rows = [row for number in numbers if (row := found[number]) is not None]
        counted = _Counted(rows, whole and len(rows) == len(numbers), True, "characters")
        return counted.on_too_long(dataset.values["on_too_long"])

    def _of_mix(self, mix: Made, limit: int | None, most: int) -> _Counted | None:
        """The rows that a mixture draws: the first ones of each dataset, where it is known how many."""
        parts, weights = _parts(mix), mix.values["weights"]
        sizes = [count_of(part, self._heads) for part in parts]
        sound = weights is None or (isinstance(weights, tuple) and UNKNOWN_DATA not in weights)
        if not parts or not sound or len(parts) != len(mix.values["datasets"]):
            return None
        known = [size for size in sizes if size]
        shares = None if weights is None else [weight.share for weight in weights]
        all_known = len(known) == len(sizes) and (shares is None or (len(shares) == len(known)))
        drawn = Mix.drawn(known, shares) if all_known else [None] * len(parts)
        found = [
            self.of(part, count, max(1, most // len(parts))) for part, count in zip(parts, drawn, strict=True)
        ]
        counted = [one for one in found if one is not None]
        if len(counted) < len(parts):
            return None
        rows = [row for one in counted for row in one.rows]
        whole = all_known and all(one.whole for one in counted) and (limit is None or limit >= len(rows))
        drops = [gone for one in counted for gone in one.drops]
        of_all = _Counted(rows, whole, all(one.exact for one in counted), counted[0].by, drops)
        return of_all.on_too_long(mix.values["on_too_long"])

    def _row_by_row(self, dataset: Made, rows: Sequence[Any], most: int) -> _Counted | None:
        mapping = mapping_of(dataset.values)
        if mapping is None or self._chat is None or self._counter is None:
            return None
        texts: list[list[list[str]]] = []
        exact, asked = True, mapping.kind == "Prompt"
        for row in rows:
            thread = mapping.of(row)
            if thread is None:
                continue
            found = self._chat.texts(thread, asked=asked, train_on=self._train_on)
            if found is None or not all(map(_sayable, found)):
                continue
            exact = exact and thread.plain
            texts.append(found)
        size = sum(len(piece) for found in texts for pieces in found for piece in pieces)
        texts = texts[:: max(1, -(-size * MOST_ROWS // (self._counter.most * most)))]
        try:
            sizes = iter(self._counter.tokens([pieces for found in texts for pieces in found]))
        except Exception:  # what a tokenizer of any content raises
            return None
        counted = [[next(sizes) for _ in found] for found in texts]
        lengths = [Row(max(sides), sum(sides)) for sides in counted]
        exact = exact and self._counter.exact and self._chat.exact
        return _Counted(lengths, True, exact, self._counter.by)

    def _by_column(self, dataset: Made, head: Head) -> list[Row | None] | None:
        """The rows in characters, where templates of `{{ column }}` alone make them."""
        values, kind = dataset.values, _kind(dataset)
        texts = {field: values[field] for field in MAPPED if values[field] is not None}
        if not self._by_columns or kind == "Table":
            return None
        if not all(isinstance(text, str) for text in texts.values()):
            return None
        answers = [texts.pop(field) for field in ("chosen", "rejected") if field in texts]
        fixed = 1 + len(texts) + 1  # `<bos>`, a mark a turn, and `<assistant>` or `<eos>`
        sides = [filled(head, [*texts.values(), *answer]) for answer in ([[a] for a in answers] or [[]])]
        if answers:
            fixed += 1
        known = [side for side in sides if side is not None]
        if len(known) < len(sides):
            return None
        if len(known) == 1:
            return [None if size is None else Row(fixed + size, fixed + size) for size in known[0]]
        return [
            None if one is None or other is None else _pair(fixed + one, fixed + other)
            for one, other in zip(*known, strict=True)
        ]


def _pair(one: int, other: int) -> Row:
    return Row(max(one, other), one + other)


def _sayable(pieces: Sequence[str]) -> bool:
    """Whether these are a text: it may be empty, and JSON can spell halves of characters."""
    try:
        return bool("".join(pieces).encode())
    except UnicodeEncodeError:
        return False


def _taken(dataset: Made, head: Head, limit: int | None) -> tuple[Sequence[int], bool]:
    """The numbers of the rows of a head that a dataset takes, and whether they are all that it takes."""
    values, seen = dataset.values, len(head.rows)
    slices = read_slices(values["split"]) if isinstance(values["split"], str) else None
    if slices is None or UNKNOWN_DATA in (values["filter"], values["shuffle"]):
        return (), False
    count = head.table.count
    # Of a file whose end was not seen, what a slice takes of the beginning it takes of the whole as well.
    parts = [
        part.rows(seen if count is None else count)
        if count is not None or _is_from_beginning(part)
        else range(0)
        for part in slices
    ]
    inside = [range(min(part.start, seen), min(part.stop, seen)) for part in parts]
    numbers: Sequence[int] = inside[0] if len(inside) == 1 else [n for part in inside for n in part]
    whole = count is not None and parts == inside and values["filter"] is None
    if limit is None or (values["shuffle"] and limit < len(numbers)) or values["filter"] is not None:
        return numbers, whole and limit is None
    return numbers[:limit], whole or limit <= len(inside[0])


def _is_from_beginning(part: Slice) -> bool:
    start = part.start or 0
    return start == 0 or (start > 0 and not part.percent)
