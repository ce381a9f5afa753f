"""What `harmonyc explain` prints is what is computed: its equations are evaluated as they are printed.

So are those of `harmonyc plan`, which have the recipe's numbers in them.
"""

# Names of tensors end in their shape: P prompts, G completions of each, C completions of a step, M of an
# update, B rows, T tokens, N those that count.
# ruff: noqa: N803, N806

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from harmony_compiler.graph.algorithms import Algorithm, Dpo, Grpo, Ppo, Sft
from harmony_compiler.graph.catalogue import ALGORITHMS
from harmony_compiler.graph.equations import equations_of
from harmony_compiler.graph.node import Constructor, schema
from harmony_compiler.graph.settings import Constant, Cosine, Linear, Sampling, Schedule
from harmony_compiler.graph.types import LiteralText, options_of
from harmony_compiler.graph.values import Percent, Ref
from harmony_compiler.plan.losses import filled
from harmony_runtime.algorithms.ppo import lesson_of
from harmony_runtime.algorithms.schedules import rate
from harmony_runtime.losses import (
    dpo_loss,
    group_advantages,
    grpo_loss,
    ppo_policy_loss,
    ppo_value_loss,
    sft_loss,
    token_weights,
)
from harmony_runtime.rollout.batch import Batch

NAN = math.nan
NODE = Ref("another-node")
Known = dict[str, Any]
Then = Mapping[str, Callable[[Any], Any]]


def holds(case: str, known: Known) -> bool:
    if option := re.fullmatch(r"(\w+) = (.+)", case):
        words = {"true": True, "false": False, "none": None}
        value = words[option[2]] if option[2] in words else ast.literal_eval(option[2])
        return bool(known[option[1]] == value)
    if given := re.fullmatch(r"(\w+) given", case):
        return known[given[1]] is not None
    return not case or bool(eval(case, {}, known))


def evaluate(formula: str, known: Known, then: Then | None = None) -> Known:
    """All that a formula says of what is known; `then` adds to a result what the words below say of it."""
    known = {"exp": torch.exp, "log": torch.log, "sqrt": torch.sqrt, "sigmoid": torch.sigmoid, **known}
    known |= {"clip": torch.clamp, "min": torch.minimum, "max": larger}
    for line in equations_of(formula):
        if not line.each_token and holds(line.case, known):
            found = eval(line.expression, {}, known)
            known[line.name] = then[line.name](found) if then and line.name in then else found
    return known


def loss_by(node: Algorithm, known: Known, then: Then | None = None) -> Known:
    """What the formula of an algorithm says of its loss, and with a stage's numbers in it says as well."""
    fields = schema(type(node))
    options = {name: getattr(node, name) for name in fields}
    said = evaluate(node.formula, {**options, **known}, then)
    assert not fields.keys() & known.keys()
    shown = evaluate("\n".join(filled(node)), known, then)
    losses = [name for name in shown if name.startswith("loss")]
    assert losses
    for name in losses:
        torch.testing.assert_close(shown[name], said[name], rtol=1e-12, atol=0)
    return said


def recursion(formula: str, known: Known, tokens: int) -> dict[str, list[float]]:
    """The equations of one completion that go from token to token. Behind the last one all is 0."""
    found: dict[str, list[float]] = {
        line.name: [0.0] * (tokens + 1) for line in equations_of(formula) if line.each_token
    }
    for t in reversed(range(tokens)):
        for line in equations_of(formula):
            if line.each_token:
                found[line.name][t] = eval(line.expression, {}, {**known, **found, "t": t})
    return {name: numbers[:tokens] for name, numbers in found.items()}


def larger(one: Any, other: Any) -> Any:
    return torch.maximum(torch.as_tensor(one, dtype=other.dtype), other)


def numbers(*shape: int, seed: int, scale: float = 1.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale


def ragged(lengths: list[int]) -> Tensor:
    return torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]


def reductions(counts_BT: Tensor) -> Known:
    """What the words say of `n`, `rows`, `sum` and `row_`."""
    counted_BT = counts_BT != 0

    def row_mean(values_BT: Tensor) -> Tensor:
        return (values_BT * counted_BT).sum(1, keepdim=True) / counted_BT.sum(1, keepdim=True).clamp(min=1)

    def row_sum(values_BT: Tensor) -> Tensor:
        sums_B1 = values_BT.sum(1, keepdim=True)
        return torch.where(sums_B1 > 0, sums_B1, 1.0)  # a row without a token weighs nothing anyway

    rows = int(counted_BT.any(1).sum())
    return {"n": counts_BT, "rows": rows, "sum": torch.sum, "row_sum": row_sum, "row_mean": row_mean}


# --- what is printed ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", ALGORITHMS, ids=lambda cls: cls.constructor)
def test_a_formula_tells_of_every_option_that_its_algorithm_has(cls: type[Constructor]) -> None:
    """Of its own ones; those that all algorithms share have formulas of their own."""
    own = set(schema(cls)).intersection(vars(cls).get("__annotations__", {}))
    cases = {line.case for line in equations_of(cls.formula)}
    for name in own:
        texts = [
            option.text for option in options_of(schema(cls)[name].type) if isinstance(option, LiteralText)
        ]
        if texts and not all(f'{name} = "{text}"' in cases for text in texts):
            assert f"`{name}" in cls.formula, name


