"""Parts of models: embeddings that grow, scalar heads, and what is left for others to load."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from runtime_support import MODEL, Ref, Told, Train, graph_of, sums, tiny, training, weights_in
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    Qwen3Config,
    Qwen3ForSequenceClassification,
)

from harmony_compiler.graph.models import LoadSettings, LocalModel, RegistryModel
from harmony_compiler.graph.outputs import Save
from harmony_compiler.graph.settings import Lora
from harmony_runtime.failures import RunFailed
from harmony_runtime.models import adapters, heads, weights
from harmony_runtime.models.blueprint import Blueprint, Blueprints

Refused = Callable[..., RunFailed]

IDS = torch.arange(8, 40).view(2, 16)


def blueprint_of(node: LoadSettings, registry: Path | None = None) -> Blueprint:
    return Blueprints(graph_of({MODEL: node}, (MODEL,)), {}, registry or Path("/nowhere")).of(MODEL)


@pytest.fixture
def folder(train: Train, registry: Path) -> Path:
    start = Ref("start")
    train(graph_of({MODEL: tiny(), start: Save(model=MODEL, key="start")}, (start,)), "made")
    return (registry / "start").rename(registry.parent / "elsewhere")


# --- embeddings -----------------------------------------------------------------------------------------


@pytest.fixture
def more_tokens(folder: Path) -> Path:
    """A model whose tokenizer was given three tokens more, one of which ends a completion."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<think>", "</think>", "<stop>"], special_tokens=True)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("tied", [True, False])
def test_embeddings_grow_with_the_tokenizer_and_it_is_said(
    tied: bool, train: Train, registry: Path, tmp_path: Path
) -> None:
    start = Ref("start")
    train(graph_of({MODEL: tiny(tied=tied), start: Save(model=MODEL, key="start")}, (start,)), "made")
    folder = (registry / "start").rename(tmp_path / "start")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<think>", "</think>", "<stop>"], special_tokens=True)
    tokenizer.save_pretrained(folder)
    before = weights_in(folder)
    told = Told()
    model = LocalModel(path=str(folder), end_token="<stop>")
    rows = sums(completion="<think>{{ a }}</think>")
    for out in ("one", "other"):
        torch.manual_seed(len(out))
        train(training(model, rows, steps=2, lr=1e-9, save={"key": out}), out, watcher=told)
    (said, _) = [text for text in told.texts if "embeddings" in text]
    assert said == (
        "small.recipe:1: `base`: the tokenizer has 106 tokens and the model 103 embeddings, which get 3 new "
        "rows that nothing has trained yet"
    )
    one, other = weights_in(registry / "one"), weights_in(registry / "other")
    for name in ("model.embed_tokens.weight", *(() if tied else ("lm_head.weight",))):
        assert one[name].shape == (106, 16)
        assert torch.equal(one[name], other[name])
        assert torch.allclose(one[name][:103], before[name], atol=1e-6)
        assert one[name][103:].isfinite().all() and one[name][103:].abs().sum() > 0
    assert json.loads((registry / "one" / "config.json").read_text())["vocab_size"] == 106
    again = AutoModelForCausalLM.from_pretrained(registry / "one")
    assert (again.get_input_embeddings().weight is again.get_output_embeddings().weight) == tied
    generation = GenerationConfig.from_pretrained(registry / "one")
    assert generation.eos_token_id == AutoTokenizer.from_pretrained(registry / "one").eos_token_id == 105


def test_an_adapter_beside_grown_embeddings(train: Train, registry: Path, more_tokens: Path) -> None:
    model = LocalModel(path=str(more_tokens), end_token="<stop>", adapter=Lora(rank=2, seed=7))
    train(training(model, steps=2))
    saved = registry / "small"
    # The base as it was is no base for it, so the one that has grown stands beside.
    assert weights_in(saved / "base")["model.embed_tokens.weight"].shape == (106, 16)
    told = Told()
    train(training(RegistryModel(key="small"), steps=1, save={"key": "more"}), "b", watcher=told)
    assert not any("embeddings" in text for text in told.texts)
    assert len(adapters.find(str(saved), None, "") or ()) == 3


def test_embeddings_never_shrink(train: Train, registry: Path) -> None:
    train(training(tiny(vocab_size=128), steps=1))
    train(training(RegistryModel(key="small"), steps=1, save={"key": "more"}), "b")
    assert weights_in(registry / "more")["model.embed_tokens.weight"].shape == (128, 16)


