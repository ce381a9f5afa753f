"""Room: whether prompts and their completions fit into the context of the models that answer them.

Where the tokenizer is the built-in one, prompts are counted exactly: one token a character, `<bos>`, one
mark a turn and the mark of the answer. For any other tokenizer only the room that `max_tokens` leaves is
known.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from harmony_compiler.files import Files
from harmony_compiler.findings.data import CutPrompts
from harmony_compiler.findings.resources import NoRoomForPrompts, PromptTooLong
from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.datasets import Rows
from harmony_compiler.graph.models import LocalModel, Reloaded, ScratchModel
from harmony_compiler.heads import Heads
from harmony_compiler.templates import pieces
from harmony_compiler.typed import UNKNOWN_DATA, Made
from harmony_grammar.diagnostics import Diagnostic, Label
from harmony_grammar.source import Span

LARGEST_CONFIG = 1024 * 1024
"""How much of a model's `config.json` is read, in bytes."""

MARKS = re.compile("<(?:pad|unk|bos|eos|system|user|assistant)>")
"""Texts that are one token of the built-in tokenizer."""


def short_of_room(made: Sequence[Made], heads: Heads, files: Files) -> Iterator[Diagnostic]:
    """Stages that answer prompts, and whose prompts and completions do not fit."""
    for stage in made:
        dataset = stage.values.get("dataset")
        if "sampling" in stage.values and isinstance(dataset, Made) and issubclass(dataset.cls, Rows):
            if dataset.values["on_too_long"] == "truncate":
                span = dataset.given["on_too_long"].span
                yield CutPrompts(
                    span=span,
                    stage=stage.cls.constructor,
                    labels=(Label(stage.head, "answers these prompts"),),
                )
            yield from _checked(stage, dataset, heads, files)


class _Answering(NamedTuple):
    """A model that answers prompts."""

    context: int
    place: Span | None
    """Where the recipe writes the context; None where a folder states it."""
    chars: bool
    """Whether it counts in characters, and writes turns by its own template."""


class _Asked(NamedTuple):
    """The tokens that a completion may take, and where that is decided."""

    max_tokens: int
    span: Span
    cause: str

    @staticmethod
    def by(stage: Made) -> _Asked | None:
        sampling = stage.values["sampling"]
        values = sampling.values if isinstance(sampling, Made) else vars(sampling)
        written = sampling.given.get("max_tokens") if isinstance(sampling, Made) else None
        if not isinstance(max_tokens := values.get("max_tokens"), int):
            return None  # a fault in it was reported
        if written is None:
            return _Asked(max_tokens, stage.head, "`max_tokens` has its default here")
        return _Asked(max_tokens, written.span, "`max_tokens` is set here")


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
    for name in ("model", "models"):
        value = stage.values.get(name)
        for model in value if isinstance(value, tuple) else (value,):
            if isinstance(model, Made):
                yield model


def _answering(model: Made, files: Files) -> _Answering | None:
    """What is known about a model's context, from where it was first made; None where nothing is."""
    own_template = True
    while issubclass(model.cls, Reloaded | Algorithm):
        own_template = own_template and model.values.get("chat_template") is None
        origin: Any = model.values["source" if issubclass(model.cls, Reloaded) else "model"]
        if not isinstance(origin, Made):
            return None
        model = origin
    if issubclass(model.cls, ScratchModel) and isinstance(model.values["context"], int):
        chars = model.values["tokenizer"] == "chars" and model.values["chat_template"] is None
        return _Answering(model.values["context"], model.given["context"].span, chars and own_template)
    if issubclass(model.cls, LocalModel) and isinstance(model.values["path"], str):
        context = _context_of(Path(model.values["path"]) / "config.json", files)
        return None if context is None else _Answering(context, None, chars=False)
    return None


def _context_of(config: Path, files: Files) -> int | None:
    """The context that a model's configuration states."""
    try:
        read: Any = json.loads(files.head(config, LARGEST_CONFIG))
    except (OSError, ValueError, RecursionError):
        return None  # what is wrong with the folder, the run says
    for part in (read, read.get("text_config") if isinstance(read, dict) else None):
        for name in ("max_position_embeddings", "n_positions"):
            if isinstance(part, dict) and isinstance(part.get(name), int):
                return int(part[name])
    return None


# --- prompts --------------------------------------------------------------------------------------------


class _Prompts(NamedTuple):
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
        turns = [pieces(text) for text in templates if isinstance(text, str)]
        limits = [limit for limit in (values["limit"], stage.values.get("limit")) if limit is not None]
        if len(turns) < len(templates) or None in turns or UNKNOWN_DATA in limits or head.place is None:
            return None
        parts = [piece for turn in turns if turn for piece in turn]
        names = [name for _, name in parts if name]
        rows = [
            (number, row)
            for number, row in enumerate(head.rows[: min(limits, default=None)])
            if all(row.get(name) is not None for name in names)  # else no template is filled
        ]
        counts = [_lengths(row[name] for _, row in rows) for name in names]
        fixed = 2 + len(turns) + sum(_lengths(text for text, _ in parts))
        tokens = [fixed + sum(lengths) for lengths in zip(*counts, strict=True)] or [fixed] * len(rows)
        certain = values["split"] == "train" and not (values["shuffle"] and limits)
        place = head.place
        return _Prompts(tokens, lambda prompt: place(rows[prompt][0]), certain)


def _lengths(values: Iterable[Any]) -> list[int]:
    """The tokens of texts, and of what a template writes for other values."""
    texts = [value if isinstance(value, str) else str(value) for value in values]
    if any("<" in text for text in texts):
        texts = [MARKS.sub("x", text) for text in texts]
    return [len(text) for text in texts]