# --- what is computed -----------------------------------------------------------------------------------


@pytest.mark.parametrize("reduce", ["tokens", "sequences"])
def test_the_formula_of_sft(reduce: Any) -> None:
    logprobs_BT = -numbers(4, 6, seed=1).abs()
    counts_BT = ragged([6, 2, 0, 4]) * numbers(4, 6, seed=2).abs()  # turns have weights
    counts_BT[0, :3] = 0.0
    weights_BT = token_weights(counts_BT, float(counts_BT.sum()), 3, reduce)
    known = {"log_p": logprobs_BT, **reductions(counts_BT)}
    said = loss_by(Sft(model=NODE, dataset=NODE, seed=0, steps=1, reduce=reduce), known)["loss"]
    torch.testing.assert_close(sft_loss(logprobs_BT, weights_BT), said, rtol=1e-12, atol=0)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("loss", ["sigmoid", "ipo", "hinge"])
def test_the_formula_of_dpo(loss: Any, smoothing: float) -> None:
    better, worse, start_better, start_worse = numbers(4, 7, seed=1, scale=9.0)
    found = dpo_loss(
        better, worse, start_better, start_worse, beta=0.3, loss=loss, label_smoothing=smoothing
    ).losses_P.mean()
    known = {"better": better, "worse": worse, "better_at_start": start_better, "worse_at_start": start_worse}
    known |= {"mean": torch.mean}
    options = {"beta": 0.3, "label_smoothing": smoothing, "loss": loss}
    said = loss_by(Dpo(model=NODE, dataset=NODE, seed=0, steps=1, **options), known)["loss"]
    torch.testing.assert_close(found, said, rtol=1e-10, atol=0)


REWARDS_PG = torch.tensor([[1.0, 0.0, 0.5], [NAN, 0.25, 1.0], [0.5, 0.5, 0.5], [NAN, NAN, 1.0]]).double()


def group_mean(rewards_PG: Tensor) -> Tensor:
    return rewards_PG.nanmean(1, keepdim=True)


def group_std(rewards_PG: Tensor) -> Tensor:
    squares_PG = (rewards_PG - group_mean(rewards_PG)).square()
    others_P1 = (~rewards_PG.isnan()).sum(1, keepdim=True) - 1
    return (squares_PG.nansum(1, keepdim=True) / others_P1.clamp(min=1)).sqrt()


