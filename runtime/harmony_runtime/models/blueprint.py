"""Everything about a model except its weights.

A `Blueprint` is what can be known before weights are made: configuration, tokenizer with its chat template,
generation settings, how to load, and where the weights are. All of a run's blueprints are drawn first, so
that a missing tokenizer or template is found before anything costs time.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.models import (
    HubModel,
    LoadSettings,
    LocalModel,
    RegistryModel,
    Reloaded,
    ScratchModel,
)
from harmony_compiler.graph.values import Ref
from harmony_compiler.store.adapters import CONFIG
from harmony_grammar import records
from harmony_runtime.failures import RunFailed, place
from harmony_runtime.models import adapters
from harmony_runtime.models.chars import chars_tokenizer
from harmony_runtime.models.chat import Chat, ChatError, plain_template
from harmony_runtime.models.origins import Adapted, Fresh, Grown, New, Origin, Pretrained, merged, trusts_code
from harmony_runtime.models.reading import parts, tokenizer_at
from harmony_runtime.models.scratch import scratch_config
from harmony_runtime.models.templates import with_values
from harmony_runtime.watch import Watcher

ENOUGH_TOKENS = 4096
"""A micro-batch of so many tokens keeps a device busy."""


@dataclass(frozen=True)
class Blueprint:
    place: str
    """Where the recipe writes the model: the beginning of every message about it."""
    settings: LoadSettings
    weights: Origin
    config: Any
    """Of the model as it will be loaded."""
    tokenizer: Any
    generation: GenerationConfig
    notes: tuple[str, ...] = ()

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights as they are kept; how they are computed with is the device's."""
        return torch.bfloat16 if self.settings.dtype == "bfloat16" else torch.float32

    @property
    def carries_adapter(self) -> bool:
        return isinstance(self.weights, Adapted | Fresh)

    @property
    def context(self) -> int:
        """The longest sequence that the model takes, in tokens."""
        longest = getattr(self.config.get_text_config(), "max_position_embeddings", None)
        return int(longest or self.tokenizer.model_max_length)

    def max_batch_tokens(self, longest_row: int, row: str = "row") -> int:
        """Tokens in one micro-batch, padding included: as many as asked for, else enough for speed. `row` is
        what people call what cannot be cut.

        Not the context: that is one short row at a time for a tiny model, and for a large one tens of
        thousands of tokens, whose logits alone would fill a device.
        """
        given = self.settings.max_batch_tokens
        if given is not None and given < longest_row:
            raise RunFailed(
                f"{self.place}`max_batch_tokens` = {given} is smaller than the longest {row} of "
                f"{longest_row} tokens: raise it to {longest_row} or more"
            )
        return max(longest_row, ENOUGH_TOKENS) if given is None else given

    def warn_of_training(self, watcher: Watcher) -> None:
        """Say what training these weights may do that people do not expect."""
        # An adapter is kept in float32, whatever its base is.
        if self.settings.dtype == "bfloat16" and not self.carries_adapter:
            watcher.warning(
                f"{self.place}weights in bfloat16 keep 8 bits, so updates below 1/256 of a weight are lost: "
                '`dtype = "auto"` keeps float32 weights'
            )

    def check_ids(self, largest_id: int) -> None:
        """Refuse ids that the model does not have."""
        vocabulary = self.config.get_text_config().vocab_size
        if largest_id >= vocabulary:
            raise RunFailed(
                f"{self.place}the tokenizer gives the id {largest_id}, and the model has {vocabulary} "
                "embeddings: they do not belong together"
            )

    @cached_property
    def chat(self) -> Chat:
        ends = self.generation.eos_token_id
        ids = ends if isinstance(ends, list) else [ends]
        end_tokens = self.tokenizer.convert_ids_to_tokens(ids)
        settings = self.settings
        return Chat(self.tokenizer, end_tokens, settings.template_args, settings.generation_prompt)

    def settled(self) -> Blueprint:
        """The blueprint with the recipe's values in the chat template, for readers who know no recipe."""
        if not self.settings.template_args:
            return self
        tokenizer, values = deepcopy(self.tokenizer), self.settings.template_args
        match tokenizer.chat_template:
            case dict() as named:
                template: Any = {name: with_values(text, values) for name, text in named.items()}
            case text:
                template = with_values(text, values)
        tokenizer.chat_template = template
        return replace(self, tokenizer=tokenizer)

    def check_trainable(self) -> None:
        """Refuse a chat template that no thread can be trained on with."""
        try:
            self.chat.check()
        except ChatError as fault:
            raise RunFailed(f"{self.place}the chat template {fault}") from fault