# --- scalar heads ---------------------------------------------------------------------------------------


def test_a_critic_gives_one_number_a_token() -> None:
    one, same, other = (heads.critic(blueprint_of(tiny()), seed) for seed in (3, 3, 4))
    values_bt = one(IDS)
    assert values_bt.shape == IDS.shape and values_bt.dtype == torch.float32
    assert torch.equal(values_bt, same(IDS)) and not torch.equal(values_bt, other(IDS))
    language = weights.load(blueprint_of(tiny()))
    hidden = language(input_ids=IDS, output_hidden_states=True).hidden_states[-1]
    assert torch.allclose(values_bt, hidden @ one.head.weight[0] + one.head.bias, atol=1e-6)
    # A token's value knows nothing of those behind it.
    changed = IDS.clone()
    changed[:, 10:] = 50
    assert torch.allclose(one(changed)[:, :10], values_bt[:, :10], atol=1e-6)


def test_a_critic_over_an_adapter_trains_that_and_the_head() -> None:
    lora = Lora(rank=2, seed=7)
    critic = heads.critic(blueprint_of(tiny(adapter=lora, gradient_checkpointing=True)), 3).train()
    critic(IDS).square().mean().backward()
    for name, p in critic.named_parameters():
        assert p.requires_grad == ("lora_" in name or name.startswith("head."))
        assert (p.grad is not None) == p.requires_grad


def test_a_head_is_written_and_read_without_pickle(tmp_path: Path) -> None:
    one, other = (heads.critic(blueprint_of(tiny()), seed) for seed in (3, 4))
    one.save_head(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["scalar_head.safetensors"]
    other.load_head(tmp_path)
    assert torch.equal(one(IDS), other(IDS))
    (tmp_path / "scalar_head.safetensors").write_bytes(b"nonsense")
    with pytest.raises(RunFailed, match=r"the scalar head in .* cannot be read"):
        other.load_head(tmp_path)


@pytest.fixture
def judge(folder: Path, tmp_path: Path) -> Path:
    """A reward model as people publish them."""
    torch.manual_seed(1)
    config = Qwen3Config.from_pretrained(folder, num_labels=1, pad_token_id=0)
    model = Qwen3ForSequenceClassification(config)
    place = tmp_path / "judge"
    model.save_pretrained(place)
    AutoTokenizer.from_pretrained(folder).save_pretrained(place)
    return place


def test_a_published_reward_model(judge: Path) -> None:
    ours = heads.reward_model(blueprint_of(LocalModel(path=str(judge)))).eval()
    theirs = Qwen3ForSequenceClassification.from_pretrained(judge).eval()
    with torch.no_grad():
        assert torch.allclose(ours(IDS)[:, -1], theirs(input_ids=IDS).logits[:, 0], atol=1e-6)


def test_what_is_no_reward_model(judge: Path, folder: Path) -> None:
    with pytest.raises(RunFailed, match="this is no reward model"):
        heads.reward_model(blueprint_of(LocalModel(path=str(folder))))
    config = judge / "config.json"
    data = json.loads(config.read_text())
    data["id2label"], data["label2id"] = {"0": "a", "1": "b"}, {"a": 0, "b": 1}
    config.write_text(json.dumps(data))
    with pytest.raises(RunFailed, match="one label"):
        heads.reward_model(blueprint_of(LocalModel(path=str(judge))))


def test_a_reward_model_writes_no_texts(judge: Path, train: Train) -> None:
    with pytest.raises(RunFailed, match="holds a Qwen3ForSequenceClassification, which scores texts"):
        train(training(LocalModel(path=str(judge))))


# --- for others -----------------------------------------------------------------------------------------


def test_what_was_saved_generates_and_stops_with_plain_transformers(train: Train, registry: Path) -> None:
    rows = sums(items=({"q": "1+1", "a": "2"},))
    train(training(tiny(), rows, steps=60, lr=3e-2, samples_per_batch=1))
    saved = registry / "small"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(saved), AutoTokenizer.from_pretrained(saved)
    asked = [{"role": "user", "content": "1+1"}]
    ids = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt")["input_ids"]
    made = model.generate(ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :]
    assert tokenizer.decode(made) == "2<eos>"
    generation = model.generation_config
    assert generation.eos_token_id == tokenizer.eos_token_id
    assert generation.pad_token_id == tokenizer.pad_token_id != generation.eos_token_id
