"""DPO as it trains: against steps worked out by hand, what must leave its result alone, its reference."""

# Names of tensors end in their shape.

from __future__ import annotations

import gc
import math
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters_support import LORA, OTHER, SECOND, adapter_in
from preference_support import ITEMS, dpo, pairs, preferring
from runtime_support import (
    DATA,
    MODEL,
    STAGE,
    Told,
    Train,
    graph_of,
    read_lines,
    same,
    sft,
    sums,
    tiny,
    weights_in,
)
from test_sft import char_ids

import harmony_dsl
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.models import CHARS_VOCABULARY, LoadSettings, Reloaded
from harmony_compiler.graph.node import Node
from harmony_compiler.graph.settings import Column, Constant, Lora
from harmony_compiler.graph.values import Ref
from harmony_runtime.data.order import Order
from harmony_runtime.failures import Interrupted, RunFailed
from harmony_runtime.models import weights
from harmony_runtime.models.reference import Reference
from harmony_runtime.models.scratch import initial_weights, scratch_config

BETA = 0.3


def at_the_start() -> Any:
    """The model before training, in float64."""
    node = tiny()
    return initial_weights(scratch_config(node, CHARS_VOCABULARY), node.seed).double()


def logprob(model: Any, prompt: list[int], answer: list[int]) -> torch.Tensor:
    """The sum over an answer's tokens."""
    logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
    found: torch.Tensor = logits.log_softmax(-1)[range(len(answer)), answer].sum()
    return found


LOSSES: dict[str, dict[str, Any]] = {
    "sigmoid": {},
    "conservative": {"label_smoothing": 0.2},
    "ipo": {"loss": "ipo"},
    "hinge": {"loss": "hinge"},
}


def loss_by_hand(kind: str, margin: torch.Tensor) -> torch.Tensor:
    """Of one pair, by its margin in log-probabilities."""
    right, wrong = (-(1 + (-sign * BETA * margin).exp()).log() for sign in (1, -1))
    match kind:
        case "sigmoid":
            return -right
        case "conservative":
            return -0.8 * right - 0.2 * wrong
        case "ipo":
            return (margin - 1 / (2 * BETA)) ** 2
        case _:
            return torch.relu(1 - BETA * margin)


def steps_by_hand(kind: str, steps: int, each: int) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
    """The weights after some steps, pair by pair, and what each step has to say."""
    model, start = at_the_start(), at_the_start()
    adam = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    order, said = Order(len(ITEMS), 7), []
    for _ in range(steps):
        loss = torch.zeros((), dtype=torch.float64)
        sums_ = torch.zeros(5, dtype=torch.float64)
        for row in order.take(each).tolist():
            prompt = char_ids("<bos>", "<user>", ITEMS[row]["q"], "<assistant>")
            answers = [char_ids(ITEMS[row][side], "<eos>") for side in ("good", "bad")]
            good, bad = (logprob(model, prompt, answer) for answer in answers)
            with torch.no_grad():
                good_start, bad_start = (logprob(start, prompt, answer) for answer in answers)
            loss = loss + loss_by_hand(kind, (good - good_start) - (bad - bad_start)) / each
            better, worse = BETA * (good - good_start).detach(), BETA * (bad - bad_start).detach()
            one = [better, worse, (better > worse).double(), good.detach(), bad.detach()]
            sums_ += torch.stack(one)
        adam.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        names = ("reward_chosen", "reward_rejected", "accuracy", "logprob_chosen", "logprob_rejected")
        step = dict(zip(names, (sums_ / each).tolist(), strict=True))
        margin = step["reward_chosen"] - step["reward_rejected"]
        said.append(step | {"loss": loss.item(), "margin": margin, "grad_norm": norm.item()})
    return {name: p.detach() for name, p in model.named_parameters()}, said


