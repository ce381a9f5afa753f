"""GRPO as it trains: against updates worked out by hand, and what must leave its result alone."""

# Names of tensors end in their shape.

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from reinforcement_support import COMPLETION, DIGITS, EXACT, REWARD, SHORT, reinforcing, samples_of
from runtime_support import Told, Train, read_lines, same, tiny, weights_in

from harmony_compiler.graph.graders import Formula
from harmony_compiler.graph.models import CHARS_VOCABULARY
from harmony_compiler.graph.settings import Constant, Sampling
from harmony_compiler.graph.values import Percent
from harmony_runtime import chance as streams
from harmony_runtime.algorithms import reinforced
from harmony_runtime.failures import Interrupted, RunFailed
from harmony_runtime.models.scratch import initial_weights, scratch_config
from harmony_runtime.rollout.answers import Answer, Round

Flat = dict[str, torch.Tensor]


def at_the_start() -> Any:
    """The model before training, in float64."""
    node = tiny()
    return initial_weights(scratch_config(node, CHARS_VOCABULARY), node.seed).double()


def logprobs(model: Any, prompt: list[int], completion: list[int], temperature: float) -> torch.Tensor:
    logits = model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1] / temperature
    found: torch.Tensor = logits.log_softmax(-1)[range(len(completion)), completion]
    return found