class Blueprints:
    """Draws the blueprints of a graph's models.

    `finished` says where a trained model's folder is, or will be, by the node's id; `registry` is the
    folder of saved models.
    """

    def __init__(self, graph: Graph, finished: dict[Ref, Path], registry: Path) -> None:
        self._graph = graph
        self._finished = finished
        self._registry = registry
        self._drawn: dict[Ref, Blueprint] = {}

    def of(self, ref: Ref) -> Blueprint:
        """The blueprint of the model that a node yields.

        Raises:
            RunFailed: a part of the model is missing or does not fit.
        """
        if ref not in self._drawn:
            self._drawn[ref] = self._draw(ref)
        return self._drawn[ref]

    def notes(self) -> tuple[str, ...]:
        """What people should hear about the blueprints drawn so far."""
        return tuple(note for drawn in self._drawn.values() for note in drawn.notes)

    def _draw(self, ref: Ref) -> Blueprint:
        node = self._graph.nodes[ref]
        where = place(self._graph, ref)
        match node:
            case ScratchModel():
                return _of_scratch(node, where)
            case HubModel():
                return _of_pretrained(node.repo, node.revision, node.trust_remote_code, node, where)
            case LocalModel():
                if not Path(node.path).is_dir():
                    raise RunFailed(f"{where}there is no folder {node.path}")
                return _of_pretrained(node.path, None, node.trust_remote_code, node, where)
            case RegistryModel():
                return _of_pretrained(str(self._registry / node.key), None, False, node, where)
            case Reloaded():
                source = self.of(node.source)
                own = deepcopy(source.tokenizer)  # it takes another end token and template than the source's
                drawn = replace(source, settings=node, place=where, notes=(), tokenizer=own)
                return _dressed(_adapted(drawn))
            case Algorithm():
                # Training changes weights only, so the rest is known from the model that is trained.
                folder = self._finished[ref]
                if folder.is_dir() and not (folder / CONFIG).is_file():
                    settings = self._settings(ref)
                    trusted = getattr(settings, "trust_remote_code", False)
                    return _of_pretrained(str(folder), None, trusted, settings, where)
                source = self.of(_trained_by(node))
                trained: Origin
                if isinstance(source.weights, Adapted | Fresh):
                    trained = Adapted(source.weights.base, folder)
                else:
                    trained = Pretrained(str(folder), None, trusts_code(source.weights), source.config)
                return replace(source, weights=trained, place=where, notes=())
        raise RunFailed(f"{where}this version loads no model from `{node.constructor}`", exit_code=2)

    def _settings(self, ref: Ref) -> LoadSettings:
        node = self._graph.nodes[ref]
        if isinstance(node, LoadSettings):
            return node
        assert isinstance(node, Algorithm)
        return self._settings(_trained_by(node))


def _trained_by(node: Algorithm) -> Ref:
    """The model that an algorithm starts from."""
    model: Ref = getattr(node, type(node).trains)
    return model


def _of_scratch(node: ScratchModel, where: str) -> Blueprint:
    tokenizer = chars_tokenizer() if node.tokenizer == "chars" else tokenizer_at(node.tokenizer, where)
    if node.vocab_size is not None and node.vocab_size < len(tokenizer):
        raise RunFailed(
            f"{where}`vocab_size` = {node.vocab_size} is smaller than the tokenizer's {len(tokenizer)} "
            "tokens: raise it, or leave it out"
        )
    notes: tuple[str, ...] = ()
    if tokenizer.chat_template is None and node.chat_template is None:
        node = records.replace(node, chat_template="plain")
        notes = (
            f"{where}the tokenizer brings no chat template, so turns are joined as with "
            '`chat_template = "plain"`',
        )
    config = scratch_config(node, len(tokenizer))
    weights = New(config, node.seed)
    return _dressed(_adapted(Blueprint(where, node, weights, config, tokenizer, GenerationConfig(), notes)))