@pytest.mark.parametrize("kind", LOSSES)
def test_steps_are_those_worked_out_by_hand(kind: str, train: Train, tmp_path: Path) -> None:
    """Four steps of four of the ten pairs: the third reaches into the second epoch."""
    train(preferring(steps=4, beta=BETA, schedule=Constant(), **LOSSES[kind]))
    expected, said = steps_by_hand(kind, 4, 4)
    begun, moved = dict(at_the_start().named_parameters()), 0.0
    for name, tensor in weights_in(next((tmp_path / "out" / "stages").iterdir())).items():
        torch.testing.assert_close(tensor.double(), expected[name], rtol=0, atol=2e-4)
        moved = max(moved, (tensor - begun[name]).abs().max().item())
    assert moved > 2e-2
    lines = read_lines(tmp_path / "out" / "metrics.jsonl")
    assert len(lines) == 4
    for line, step in zip(lines, said, strict=True):
        for name, value in step.items():
            assert line[name] == pytest.approx(value, rel=1e-3, abs=1e-4), name
    assert lines[-1]["margin"] > 0


def test_metrics_are_those_documented(train: Train, tmp_path: Path) -> None:
    summary = train(preferring(epochs=1))
    lines = read_lines(tmp_path / "out" / "metrics.jsonl")
    assert [line["step"] for line in lines] == [1, 2, 3]  # ten pairs by four
    for line in lines:
        assert tuple(line) == ("stage", "step", *dpo().measures)
        assert line["rows"] == 4
    assert lines[-1]["epoch"] == 1.2
    rows = Order(len(ITEMS), 7).take(4).tolist()
    answers = [ITEMS[row][side] for row in rows for side in ("good", "bad")]
    trained = sum(len(answer) + 1 for answer in answers)  # each with its end token
    assert lines[0]["trained_tokens"] == trained
    assert lines[0]["tokens"] == trained + 2 * sum(len(ITEMS[row]["q"]) + 3 for row in rows)
    assert summary.stages[0].metrics["loss"] == lines[-1]["loss"]


@pytest.mark.parametrize("kind", LOSSES)
def test_how_a_step_is_cut_changes_rounding_only(kind: str, train: Train, tmp_path: Path) -> None:
    folders = []
    for name, budget in (("whole", 4096), ("some", 64), ("one", 28)):
        model = tiny(max_batch_tokens=budget)
        train(preferring(model, steps=5, samples_per_batch=10, **LOSSES[kind]), name)
        folders.append(next((tmp_path / name / "stages").iterdir()))
    start = at_the_start().state_dict()
    whole, *cut = map(weights_in, folders)
    moved = math.sqrt(sum(float((whole[n] - start[n]).square().sum()) for n in whole))
    for other in cut:
        apart = math.sqrt(sum(float((whole[n] - other[n]).square().sum()) for n in whole))
        assert 0 < apart <= 1e-3 * moved


def test_a_pair_that_does_not_fit_into_a_micro_batch_is_refused(refused: Any) -> None:
    said = refused(preferring(tiny(max_batch_tokens=27)))
    assert "`max_batch_tokens` = 27 is smaller than the longest pair of 28 tokens" in said.message


@pytest.mark.parametrize("adapter", [None, Lora(rank=4, dropout=0.2, seed=7)], ids=["all", "lora"])
@pytest.mark.parametrize("stop_at", [1, 2, 3, 4, 5])
def test_a_stage_that_was_stopped_ends_in_the_same_bits(
    train: Train, tmp_path: Path, stop_at: int, adapter: Lora | None
) -> None:
    """Six steps of four of the ten pairs, in several micro-batches: the reference has said all in three."""
    graph = preferring(tiny(adapter=adapter, max_batch_tokens=64), beta=1.0)
    train(graph, "straight")
    with pytest.raises(Interrupted):
        train(graph, watcher=Told(stop_at))
    train(graph, resume=True)
    one, other = (next((tmp_path / name / "stages").iterdir()) for name in ("straight", "out"))
    if adapter is None:
        assert same(one, other)
    else:
        a, b = adapter_in(one), adapter_in(other)
        assert a.keys() == b.keys()
        assert all(torch.equal(a[name], b[name]) for name in a)
    lines = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("straight", "out")]
    assert lines[0] == lines[1]


