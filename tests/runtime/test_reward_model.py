"""`reward_model`: what transformers says about a conversation, whatever else is scored beside it."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from on_device_support import bench_of, ignore, ready, sample, with_first
from reinforcement_support import REWARD, reinforcing, samples_of
from runtime_support import MODEL, Train, tiny
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForSequenceClassification,
)

from harmony_compiler.graph import graders as nodes
from harmony_compiler.graph.graders import Combination
from harmony_compiler.graph.models import LoadSettings, LocalModel
from harmony_compiler.graph.settings import Lora
from harmony_compiler.graph.values import Ref
from harmony_runtime.failures import RunFailed
from harmony_runtime.graders.making import Bench
from harmony_runtime.graders.protocol import Failure, Grade, Sample, Score
from harmony_runtime.graders.reward_model import RewardModel
from harmony_runtime.models import heads, weights
from harmony_runtime.models.chars import chars_tokenizer

KINDS = {
    "qwen3": (Qwen3Config, Qwen3ForSequenceClassification),
    "llama": (LlamaConfig, LlamaForSequenceClassification),
}

TEMPLATE = (
    "{% if not messages[0].content %}{{ raise_exception('an empty question') }}{% endif %}"
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}{{ eos_token }}{% endfor %}"
)
"""A conversation ends with the end token, which some models pad with."""

SAMPLES = [sample("4"), sample("no idea at all", "3+3"), sample(""), sample("7", "1+6" * 9), sample("5")]


def save(place: Path, kind: str = "qwen3", **changes: Any) -> Path:
    """A reward model as people publish them; it says different things about different texts."""
    torch.manual_seed(1)
    tokenizer = chars_tokenizer()
    tokenizer.chat_template = TEMPLATE
    config, made = KINDS[kind]
    shape: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
        "initializer_range": 0.5,
        "num_labels": 1,
        "pad_token_id": tokenizer.pad_token_id,
    }
    made(config(**(shape | changes))).save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save(tmp_path / "scorer")


def bench(model: LoadSettings) -> Bench:
    return bench_of({MODEL: model})


def grader(model: LoadSettings | Path, **changes: Any) -> RewardModel:
    model = LocalModel(path=str(model), **changes) if isinstance(model, Path) else model
    return RewardModel(nodes.RewardModel(model=MODEL), bench(model))


def grades(grader: RewardModel, samples: Sequence[Sample]) -> list[Grade]:
    with ready(grader):
        return grader.grade_all(samples, ignore)


def values(answered: Sequence[Grade]) -> list[float]:
    return [grade.value for grade in answered if isinstance(grade, Score)]


def plain(folder: Path, sample: Sample) -> float:
    """What transformers says about the conversation, alone in its batch."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    turns = [*sample.turns, {"role": "assistant", "content": sample.completion}]
    ids = tokenizer.apply_chat_template(turns, return_tensors="pt")["input_ids"]
    model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        return float(model(input_ids=ids).logits[0, 0])


# --- scores ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", ["of its own", "the end token", "none"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_score_is_that_of_transformers(kind: str, padding: str, tmp_path: Path) -> None:
    tokenizer = chars_tokenizer()
    ids = {"of its own": tokenizer.pad_token_id, "the end token": tokenizer.eos_token_id, "none": None}
    folder = save(tmp_path / "scorer", kind, pad_token_id=ids[padding])
    ours = values(grades(grader(folder), SAMPLES))
    assert ours == pytest.approx([plain(folder, sample) for sample in SAMPLES], abs=1e-4)
    assert min(abs(a - b) for n, a in enumerate(ours) for b in ours[:n]) > 1e-2


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_neither_order_nor_batch_changes_a_score(attention: str, folder: Path) -> None:
    wanted = [values(grades(grader(folder, attention=attention), [sample])) for sample in SAMPLES]
    together = values(grades(grader(folder, attention=attention), SAMPLES))
    backwards = values(grades(grader(folder, attention=attention), SAMPLES[::-1]))
    in_parts = values(grades(grader(folder, attention=attention, max_batch_tokens=60), SAMPLES))
    for found in (together, backwards[::-1], in_parts):
        assert found == pytest.approx([score for (score,) in wanted], abs=1e-4)


def test_micro_batches_are_as_large_as_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[torch.Size] = []
    forward = heads.Critic.forward

    def note(self: heads.Critic, ids_BT: torch.Tensor, counted_BT: torch.Tensor) -> torch.Tensor:  # noqa: N803
        read.append(ids_BT[:, 1:].shape)
        return forward(self, ids_BT, counted_BT)

    monkeypatch.setattr(heads.Critic, "forward", note)
    beats: list[int] = []
    with ready(grader(folder, max_batch_tokens=40)) as asked:
        asked.grade_all(SAMPLES[:3] + SAMPLES[4:], lambda: beats.append(0))
    assert sum(rows for rows, _ in read) == 4
    assert max(rows * longest for rows, longest in read) <= 40
    assert len(beats) == len(read) > 1


def test_nothing_to_score(folder: Path) -> None:
    assert grades(grader(folder), []) == []


