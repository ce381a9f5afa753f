"""Model nodes: where weights come from, and how they are loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from harmony_compiler.graph.node import RECIPE_SEED, Derived, Node, ReadWith, Rule, field
from harmony_compiler.graph.settings import Lora
from harmony_compiler.graph.types import (
    ENDPOINT,
    JSON,
    MODEL,
    PATH,
    SECRET,
    STR,
    LiteralText,
    RecordOf,
    Type,
    Union,
)
from harmony_compiler.graph.values import Ref, Secret

ModelRef = Annotated[Ref, MODEL]
AnsweringRef = Annotated[Ref, Union((MODEL, ENDPOINT))]
"""What can answer prompts: weights, or a served model."""

CHARS_VOCABULARY = 103
"""Size of the built-in character tokenizer: 95 printable ASCII characters, newline, `<unk> <bos> <eos>
<pad>` and the role marks of system, user and assistant."""

_GATED = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
LINEAR_LAYERS = {"qwen3": _GATED, "llama": _GATED, "gpt2": ("c_attn", "c_proj", "c_fc")}
"""By the architecture of a new model, the linear layers of its blocks."""

UNCUT = ("gpt2",)
"""Architectures whose matrices transformers has no plan to cut, by the `model_type` of a configuration."""

CHARS_MARKS = ("<pad>", "<unk>", "<bos>", "<eos>", "<system>", "<user>", "<assistant>")
CHARS_TEXT = "\n" + "".join(map(chr, range(32, 127)))
"""What its tokens are: the marks, and one token a character."""


class LoadSettings(Node):
    """How weights are loaded: the fields that every model takes, and a trained model takes alone."""

    reads = (ReadWith("template_args", "chat_template", unless="plain"),)

    tp: int = field(
        1, at_least=1, role="placement", doc="tensor-parallel degree: devices that share one copy"
    )
    max_batch_tokens: int | None = field(
        None,
        at_least=1,
        role="placement",
        doc="tokens in one micro-batch, padding included; by default the longest row, and at least 4,096",
        examples=("4_096", "16_384"),
    )
    dtype: Literal["auto", "float32", "bfloat16"] = field(
        "auto",
        role="placement",
        doc="type of the weights; `auto`: float32, computed in bfloat16 where the device is made for it",
    )
    adapter: Lora | Literal["kept"] | None = field(
        "kept",
        doc="`lora`: train a new low-rank adapter and leave the weights as they are; `none`: train all of "
        "them; both merge an adapter that the model carries, and by default it goes on with that",
    )
    chat_template: Annotated[str, Union((LiteralText("plain"), PATH))] | None = field(
        None,
        doc="how turns become text: `plain` (turns joined by blank lines) or a Jinja file; "
        "by default the tokenizer's own",
        examples=('"plain"', '"chat.jinja"'),
    )
    template_args: Annotated[dict[str, Any], RecordOf(JSON)] | None = field(
        None,
        doc="further values that the chat template sees, such as `enable_thinking`",
        examples=("{ enable_thinking = false }",),
    )
    generation_prompt: Literal["strict", "as_trained"] = field(
        "strict",
        doc="what a completion is asked by: the template's own words, refused where they differ from those "
        "trained on; or those trained on",
    )
    end_token: str | None = field(
        None,
        doc="token that ends a completion, where the tokenizer names none or another is wanted",
        examples=('"<eos>"',),
    )
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"] = field(
        "auto", role="placement", doc="attention implementation"
    )
    gradient_checkpointing: bool = field(
        False, role="placement", doc="recompute activations in the backward pass: less memory, more time"
    )

    @classmethod
    def result(cls, given: Mapping[str, Any]) -> Type:
        return MODEL


RENDERING = frozenset(
    {
        "add_generation_prompt",
        "chat_template",
        "continue_final_message",
        "conversation",
        "max_length",
        "messages",
        "padding",
        "return_assistant_tokens_mask",
        "return_dict",
        "return_tensors",
        "sanitize_control_tokens",
        "strftime_now",
        "tokenize",
        "tokenizer_kwargs",
        "truncation",
    }
)
"""What rendering a thread sets itself."""

LOAD_RULES = (
    Rule(
        "template_args",
        (),
        lambda args: not RENDERING & args.keys(),
        "`template_args` sets what rendering a thread sets itself",
        f"take another name than {', '.join(f'`{name}`' for name in sorted(RENDERING))}",
    ),
    Rule(
        "tp",
        ("ctx.world_size",),
        lambda tp, world: tp <= world and world % tp == 0,
        "`tp` = {tp} does not divide the world size of {world_size}",
        "start more processes with `--num-processes`, or lower `tp`",
    ),
    Rule(
        "tp",
        ("ctx.gpus_per_node",),
        lambda tp, devices: devices % tp == 0,
        "`tp` = {tp} does not divide the {gpus_per_node} devices of a machine",
        "one copy of a model stays within a machine: lower `tp`",
    ),
)


NO_ADDRESS = Rule(
    "repo",
    (),
    lambda repo: "://" not in repo,
    "`repo` names a repository, and this is an address",
    "write what follows the host, such as `OWNER/NAME`",
)


class HubModel(LoadSettings):
    """A pretrained model from the Hugging Face hub, or from its local cache."""

    constructor = "hf"
    argument = "repo"
    rules = (*LOAD_RULES, NO_ADDRESS)

    repo: str = field(doc="repository, such as `Qwen/Qwen3-0.6B`", examples=('"Qwen/Qwen3-0.6B"', '"gpt2"'))
    revision: str | None = field(None, doc="branch, tag or commit; by default the main branch")
    trust_remote_code: bool = field(
        False, doc="run code that the repository brings; only for code you have read"
    )


class LocalModel(LoadSettings):
    """A pretrained model from a folder, as `save_pretrained` writes it."""

    constructor = "local"
    argument = "path"
    rules = LOAD_RULES

    path: Annotated[str, PATH] = field(
        folder=True,
        doc="folder with config, safetensors weights and tokenizer",
        examples=('"tiny-model"',),
    )
    trust_remote_code: bool = field(False, doc="run code that the folder brings; only for code you have read")


class RegistryModel(LoadSettings):
    """A model that an earlier run saved under a key: what the key holds when the run starts."""

    constructor = "registry"
    argument = "key"
    rules = LOAD_RULES

    key: str = field(doc="key that a `save` wrote", examples=('"sorter"',))


class ScratchModel(LoadSettings):
    """A new, untrained model."""

    constructor = "scratch"

    architecture: Literal["qwen3", "llama", "gpt2"] = field("qwen3", doc="shape of the network")
    hidden_size: int = field(at_least=1, doc="width of the residual stream")
    layers: int = field(at_least=1, doc="number of transformer blocks")
    heads: int = field(at_least=1, doc="attention heads; the head size is `hidden_size / heads`")
    context: int = field(at_least=2, doc="longest sequence in tokens", examples=("512", "2_048"))
    kv_heads: int | None = field(
        Derived(
            "heads",
            ("architecture", "heads"),
            lambda architecture, heads: None if architecture == "gpt2" else heads,
        ),
        at_least=1,
        doc="key and value heads, shared between attention heads",
    )
    mlp_size: int = field(
        Derived("4 * hidden_size", ("hidden_size",), lambda hidden: 4 * hidden),
        at_least=1,
        doc="width of the feed-forward layer",
    )
    vocab_size: int | None = field(
        None,
        at_least=1,
        doc="rows of the embedding; by default the tokenizer's size",
        examples=("103", "32_000"),
    )
    tied: bool = field(True, doc="one matrix for embedding and output head")
    adapter: Lora | None = field(None, doc="train a low-rank adapter and leave the weights as they are")
    tokenizer: Annotated[str, Union((LiteralText("chars"), PATH))] = field(
        "chars",
        folder=True,
        doc="`chars` (printable ASCII, one token a character) or a tokenizer folder",
        examples=('"chars"', '"tokenizer"'),
    )
    seed: int = field(RECIPE_SEED, at_least=0, doc="seed of the initial weights")

    rules = (
        *LOAD_RULES,
        Rule(
            "heads",
            ("hidden_size",),
            lambda heads, hidden: hidden % heads == 0,
            "`heads` = {heads} does not divide `hidden_size` = {hidden_size}",
            "the head size is `hidden_size / heads` and must be a whole number",
        ),
        Rule(
            "heads",
            ("hidden_size", "architecture"),
            lambda heads, hidden, architecture: (
                architecture == "gpt2" or hidden % heads != 0 or (hidden // heads) % 2 == 0
            ),
            "a head size of {hidden_size} / {heads} is odd, and `{architecture}` rotates positions in pairs",
            "choose `heads` so that `hidden_size / heads` is even",
        ),
        Rule(
            "kv_heads",
            ("heads",),
            lambda kv_heads, heads: heads % kv_heads == 0,
            "`kv_heads` = {kv_heads} does not divide `heads` = {heads}",
            "each key and value head is shared by the same number of attention heads",
        ),
        Rule(
            "kv_heads",
            ("architecture",),
            lambda kv_heads, architecture: architecture != "gpt2",
            "`gpt2` has no `kv_heads`: each of its heads has its own keys and values",
            "remove `kv_heads`, or choose `qwen3` or `llama`",
        ),
        Rule(
            "vocab_size",
            ("tokenizer",),
            lambda size, tokenizer: tokenizer != "chars" or size >= CHARS_VOCABULARY,
            f"`vocab_size` = {{vocab_size}} is smaller than the tokenizer's {CHARS_VOCABULARY} tokens",
            f"leave it out, or make it at least {CHARS_VOCABULARY}",
        ),
        Rule(
            "end_token",
            ("tokenizer",),
            lambda token, tokenizer: (
                tokenizer != "chars" or token in CHARS_MARKS or (len(token) == 1 and token in CHARS_TEXT)
            ),
            "`{end_token}` is no token of the character tokenizer",
            "leave it out: its own is `<eos>`",
        ),
    )


class Endpoint(Node):
    """A served model behind an OpenAI-compatible API: it can judge and be compared, not be trained."""

    constructor = "endpoint"
    argument = "url"

    url: str = field(
        doc="where the API stands, such as `http://localhost:8000/v1`",
        examples=('"http://localhost:8000/v1"', '"https://api.example.com/v1"'),
    )
    model: str = field(doc="name of the model there", examples=('"judge"',))
    key: Annotated[Secret, SECRET] | None = field(None, role="watching", doc="the key of the API, by name")
    headers: Annotated[dict[str, Any], RecordOf(Union((STR, SECRET)))] | None = field(
        None, role="watching", doc="further headers of each request"
    )

    @classmethod
    def result(cls, given: Mapping[str, Any]) -> Type:
        return ENDPOINT


class Reloaded(LoadSettings):
    """A trained model with other load settings; recipes write `warm { dtype = "bfloat16" }`."""

    constructor = "reloaded"
    rules = LOAD_RULES

    source: ModelRef = field(doc="the trained model")