def test_turns_count_by_their_weights(train: Train, tmp_path: Path) -> None:
    """A weight scales the log-probabilities of a turn's tokens, and 0 leaves them out."""
    said = [("1", 0.5, "2", 0.0), ("3", 2.0, "45", None)]
    items = []
    for good, weight, bad, other in said:
        turn: dict[str, Any] = {"role": "assistant", "content": bad}
        items.append(
            {
                "q": "1+1",
                "good": [{"role": "assistant", "content": good, "weight": weight}],
                "bad": [turn if other is None else turn | {"weight": other}],
            }
        )
    data = pairs(items=tuple(items), chosen=Column(name="good"), rejected=Column(name="bad"))
    told = Told()
    train(preferring(data=data, steps=1, samples_per_batch=2), watcher=told)
    assert any("1 of 2 pairs have an answer without a token to train on" in text for text in told.warnings)
    model, prompt = at_the_start(), char_ids("<bos>", "<user>", "1+1", "<assistant>")
    chosen = [weight * logprob(model, prompt, char_ids(good, "<eos>")).item() for good, weight, _, _ in said]
    rejected = [0.0, logprob(model, prompt, char_ids("45", "<eos>")).item()]
    (line,) = read_lines(tmp_path / "out" / "metrics.jsonl")
    assert line["logprob_chosen"] == pytest.approx(sum(chosen) / 2, rel=1e-6)
    assert line["logprob_rejected"] == pytest.approx(sum(rejected) / 2, rel=1e-6)
    assert line["trained_tokens"] == 2 + 2 + 3


def test_pairs_that_repeat_within_a_step_are_said(train: Train) -> None:
    told = Told()
    train(preferring(steps=2, samples_per_batch=11), watcher=told)
    assert any("sees pairs twice" in text for text in told.warnings)


# --- the reference --------------------------------------------------------------------------------------


def after_sft(model: LoadSettings, between: LoadSettings | None = None) -> Graph:
    """`sft`, then `dpo` from what came out of it."""
    lessons, preferences = Ref("lessons"), dpo(model=STAGE if between is None else OTHER)
    nodes: dict[Ref, Node] = {MODEL: model, lessons: sums(), STAGE: sft(dataset=lessons, steps=3)}
    if between is not None:
        nodes[OTHER] = between
    return graph_of(nodes | {DATA: pairs(), SECOND: preferences}, (SECOND,))


STARTS: dict[str, Graph] = {
    "a fresh adapter": preferring(tiny(adapter=LORA, max_batch_tokens=64)),
    "all weights": preferring(tiny(max_batch_tokens=64)),
    "all weights after sft": after_sft(tiny(max_batch_tokens=64)),
    "an adapter that goes on": after_sft(tiny(adapter=LORA, max_batch_tokens=64)),
    "a new adapter on a merged one": after_sft(
        tiny(adapter=LORA), Reloaded(source=STAGE, adapter=LORA, max_batch_tokens=64)
    ),
    "all weights of a merged one": after_sft(
        tiny(adapter=LORA), Reloaded(source=STAGE, adapter=None, max_batch_tokens=64)
    ),
    "gradients checkpointed": preferring(tiny(adapter=LORA, gradient_checkpointing=True)),
}


@pytest.mark.parametrize("start", STARTS)
def test_the_first_batch_has_no_margin_at_all(start: str, train: Train, tmp_path: Path) -> None:
    """To the last bit, in several micro-batches."""
    train(STARTS[start])
    lines = [line for line in read_lines(tmp_path / "out/metrics.jsonl") if "margin" in line]
    assert len(lines) == 6
    assert lines[0]["margin"] == lines[0]["reward_chosen"] == lines[0]["reward_rejected"] == 0.0
    assert lines[0]["loss"] == pytest.approx(math.log(2), abs=1e-7)
    assert all(line["margin"] != 0.0 for line in lines[1:])