@pytest.mark.parametrize("kl_beta", [0.0, 0.04])
@pytest.mark.parametrize(
    ("advantage", "ratio", "reduce"),
    list(product(["mean", "mean_std"], ["token", "sequence"], ["tokens", "sequences", "constant"])),
)
def test_the_formula_of_grpo(advantage: Any, ratio: Any, reduce: Any, kl_beta: float) -> None:
    old_BT, counts_BT = -numbers(12, 5, seed=1).abs(), ragged([5, 1, 3, 0, 2, 2] * 2).double()
    new_BT, start_BT = old_BT + numbers(12, 5, seed=2, scale=0.3), old_BT + numbers(12, 5, seed=3)
    advantages_B = group_advantages(REWARDS_PG, advantage).flatten()
    found = grpo_loss(
        new_BT,
        old_BT,
        advantages_B,
        token_weights(counts_BT, float(counts_BT.sum()), 10, reduce, longest=9),
        clip_range=0.1,
        clip_range_high=0.25,
        ratio=ratio,
        reference_BT=start_BT if kl_beta else None,
        kl_beta=kl_beta,
    )
    known = {"R": REWARDS_PG, "group_mean": group_mean, "group_std": group_std}
    known |= {"new": new_BT, "old": old_BT, "start": start_BT, **reductions(counts_BT)}
    options = {"advantage": advantage, "ratio": ratio, "reduce": reduce, "clip_range": 0.1}
    options |= {"kl_beta": kl_beta, "clip_range_high": 0.25, "sampling": Sampling(max_tokens=9)}
    stage = Grpo(model=NODE, dataset=NODE, grader=NODE, seed=0, steps=1, **options)
    said = loss_by(stage, known, {"A": lambda all_PG: all_PG.nan_to_num(0.0).view(-1, 1)})
    assert bool(found.clipped_BT.any())
    torch.testing.assert_close(found.loss, said["loss"], rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("clip_range_value", [None, 0.1])
@pytest.mark.parametrize(
    ("whiten", "kl_beta", "gamma"), [(True, 0.1, 0.9), (False, 0.1, 0.9), (True, 0.0, 1.0)]
)
def test_the_formula_of_ppo(
    whiten: bool, kl_beta: float, gamma: float, clip_range_value: float | None
) -> None:
    """Six completions of a step, of which four are updated on; one has no reward."""
    lengths, prompt, update_M = [5, 1, 3, 4, 2, 2], 2, torch.tensor([0, 2, 3, 5])
    counted_CT = ragged([prompt + length for length in lengths])
    counted_CT[:, :prompt] = False
    shape = counted_CT.shape
    old_CT = -numbers(*shape, seed=1).abs().float().double()
    start_CT, new_CT = old_CT + numbers(*shape, seed=2).float(), old_CT + numbers(*shape, seed=3, scale=0.3)
    value_CT = numbers(*shape, seed=4).float().double()
    critic_CT, rewards_C = value_CT + numbers(*shape, seed=5, scale=0.3), numbers(len(lengths), seed=6)
    rewards_C[3] = NAN

    batch = Batch(
        ids_CT=torch.zeros(shape, dtype=torch.long),
        trained_CT=counted_CT & ~rewards_C.isnan()[:, None],
        drawn_CT=torch.where(counted_CT, old_CT, 0.0).float(),
        lengths_C=torch.tensor(lengths) + prompt,
    )
    options: Known = {"kl_beta": kl_beta, "gae_gamma": gamma, "gae_lambda": 0.8, "whiten": whiten}
    options |= {"clip_range": 0.1, "clip_range_value": clip_range_value}
    stage = Ppo(
        policy_model=NODE, value_model=NODE, dataset=NODE, grader=NODE, seed=0, max_num_ppo_steps=1, **options
    )
    lesson = lesson_of(batch, rewards_C, start_CT if kl_beta else None, value_CT, stage)
    weights_BT = token_weights(
        batch.trained_CT[update_M], int(batch.trained_CT[update_M].sum()), len(update_M), "tokens"
    )
    found_policy = ppo_policy_loss(
        new_CT[update_M], old_CT[update_M], lesson.weighed_CT[update_M], weights_BT, clip_range=0.1
    )
    found_value = ppo_value_loss(
        critic_CT[update_M],
        lesson.values_CT[update_M],
        lesson.returns_CT[update_M],
        weights_BT,
        clip_range=clip_range_value,
    )

    def advantages_of(row: int) -> list[float]:
        """Of the tokens of one completion."""
        part = slice(prompt, prompt + lengths[row])
        known = {"R": rewards_C[row].item(), "last": [0.0] * (lengths[row] - 1) + [1.0]}
        known |= {"old": old_CT[row, part].tolist(), "start": start_CT[row, part].tolist()}
        known |= {"value": [*value_CT[row, part].tolist(), 0.0]}
        said = recursion(stage.formula, {**options, **known}, lengths[row])["A"]
        shown = recursion("\n".join(filled(stage)), known, lengths[row])["A"]
        assert shown == pytest.approx(said, rel=1e-12)
        return said

    rewarded = [row for row in range(len(lengths)) if not rewards_C[row].isnan()]
    advantages_N = torch.cat([torch.tensor(advantages_of(row)).double() for row in rewarded])
    updated_N = torch.zeros(shape, dtype=torch.bool)
    updated_N[update_M] = True
    updated_N = updated_N[batch.trained_CT]
    of_tokens = {"new": new_CT, "old": old_CT, "value": value_CT, "critic": critic_CT}
    known: Known = {name: held_CT[batch.trained_CT] for name, held_CT in of_tokens.items()} | {
        "A": advantages_N
    }
    known |= {"mean": lambda values_N: values_N[updated_N].mean()}
    known |= {"step_mean": torch.mean, "step_var": torch.var}
    said = loss_by(stage, known)
    assert bool(found_policy.clipped_BT.any())
    torch.testing.assert_close(found_policy.loss, said["loss_policy"], rtol=1e-5, atol=0)
    torch.testing.assert_close(found_value.loss, said["loss_value"], rtol=1e-5, atol=0)


SCHEDULES = [
    (Cosine(warmup=3, floor=Percent(10)), 10),
    (Cosine(warmup=Percent(25), floor=Percent(0)), 7),
    (Cosine(warmup=0), 1),
    (Linear(), 5),
    (Linear(warmup=2, floor=Percent(30)), 5),
    (Constant(), 3),
    (Constant(warmup=Percent(50)), 5),
]


@pytest.mark.parametrize(("schedule", "steps"), SCHEDULES, ids=[str(n) for n in range(len(SCHEDULES))])
def test_the_formulas_of_schedules(schedule: Schedule, steps: int) -> None:
    warmup = schedule.warmup
    warmup = math.ceil(steps * warmup.share) if isinstance(warmup, Percent) else warmup
    floor = {} if isinstance(schedule, Constant) else {"floor": schedule.floor.share}
    for s in range(steps):
        known = {
            "s": s,
            "steps": steps,
            "warmup": warmup,
            "peak": 2e-3,
            "cos": math.cos,
            "pi": math.pi,
            **floor,
        }
        assert rate(schedule, 2e-3, s, steps) == pytest.approx(_rate(schedule, known), rel=1e-12)


def _rate(schedule: Schedule, known: Known) -> float:
    scope = {**known, "max": max}
    for line in equations_of(type(schedule).formula):
        if holds(line.case, scope):
            scope[line.name] = eval(line.expression, {}, scope)
    return float(scope["rate"])
