"""Models: made, read, refused, saved."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from runtime_support import (
    GPT2,
    MODEL,
    SAVE,
    STAGE,
    Ref,
    Told,
    Train,
    graph_of,
    same,
    tiny,
    training,
    weights_in,
)
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from harmony_compiler.graph.models import HubModel, LocalModel, RegistryModel, Reloaded
from harmony_compiler.graph.outputs import Save
from harmony_runtime.failures import RunFailed
from harmony_runtime.models.chars import chars_tokenizer
from harmony_runtime.models.scratch import initial_weights, scratch_config

Refused = Callable[..., RunFailed]


@pytest.fixture
def folder(train: Train, registry: Path) -> Path:
    """A model as `save_pretrained` writes it."""
    start = Ref("start")
    train(graph_of({MODEL: tiny(), start: Save(model=MODEL, key="start")}, (start,)), "made")
    return registry / "start"


@pytest.mark.parametrize("architecture", ["qwen3", "llama", "gpt2"])
@pytest.mark.parametrize("tied", [True, False])
def test_a_scratch_model_is_what_its_node_says(architecture: str, tied: bool) -> None:
    shape = {"hidden_size": 32, "layers": 3, "heads": 4, "mlp_size": 48, "context": 64, "vocab_size": 200}
    kv_heads = None if architecture == "gpt2" else 2
    node = tiny(architecture=architecture, kv_heads=kv_heads, tied=tied, **shape)
    model = initial_weights(scratch_config(node, 103), seed=3)
    config = model.config
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (32, 3, 4)
    assert (config.max_position_embeddings, config.vocab_size) == (64, 200)
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    assert (embedding is head) == tied
    assert (embedding.abs().sum(1) > 0).all()  # no row is held at 0 as padding
    block = dict(model.named_parameters())
    if architecture != "gpt2":
        assert block["model.layers.0.self_attn.k_proj.weight"].shape == (16, 32)
        assert block["model.layers.0.mlp.up_proj.weight"].shape == (48, 32)
    else:
        assert block["transformer.h.0.mlp.c_fc.weight"].shape == (32, 48)
    assert not any(isinstance(part, torch.nn.Dropout) and part.p for part in model.modules())

    torch.manual_seed(99)
    again = initial_weights(scratch_config(node, 103), seed=3)
    other = initial_weights(scratch_config(node, 103), seed=4)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_a_saved_model_is_anybodys(train: Train, registry: Path, tmp_path: Path) -> None:
    summary = train(training())
    saved = summary.saved["small"].path
    assert saved == registry / "small"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(saved), AutoTokenizer.from_pretrained(saved)
    stage = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "stages" / summary.stages[0].identity)
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "1+1"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=False,
    )
    assert (
        ids.tolist() == chars_tokenizer()("<bos><user>1+1<assistant>", return_tensors="pt").input_ids.tolist()
    )
    assert torch.equal(model(ids).logits, stage(ids).logits)
    generation = GenerationConfig.from_pretrained(saved)
    assert (generation.eos_token_id, generation.pad_token_id) == (
        tokenizer.eos_token_id,
        tokenizer.pad_token_id,
    )
    assert model.generate(ids, max_new_tokens=3, do_sample=False).shape[1] <= ids.shape[1] + 3
    assert not list(saved.glob("*.bin"))
    assert json.loads((tmp_path / "out/results.json").read_text()) == {
        "evaluations": {},
        "saved": {"small": {"path": str(saved), "key": "small"}},
    }


def test_a_model_can_be_saved_as_it_is_and_go_on_from_a_folder(
    train: Train, folder: Path, registry: Path
) -> None:
    from_scratch = train(training(), "a")
    from_folder = train(training(LocalModel(path=str(folder)), save={"key": "b"}), "b")
    from_registry = train(training(RegistryModel(key="start"), save={"key": "c"}), "c")
    assert len({s.stages[0].identity for s in (from_scratch, from_folder, from_registry)}) == 3
    assert same(registry / "small", registry / "b")
    assert same(registry / "small", registry / "c")


def test_a_trained_model_with_other_load_settings(train: Train, registry: Path) -> None:
    nodes = training(steps=1).nodes
    half = Ref("half")
    nodes = {
        **nodes,
        half: Reloaded(source=STAGE, dtype="bfloat16"),
        Ref("other"): Save(model=half, key="half"),
    }
    train(graph_of(nodes, (SAVE, Ref("other"))))
    full, short = weights_in(registry / "small"), weights_in(registry / "half")
    assert all(torch.equal(full[name].bfloat16(), short[name]) for name in full)


@pytest.mark.skipif(not GPT2.is_dir(), reason="the gpt2 tokenizer's files are not beside the repository")
def test_a_tokenizer_folder_without_template_and_pad_token(train: Train) -> None:
    told = Told()
    saved = train(training(tiny(tokenizer=str(GPT2)), steps=2), watcher=told).saved["small"].path
    assert any('`chat_template = "plain"`' in text for text in told.texts)
    tokenizer, generation = AutoTokenizer.from_pretrained(saved), GenerationConfig.from_pretrained(saved)
    thread = [{"role": "user", "content": "1+1"}]
    assert tokenizer.apply_chat_template(thread, tokenize=False, add_generation_prompt=True) == "1+1\n\n"
    assert generation.eos_token_id == generation.pad_token_id == tokenizer.eos_token_id
    assert tokenizer.pad_token is None


def test_a_vocabulary_smaller_than_the_tokenizer(refused: Refused) -> None:
    assert "`vocab_size` = 99 is smaller" in refused(training(tiny(vocab_size=99))).message


def edit(path: Path, **changes: Any) -> None:
    data = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in (data | changes).items() if value is not None}))


def test_a_missing_end_token(folder: Path, refused: Refused, train: Train) -> None:
    edit(folder / "tokenizer_config.json", eos_token=None)
    fault = refused(training(LocalModel(path=str(folder))))
    assert fault.message.startswith("small.recipe:1: `base`: the tokenizer names no end token")
    assert '`end_token = "…"`' not in fault.message or "name one of its tokens" in fault.message
    assert "is no token" in refused(training(LocalModel(path=str(folder), end_token="<stop>")), "b").message
    saved = train(training(LocalModel(path=str(folder), end_token="<eos>"), steps=1), "c").saved["small"].path
    assert AutoTokenizer.from_pretrained(saved).eos_token == "<eos>"


def test_a_missing_chat_template(folder: Path, refused: Refused, train: Train, tmp_path: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    assert '`chat_template = "plain"`' in refused(training(LocalModel(path=str(folder)))).message
    own = tmp_path / "own.jinja"
    own.write_text(
        "{% for m in messages %}[{{ m.content }}{% if m.role == 'assistant' %}<eos>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}[{% endif %}"
    )
    graph = training(LocalModel(path=str(folder), chat_template=str(own)), steps=1)
    assert (
        AutoTokenizer.from_pretrained(train(graph, "b").saved["small"].path).chat_template == own.read_text()
    )
    own.write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    assert "without the end token '<eos>'" in refused(graph, "c").message


def test_weights_in_a_pickle(folder: Path, refused: Refused) -> None:
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert (
        "`pytorch_model.bin` is a pickle, which is never loaded"
        in refused(training(LocalModel(path=str(folder)))).message
    )


def test_a_folder_without_a_tokenizer(folder: Path, refused: Refused) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / name).unlink()
    assert "brings no tokenizer" in refused(training(LocalModel(path=str(folder)))).message


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (
            HubModel(repo="nobody/nothing"),
            "`nobody/nothing` is not in the local cache, and the hub cannot be reached",
        ),
        (LocalModel(path="/no/such/folder"), "/no/such/folder cannot be read: No such file or directory"),
        (RegistryModel(key="nothing"), "has no key `nothing`"),
        (tiny(tokenizer="/no/such/tokenizer"), "/no/such/tokenizer cannot be read"),
    ],
)
def test_models_that_are_not_there(model: Any, words: str, refused: Refused) -> None:
    fault = refused(training(model))
    assert words in fault.message
    assert fault.message.startswith("small.recipe:1: `base`: ")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (
            lambda folder: edit(folder / "config.json", intermediate_size=64),
            "other shapes than its configuration",
        ),
        (
            lambda folder: edit(folder / "config.json", num_hidden_layers=2, layer_types=None),
            "lack 11 tensors",
        ),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"nonsense"), "cannot be read"),
    ],
)
def test_weights_that_do_not_fit(
    damage: Callable[[Path], None], words: str, folder: Path, train: Train
) -> None:
    damage(folder)
    with pytest.raises(RunFailed, match=words):
        train(training(LocalModel(path=str(folder))))


def test_a_model_that_brings_a_temperature_and_does_not_sample_can_be_saved(
    folder: Path, train: Train
) -> None:
    edit(folder / "generation_config.json", temperature=0.6)
    saved = train(training(LocalModel(path=str(folder)), steps=1)).saved["small"].path
    assert GenerationConfig.from_pretrained(saved).temperature == 0.6
