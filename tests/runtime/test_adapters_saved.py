"""Adapters as folders: saved, merged, read by others, and refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters_support import (
    LORA,
    OTHER,
    blueprint_of,
    chain,
    logits,
)
from peft import AutoPeftModelForCausalLM, PeftModel
from runtime_support import (
    MODEL,
    SAVE,
    STAGE,
    Ref,
    Train,
    graph_of,
    tiny,
    training,
)
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from harmony_compiler.graph.identity import identities
from harmony_compiler.graph.models import HubModel, LocalModel, RegistryModel, Reloaded
from harmony_compiler.graph.outputs import Save
from harmony_compiler.graph.settings import Lora
from harmony_compiler.store.files import content_hash
from harmony_runtime.failures import RunFailed
from harmony_runtime.models import adapters, origins, weights
from harmony_runtime.models.origins import Grown, New, Pretrained, address

Refused = Callable[..., RunFailed]


# --- saved ----------------------------------------------------------------------------------------------


def test_a_saved_adapter_is_anybodys(train: Train, registry: Path, folder: Path) -> None:
    for key, base in (("beside", tiny(adapter=LORA)), ("apart", LocalModel(path=str(folder), adapter=LORA))):
        train(training(base, save={"key": key}), key)
        saved = registry / key
        ours = logits(weights.load(blueprint_of(RegistryModel(key=key), registry)))
        theirs = AutoPeftModelForCausalLM.from_pretrained(str(saved))
        assert torch.equal(ours, logits(theirs))
        named = json.loads((saved / "adapter_config.json").read_text())["base_model_name_or_path"]
        assert named == str(saved / "base" if key == "beside" else folder)
        beside = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(named), str(saved))
        assert torch.equal(ours, logits(beside))
        plain = AutoModelForCausalLM.from_pretrained(saved)  # transformers knows adapters too
        assert torch.equal(ours, logits(plain))
        tokenizer, generation = AutoTokenizer.from_pretrained(saved), GenerationConfig.from_pretrained(saved)
        assert tokenizer.chat_template
        assert generation.eos_token_id == tokenizer.eos_token_id
        assert generation.pad_token_id == tokenizer.pad_token_id
        ids = tokenizer("<bos><user>1+1<assistant>", return_tensors="pt").input_ids
        assert theirs.generate(input_ids=ids, generation_config=generation, max_new_tokens=3).shape[0] == 1


def test_a_merged_model_says_what_adapter_and_base_say(train: Train, registry: Path) -> None:
    nodes = {**training(tiny(adapter=LORA), lr=3e-2).nodes}
    nodes[OTHER] = Save(model=STAGE, key="merged", merge=True)
    train(graph_of(nodes, (SAVE, OTHER)))
    apart = logits(AutoPeftModelForCausalLM.from_pretrained(str(registry / "small")))
    merged = logits(AutoModelForCausalLM.from_pretrained(registry / "merged"))
    start = logits(weights.load(blueprint_of(tiny())))
    assert (apart - start).abs().max() > 1e-2
    assert (apart - merged).abs().max() < 1e-4
    assert not (registry / "merged" / adapters.CONFIG).exists()
    assert json.loads((registry / "merged" / "harmony.json").read_text())["weights"] == "merged"
    manifest = json.loads((registry / "small" / "harmony.json").read_text())
    assert (manifest["weights"], manifest["base"]) == ("adapter", "")


def test_an_adapter_survives_its_run_its_first_key_and_a_move(train: Train, registry: Path) -> None:
    whole = Ref("whole")
    nodes = {**chain(tiny(), Reloaded(source=STAGE, adapter=LORA), key="after-a-stage").nodes}
    nodes[whole] = Save(model=STAGE, key="whole")
    train(graph_of(nodes, (SAVE, whole)))
    train(training(RegistryModel(key="whole", adapter=LORA), steps=1, save={"key": "after-a-key"}), "b")
    train(training(RegistryModel(key="after-a-key"), steps=1, save={"key": "after-an-adapter"}), "c")
    for key in ("after-a-stage", "after-a-key", "after-an-adapter"):
        assert json.loads((registry / key / adapters.CONFIG).read_text())["base_model_name_or_path"] == str(
            registry / key / "base"
        )
    ours = logits(weights.load(blueprint_of(RegistryModel(key="after-an-adapter"), registry)))
    moved = registry.parent / "moved"
    (registry / "after-an-adapter").rename(moved)
    assert torch.equal(ours, logits(weights.load(blueprint_of(LocalModel(path=str(moved))))))


def test_renamed_keys_name_their_own_base(train: Train, registry: Path) -> None:
    for seed in (1, 2):
        save = {"if_exists": "rename"}
        train(training(tiny(adapter=Lora(rank=4, seed=seed)), steps=1, save=save), f"run-{seed}")
    config = json.loads((registry / "small-2" / adapters.CONFIG).read_text())
    assert config["base_model_name_or_path"] == str(registry / "small-2" / "base")


def test_an_adapter_can_be_saved_as_it_is(train: Train, registry: Path) -> None:
    start = Ref("start")
    train(graph_of({MODEL: tiny(adapter=LORA), start: Save(model=MODEL, key="start")}, (start,)))
    model = weights.load(blueprint_of(RegistryModel(key="start"), registry))
    assert torch.equal(logits(model), logits(weights.load(blueprint_of(tiny()))))


# --- refused --------------------------------------------------------------------------------------------


@pytest.fixture
def adapter(train: Train, registry: Path) -> Path:
    train(training(tiny(adapter=LORA), steps=1), "adapter")
    return registry / "small"


def test_an_adapter_in_a_pickle(adapter: Path, refused: Refused) -> None:
    torch.save({}, adapter / "adapter_model.bin")
    (adapter / adapters.WEIGHTS).unlink()
    fault = refused(training(LocalModel(path=str(adapter))))
    assert "`adapter_model.bin` is a pickle, which is never loaded" in fault.message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"base_model_name_or_path": None}, "does not say what its base is"),
        ({"base_model_name_or_path": "/no/such/base"}, "/no/such/base, and there is no such folder"),
        ({"base_model_name_or_path": "nobody/nothing"}, "`nobody/nothing` is not in the local cache"),
        ({"peft_type": "IA3"}, "only plain LoRA adapters are loaded"),
        ({"peft_type": "NEWER"}, "adapter_config.json in"),
        ({"megatron_config": {"a": 1}}, "of the kind LoRA for Megatron, and only plain"),
    ],
)
def test_adapters_that_cannot_be_used(
    changes: Mapping[str, Any], words: str, adapter: Path, refused: Refused, tmp_path: Path
) -> None:
    alone = tmp_path / "alone"
    adapter.rename(alone)
    (alone / "base").rename(tmp_path / "its-base")
    config = alone / adapters.CONFIG
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))
    fault = refused(training(LocalModel(path=str(alone))))
    assert words in fault.message
    assert fault.message.startswith("small.recipe:1: `base`: ")


def test_an_adapter_beside_another_base(
    adapter: Path, folder: Path, train: Train, tmp_path: Path, registry: Path
) -> None:
    wide = Ref("wide")
    train(graph_of({MODEL: tiny(hidden_size=32), wide: Save(model=MODEL, key="wide")}, (wide,)), "wide")
    (adapter / "base").rename(tmp_path / "its-base")
    (registry / "wide").rename(adapter / "base")
    with pytest.raises(RunFailed, match="they do not belong together"):
        train(training(LocalModel(path=str(adapter)), save={"key": "again"}))


def test_the_base_is_part_of_what_an_adapter_is(train: Train, registry: Path, folder: Path) -> None:
    train(training(LocalModel(path=str(folder), adapter=LORA), steps=1))
    graph = graph_of({MODEL: RegistryModel(key="small")}, (MODEL,))

    def identity() -> str:
        return identities(graph, content_hash, registry)[MODEL]

    before = identity()
    assert identity() == before
    (folder / "model.safetensors").write_bytes(b"others")
    assert identity() != before


def test_an_adapter_on_the_hub(
    adapter: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the hub's cache lays it out, without files for a tokenizer or for generation, as most are."""
    commit = "0" * 39 + "1"
    snapshot = tmp_path / "hub/models--someone--thin/snapshots" / commit
    snapshot.mkdir(parents=True)
    config = json.loads((adapter / adapters.CONFIG).read_text()) | {"base_model_name_or_path": str(folder)}
    (snapshot / adapters.CONFIG).write_text(json.dumps(config))
    (snapshot / adapters.WEIGHTS).write_bytes((adapter / adapters.WEIGHTS).read_bytes())

    def cached(name: str, file: str, **_: Any) -> str | None:
        assert name == "someone/thin"
        return str(snapshot / file) if (snapshot / file).exists() else None

    monkeypatch.setattr(adapters, "cached_file", cached)
    drawn = blueprint_of(HubModel(repo="someone/thin"))
    assert origins.commit(drawn.weights) == commit
    assert drawn.tokenizer.chat_template
    assert torch.equal(
        logits(weights.load(drawn)), logits(weights.load(blueprint_of(LocalModel(path=str(adapter)))))
    )
    (snapshot / adapters.WEIGHTS).unlink()
    with pytest.raises(RunFailed, match="someone/thin holds no adapter as safetensors"):
        blueprint_of(HubModel(repo="someone/thin"))


def test_where_a_base_is_found() -> None:
    class Config:
        _commit_hash = "abc"

    hub = Pretrained("someone/model", "main", False, Config())
    assert address(hub) == ("someone/model", "abc")  # a branch moves on
    place = Pretrained("/models/a", None, False, None)
    assert address(place) == ("/models/a", None)
    assert address(place, [Path("/models")]) is None
    assert address(New(None, 1)) is address(Grown(hub, 9)) is None