def updates_by_hand(answered: list[Answer], group: int, updates: int, **numbers: float) -> Flat:
    """The weights after some updates on the same completions, each completion by itself."""
    model, reference, temperature = at_the_start(), at_the_start(), numbers["temperature"]
    adam = torch.optim.AdamW(model.parameters(), lr=numbers["lr"], weight_decay=0.0)
    rewards = [answer.verdict.scores[0] or 0.0 for answer in answered]
    rows = []
    with torch.no_grad():
        for number, answer in enumerate(answered):
            texts = list(answer.prompt.ids), answer.completion.ids_T.tolist()
            others = rewards[number // group * group :][:group]
            old = logprobs(reference, *texts, temperature)
            rows.append((*texts, rewards[number] - sum(others) / group, old))
    tokens = sum(len(completion) for _, completion, _, _ in rows)
    for _ in range(updates):
        loss = torch.zeros((), dtype=torch.float64)
        for prompt, completion, advantage, old in rows:
            # What drew the completions is also the reference: both are the weights at the start.
            for p, q in zip(logprobs(model, prompt, completion, temperature), old, strict=True):
                ratio = (p - q).exp()
                within = ratio.clamp(1 - numbers["low"], 1 + numbers["high"])
                loss = loss - torch.minimum(ratio * advantage, within * advantage) / tokens
                loss = loss + numbers["kl_beta"] * ((q - p).exp() - (q - p) - 1) / tokens
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
    return dict(model.named_parameters())


def test_the_updates_of_a_step_are_those_worked_out_by_hand(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered: list[Answer] = []
    draw = reinforced.answers

    def listening(*given: Any, **named: Any) -> Round:
        drawn = draw(*given, **named)
        answered.extend(drawn.answers)
        return drawn

    monkeypatch.setattr(reinforced, "answers", listening)
    numbers = {"lr": 3e-3, "kl_beta": 0.3}
    sampling = Sampling(max_tokens=6, temperature=0.7)
    clipping = {"clip_range": 0.02, "clip_range_high": 0.03}
    train(reinforcing(steps=1, mini_epochs=3, schedule=Constant(), sampling=sampling, **clipping, **numbers))
    out = tmp_path / "out"
    expected = updates_by_hand(answered, 4, 3, temperature=0.7, low=0.02, high=0.03, **numbers)
    begun = dict(at_the_start().named_parameters())
    moved = 0.0
    for name, tensor in weights_in(next((out / "stages").iterdir())).items():
        torch.testing.assert_close(tensor.double(), expected[name].detach(), rtol=0, atol=3e-5)
        moved = max(moved, (tensor - begun[name]).abs().max().item())
    assert moved > 5e-3
    line = read_lines(out / "metrics.jsonl")[0]
    assert 0 < line["clipped"] < 1
    assert line["kl"] > 0


def test_a_step_tells_what_its_completions_were_like(train: Train, tmp_path: Path) -> None:
    train(reinforcing(steps=2))
    out = tmp_path / "out"
    for line in read_lines(out / "metrics.jsonl"):
        samples = samples_of(out, line["step"])
        assert len(samples) == line["completions"] == 8
        assert line["rows"] == 2
        rewards = [sample["reward"] for sample in samples]
        assert line["reward"] == pytest.approx(sum(rewards) / 8)
        for name in ("exact", "digits", "short"):
            scores = [sample["grades"][name]["score"] for sample in samples]
            assert line[f"grade/{name}"] == pytest.approx(sum(scores) / 8)
        assert line["truncated"] == sum(sample["stop"] == "length" for sample in samples) / 8
        assert line["completion_tokens"] == sum(sample["completion_tokens"] for sample in samples) / 8
        for group in (samples[:4], samples[4:]):
            assert len({sample["prompt"] for sample in group}) == 1
            mean = sum(sample["reward"] for sample in group) / 4
            assert [s["advantage"] for s in group] == pytest.approx([s["reward"] - mean for s in group])
    assert line["no_signal"] in (0.0, 0.5, 1.0)


def test_the_reward_rises(train: Train, tmp_path: Path) -> None:
    """Long completions are rewarded, and become longer."""
    longer = Formula(expression=("/", ("chars", COMPLETION), ("constant", 6)))
    graph = reinforcing(
        graders={SHORT: longer}, grader=SHORT, steps=30, samples_per_batch=32, samples_per_mini_batch=16
    )
    train(graph)
    rewards = [line["reward"] for line in read_lines(tmp_path / "out" / "metrics.jsonl")]
    assert sum(rewards[-5:]) / 5 > sum(rewards[:5]) / 5 + 0.05


@pytest.mark.parametrize("stage", [{}, {"kl_beta": 0.1, "mini_epochs": 2, "samples_per_mini_batch": 4}])
@pytest.mark.parametrize("stop_at", [1, 2, 3, 4, 5])
def test_a_stage_that_was_stopped_ends_in_the_same_bits(
    train: Train, tmp_path: Path, stop_at: int, stage: dict[str, Any]
) -> None:
    graph = reinforcing(**stage)
    train(graph, "straight")
    with pytest.raises(Interrupted):
        train(graph, watcher=Told(stop_at))
    train(graph, resume=True)
    folders = [next((tmp_path / name / "stages").iterdir()) for name in ("straight", "out")]
    assert same(*folders)
    for file in ("metrics.jsonl", "samples.jsonl"):
        assert (tmp_path / "straight" / file).read_bytes() == (tmp_path / "out" / file).read_bytes()


def test_how_an_update_is_cut_changes_rounding_only(train: Train, tmp_path: Path) -> None:
    """Of the first step, since from the second on rounding may change what is drawn."""
    for name, budget in (("whole", 4096), ("cut", 20)):
        train(reinforcing(tiny(max_batch_tokens=budget), steps=1, kl_beta=0.1, mini_epochs=2), name)
    whole, cut = (weights_in(next((tmp_path / name / "stages").iterdir())) for name in ("whole", "cut"))
    for name, tensor in whole.items():
        torch.testing.assert_close(tensor, cut[name], rtol=0, atol=2e-5)


def test_without_the_kl_term_no_reference_is_loaded(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    load: Callable[..., Any] = reinforced.weights.load
    monkeypatch.setattr(reinforced.weights, "load", lambda blueprint: loaded.append(1) or load(blueprint))
    train(reinforcing(steps=1), "without")
    without = len(loaded)
    train(reinforcing(steps=1, kl_beta=0.1), "with")
    assert len(loaded) - without == without + 1


def test_no_random_stream_is_used_twice(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each completion of each step, each mini-epoch, each update has a stream of its own."""
    used: list[tuple[int, str, int]] = []
    number = streams._number
    monkeypatch.setattr(streams, "_number", lambda *name: used.append(name) or number(*name))
    train(reinforcing(steps=3, mini_epochs=2, samples_per_mini_batch=4))
    assert len(used) > 3 * (8 + 2 + 4)
    assert len(set(used)) == len(used)


# --- what is not trained on -----------------------------------------------------------------------------


def test_a_completion_that_was_cut_is_masked_where_the_recipe_says_so(train: Train, tmp_path: Path) -> None:
    """Completions of one token are cut unless that is the end token."""
    graph = reinforcing(steps=3, truncated="mask", sampling=Sampling(max_tokens=1))
    train(graph)
    for line in read_lines(tmp_path / "out" / "metrics.jsonl"):
        ended = sum(sample["stop"] == "end" for sample in samples_of(tmp_path / "out", line["step"]))
        assert line["trained_tokens"] == ended
        if not ended:
            assert line["loss"] == line["grad_norm"] == 0


def test_where_no_grader_applies_nothing_is_learned(train: Train, tmp_path: Path) -> None:
    never = Formula(expression=("number", ("constant", "no number")))
    train(reinforcing(graders={SHORT: never}, grader=SHORT, steps=2))
    for line in read_lines(tmp_path / "out" / "metrics.jsonl"):
        assert line["reward"] is None
        assert line["no_reward"] == line["not_applicable"] == 8
        assert line["no_signal"] == 1
        assert line["loss"] == line["grad_norm"] == 0
    assert all(sample["advantage"] == 0 for sample in samples_of(tmp_path / "out"))


def test_a_grade_that_failed_is_left_out_and_told(train: Train, tmp_path: Path) -> None:
    """log(0) has no value: completions without characters fail; the others are trained on."""
    fails = Formula(
        expression=("log", ("-", ("chars", COMPLETION), ("constant", 5))), max_failure_rate=Percent(100)
    )
    train(reinforcing(graders={SHORT: fails}, grader=SHORT, steps=2))
    samples = samples_of(tmp_path / "out")
    failed = [sample for sample in samples if "failed" in sample["grades"]["short"]]
    assert failed
    assert len(failed) < len(samples)
    assert all(sample["reward"] is None and sample["advantage"] == 0 for sample in failed)
    assert all(math.isfinite(line["loss"]) for line in read_lines(tmp_path / "out" / "metrics.jsonl"))


def test_a_grader_that_may_not_fail_stops_the_run(train: Train) -> None:
    fails = Formula(expression=("log", ("constant", 0)), on_failure="stop")
    with pytest.raises(RunFailed, match="`short`") as caught:
        train(reinforcing(graders={SHORT: fails}, grader=SHORT))
    assert caught.value.exit_code == 1


def test_names_of_graders_are_those_of_the_recipe(train: Train, tmp_path: Path) -> None:
    train(reinforcing(steps=1))
    sample = samples_of(tmp_path / "out")[0]
    assert set(sample["grades"]) == {str(name) for name in (EXACT, DIGITS, SHORT, REWARD)}