def test_a_run_with_a_reward_model(folder: Path, train: Train, tmp_path: Path) -> None:
    score, scorer = Ref("score"), Ref("scorer")
    halved = Combination(expression=("*", ("constant", 0.5), ("grader", 0)), graders=(score,))
    first = {scorer: LocalModel(path=str(folder)), score: nodes.RewardModel(model=scorer)}
    graph = with_first(reinforcing(graders={REWARD: halved}, steps=2), first)
    train(graph)
    lines = samples_of(tmp_path / "out", step=2)
    wanted = [plain(folder, sample(line["completion"], line["prompt"])) for line in lines[:3]]
    assert [line["grades"]["score"]["score"] for line in lines[:3]] == pytest.approx(wanted, abs=1e-4)
    assert [line["reward"] for line in lines[:3]] == pytest.approx([0.5 * n for n in wanted], abs=1e-4)


# --- samples that cannot be scored ------------------------------------------------------------------------


def test_a_conversation_that_is_too_long_is_a_failure_of_its_own(folder: Path) -> None:
    found = grades(grader(folder), [sample("x" * 100), sample("4")])
    assert found[0] == Failure(
        "the conversation has 107 tokens, and the reward model takes 64 (its context, or `max_batch_tokens`)"
    )
    assert values(found[1:]) == pytest.approx([plain(folder, sample("4"))], abs=1e-4)
    (short,) = grades(grader(folder, max_batch_tokens=7), [sample("4")])
    assert isinstance(short, Failure)
    assert "takes 7" in short.reason


def test_a_conversation_that_the_template_refuses_is_a_failure_of_its_own(folder: Path) -> None:
    found = grades(grader(folder), [sample("4", prompt=""), sample("4")])
    assert isinstance(found[0], Failure)
    assert "the chat template of the reward model refuses a thread: an empty question" in found[0].reason
    assert isinstance(found[1], Score)


# --- what is refused --------------------------------------------------------------------------------------


def test_what_is_no_reward_model_is_refused_before_weights_are_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(*_: object, **__: object) -> None:
        raise AssertionError("a weight was made")

    monkeypatch.setattr(weights, "pretrained", made)
    with pytest.raises(RunFailed, match="a new model's reward would be made of random numbers: name a"):
        grader(tiny())
    with pytest.raises(RunFailed, match="takes no adapter: merge it"):
        grader(folder, adapter=Lora(rank=2, targets=("q_proj",), seed=7))
    with pytest.raises(RunFailed, match=r"`tp` = 2 cuts the model over processes.*once more with `tp = 1`"):
        grader(folder, tp=2)
    with pytest.raises(RunFailed, match="none is loaded here: `harmonyc run` does that"):
        RewardModel(nodes.RewardModel(model=MODEL), Bench(bench(tiny()).graph))
    edit(folder, id2label={"0": "bad", "1": "good"}, label2id={"bad": 0, "good": 1})
    with pytest.raises(RunFailed, match=r"this is no reward model: .* with one label"):
        grader(folder)
    edit(folder, architectures=["Qwen3ForCausalLM"])
    with pytest.raises(RunFailed, match="this is no reward model"):
        grader(folder)


def test_more_tokens_than_embeddings(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="more tokens than the reward model has embeddings"):
        grader(save(tmp_path / "small", vocab_size=50))


def test_a_folder_without_the_head_is_refused(folder: Path) -> None:
    held = load_file(folder / "model.safetensors")
    whole = dict(held)
    del held["score.weight"]
    save_file(held, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(RunFailed, match=r"lack 1 tensors that the configuration asks for, such as `score"):
        grades(grader(folder), SAMPLES)
    whole["score.weight"] = whole["score.weight"].repeat(2, 1)
    save_file(whole, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(RunFailed, match="other shapes than its configuration says"):
        grades(grader(folder), SAMPLES)


def edit(folder: Path, **changes: Any) -> None:
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))


# --- sharing ----------------------------------------------------------------------------------------------


def test_graders_share_a_model_until_the_last_is_torn_down(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[weakref.ref[Any]] = []
    load = heads.reward_model

    def note(blueprint: Any) -> heads.Scalar:
        model = load(blueprint)
        loaded.append(weakref.ref(model))
        return model

    monkeypatch.setattr(heads, "reward_model", note)
    table = bench(LocalModel(path=str(folder)))
    one, other = (RewardModel(nodes.RewardModel(model=MODEL), table) for _ in range(2))
    assert loaded == []
    with ready(one):
        with ready(other):
            pass
        gc.collect()
        assert len(loaded) == 1
        assert len(one.grade_all(SAMPLES, ignore)) == len(SAMPLES)
    gc.collect()
    assert loaded[0]() is None
    with ready(other):
        assert len(loaded) == 2


def test_where_what_is_trained_is_spread_a_grader_has_its_model_to_itself(folder: Path) -> None:
    table = bench_of({MODEL: LocalModel(path=str(folder))}, shard=True)
    found = values(grades(RewardModel(nodes.RewardModel(model=MODEL), table), SAMPLES))
    assert found == pytest.approx(values(grades(grader(folder), SAMPLES)), abs=1e-4)


def test_a_model_that_cannot_be_loaded_is_tried_again(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(b"nonsense")
    asked = grader(folder)
    with pytest.raises(RunFailed, match=r"the weights \(safetensors\) in .* cannot be read"):
        grades(asked, SAMPLES)
    (folder / "model.safetensors").write_bytes(whole)
    assert len(values(grades(asked, SAMPLES))) == len(SAMPLES)
