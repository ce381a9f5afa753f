"""Supervised fine-tuning against independent references."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from runtime_support import (
    MODEL,
    SAVE,
    STAGE,
    Ref,
    Told,
    Train,
    graph_of,
    read_lines,
    same,
    sums,
    tiny,
    training,
    weights_in,
)
from transformers import AutoModelForCausalLM, GPT2Config

from harmony_compiler.graph.datasets import LiteralRows
from harmony_compiler.graph.models import LocalModel
from harmony_compiler.graph.outputs import Save
from harmony_compiler.graph.settings import Column
from harmony_runtime.algorithms.optimiser import Optimiser
from harmony_runtime.models.chars import chars_tokenizer

MARKS = ["<pad>", "<unk>", "<bos>", "<eos>", "<system>", "<user>", "<assistant>", "\n"]


def char_ids(*pieces: str) -> list[int]:
    """Marks and texts by the built-in tokenizer's table, without the tokenizer."""
    ids = []
    for piece in pieces:
        ids += [MARKS.index(piece)] if piece in MARKS else [len(MARKS) + ord(c) - 32 for c in piece]
    return ids


def reference(model: Any, reduce: str, train_on: str) -> torch.Tensor:
    """The loss of all rows of `sums()`, one row at a time, in float64."""
    sums_, counts, means = torch.zeros((), dtype=torch.float64), 0, []
    for item in sums().items:
        prompt = char_ids("<bos>", "<user>", item["q"], "<assistant>")
        row = prompt + char_ids(item["a"], "<eos>")
        logp = torch.log_softmax(model(torch.tensor([row])).logits[0], dim=-1)
        first = 1 if train_on == "everything" else len(prompt)
        losses = [-logp[t - 1, row[t]] for t in range(first, len(row))]
        sums_, counts = sums_ + sum(losses), counts + len(losses)
        means.append(sum(losses) / len(losses))
    return sums_ / counts if reduce == "tokens" else sum(means) / len(means)


@pytest.mark.parametrize("max_batch_tokens", [None, 16])
@pytest.mark.parametrize(
    ("reduce", "train_on"), [("tokens", "last"), ("sequences", "all"), ("tokens", "everything")]
)
def test_loss_and_gradient_equal_a_plain_computation(  # noqa: PLR0917 - fixtures
    reduce: str, train_on: str, max_batch_tokens: int | None, train: Train, registry: Path, tmp_path: Path
) -> None:
    nodes = training(
        tiny(max_batch_tokens=max_batch_tokens),
        steps=1,
        samples_per_batch=10,
        reduce=reduce,
        train_on=train_on,
    ).nodes
    start = Ref("start")
    graph = graph_of(nodes | {start: Save(model=MODEL, key="start")}, (start, SAVE))
    train(graph)
    model = AutoModelForCausalLM.from_pretrained(registry / "start", dtype=torch.float64)
    loss = reference(model, reduce, train_on)
    loss.backward()
    norm = math.sqrt(sum(float(p.grad.square().sum()) for p in model.parameters()))
    (line,) = read_lines(tmp_path / "out" / "metrics.jsonl")
    assert line["loss"] == pytest.approx(loss.item(), rel=1e-6)
    assert line["grad_norm"] == pytest.approx(norm, rel=1e-5)

    # The first update of AdamW, from the clipped gradient, in closed form.
    after = weights_in(registry / "small")
    for name, p in model.named_parameters():
        g = p.grad * min(1.0, 1.0 / norm)
        expected = p - 1e-2 * g / (g.abs() + 1e-8)
        clear = g.abs() > 1e-6  # below, rounding decides the sign
        assert torch.allclose(after[name].double()[clear], expected[clear], atol=1e-5), name


WEIGHED = (
    (("1+1", "2", 0.5), ("2+2", "4!", 2.0)),
    (("3", "33", None),),
    (("5", "5", 0.0), ("6", "7", 0.25)),
    (("8", "9", 0.0),),
)
"""Threads of questions, answers and what the answers count."""