RECIPE = """
recipe chained { seed = 7 }
dataset lessons = rows([{ q = "1+1", a = "2" }, { q = "2+2", a = "4!" }]) {
  prompt = "{{ q }}"
  completion = "{{ a }}"
}
dataset preferences = rows([{ q = "1+1", good = "2", bad = "11" }, { q = "3+3", good = "6!", bad = "no" }]) {
  prompt = "{{ q }}"
  chosen = "{{ good }}"
  rejected = "{{ bad }}"
}
model small = scratch { hidden_size = 16, layers = 1, heads = 2, context = 40, adapter = lora { rank = 4 } }
train taught = sft { model = small, dataset = lessons, samples_per_batch = 2, lr = 1e-2, steps = 3 }
train liked = dpo { model = taught, dataset = preferences, samples_per_batch = 2, lr = 1e-2, steps = 3 }
"""


def test_after_sft_with_an_adapter_a_recipe_begins_without_a_margin(tmp_path: Path) -> None:
    graph = harmony_dsl.compile(RECIPE).graph
    assert graph is not None
    harmony_dsl.run(graph, tmp_path / "out", watcher=Told())
    lines = [line for line in read_lines(tmp_path / "out/metrics.jsonl") if line["stage"] == "liked"]
    assert [line["margin"] == 0.0 for line in lines] == [True, False, False]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each call of the reference had."""
    rows: list[int] = []
    logprobs = Reference.logprobs

    def counting(self: Reference, ids_BT: torch.Tensor, *others: Any) -> torch.Tensor:  # noqa: N803
        rows.append(len(ids_BT))
        return logprobs(self, ids_BT, *others)

    monkeypatch.setattr(Reference, "logprobs", counting)
    return rows


@pytest.mark.parametrize("adapter", [None, LORA], ids=["all", "lora"])
def test_the_reference_is_asked_once(train: Train, asked: list[int], adapter: Lora | None) -> None:
    train(preferring(tiny(adapter=adapter), samples_per_batch=5, steps=None, epochs=3))
    assert asked == [10, 10]


def test_the_reference_is_not_asked_again_after_a_stop(train: Train, asked: list[int]) -> None:
    graph = preferring(samples_per_batch=5, steps=4)
    for stop_at in (1, 2):
        with pytest.raises(Interrupted):
            train(graph, watcher=Told(stop_at), resume=stop_at > 1)
    train(graph, resume=True)
    assert asked == [10, 10]


def test_the_weights_of_the_reference_go_when_all_is_known(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After two steps of five of the ten pairs; and at once where a stage goes on later than that."""
    loaded: list[weakref.ref[Any]] = []
    load = weights.load

    def watched(blueprint: Any) -> Any:
        model = load(blueprint)
        loaded.append(weakref.ref(model))
        return model

    living: list[int] = []

    class Watch(Told):
        def step(self, *told: Any) -> None:
            gc.collect()
            living.append(sum(model() is not None for model in loaded))
            super().step(*told)

    monkeypatch.setattr(weights, "load", watched)
    graph = preferring(samples_per_batch=5, steps=4)
    with pytest.raises(Interrupted):
        train(graph, watcher=Watch(3))
    assert living == [2, 1, 1]
    loaded.clear()
    train(graph, watcher=Watch(), resume=True)
    assert living == [2, 1, 1, 1]


def test_dropout_is_the_trained_model_s_alone(train: Train, tmp_path: Path) -> None:
    """So its first margin is not 0, and a run has the same one again."""
    model = tiny(adapter=Lora(rank=4, dropout=0.5, seed=7))
    for out in ("a", "b"):
        train(after_sft(model), out)
    lines = [read_lines(tmp_path / out / "metrics.jsonl") for out in ("a", "b")]
    assert lines[0] == lines[1]
    assert next(line["margin"] for line in lines[0] if "margin" in line) != 0.0


def test_what_is_not_finite_ends_the_stage(train: Train) -> None:
    with pytest.raises(RunFailed, match="were not applied"):
        train(preferring(lr=1e8, max_grad_norm=1e9, steps=6))
