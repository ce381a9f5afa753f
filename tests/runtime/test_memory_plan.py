"""The memory plan and torch: parameters as transformers makes them, activations as autograd keeps."""

# Names of tensors end in their shape: B rows, T tokens.
# ruff: noqa: N803, N806

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal, cast

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from harmony_compiler.files import DISK
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.models import LocalModel, RegistryModel, ScratchModel
from harmony_compiler.graph.node import Node
from harmony_compiler.graph.settings import Lora
from harmony_compiler.graph.values import Ref
from harmony_compiler.plan.activations import Arithmetic, Counter, Tokens
from harmony_compiler.plan.shapes import Adapter, Shape, shape_of
from harmony_grammar.records import replace
from harmony_runtime.models import adapters
from harmony_runtime.models.heads import Critic, Scalar
from harmony_runtime.models.scorer import Scorer
from harmony_runtime.models.scratch import scratch_config
from harmony_runtime.processes.mesh import Mesh

VOCABULARY = 103
TINY = ScratchModel(
    architecture="qwen3", hidden_size=32, layers=3, heads=4, kv_heads=2, mlp_size=80, context=64, seed=0
)
KINDS = {
    "qwen3": TINY,
    "qwen3, a head for each": replace(TINY, kv_heads=4),
    "qwen3, untied": replace(TINY, tied=False),
    "llama": replace(TINY, architecture="llama"),
    "llama, untied": replace(TINY, architecture="llama", kv_heads=4, tied=False),
    "gpt2": replace(TINY, architecture="gpt2", kv_heads=None),
    "gpt2, untied": replace(TINY, architecture="gpt2", kv_heads=None, tied=False),
}
LORAS = {
    "rank 4": Lora(rank=4, seed=0),
    "some": Lora(rank=3, targets=("q_proj", "down_proj"), seed=0),
    "of gpt2": Lora(rank=3, targets=("c_proj", "mlp.c_fc"), seed=0),
}
ROWS, LONGEST = 3, 40


def shape(node: Node, registry: Path | None = None) -> Shape:
    ref = Ref("model")
    found = shape_of(Graph("case", 0, {ref: node}, (ref,)), ref, DISK, registry)
    assert isinstance(found, Shape), found
    return found


def parameters(module: nn.Module, *, trained: bool = False) -> int:
    return sum(held.numel() for held in module.parameters() if held.requires_grad or not trained)


def built(node: ScratchModel, device: str = "cpu") -> PreTrainedModel:
    with torch.device(device):
        return cast(PreTrainedModel, AutoModelForCausalLM.from_config(scratch_config(node, VOCABULARY)))


# --- parameters -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_those_that_transformers_makes(kind: str) -> None:
    assert shape(KINDS[kind]).parameters == parameters(built(KINDS[kind], "meta"))


@pytest.mark.parametrize(
    ("kind", "lora"),
    [("qwen3", "rank 4"), ("llama, untied", "some"), ("gpt2", "rank 4"), ("gpt2, untied", "of gpt2")],
)
def test_an_adapter_has_the_parameters_that_peft_makes(kind: str, lora: str) -> None:
    node = KINDS[kind]
    model = adapters.fresh(built(node), LORAS[lora])
    found = shape(replace(node, adapter=LORAS[lora]))
    assert found.adapted == parameters(model, trained=True)
    assert found.parameters + found.adapted == parameters(model)


CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "qwen3": {"attention_bias": True, "head_dim": 24},
    "qwen2": {"tie_word_embeddings": True},
    "llama": {"attention_bias": True, "mlp_bias": True},
    "mistral": {"sliding_window": 16, "head_dim": 12},
    "gpt2": {"n_embd": 32, "n_head": 4, "n_layer": 2, "n_positions": 64},
}
SHARED = {
    "vocab_size": 90,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}


