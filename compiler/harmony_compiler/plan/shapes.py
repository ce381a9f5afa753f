"""Shapes: what a model's configuration says of its weights, without any weight.

A new model says it in the recipe, a folder in its `config.json`, an adapter's folder in that of its base; a
model of the hub where it was loaded before. Training leaves a shape alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from harmony_compiler.files import Files
from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.models import (
    CHARS_VOCABULARY,
    HubModel,
    LoadSettings,
    LocalModel,
    RegistryModel,
    Reloaded,
    ScratchModel,
)
from harmony_compiler.graph.settings import Lora
from harmony_compiler.graph.values import Ref
from harmony_compiler.plan.hub import cached
from harmony_compiler.store.adapters import CONFIG, OWN_BASE
from harmony_compiler.whole.model_config import LARGEST_CONFIG, config_of
from harmony_grammar.records import Record, replace

LARGEST_TOKENIZER = 64 * 1024 * 1024
"""How much of a `tokenizer.json` is read, in bytes."""


class Adapter(Record):
    """Low-rank matrices beside some linear layers, which alone are trained."""

    rank: int
    targets: tuple[str, ...] | None
    """None: every linear layer of the blocks."""
    dropout: float = 0.0
    fresh: bool = True
    """Whether it changes nothing yet, as before the first stage that trains it."""


class Linear(Record):
    """A linear layer of a block, under the end of its name."""

    name: str
    takes: int
    gives: int
    bias: bool = False

    @property
    def parameters(self) -> int:
        return self.takes * self.gives + (self.gives if self.bias else 0)


class Shape(Record):
    """A decoder as transformers builds it: blocks of attention and a feed-forward part."""

    architecture: str
    """The `model_type` of its configuration."""
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_size: int
    mlp: int
    vocab: int
    context: int
    tied: bool
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    """Whether queries and keys are normalised, head by head."""
    windowed: bool = False
    """Whether a layer looks back at a window only."""
    dropout: float = 0.0
    """Of the residual stream, while it is trained."""
    attention_dropout: float = 0.0
    adapter: Adapter | None = None

    @property
    def gated(self) -> bool:
        """Whether its blocks are those of llama: RMS norms, rotated positions, an MLP with a gate; else they
        are those of gpt2."""
        return self.architecture != "gpt2"

    @property
    def linears(self) -> tuple[Linear, ...]:
        """The linear layers of one block."""
        hidden, mlp = self.hidden, self.mlp
        queries, keys = self.heads * self.head_size, self.kv_heads * self.head_size
        if not self.gated:
            return (
                Linear("attn.c_attn", hidden, 3 * hidden, bias=True),
                Linear("attn.c_proj", hidden, hidden, bias=True),
                Linear("mlp.c_fc", hidden, mlp, bias=True),
                Linear("mlp.c_proj", mlp, hidden, bias=True),
            )
        return (
            Linear("self_attn.q_proj", hidden, queries, self.qkv_bias),
            Linear("self_attn.k_proj", hidden, keys, self.qkv_bias),
            Linear("self_attn.v_proj", hidden, keys, self.qkv_bias),
            Linear("self_attn.o_proj", queries, hidden, self.out_bias),
            Linear("mlp.gate_proj", hidden, mlp, self.mlp_bias),
            Linear("mlp.up_proj", hidden, mlp, self.mlp_bias),
            Linear("mlp.down_proj", mlp, hidden, self.mlp_bias),
        )

    @property
    def matrices(self) -> int:
        """Parameters of the linear layers of all blocks."""
        return self.layers * sum(linear.parameters for linear in self.linears)

    @property
    def norms(self) -> int:
        """Parameters of the norms."""
        each = 2 * self.hidden if not self.gated else self.hidden
        in_heads = 2 * self.head_size if self.qk_norm else 0
        return self.layers * (2 * each + in_heads) + each

    @property
    def embeddings(self) -> int:
        """Parameters of the embeddings, those of positions included."""
        positions = 0 if self.gated else self.context * self.hidden
        return self.vocab * self.hidden + positions

    @property
    def head(self) -> int:
        """Parameters of the output head, where it is a matrix of its own."""
        return 0 if self.tied else self.vocab * self.hidden

    @property
    def parameters(self) -> int:
        """Of the whole model without an adapter."""
        return self.backbone + self.head

    @property
    def backbone(self) -> int:
        """What is below the output head, which a critic keeps."""
        return self.embeddings + self.matrices + self.norms

    @property
    def adapted(self) -> int:
        """Parameters of the adapter."""
        if self.adapter is None:
            return 0
        blocks = (self._beside(linear.takes, linear.gives) * self._times(linear) for linear in self.linears)
        return sum(blocks) + (self._beside(self.hidden, self.vocab) if self.targets_head else 0)

    @property
    def targets_head(self) -> bool:
        adapter = self.adapter
        return adapter is not None and adapter.targets is not None and "lm_head" in adapter.targets

    def targeted(self, linear: Linear) -> bool:
        """Whether an adapter stands beside this layer in any of the blocks."""
        return self._times(linear) > 0

    def _times(self, linear: Linear) -> int:
        """In how many of the blocks an adapter stands beside this layer."""
        if self.adapter is None:
            return 0
        if (targets := self.adapter.targets) is None:
            return self.layers
        before = "transformer.h" if not self.gated else "model.layers"
        names = (f"{before}.{layer}.{linear.name}" for layer in range(self.layers))
        return sum(any(f".{name}".endswith(f".{target}") for target in targets) for name in names)

    def _beside(self, takes: int, gives: int) -> int:
        return 0 if self.adapter is None else self.adapter.rank * (takes + gives)


def shape_of(graph: Graph, ref: Ref, files: Files, registry: Path | None = None) -> Shape | str:
    """The shape of the model that a node yields; or why nobody knows it, in words."""
    match node := graph.nodes[ref]:
        case ScratchModel():
            return _adapted(_of_scratch(node, files), node.adapter)
        case LocalModel():
            return _adapted(_in_folder(Path(node.path), files), node.adapter)
        case RegistryModel():
            if registry is None:
                return "no registry is at hand"
            return _adapted(_in_folder(registry / node.key, files), node.adapter)
        case Reloaded():
            return _adapted(shape_of(graph, node.source, files, registry), node.adapter)
        case Algorithm():
            shape = shape_of(graph, trained_by(node), files, registry)
            if isinstance(shape, str) or shape.adapter is None:
                return shape
            return replace(shape, adapter=replace(shape.adapter, fresh=False))
        case HubModel():
            folder = cached(node.repo, node.revision, files)
            if folder is None:
                return (
                    f"the configuration of {node.repo} is on the hub, and not in this machine's cache of it"
                )
            return _adapted(_in_folder(folder, files), node.adapter)
    return f"`{node.constructor}` is no model with weights"


def settings_of(graph: Graph, ref: Ref) -> LoadSettings:
    """How the model that a node yields is loaded: a trained one as the model that its stage trains."""
    node = graph.nodes[ref]
    if isinstance(node, Algorithm):
        return settings_of(graph, trained_by(node))
    assert isinstance(node, LoadSettings)
    return node


def trained_by(node: Algorithm) -> Ref:
    """The model that a stage trains."""
    model: Ref = getattr(node, type(node).trains)
    return model


def _adapted(shape: Shape | str, asked: Lora | Literal["kept"] | None) -> Shape | str:
    if isinstance(shape, str) or asked == "kept":
        return shape
    adapter = None if asked is None else Adapter(asked.rank, asked.targets, asked.dropout)
    return replace(shape, adapter=adapter)


def _of_scratch(node: ScratchModel, files: Files) -> Shape | str:
    vocab = node.vocab_size
    if vocab is None and node.tokenizer == "chars":
        vocab = CHARS_VOCABULARY
    elif vocab is None:
        if (known := _tokens(Path(node.tokenizer), files)) is None:
            return f"the tokenizer in {node.tokenizer} does not tell its size"
        vocab = known[0]
    return Shape(
        architecture=node.architecture,
        layers=node.layers,
        hidden=node.hidden_size,
        heads=node.heads,
        kv_heads=node.heads if node.kv_heads is None else node.kv_heads,
        head_size=node.hidden_size // node.heads,
        mlp=node.mlp_size,
        vocab=vocab,
        context=node.context,
        tied=node.tied,
        qk_norm=node.architecture == "qwen3",
    )


# --- folders --------------------------------------------------------------------------------------------


def _in_folder(folder: Path, files: Files) -> Shape | str:
    config = config_of(str(folder), files)
    if not config:
        return _beside_base(folder, files)
    if len(config) > 1:
        return f"the model in {folder} reads more than text"
    if "quantization_config" in config[0]:
        return f"the weights in {folder} are quantised"
    shape = _of_config(config[0])
    if shape is None:
        return f"the `config.json` in {folder} is of no architecture that a plan knows"
    if (known := _tokens(folder, files)) is not None:
        # A tokenizer with more tokens than there are embeddings gets new rows.
        shape = replace(shape, vocab=max(shape.vocab, known[1]))
    return shape


def _beside_base(folder: Path, files: Files) -> Shape | str:
    """An adapter, with the shape of the base that it names."""
    try:
        read: Any = json.loads(files.head(folder / CONFIG, LARGEST_CONFIG))
        rank, targets, named = read["r"], read["target_modules"], read["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return f"there is no `config.json` in {folder}"
    if not isinstance(rank, int) or not (targets == "all-linear" or isinstance(targets, list)):
        return f"the adapter in {folder} says in a pattern beside which layers it stands"
    base: Path | None = folder / OWN_BASE if files.is_folder(folder / OWN_BASE) else Path(str(named))
    if base and not base.is_absolute():
        base = cached(str(named), read.get("revision"), files)
    if base is None or not files.is_folder(base):
        return f"the base of the adapter in {folder}, {named}, is not in a folder here"
    shape = _in_folder(base, files)
    if isinstance(shape, str):
        return shape
    beside = None if isinstance(targets, str) else tuple(map(str, targets))
    return replace(shape, adapter=Adapter(rank, beside, float(read.get("lora_dropout") or 0), fresh=False))


_NO_BIAS: Mapping[str, str | bool] = {"qkv": False, "out": False, "mlp": False}
_BIASES: dict[str, Mapping[str, str | bool]] = {
    "qwen3": {**_NO_BIAS, "qkv": "attention_bias", "out": "attention_bias"},
    "qwen2": {**_NO_BIAS, "qkv": True},
    "llama": {"qkv": "attention_bias", "out": "attention_bias", "mlp": "mlp_bias"},
    "mistral": _NO_BIAS,
}
"""Of architectures that are built alike: which linear layers have a bias, or the field that says so."""


def _of_config(config: dict[str, Any]) -> Shape | None:
    """None where it is of another architecture, or does not say enough."""
    kind = config.get("model_type")
    try:
        if kind == "gpt2":
            return _of_gpt2(config)
        if kind in _BIASES:
            return _of_gated(kind, config)
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        pass
    return None


def _of_gpt2(config: dict[str, Any]) -> Shape:
    hidden, heads = int(config["n_embd"]), int(config["n_head"])
    return Shape(
        architecture="gpt2",
        layers=int(config["n_layer"]),
        hidden=hidden,
        heads=heads,
        kv_heads=heads,
        head_size=hidden // heads,
        mlp=int(config.get("n_inner") or 4 * hidden),
        vocab=int(config["vocab_size"]),
        context=int(config["n_positions"]),
        tied=bool(config.get("tie_word_embeddings", True)),
        dropout=float(config.get("resid_pdrop", 0.1)),
        attention_dropout=float(config.get("attn_pdrop", 0.1)),
    )


def _of_gated(kind: str, config: dict[str, Any]) -> Shape:
    hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
    has = {
        part: bool(config.get(by, False)) if isinstance(by, str) else by for part, by in _BIASES[kind].items()
    }
    usual = 128 if kind == "qwen3" else hidden // heads
    return Shape(
        architecture=kind,
        layers=int(config["num_hidden_layers"]),
        hidden=hidden,
        heads=heads,
        kv_heads=int(config.get("num_key_value_heads") or heads),
        head_size=int(config.get("head_dim") or usual),
        mlp=int(config["intermediate_size"]),
        vocab=int(config["vocab_size"]),
        context=int(config["max_position_embeddings"]),
        tied=bool(config.get("tie_word_embeddings", False)),
        qkv_bias=has["qkv"],
        out_bias=has["out"],
        mlp_bias=has["mlp"],
        qk_norm=kind == "qwen3",
        windowed=_windowed(kind, config),
        attention_dropout=float(config.get("attention_dropout") or 0),
    )


def _windowed(kind: str, config: dict[str, Any]) -> bool:
    if layers := config.get("layer_types"):
        return any(layer != "full_attention" for layer in layers)
    if kind == "mistral":
        return config.get("sliding_window") is not None
    return bool(config.get("use_sliding_window", False))


def _tokens(folder: Path, files: Files) -> tuple[int, int] | None:
    """How many tokens the tokenizer in a folder has, and one more than its largest id."""
    place = folder / "tokenizer.json"

    def read() -> tuple[int, int] | None:
        try:
            data: Any = json.loads(files.head(place, LARGEST_TOKENIZER))
            vocab, added = data["model"]["vocab"], data.get("added_tokens") or ()
            # A Unigram model lists its tokens, the others map them to ids.
            ids = (
                dict(vocab) if isinstance(vocab, dict) else {token: n for n, (token, *_) in enumerate(vocab)}
            )
            ids |= {token["content"]: token["id"] for token in added}
            return len(ids), max(ids.values()) + 1
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    return files.kept(place, "tokens of a tokenizer", read)
