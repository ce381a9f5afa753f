"""Adapters: trained, handed on from stage to stage, and merged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from adapters_support import (
    IDS,
    LORA,
    OTHER,
    SECOND,
    adapter_in,
    blueprint_of,
    chain,
    equal,
    logits,
    stage_of,
)
from peft import AutoPeftModelForCausalLM, PeftModel
from runtime_support import (
    DATA,
    MODEL,
    SAVE,
    STAGE,
    Told,
    Train,
    graph_of,
    rooms_in,
    sft,
    sums,
    tiny,
    training,
    weights_in,
)
from transformers import AutoModelForCausalLM

from harmony_compiler.graph.models import LocalModel, RegistryModel, Reloaded
from harmony_compiler.graph.outputs import Save
from harmony_compiler.graph.settings import Lora
from harmony_runtime.failures import Interrupted, RunFailed
from harmony_runtime.models import weights
from harmony_runtime.models.blueprint import Blueprints
from harmony_runtime.models.origins import Adapted, Fresh, Merged

Refused = Callable[..., RunFailed]


# --- training -------------------------------------------------------------------------------------------


def test_only_the_adapter_is_trained_and_written(train: Train, tmp_path: Path, folder: Path) -> None:
    told = Told()
    counted: list[int] = []
    told.stage_started = lambda name, algorithm, steps, parameters: counted.append(parameters)  # type: ignore[method-assign]
    summary = train(training(LocalModel(path=str(folder), adapter=LORA)), watcher=told)
    saved = summary.saved["small"].path
    found = adapter_in(saved)
    # Seven linear layers in the one block, two matrices each; nothing at the embedding and the head.
    assert len(found) == 14 and all(".layers.0." in name for name in found)
    assert counted == [sum(tensor.numel() for tensor in found.values())]
    assert any(tensor.abs().sum() > 0 for name, tensor in found.items() if "lora_B" in name)
    assert not (saved / "model.safetensors").exists() and not (saved / "base").exists()
    assert equal(found, adapter_in(stage_of(summary, 0, tmp_path / "out")))
    config = json.loads((saved / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["r"], config["lora_alpha"]) == (str(folder), 4, 8)
    assert config["target_modules"] == sorted(config["target_modules"])
    manifest = json.loads((saved / "harmony.json").read_text())
    assert (manifest["weights"], manifest["base"]) == ("adapter", str(folder))


def test_equal_runs_give_equal_adapters_and_seeds_other_ones(train: Train, registry: Path) -> None:
    for key, lora in (("a", LORA), ("b", LORA), ("c", Lora(rank=4, alpha=8.0, seed=8))):
        torch.manual_seed(ord(key))
        train(training(tiny(adapter=lora), save={"key": key}), key)
    a, b, c = (adapter_in(registry / key) for key in "abc")
    assert equal(a, b)
    assert not any(torch.equal(a[name], c[name]) for name in a)


def test_a_fresh_adapter_changes_nothing(folder: Path) -> None:
    plain = weights.load(blueprint_of(LocalModel(path=str(folder))))
    fresh = weights.load(blueprint_of(LocalModel(path=str(folder), adapter=LORA)))
    assert torch.equal(logits(plain), logits(fresh))


@pytest.mark.parametrize("architecture", ["qwen3", "llama", "gpt2"])
def test_a_step_moves_what_an_adapter_can_move(architecture: str) -> None:
    """The gradient of each adapter, against that of the whole weight: dL/dB = scale * dL/dW @ A.T."""
    kv_heads = None if architecture == "gpt2" else 2
    node = tiny(architecture=architecture, kv_heads=kv_heads)
    whole = weights.load(blueprint_of(node))
    thin = weights.load(blueprint_of(tiny(architecture=architecture, kv_heads=kv_heads, adapter=LORA)))
    for model in (whole, thin):
        torch.nn.functional.cross_entropy(model(IDS).logits[0, :-1], IDS[0, 1:]).backward()
    gradients = {name: p.grad for name, p in whole.named_parameters()}
    checked = 0
    for name, p in thin.named_parameters():
        if name.endswith("lora_B.default.weight"):
            layer = name.removesuffix(".lora_B.default.weight")
            weight = gradients[f"{layer}.weight"]
            assert weight is not None and p.grad is not None
            weight = weight.T if architecture == "gpt2" else weight  # stored transposed
            a = thin.get_parameter(f"{layer}.lora_A.default.weight")
            assert torch.allclose(p.grad, 2.0 * weight @ a.T, atol=1e-6)
            checked += 1
        assert p.requires_grad == ("lora_" in name)
    assert checked == (4 if architecture == "gpt2" else 7)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradient_checkpointing_changes_no_gradient(checkpointing: bool) -> None:
    model = weights.load(blueprint_of(tiny(layers=2, adapter=LORA, gradient_checkpointing=checkpointing)))
    plain = weights.load(blueprint_of(tiny(layers=2, adapter=LORA)))
    for one in (model, plain):
        one.train()
        one(IDS, use_cache=False).logits.square().mean().backward()
    for (name, a), (_, b) in zip(model.named_parameters(), plain.named_parameters(), strict=True):
        if a.requires_grad:
            assert a.grad is not None and b.grad is not None, name
            assert torch.allclose(a.grad, b.grad, atol=1e-7), name
            assert a.grad.abs().sum() > 0 or "lora_A" in name  # behind a B of zeros nothing reaches A yet


def test_named_targets_and_those_that_are_not_there(train: Train, registry: Path, refused: Refused) -> None:
    train(training(tiny(adapter=Lora(rank=2, targets=("q_proj", "v_proj"), seed=7)), steps=1))
    assert {name.split(".")[-3] for name in adapter_in(registry / "small")} == {"q_proj", "v_proj"}
    for unknown in ("query", "lm_head", "embed_tokens"):  # the head is the embedding, where they are tied
        fault = refused(training(tiny(adapter=Lora(targets=(unknown, "q_proj"), seed=7))), "b").message
        assert fault.startswith("small.recipe:1: `base`: ")
        assert f"`{unknown}`: `targets` may name `q_proj`, `k_proj`" in fault
    untied = training(tiny(tied=False, adapter=Lora(rank=2, targets=("lm_head",), seed=7)), steps=1)
    train(graph_of({**untied.nodes, SAVE: Save(model=STAGE, key="head")}, (SAVE,)), "c")
    assert len(adapter_in(registry / "head")) == 2


def test_an_adapter_on_short_weights_is_kept_in_full(train: Train, registry: Path) -> None:
    told = Told()
    train(training(tiny(dtype="bfloat16", adapter=LORA), steps=1), watcher=told)
    assert not any("bfloat16" in text for text in told.texts)
    assert {tensor.dtype for tensor in adapter_in(registry / "small").values()} == {torch.float32}
    assert {tensor.dtype for tensor in weights_in(registry / "small" / "base").values()} == {torch.bfloat16}


def test_a_stopped_stage_with_an_adapter_goes_on_bit_by_bit(train: Train, tmp_path: Path) -> None:
    graph = training(tiny(adapter=Lora(rank=4, dropout=0.3, seed=7)), samples_per_batch=3, weight_decay=0.1)
    whole = train(graph, "whole")
    with pytest.raises(Interrupted):
        train(graph, "parts", watcher=Told(stop_at=3))
    assert {name.count("lora_") for name in rooms_in(tmp_path / "parts")["model"]} == {1}  # and no other
    train(graph, "parts", resume=True)
    parts = tmp_path / "parts"
    assert (parts / "metrics.jsonl").read_bytes() == (tmp_path / "whole/metrics.jsonl").read_bytes()
    one, other = stage_of(whole, 0, parts), stage_of(whole, 0, tmp_path / "whole")
    assert equal(adapter_in(one), adapter_in(other))


# --- from stage to stage --------------------------------------------------------------------------------


def test_a_later_stage_goes_on_with_the_adapter(train: Train, tmp_path: Path, registry: Path) -> None:
    summary = train(chain(tiny(adapter=LORA), None))
    first = adapter_in(stage_of(summary, 0, tmp_path / "out"))
    second = adapter_in(registry / "small")
    assert first.keys() == second.keys() and not equal(first, second)
    # As one stage after another in runs of their own.
    train(training(tiny(adapter=LORA), steps=3, save={"key": "one"}), "one")
    train(training(RegistryModel(key="one"), steps=3, save={"key": "two"}), "two")
    assert equal(first, adapter_in(registry / "one"))
    assert equal(second, adapter_in(registry / "two"))


def test_none_merges_and_trains_all(train: Train, tmp_path: Path, registry: Path) -> None:
    summary = train(chain(tiny(adapter=LORA), Reloaded(source=STAGE, adapter=None)))
    assert (registry / "small" / "model.safetensors").exists()
    merged = PeftModel.from_pretrained(
        weights.load(blueprint_of(tiny())), str(stage_of(summary, 0, tmp_path / "out"))
    ).merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    tokenizer_files = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
    for file in tokenizer_files:
        (tmp_path / "merged" / file).write_bytes((registry / "small" / file).read_bytes())
    train(training(LocalModel(path=str(tmp_path / "merged")), steps=3, save={"key": "by-hand"}), "b")
    assert equal(weights_in(registry / "small"), weights_in(registry / "by-hand"))


def test_a_new_adapter_first_merges_the_old_one(train: Train, tmp_path: Path, registry: Path) -> None:
    again = Lora(rank=2, targets=("q_proj",), seed=1)
    summary = train(chain(tiny(adapter=LORA), Reloaded(source=STAGE, adapter=again)))
    saved = registry / "small"
    assert len(adapter_in(saved)) == 2
    out = tmp_path / "out"
    old = PeftModel.from_pretrained(weights.load(blueprint_of(tiny())), str(stage_of(summary, 0, out)))
    assert torch.allclose(
        logits(old), logits(AutoModelForCausalLM.from_pretrained(saved / "base")), atol=1e-5
    )
    # The folder of the stage is whole too: peft finds the base that stands beside the adapter.
    for place in (saved, stage_of(summary, 1, out)):
        theirs = AutoPeftModelForCausalLM.from_pretrained(str(place))
        assert torch.equal(
            logits(theirs), logits(weights.load(blueprint_of(RegistryModel(key="small"), registry)))
        )


def test_an_evaluation_of_the_base_is_one_without_the_adapter(registry: Path) -> None:
    nodes = {MODEL: tiny(adapter=LORA), STAGE: sft(), OTHER: Reloaded(source=STAGE, dtype="bfloat16")}
    nodes |= {SECOND: Reloaded(source=STAGE, adapter=None), DATA: sums()}
    drawn = Blueprints(graph_of(nodes, (OTHER, SECOND)), {STAGE: registry / "stage"}, registry)
    assert isinstance(drawn.of(MODEL).weights, Fresh)
    trained = drawn.of(STAGE).weights
    assert trained == drawn.of(OTHER).weights
    assert isinstance(trained, Adapted) and trained.folder == registry / "stage"
    assert drawn.of(SECOND).weights == Merged(trained)
