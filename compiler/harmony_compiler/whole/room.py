"""Room: whether prompts and their completions fit into the context of the models that answer them.

Where the tokenizer is the built-in one, prompts are counted exactly: one token a character, `<bos>`, one
mark a turn and the mark of the answer. For any other tokenizer only the room that `max_tokens` leaves is
known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from harmony_compiler.data.characters import filled
from harmony_compiler.data.heads import Heads
from harmony_compiler.files import Files
from harmony_compiler.findings.data import CutPrompts
from harmony_compiler.findings.resources import NoRoomForPrompts, PromptTooLong
from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.datasets import Drawn, Rows
from harmony_compiler.graph.models import ScratchModel
from harmony_compiler.lineage import origin, setting
from harmony_compiler.typed import UNKNOWN_DATA, Made
from harmony_compiler.whole.model_config import context_of
from harmony_grammar.diagnostics import Diagnostic, Label
from harmony_grammar.records import Record
from harmony_grammar.source import Span


def short_of_room(made: Sequence[Made], heads: Heads, files: Files) -> Iterator[Diagnostic]:
    """Stages that answer prompts, and whose prompts and completions do not fit."""
    for stage in made:
        found: list[Diagnostic] = []
        for dataset in _answered(stage):
            for span in _cuts(dataset):
                yield CutPrompts(
                    span=span,
                    stage=stage.cls.constructor,
                    labels=(Label(stage.head, "answers these prompts"),),
                )
            # Of a `max_tokens` that is too large one says so once.
            if "sampling" in stage.values and issubclass(dataset.cls, Rows) and not found:
                found += _checked(stage, dataset, heads, files)
        yield from found


def _answered(stage: Made) -> Iterator[Made]:
    """The datasets whose prompts a stage answers: those that it learns from or measures by, and those of its
    validation where a grader scores answers."""
    validation, writes = stage.values.get("validation"), "sampling" in stage.values
    asked = [stage.values["dataset"]] if writes else []
    if isinstance(validation, Made) and (writes or validation.values["grader"] is not None):
        asked.append(validation.values["dataset"])
    for dataset in asked:
        if isinstance(dataset, Made) and issubclass(dataset.cls, Drawn):
            yield dataset


def _cuts(dataset: Any) -> Iterator[Span]:
    """Where a dataset says that its long rows are cut, or a mixture that leaves it to its datasets."""
    if not isinstance(dataset, Made):
        return
    if dataset.values["on_too_long"] == "truncate":
        yield dataset.given["on_too_long"].span
    elif dataset.values["on_too_long"] is None and isinstance(dataset.values["datasets"], tuple):
        for part in dataset.values["datasets"]:
            yield from _cuts(part)


class _Answering(Record):
    """A model that answers prompts."""

    context: int
    place: Span | None
    """Where the recipe writes the context; None where a folder states it."""
    chars: bool
    """Whether it counts in characters, and writes turns by its own template."""


class _Asked(Record):
    """The tokens that a completion may take, and where that is decided."""

    max_tokens: int
    span: Span
    cause: str

    @staticmethod
    def by(stage: Made) -> _Asked | None:
        sampling = stage.values["sampling"]
        written = sampling.given.get("max_tokens") if isinstance(sampling, Made) else None
        if (max_tokens := most_tokens(stage)) is None:
            return None  # a fault in it was reported
        if written is None:
            return _Asked(max_tokens, stage.head, "`max_tokens` has its default here")
        return _Asked(max_tokens, written.span, "`max_tokens` is set here")


def most_tokens(stage: Made) -> int | None:
    """The tokens that a completion of a stage may take; None where that could not be found out."""
    sampling = stage.values["sampling"]
    values = sampling.values if isinstance(sampling, Made) else vars(sampling)
    found = values.get("max_tokens")
    return found if isinstance(found, int) else None


def _checked(stage: Made, dataset: Made, heads: Heads, files: Files) -> Iterator[Diagnostic]:
    asked = _Asked.by(stage)
    models = [found for model in _models(stage) if (found := _answering(model, files)) is not None]
    if asked is None or not models:
        return
    tightest = min(models, key=lambda model: model.context)
    if asked.max_tokens >= tightest.context:
        yield NoRoomForPrompts(
            span=asked.span,
            max_tokens=f"{asked.max_tokens:,}",
            context=f"{tightest.context:,}",
            cause=asked.cause,
            mend=_or_larger("set a smaller `max_tokens`", tightest, "set a larger `context`"),
            labels=_labels(tightest),
        )
        return
    counted = [model for model in models if model.chars]
    if counted:
        tightest = min(counted, key=lambda model: model.context)
        prompts = _Prompts.of(stage, dataset, heads)
        if prompts is not None:
            yield from _too_long(prompts, dataset, tightest, asked)


def _too_long(prompts: _Prompts, dataset: Made, model: _Answering, asked: _Asked) -> Iterator[Diagnostic]:
    longest = max(prompts.tokens, default=0)
    if longest + asked.max_tokens <= model.context:
        return
    over = sum(tokens + asked.max_tokens > model.context for tokens in prompts.tokens)
    dropped = "on_too_long" in dataset.given and dataset.values["on_too_long"] == "drop"
    if not over or not prompts.certain or (dropped and over < len(prompts.tokens)):
        return
    most, least = model.context - longest, longest + asked.max_tokens
    mend = f"set `max_tokens` to at most {most:,}" if most > 0 else "shorten the prompts"
    if over < len(prompts.tokens):
        mend += ', leave them out by `on_too_long = "drop"`'
    where = prompts.place(prompts.tokens.index(longest))
    yield PromptTooLong(
        span=asked.span,
        tokens=f"{longest:,}",
        max_tokens=f"{asked.max_tokens:,}",
        context=f"{model.context:,}",
        cause=asked.cause,
        count=f"{over:,} of {len(prompts.tokens):,} prompts do not fit",
        mend=_or_larger(mend, model, f"set `context` to at least {least:,}"),
        labels=(Label(where, "the longest prompt"), *_labels(model)),
    )


def _or_larger(mend: str, model: _Answering, larger: str) -> str:
    return f"{mend}, or {larger}" if model.place is not None else f"{mend}, or take a model with more context"


def _labels(model: _Answering) -> tuple[Label, ...]:
    return () if model.place is None else (Label(model.place, "the context"),)


# --- models ---------------------------------------------------------------------------------------------


def _models(stage: Made) -> Iterator[Made]:
    """Those that answer, and the critic, which reads prompts with their answers as well."""
    for name in (stage.cls.trains if issubclass(stage.cls, Algorithm) else "models", "value_model"):
        value = stage.values.get(name)
        for model in value if isinstance(value, tuple) else (value,):
            if isinstance(model, Made):
                yield model


def _answering(model: Made, files: Files) -> _Answering | None:
    """What is known about a model's context, from where it was first made; None where nothing is."""
    source = origin(model)
    context = None if source is None else context_of(source, files)
    if source is None or context is None:
        return None
    if not issubclass(source.cls, ScratchModel):
        return _Answering(context, None, chars=False)
    return _Answering(context, source.given["context"].span, counts_characters(model))


