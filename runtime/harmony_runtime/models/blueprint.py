"""Everything about a model except its weights.

A `Blueprint` is what can be known before weights are made: configuration, tokenizer with its chat template,
generation settings, how to load, and where the weights are. All of a run's blueprints are drawn first, so
that a missing tokenizer or template is found before anything costs time.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer, GenerationConfig

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
from harmony_grammar import records
from harmony_runtime.failures import RunFailed, place
from harmony_runtime.models.chars import chars_tokenizer
from harmony_runtime.models.chat import Chat, ChatError, plain_template
from harmony_runtime.models.scratch import scratch_config
from harmony_runtime.watch import Watcher

ENOUGH_TOKENS = 4096
"""A micro-batch of so many tokens keeps a device busy."""


@dataclass(frozen=True)
class Pretrained:
    """Weights that exist: a folder, or a repository on the hub."""

    name: str
    revision: str | None = None
    trust_remote_code: bool = False

    @property
    def options(self) -> dict[str, Any]:
        return {"revision": self.revision, "trust_remote_code": self.trust_remote_code}


@dataclass(frozen=True)
class Blueprint:
    place: str
    """Where the recipe writes the model: the beginning of every message about it."""
    settings: LoadSettings
    weights: Pretrained | ScratchModel
    config: Any
    tokenizer: Any
    generation: GenerationConfig
    notes: tuple[str, ...] = ()

    @property
    def context(self) -> int:
        """The longest sequence that the model takes, in tokens."""
        longest = getattr(self.config.get_text_config(), "max_position_embeddings", None)
        return int(longest or self.tokenizer.model_max_length)

    def max_batch_tokens(self, longest_row: int) -> int:
        """Tokens in one micro-batch, padding included: as many as asked for, else enough for speed.

        Not the context: that is one short row at a time for a tiny model, and for a large one tens of
        thousands of tokens, whose logits alone would fill a device.
        """
        given = self.settings.max_batch_tokens
        if given is not None and given < longest_row:
            raise RunFailed(
                f"{self.place}`max_batch_tokens` = {given} is smaller than the longest row of {longest_row} "
                f"tokens: raise it to {longest_row} or more"
            )
        return max(longest_row, ENOUGH_TOKENS) if given is None else given

    def warn_of_training(self, watcher: Watcher) -> None:
        """Say what training these weights may do that people do not expect."""
        if self.settings.dtype == "bfloat16":
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

    @property
    def chat(self) -> Chat:
        ends = self.generation.eos_token_id
        ids = ends if isinstance(ends, list) else [ends]
        return Chat(self.tokenizer, self.tokenizer.convert_ids_to_tokens(ids))


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
                return _of_pretrained(
                    Pretrained(node.repo, node.revision, node.trust_remote_code), node, where
                )
            case LocalModel():
                if not Path(node.path).is_dir():
                    raise RunFailed(f"{where}there is no folder {node.path}")
                return _of_pretrained(Pretrained(node.path, None, node.trust_remote_code), node, where)
            case RegistryModel():
                return _of_pretrained(Pretrained(str(self._registry / node.key)), node, where)
            case Reloaded():
                source = self.of(node.source)
                own = deepcopy(source.tokenizer)  # it takes another end token and template than the source's
                return _dressed(replace(source, settings=node, place=where, notes=(), tokenizer=own))
            case Algorithm():
                # Training changes weights only, so the rest is known from the model that is trained.
                folder = self._finished[ref]
                if folder.is_dir():
                    settings = self._settings(ref)
                    trusted = getattr(settings, "trust_remote_code", False)
                    return _of_pretrained(Pretrained(str(folder), None, trusted), settings, where)
                source = self.of(_trained_by(node))
                trusted = isinstance(source.weights, Pretrained) and source.weights.trust_remote_code
                trained = Pretrained(str(folder), None, trusted)
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
    model: Ref = node.model  # type: ignore[attr-defined]  # each algorithm has one, under a name of its own
    return model


def _of_scratch(node: ScratchModel, where: str) -> Blueprint:
    tokenizer = chars_tokenizer() if node.tokenizer == "chars" else _tokenizer(node.tokenizer, where)
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
    return _dressed(Blueprint(where, node, node, config, tokenizer, GenerationConfig(), notes))


def _of_pretrained(weights: Pretrained, settings: LoadSettings, where: str) -> Blueprint:
    name, options = weights.name, weights.options
    _refuse_pickles(Path(name), where)
    config = _read(lambda: AutoConfig.from_pretrained(name, **options), "configuration", name, where)
    tokenizer = _tokenizer(name, where, **options)
    generation = _read(lambda: _generation(weights), "generation settings", name, where)
    return _dressed(Blueprint(where, settings, weights, config, tokenizer, generation))


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
        dressed.chat.check()
    except ChatError as fault:
        raise RunFailed(f"{where}the chat template {fault}") from fault
    return dressed


def _generation(weights: Pretrained) -> GenerationConfig:
    try:
        return GenerationConfig.from_pretrained(weights.name, revision=weights.revision)
    except OSError:  # a model need not bring one
        return GenerationConfig()


def _tokenizer(name: str, where: str, **options: Any) -> Any:
    tokenizer = _read(lambda: AutoTokenizer.from_pretrained(name, **options), "tokenizer", name, where)
    # Where a folder has a configuration and no tokenizer, transformers makes an empty one of that family.
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
        raise RunFailed(f"{where}{name} brings no tokenizer: put the model's tokenizer files there")
    return tokenizer


def _refuse_pickles(folder: Path, where: str) -> None:
    """A pickle is code of whoever wrote it."""
    if not folder.is_absolute() or any(folder.glob("*.safetensors")):
        return
    pickled = next((file.name for kind in ("*.bin", "*.pt", "*.pth") for file in folder.glob(kind)), None)
    found = f", and `{pickled}` is a pickle, which is never loaded" if pickled else ""
    raise RunFailed(
        f"{where}{folder} holds no weights as safetensors{found}. `save_pretrained` writes them there"
    )


def _read(reader: Any, what: str, name: str, where: str) -> Any:
    try:
        return reader()
    except Exception as fault:  # libraries read files of any content, and raise whatever it leads to
        raise RunFailed(unreadable(fault, what, name, where)) from fault


def unreadable(fault: Exception, what: str, name: str, where: str) -> str:
    """One paragraph about a part of a model that cannot be read."""
    reason = str(fault).strip().partition("\n")[0]
    if Path(name).is_absolute():
        return f"{where}the {what} in {name} cannot be read: {reason}"
    if "connect" in str(fault).lower() or "offline" in str(fault).lower():
        return (
            f"{where}the {what} of `{name}` is not in the local cache, and the hub cannot be reached. Go "
            "online once, or copy the model here and name it with `local(…)`"
        )
    return f"{where}the {what} of `{name}` cannot be read: {reason}"