@pytest.mark.parametrize("reduce", ["tokens", "sequences"])
def test_turns_count_by_their_weights(reduce: str, train: Train, registry: Path, tmp_path: Path) -> None:
    items = []
    for thread in WEIGHED:
        turns: list[dict[str, Any]] = []
        for question, answer, weight in thread:
            turns.append({"role": "user", "content": question})
            turns.append(
                {"role": "assistant", "content": answer} | ({} if weight is None else {"weight": weight})
            )
        items.append({"messages": turns})
    data = LiteralRows(items=tuple(items), messages=Column(name="messages"), seed=7)
    nodes = training(data=data, steps=1, samples_per_batch=4, reduce=reduce, train_on="all").nodes
    start = Ref("start")
    train(graph_of(nodes | {start: Save(model=MODEL, key="start")}, (start, SAVE)))

    model = AutoModelForCausalLM.from_pretrained(registry / "start", dtype=torch.float64)
    rows = []
    for thread in WEIGHED:
        row, counts = char_ids("<bos>"), [0.0]
        for question, answer, weight in thread:
            for piece, count in (
                (char_ids("<user>", question, "<assistant>"), 0.0),
                (char_ids(answer, "<eos>"), 1.0 if weight is None else weight),
            ):
                row, counts = row + piece, counts + [count] * len(piece)
        logp = torch.log_softmax(model(torch.tensor([row])).logits[0], dim=-1)
        loss = sum(-count * logp[t - 1, row[t]].item() for t, count in enumerate(counts) if count)
        rows.append((loss, sum(counts)))
    if reduce == "tokens":
        wanted = sum(loss for loss, _ in rows) / sum(count for _, count in rows)
    else:
        wanted = sum(loss / count for loss, count in rows if count) / 3
    (line,) = read_lines(tmp_path / "out" / "metrics.jsonl")
    assert line["loss"] == pytest.approx(wanted, rel=1e-6)
    assert line["trained_tokens"] == 2 + 3 + 3 + 2


@pytest.mark.parametrize("architecture", ["qwen3", "llama", "gpt2"])
def test_how_a_step_is_cut_changes_rounding_only(
    architecture: str, train: Train, registry: Path, tmp_path: Path
) -> None:
    kv_heads = None if architecture == "gpt2" else 1
    small = tiny(architecture=architecture, kv_heads=kv_heads, max_batch_tokens=14)
    large = tiny(architecture=architecture, kv_heads=kv_heads, max_batch_tokens=1000)
    start = Ref("start")
    for name, model in (("small", small), ("large", large)):
        nodes = training(model, save={"key": name}, steps=5, samples_per_batch=10, dataset="data").nodes
        train(graph_of(nodes | {start: Save(model=MODEL, key="start")}, (start, SAVE)), name)
        assert len(read_lines(tmp_path / name / "metrics.jsonl")) == 5
    w0, w1, w2 = (weights_in(registry / key) for key in ("start", "large", "small"))
    moved = math.sqrt(sum(float((w1[n] - w0[n]).square().sum()) for n in w0))
    apart = math.sqrt(sum(float((w1[n] - w2[n]).square().sum()) for n in w0))
    assert 0 < apart <= 1e-3 * moved


def test_a_run_depends_on_its_seed_and_not_on_the_global_generator(train: Train, tmp_path: Path) -> None:
    folders = []
    for out, chance, seed in (("a", 1, 7), ("b", 2, 7), ("c", 1, 8)):
        torch.manual_seed(chance)
        before = torch.random.get_rng_state()
        summary = train(training(tiny(seed=seed), save={"if_exists": "rename"}, seed=seed), out)
        assert torch.equal(torch.random.get_rng_state(), before)
        folders.append(tmp_path / out / "stages" / summary.stages[0].identity)
    assert same(folders[0], folders[1])
    assert not same(folders[0], folders[2])
    metrics = [(tmp_path / out / "metrics.jsonl").read_bytes() for out in "abc"]
    assert metrics[0] == metrics[1] != metrics[2]