@pytest.mark.parametrize("kind", CONFIGURATIONS)
def test_a_folder_is_counted_by_its_configuration(kind: str, tmp_path: Path) -> None:
    from transformers import AutoConfig

    config = AutoConfig.for_model(kind, **(SHARED | CONFIGURATIONS[kind]))
    folder = tmp_path / "key"
    config.save_pretrained(folder)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    local = shape(LocalModel(path=str(folder)))
    assert local.parameters == parameters(model)
    assert local.windowed == (kind == "mistral")
    assert shape(RegistryModel(key="key"), tmp_path) == local


def test_an_adapter_in_a_folder_is_counted_with_its_base(tmp_path: Path) -> None:
    model = built(TINY)
    model.save_pretrained(tmp_path / "base")
    adapters.write(adapters.fresh(model, LORAS["some"]), tmp_path / "adapter", str(tmp_path / "base"), None)
    found = shape(LocalModel(path=str(tmp_path / "adapter")))
    assert found.parameters + found.adapted == parameters(model)
    assert found.adapter is not None
    assert not found.adapter.fresh
    assert shape(LocalModel(path=str(tmp_path / "adapter"), adapter=None)).adapter is None


def test_a_tokenizer_with_more_tokens_than_embeddings_adds_rows(tmp_path: Path) -> None:
    scratch_config(TINY, VOCABULARY).save_pretrained(tmp_path)
    vocab = {f"t{number}": number for number in range(VOCABULARY)}
    added = [{"content": "<new>", "id": VOCABULARY + 4}]
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocab}, "added_tokens": added}))
    assert shape(LocalModel(path=str(tmp_path))).vocab == VOCABULARY + 5
    assert shape(replace(TINY, tokenizer=str(tmp_path))).vocab == VOCABULARY + 1


# --- activations ----------------------------------------------------------------------------------------

How = Literal["float32", "autocast", "bfloat16"]
NUMBERS = {
    "float32": Arithmetic(4, 4, 4, casts=False),
    "autocast": Arithmetic(4, 2, 4, casts=True),
    "bfloat16": Arithmetic(2, 2, 2, casts=False),
}


class OneDevice:
    """A mesh of this process, which computes in bfloat16 where it is told to."""

    whole = True

    def __init__(self, how: How) -> None:
        self._how = how

    def arithmetic(self, dtype: str) -> AbstractContextManager[object]:
        return torch.autocast("cpu", torch.bfloat16) if self._how == "autocast" else nullcontext()