def counts_characters(model: Made) -> bool:
    """Whether a model counts in characters, and writes turns by the template that comes with that."""
    source = origin(model)
    if source is None or not issubclass(source.cls, ScratchModel):
        return False
    return source.values["tokenizer"] == "chars" and setting(model, "chat_template") is None


# --- prompts --------------------------------------------------------------------------------------------


class _Prompts(Record):
    """The lengths in tokens of the prompts in the head of a dataset."""

    tokens: Sequence[int]
    place: Callable[[int], Span]
    certain: bool
    """Whether each of them is asked."""

    @staticmethod
    def of(stage: Made, dataset: Made, heads: Heads) -> _Prompts | None:
        """None where they cannot be counted."""
        head, values = heads.of(dataset), dataset.values
        templates = [values[name] for name in ("system", "prompt") if values[name] is not None]
        limits = [limit for limit in (values["limit"], stage.values.get("limit")) if limit is not None]
        if UNKNOWN_DATA in limits or head.place is None or not all(isinstance(t, str) for t in templates):
            return None
        counts = filled(head, templates)
        if counts is None:
            return None
        fixed = 2 + len(templates)
        counts = counts[: min(limits, default=None)]
        numbers: Sequence[int] = range(len(counts))
        if None in counts:  # a template that prints null is filled with nothing
            numbers = [row for row in numbers if counts[row] is not None]
        tokens = [fixed + count for count in counts if count is not None]
        whole = values["split"] == "train" and values["filter"] is None
        place = head.place
        certain = whole and not (values["shuffle"] and limits)
        return _Prompts(tokens, lambda prompt: place(numbers[prompt]), certain)