def test_dropout_has_a_stream_of_its_own(train: Train, tmp_path: Path) -> None:
    folder = tmp_path / "gpt2"
    config = GPT2Config(
        vocab_size=103, n_embd=16, n_layer=1, n_head=2, n_positions=40, eos_token_id=3, bos_token_id=2
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    chars_tokenizer().save_pretrained(folder)
    for out, chance in (("a", 1), ("b", 2)):
        torch.manual_seed(chance)
        train(training(LocalModel(path=str(folder))), out)
    assert (tmp_path / "a/metrics.jsonl").read_bytes() == (tmp_path / "b/metrics.jsonl").read_bytes()


def test_metrics_hold_only_what_the_recipe_determines(train: Train, tmp_path: Path) -> None:
    summary = train(training(epochs=1))
    lines = read_lines(tmp_path / "out" / "metrics.jsonl")
    assert [line["step"] for line in lines] == [1, 2, 3]  # ten rows by four
    assert list(lines[0]) == [
        *("stage", "step", "loss", "lr", "grad_norm", "tokens", "trained_tokens", "rows", "epoch"),
        "quarantined",
    ]
    assert lines[-1]["epoch"] == 1.2
    timings = read_lines(tmp_path / "out" / "timings.jsonl")
    assert [list(line) for line in timings] == [["stage", "step", "seconds", "tokens_per_second"]] * 3
    assert summary.stages[0].metrics["loss"] == lines[-1]["loss"]


def test_matrices_decay_and_nothing_else(train: Train, registry: Path) -> None:
    start = Ref("start")
    nodes = training(steps=1, lr=1e-3, weight_decay=100.0, max_grad_norm=1e-12).nodes
    train(graph_of(nodes | {start: Save(model=MODEL, key="start")}, (start, SAVE)))
    before, after = weights_in(registry / "start"), weights_in(registry / "small")
    for name, weight in before.items():
        # The gradient is clipped to nothing, beside `eps`: what is left is w * (1 - lr * decay).
        kept = 0.9 if weight.ndim == 2 else 1.0
        assert torch.allclose(after[name], weight * kept, atol=1e-6), name


@pytest.mark.parametrize(("loss", "gradient"), [(math.nan, 1.0), (1.0, math.inf)])
def test_what_is_not_finite_is_never_applied(loss: float, gradient: float) -> None:
    model = torch.nn.Linear(2, 2)
    before = model.weight.detach().clone()
    optimiser = Optimiser(model, training().nodes[STAGE], 1.0, 6, "small.recipe:3: ")  # type: ignore[arg-type]
    for p in model.parameters():
        p.grad = torch.full_like(p, gradient)
    optimiser.update(0, loss, rows=torch.tensor([3, 5]))
    assert torch.equal(model.weight, before)
    (line,) = optimiser.refused()
    assert (line["rows"], line["loss"]) == ([3, 5], f"{loss:g}")
    assert not optimiser.refused()


def test_a_step_without_a_token_to_train_on(refused: Any) -> None:
    rows = sums(on_too_long="truncate", prompt="{{ 'long ' * 20 }}")
    assert "no row of step 1 has a token to train on; 10 of 10 rows" in refused(training(data=rows)).message


def test_rows_that_repeat_within_a_step_are_said(train: Train) -> None:
    told = Told()
    train(training(steps=1, samples_per_batch=11), watcher=told)
    assert any("sees rows twice" in text for text in told.texts)


def test_bfloat16_weights_stay_bfloat16(train: Train, registry: Path) -> None:
    told = Told()
    train(training(tiny(dtype="bfloat16"), steps=2), watcher=told)
    assert {tensor.dtype for tensor in weights_in(registry / "small").values()} == {torch.bfloat16}
    assert any("1/256" in text for text in told.texts)


def test_gradient_checkpointing_changes_nothing_but_rounding(train: Train, tmp_path: Path) -> None:
    for out, on in (("a", True), ("b", False)):
        train(training(tiny(gradient_checkpointing=on), steps=2), out)
    a, b = (read_lines(tmp_path / out / "metrics.jsonl")[-1]["loss"] for out in "ab")
    assert a == pytest.approx(b, rel=1e-5)