def kept_by_autograd(score: nn.Module, ids_BT: Tensor, counted_BT: Tensor) -> int:
    """Bytes of all distinct tensors that a forward pass saves for the backward pass, weights aside."""
    own = {held.untyped_storage().data_ptr() for held in (*score.parameters(), *score.buffers())}
    sizes: dict[int, int] = {}
    held: list[Tensor] = []  # or the next tensor might stand where one was

    def save(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
            held.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        found = score(ids_BT, counted_BT)
    found.sum().backward()  # what was saved is of use
    return sum(sizes.values())


def rows() -> tuple[Tensor, Tensor]:
    """Rows that share no beginning, of which all tokens count that can."""
    ids_BT = torch.randint(0, VOCABULARY, (ROWS, LONGEST + 1), generator=torch.Generator().manual_seed(0))
    ids_BT[:, 0] = torch.arange(ROWS)
    counted_BT = torch.ones(ids_BT.shape, dtype=torch.bool)
    counted_BT[:, 0] = False
    return ids_BT, counted_BT


def counted(node: ScratchModel, how: How, *, critic: bool = False) -> int:
    """What the plan says of the same rows. Logits are kept once; their gradient takes their place."""
    tokens = Tokens(ROWS, LONGEST, packed=ROWS * LONGEST, counted=ROWS * LONGEST)
    found = Counter(shape(node), node, NUMBERS[how], "cpu", critic).of(tokens)
    logits = 0 if critic else 4 * ROWS * LONGEST * VOCABULARY
    return found.kept + found.casts + logits


def scored(node: ScratchModel, how: How) -> int:
    model = built(node).to(torch.bfloat16 if how == "bfloat16" else torch.float32)
    if isinstance(node.adapter, Lora):
        model = adapters.fresh(model, node.adapter)
    return kept_by_autograd(Scorer(model.train(), cast(Mesh, OneDevice(how)), "auto"), *rows())


def within(kind: str, how: How) -> float:
    """Of gpt2 in fewer bits some bytes a token are not as counted: biases that are cast and not kept, and
    moments of norms, which a processor keeps in bfloat16 where a GPU has float32."""
    return 0.01 if "gpt2" in kind and how != "float32" else 0.002


@pytest.mark.parametrize("how", NUMBERS)
@pytest.mark.parametrize("kind", KINDS)
def test_activations_are_those_that_autograd_keeps(kind: str, how: How) -> None:
    assert counted(KINDS[kind], how) == pytest.approx(scored(KINDS[kind], how), rel=within(kind, how))


@pytest.mark.parametrize("how", NUMBERS)
@pytest.mark.parametrize(("kind", "lora"), [("qwen3", "rank 4"), ("llama", "some"), ("gpt2", "of gpt2")])
def test_frozen_layers_keep_nothing_for_gradients_that_they_have_not(kind: str, lora: str, how: How) -> None:
    """Of one more block: the first one keeps a little less, as no gradient goes further down."""
    node = replace(KINDS[kind], adapter=LORAS[lora])
    deeper = replace(node, layers=node.layers + 1)
    more, kept_more = counted(deeper, how) - counted(node, how), scored(deeper, how) - scored(node, how)
    assert more == pytest.approx(kept_more, rel=within(kind, how))
    assert 0.999 <= counted(node, how) / scored(node, how) <= 1.1


@pytest.mark.parametrize("change", [{"attention": "eager"}, {"gradient_checkpointing": True}])
def test_other_ways_to_compute_keep_other_things(change: dict[str, Any]) -> None:
    node = replace(TINY, **change)
    usual, changed = counted(TINY, "float32"), counted(node, "float32")
    assert changed > usual if "attention" in change else changed < usual


def test_eager_attention_keeps_all_its_weights() -> None:
    node = replace(TINY, attention="eager")
    model = built(node)
    model.set_attn_implementation("eager")
    kept = kept_by_autograd(Scorer(model.train(), cast(Mesh, OneDevice("float32")), "auto"), *rows())
    # The rows are read with their last token, and the mask is made once.
    assert counted(node, "float32") == pytest.approx(kept, rel=0.06)


@pytest.mark.parametrize("kind", ["qwen3", "gpt2, untied"])
def test_a_critic_keeps_what_its_head_reads_and_no_logits(kind: str) -> None:
    model = built(KINDS[kind])
    backbone = getattr(model, model.base_model_prefix)
    scalar = Scalar(backbone, nn.Linear(TINY.hidden_size, 1))
    kept = kept_by_autograd(Critic(scalar.train(), cast(Mesh, OneDevice("float32")), "auto"), *rows())
    assert counted(KINDS[kind], "float32", critic=True) == pytest.approx(kept, rel=0.005)


def test_common_beginnings_are_kept_once() -> None:
    """Two groups of two completions: what they share stands in the packed rows once."""
    ids_BT, counted_BT = rows()
    ids_BT = ids_BT[:2].repeat_interleave(2, 0)
    ids_BT[:, 30:] = torch.arange(4)[:, None]
    counted_BT = counted_BT[:1].repeat(4, 1)
    counted_BT[:, :30] = False
    model = built(TINY)
    kept = kept_by_autograd(
        Scorer(model.train(), cast(Mesh, OneDevice("float32")), "auto"), ids_BT, counted_BT
    )
    tokens = Tokens(4, LONGEST, packed=2 * 30 + 4 * 10, counted=4 * 11)
    found = Counter(shape(TINY), TINY, NUMBERS["float32"], "cpu").of(tokens)
    assert found.kept + 4 * 4 * 11 * VOCABULARY == pytest.approx(kept, rel=0.005)


def test_an_adapter_is_named_as_the_recipe_names_it() -> None:
    assert shape(replace(TINY, adapter=LORAS["some"])).adapter == Adapter(3, ("q_proj", "down_proj"))