def _of_pretrained(
    name: str, revision: str | None, trusted: bool, settings: LoadSettings, where: str
) -> Blueprint:
    weights, config, tokenizer, generation = parts(name, revision, trusted, where)
    return _dressed(_adapted(_grown(Blueprint(where, settings, weights, config, tokenizer, generation))))


def _grown(drawn: Blueprint) -> Blueprint:
    """The blueprint with as many embeddings as its tokenizer asks for; fewer there never are."""
    asked = max(drawn.tokenizer.get_vocab().values()) + 1
    has = drawn.config.get_text_config().vocab_size
    if asked <= has:
        return drawn
    config = deepcopy(drawn.config)
    config.get_text_config().vocab_size = asked
    match drawn.weights:
        case Adapted(base=Pretrained() as base, folder=folder):
            weights: Origin = Adapted(Grown(base, asked), folder)
        case Pretrained() as base:
            weights = Grown(base, asked)
        case _:
            raise AssertionError(f"{drawn.weights} does not come from files")
    new = "1 new row" if asked == has + 1 else f"{asked - has:,} new rows"
    note = (
        f"{drawn.place}the tokenizer has {asked:,} tokens and the model {has:,} embeddings, which get {new} "
        "that nothing has trained yet"
    )
    return replace(drawn, weights=weights, config=config, notes=(*drawn.notes, note))


def _adapted(drawn: Blueprint) -> Blueprint:
    """The blueprint with the adapter that its settings ask for."""
    match drawn.settings.adapter:
        case "kept":
            return drawn
        case None:
            return replace(drawn, weights=merged(drawn.weights))
        case lora:
            base = merged(drawn.weights)
            adapters.refuse_unknown_targets(lora, drawn.config, drawn.place, trusts_code(base))
            return replace(drawn, weights=Fresh(base, lora))


def _dressed(drawn: Blueprint) -> Blueprint:
    """The blueprint with end token and chat template as its settings say, and a generation config to fit."""
    settings, where = drawn.settings, drawn.place
    tokenizer = drawn.tokenizer
    ends = drawn.generation.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    if settings.end_token is not None:
        if settings.end_token not in tokenizer.get_vocab():
            raise RunFailed(f"{where}`end_token` = {settings.end_token!r} is no token of the tokenizer")
        tokenizer.eos_token = settings.end_token
        ends = []
    if tokenizer.eos_token is None:
        raise RunFailed(
            f"{where}the tokenizer names no end token, and a model trained without one never ends a "
            'completion: name one of its tokens with `end_token = "…"`'
        )
    end = tokenizer.eos_token_id
    known_ends = [end, *(other for other in ends if other is not None and other != end)]

    match settings.chat_template:
        case None:
            if tokenizer.chat_template is None:
                raise RunFailed(
                    f'{where}the tokenizer brings no chat template: add `chat_template = "plain"` (turns '
                    "joined by blank lines), or the path of a Jinja file"
                )
        case "plain":
            tokenizer.chat_template = plain_template(tokenizer)
        case path:
            try:
                tokenizer.chat_template = Path(path).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as fault:
                raise RunFailed(f"{where}the chat template {path} cannot be read: {fault}") from fault

    generation = GenerationConfig.from_dict(drawn.generation.to_dict())
    generation.bos_token_id = tokenizer.bos_token_id
    generation.eos_token_id = known_ends if len(known_ends) > 1 else end
    # Only a padding of prompts, masked by length; it may be any token.
    generation.pad_token_id = end if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    try:
        generation.validate(strict=True)
    except ValueError:
        # Some models bring a temperature and do not sample, with which transformers refuses to save them.
        generation.do_sample = True
    dressed = replace(drawn, generation=generation)
    try:
        dressed.chat.check_prompt()
    except ChatError as fault:
        raise RunFailed(f"{where}the chat template {fault}") from fault
    notes = tuple(f"{where}the chat template {note}" for note in dressed.chat.notes)
    return replace(dressed, notes=(*dressed.notes, *notes))
