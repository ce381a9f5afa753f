"""PPO as it trains: against updates worked out by hand, and what must leave its result alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from adapters_support import LORA, adapter_in, blueprint_of
from reinforcement_support import COMPLETION, GRADERS, PROMPTS, REWARD, SHORT, samples_of
from runtime_support import (
    MODEL,
    SAVE,
    STAGE,
    Ref,
    Told,
    Train,
    graph_of,
    read_lines,
    rooms_in,
    same,
    sums,
    tiny,
    weights_in,
)

from harmony_compiler.graph.algorithms import Ppo
from harmony_compiler.graph.graders import Formula, Grader
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.models import LoadSettings
from harmony_compiler.graph.node import Node
from harmony_compiler.graph.outputs import Save
from harmony_compiler.graph.settings import AdamW, Constant, Linear, Sampling
from harmony_compiler.graph.values import Percent
from harmony_runtime import chance as streams
from harmony_runtime.algorithms import reinforced
from harmony_runtime.data.order import mini_batches
from harmony_runtime.failures import Interrupted, RunFailed
from harmony_runtime.models import heads, weights
from harmony_runtime.rollout.answers import Answer, Round

Flat = dict[str, torch.Tensor]

CRITIC = Ref("critic")

# log(n - 7) has no value for completions of up to 7 characters: those have no reward.
SOME_WITHOUT = Formula(
    expression=("log", ("-", ("chars", COMPLETION), ("constant", 7))), max_failure_rate=Percent(100)
)
NEVER = Formula(expression=("number", ("constant", "no number")))


def numbers(**changes: Any) -> Ppo:
    """The stage's node."""
    settings: dict[str, Any] = {
        "policy_model": MODEL,
        "value_model": MODEL,
        "dataset": PROMPTS,
        "grader": REWARD,
        "samples_per_batch": 8,
        "samples_per_mini_batch": 8,
        "lr_policy": 1e-2,
        "lr_value": 1e-2,
        "kl_beta": 0.0,
        "value_warmup": 0,
        "sampling": Sampling(max_tokens=6),
        "seed": 7,
        "max_num_ppo_steps": 6,
    }
    return Ppo(**(settings | changes))


def practised(
    model: LoadSettings | None = None,
    critic: LoadSettings | None = None,
    graders: Mapping[Ref, Grader] | None = None,
    **stage: Any,
) -> Graph:
    """A graph of one PPO stage, called `tuned`, whose policy is saved as `small`."""
    prompts = sums(completion=None, metadata={"answer": "{{ a }}"})
    nodes: dict[Ref, Node] = {MODEL: model or tiny(), PROMPTS: prompts, **(GRADERS | dict(graders or {}))}
    if critic is not None:
        nodes[CRITIC] = critic
        stage["value_model"] = CRITIC
    nodes[STAGE] = numbers(**stage)
    nodes[SAVE] = Save(model=STAGE, key="small", if_exists="overwrite")
    return graph_of(nodes, (SAVE,))


def stage_in(out: Path) -> Path:
    return next((out / "stages").iterdir())


# --- by hand --------------------------------------------------------------------------------------------


class Token(NamedTuple):
    """A token of a completion, as a step learns from it; the four numbers are what it was before."""

    place: int
    logprob: float
    value: float
    advantage: float
    goal: float


class ByHand:
    """PPO in float64, a completion at a time."""

    def __init__(self, node: Ppo, policy: LoadSettings, critic: LoadSettings) -> None:
        self.node = node
        self.policy, self.start = (weights.load(blueprint_of(policy)).double() for _ in range(2))
        scalar = heads.critic(blueprint_of(critic), node.seed)
        self.critic = scalar.backbone.double()
        self.head = torch.nn.Parameter(scalar.head.weight.detach().double())
        self.bias = torch.nn.Parameter(scalar.head.bias.detach().double())
        self.of_critic = [*self.critic.parameters(), self.head, self.bias]
        numbers = {"weight_decay": 0.0, "eps": node.optimizer.eps}
        self.adam = torch.optim.AdamW(self.policy.parameters(), lr=node.lr_policy, **numbers)
        self.critics_adam = torch.optim.AdamW(self.of_critic, lr=node.lr_value, **numbers)

    def logprobs(self, model: Any, ids: list[int]) -> list[torch.Tensor]:
        """Of the tokens after the first; that of token t stands at t - 1."""
        logits = model(torch.tensor([ids])).logits[0] / self.node.sampling.temperature
        every = logits.log_softmax(-1)
        return [every[t - 1, ids[t]] for t in range(1, len(ids))]

    def values(self, ids: list[int]) -> list[torch.Tensor]:
        """What the critic says after the tokens but the last; that of token t stands at t - 1."""
        hidden = self.critic(input_ids=torch.tensor([ids])).last_hidden_state[0]
        return [hidden[t] @ self.head[0] + self.bias[0] for t in range(len(ids) - 1)]

    def step(self, number: int, answered: list[Answer]) -> None:
        node = self.node
        rows = []
        with torch.no_grad():
            for answer in answered:
                rows.append((self.ids(answer), self.tokens(answer)))
        if node.whiten:
            every = torch.tensor([token.advantage for _, row in rows for token in row], dtype=torch.float64)
            rows = [
                (ids, [t._replace(advantage=(t.advantage - every.mean()) / every.std()) for t in row])
                for ids, row in rows
            ]
        for part in mini_batches(len(rows), node.samples_per_mini_batch, node.mini_epochs, node.seed, number):
            chosen = [rows[row] for row in part.tolist()]
            if number >= node.value_warmup:
                self.update(self.adam, list(self.policy.parameters()), self.policy_loss, chosen)
            self.update(self.critics_adam, self.of_critic, self.value_loss, chosen)

    def ids(self, answer: Answer) -> list[int]:
        return [*answer.prompt.ids, *answer.completion.ids_T.tolist()]

    def tokens(self, answer: Answer) -> list[Token]:
        """The tokens of a completion; none where it has no reward."""
        node, ids, grade = self.node, self.ids(answer), answer.verdict.scores[0]
        if grade is None:
            return []
        logprobs, start, values = (
            self.logprobs(self.policy, ids),
            self.logprobs(self.start, ids),
            self.values(ids),
        )
        places = range(len(answer.prompt.ids) - 1, len(ids) - 1)
        rewards = {t: -node.kl_beta * float(logprobs[t] - start[t]) for t in places}
        rewards[places[-1]] += grade
        after = {t: float(values[t]) for t in places} | {places[-1] + 1: 0.0}
        surprises = {t: rewards[t] + node.gae_gamma * after[t + 1] - after[t] for t in places}
        found = []
        for t in places:
            decay = node.gae_gamma * node.gae_lambda
            advantage = sum(decay ** (later - t) * surprises[later] for later in places if later >= t)
            found.append(Token(t, float(logprobs[t]), after[t], advantage, advantage + after[t]))
        return found

    def policy_loss(self, ids: list[int], tokens: list[Token]) -> torch.Tensor:
        clip, now, loss = self.node.clip_range, self.logprobs(self.policy, ids), torch.zeros(())
        for token in tokens:
            ratio = (now[token.place] - token.logprob).exp()
            within = ratio.clamp(1 - clip, 1 + clip)
            loss = loss - torch.minimum(ratio * token.advantage, within * token.advantage)
        return loss

    def value_loss(self, ids: list[int], tokens: list[Token]) -> torch.Tensor:
        clip, now, loss = self.node.clip_range_value, self.values(ids), torch.zeros(())
        for token in tokens:
            value = now[token.place]
            error = (value - token.goal) ** 2
            if clip is not None:
                held = token.value + (value - token.value).clamp(-clip, clip)
                error = torch.maximum(error, (held - token.goal) ** 2)
            loss = loss + error / 2
        return loss

    @staticmethod
    def update(adam: Any, parameters: list[Any], loss_of: Callable[..., Any], rows: list[Any]) -> None:
        count = sum(len(tokens) for _, tokens in rows)
        adam.zero_grad()
        sum(loss_of(ids, tokens) / count for ids, tokens in rows if tokens).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        adam.step()


def record(monkeypatch: pytest.MonkeyPatch) -> list[list[Answer]]:
    """The answers of the steps to come."""
    answered: list[list[Answer]] = []
    draw = reinforced.answers

    def listening(*given: Any, **named: Any) -> Round:
        drawn = draw(*given, **named)
        answered.append(drawn.answers)
        return drawn

    monkeypatch.setattr(reinforced, "answers", listening)
    return answered


def agree(found: Mapping[str, torch.Tensor], expected: Mapping[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor.double(), expected[name].detach(), rtol=0, atol=2e-5)


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "distance from the start": {"kl_beta": 0.5},
    "advantages as they are": {"whiten": False, "kl_beta": 0.1},
    "short sight": {"gae_gamma": 0.8, "gae_lambda": 0.5},
    "the critic's word": {"gae_lambda": 0.0},
    "a critic held back": {"clip_range_value": 0.02},
    "several updates": {"samples_per_mini_batch": 4, "mini_epochs": 2},
    "a warm-up": {"value_warmup": 1},
    "some without a reward": {"grader": SHORT, "sampling": Sampling(max_tokens=9, temperature=0.7)},
    "another critic": {"critic": tiny(hidden_size=24, layers=2, seed=9), "kl_beta": 0.1},
}


@pytest.mark.parametrize("case", CASES)
def test_the_updates_of_steps_are_those_worked_out_by_hand(
    case: str, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {
        "sampling": Sampling(max_tokens=6, temperature=0.7),
        "mini_epochs": 3,
        "clip_range": 0.02,
        "max_num_ppo_steps": 2,
        "schedule": Constant(),
        # Adam divides by the size of a gradient: rounding must not decide where there is next to none.
        "optimizer": AdamW(eps=1e-4),
        **CASES[case],
    }
    critic = changes.pop("critic", None)
    graph = practised(critic=critic, graders={SHORT: SOME_WITHOUT} if "grader" in changes else {}, **changes)
    answered = record(monkeypatch)
    with pytest.raises(Interrupted):
        train(graph, watcher=Told(2))
    tree = rooms_in(tmp_path / "out")

    node = graph.nodes[STAGE]
    assert isinstance(node, Ppo)
    by_hand = ByHand(node, tiny(), critic or tiny())
    for number, answers in enumerate(answered):
        by_hand.step(number, answers)
    agree(tree["model"], dict(by_hand.policy.named_parameters()))
    of_critic = {f"backbone.{name}": p for name, p in by_hand.critic.named_parameters()}
    agree(tree["critic"], of_critic | {"head.weight": by_hand.head, "head.bias": by_hand.bias})

    begun = dict(by_hand.start.named_parameters())
    assert max((held - begun[name]).abs().max().item() for name, held in tree["model"].items()) > 5e-3
    for line in read_lines(tmp_path / "out" / "metrics.jsonl"):
        assert line["truncated"] > 0
        if line["step"] > node.value_warmup:
            assert 0 < line["clipped"] < 1
        assert (line["clipped_value"] > 0) == (node.clip_range_value is not None)
        assert ("kl" in line) == (node.kl_beta > 0)
        assert (line["no_reward"] > 0) == (case == "some without a reward")
        assert line["no_reward"] < 8


# --- what a step tells ----------------------------------------------------------------------------------


def test_a_step_tells_what_its_completions_were_like(train: Train, tmp_path: Path) -> None:
    train(practised(max_num_ppo_steps=3, kl_beta=0.1, clip_range_value=0.2))
    out = tmp_path / "out"
    lines = read_lines(out / "metrics.jsonl")
    for line in lines:
        assert {name for name in line if "/" not in name} == {
            *("stage", "step"),
            *Ppo.measures,
        }
        samples = samples_of(out, line["step"])
        assert len(samples) == line["completions"] == line["rows"] == 8
        assert line["step"] > 1 or len({sample["prompt"] for sample in samples}) == 8
        assert line["reward"] == pytest.approx(sum(sample["reward"] for sample in samples) / 8)
        assert line["truncated"] == sum(sample["stop"] == "length" for sample in samples) / 8
        assert line["completion_tokens"] == sum(sample["completion_tokens"] for sample in samples) / 8
        assert line["trained_tokens"] == sum(sample["completion_tokens"] for sample in samples)
        told = sum(sample["advantage"] * sample["completion_tokens"] for sample in samples)
        assert line["advantage"] == pytest.approx(told / line["trained_tokens"], abs=1e-6)
        assert line["return"] == pytest.approx(line["value"] + line["advantage"], abs=1e-6)
        assert line["sampler_gap"] < 1e-5
        assert line["entropy"] > 0
        assert line["explained_variance"] < 1
    assert [line["epoch"] for line in lines] == [0.8, 1.6, 2.4]
    assert lines[0]["kl"] == pytest.approx(0, abs=1e-6) and abs(lines[2]["kl"]) > 1e-4


def test_a_critic_learns_what_is_to_come(train: Train, tmp_path: Path) -> None:
    """Where the grade depends on the prompt alone, the critic can know it before the first token."""
    by_prompt = Formula(expression=("chars", ("read", "metadata", "answer")))
    settings = {"graders": {SHORT: by_prompt}, "grader": SHORT, "samples_per_batch": 32, "gae_lambda": 1.0}
    train(practised(value_warmup=49, max_num_ppo_steps=50, samples_per_mini_batch=16, **settings))
    lines = read_lines(tmp_path / "out" / "metrics.jsonl")
    assert lines[0]["explained_variance"] < 0.1
    assert lines[-1]["explained_variance"] > 0.5
    assert lines[-1]["loss_value"] < lines[0]["loss_value"] / 4


def test_the_reward_rises(train: Train, tmp_path: Path) -> None:
    """Long completions are rewarded, and become longer."""
    longer = Formula(expression=("/", ("chars", COMPLETION), ("constant", 6)))
    settings = {"graders": {SHORT: longer}, "grader": SHORT, "samples_per_batch": 32}
    train(practised(max_num_ppo_steps=40, value_warmup=5, samples_per_mini_batch=16, **settings))
    rewards = [line["reward"] for line in read_lines(tmp_path / "out" / "metrics.jsonl")]
    assert sum(rewards[-5:]) / 5 > sum(rewards[:5]) / 5 + 0.05


# --- what must leave the result alone -------------------------------------------------------------------


@pytest.mark.parametrize(
    "stage",
    [{}, {"kl_beta": 0.1, "mini_epochs": 2, "samples_per_mini_batch": 4, "value_warmup": Percent(25)}],
    ids=["plain", "many updates"],
)
@pytest.mark.parametrize("stop_at", [1, 2, 3, 4, 5])
def test_a_stage_that_was_stopped_ends_in_the_same_bits(
    train: Train, tmp_path: Path, stop_at: int, stage: dict[str, Any]
) -> None:
    graph = practised(**stage)
    train(graph, "straight")
    with pytest.raises(Interrupted):
        train(graph, watcher=Told(stop_at))
    train(graph, resume=True)
    assert same(stage_in(tmp_path / "straight"), stage_in(tmp_path / "out"))
    for file in ("metrics.jsonl", "samples.jsonl"):
        assert (tmp_path / "straight" / file).read_bytes() == (tmp_path / "out" / file).read_bytes()


def test_how_an_update_is_cut_changes_rounding_only(train: Train, tmp_path: Path) -> None:
    """Of the first step, since from the second on rounding may change what is drawn."""
    settings = {"max_num_ppo_steps": 1, "kl_beta": 0.1, "mini_epochs": 2, "optimizer": AdamW(eps=1e-4)}
    for name, budget in (("whole", 4096), ("cut", 20)):
        with pytest.raises(Interrupted):
            train(practised(tiny(max_batch_tokens=budget), **settings), name, watcher=Told(1))
    whole, cut = (rooms_in(tmp_path / name) for name in ("whole", "cut"))
    for room in ("model", "critic"):
        for name, tensor in whole[room].items():
            torch.testing.assert_close(tensor, cut[room][name], rtol=0, atol=2e-5)


def test_while_the_critic_warms_up_the_policy_stays_as_it_is(train: Train, tmp_path: Path) -> None:
    """25 % of 6 steps are 2, rounded up; the policy's schedule begins behind them."""
    stage = {"value_warmup": Percent(25), "schedule": Linear(), "lr_policy": 4e-3, "lr_value": 6e-3}
    with pytest.raises(Interrupted):
        train(practised(**stage), watcher=Told(2))
    tree = rooms_in(tmp_path / "out")
    begun = dict(weights.load(blueprint_of(tiny())).named_parameters())
    assert tree["model"].keys() == begun.keys()
    assert all(torch.equal(tree["model"][name], held) for name, held in begun.items())
    assert tree["optimiser"]["moments"] == {}
    critic = dict(heads.critic(blueprint_of(tiny()), 7).named_parameters())
    assert not any(torch.equal(tree["critic"][name], held) for name, held in critic.items())

    train(practised(**stage), resume=True)
    lines = read_lines(tmp_path / "out" / "metrics.jsonl")
    assert [line["lr"] for line in lines] == pytest.approx([0, 0, 4e-3, 3e-3, 2e-3, 1e-3])
    assert [line["lr_value"] for line in lines] == pytest.approx([6e-3, 5e-3, 4e-3, 3e-3, 2e-3, 1e-3])
    for line in lines:
        for name in ("loss_policy", "clipped", "grad_norm"):
            assert (line[name] is None) == (line["step"] <= 2)
        assert line["grad_norm_value"] > 0
    assert not any(
        torch.equal(held, begun[name]) for name, held in weights_in(stage_in(tmp_path / "out")).items()
    )


def test_without_the_kl_term_no_reference_is_loaded(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    load: Callable[..., Any] = weights.load
    monkeypatch.setattr(weights, "load", lambda *a, **k: loaded.append(1) or load(*a, **k))
    train(practised(max_num_ppo_steps=1), "without")
    without = len(loaded)
    train(practised(max_num_ppo_steps=1, kl_beta=0.1), "with")
    assert len(loaded) - without == without + 1


def test_no_random_stream_is_used_twice(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each completion, each mini-epoch, each update of each of the two models has a stream of its own."""
    used: list[tuple[int, str, int]] = []
    number = streams._number
    monkeypatch.setattr(streams, "_number", lambda *name: used.append(name) or number(*name))
    train(practised(max_num_ppo_steps=3, mini_epochs=2, samples_per_mini_batch=4))
    assert len(used) > 3 * (8 + 2 + 8)
    # The model is loaded twice: as policy and as critic.
    drawn = [name for name in used if name[1] not in ("weights", "order")]
    assert len(set(drawn)) == len(drawn)


# --- what is not trained on -----------------------------------------------------------------------------


def test_where_no_grader_applies_nothing_is_learned(train: Train, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(practised(graders={SHORT: NEVER}, grader=SHORT, kl_beta=0.1), watcher=Told(2))
    for line in read_lines(tmp_path / "out" / "metrics.jsonl"):
        assert line["reward"] is None
        assert line["no_reward"] == line["not_applicable"] == 8
        assert line["trained_tokens"] == 0
        for name in ("loss_policy", "loss_value", "grad_norm", "grad_norm_value", "clipped", "clipped_value"):
            assert line[name] == 0
        for name in ("value", "return", "advantage", "advantage_std", "explained_variance", "kl"):
            assert line[name] is None
    for sample in samples_of(tmp_path / "out"):
        assert sample["reward"] is None
        assert sample["value"] == sample["advantage"] == 0
    tree = rooms_in(tmp_path / "out")
    for room, begun in (
        ("model", weights.load(blueprint_of(tiny()))),
        ("critic", heads.critic(blueprint_of(tiny()), 7)),
    ):
        assert all(torch.equal(tree[room][name], held) for name, held in begun.named_parameters())


def test_a_completion_without_a_reward_says_nothing_of_itself(train: Train, tmp_path: Path) -> None:
    train(practised(graders={SHORT: SOME_WITHOUT}, grader=SHORT, sampling=Sampling(max_tokens=9)))
    samples = samples_of(tmp_path / "out")
    without = [sample for sample in samples if sample["reward"] is None]
    assert 0 < len(without) < len(samples)
    assert all(sample["value"] == sample["advantage"] == 0 for sample in without)
    for line in read_lines(tmp_path / "out" / "metrics.jsonl"):
        counted = [s for s in samples_of(tmp_path / "out", line["step"]) if s["reward"] is not None]
        assert line["trained_tokens"] == sum(sample["completion_tokens"] for sample in counted)
        assert line["no_reward"] == line["failed"] == 8 - len(counted)


# --- the critic -----------------------------------------------------------------------------------------


def test_a_critic_over_an_adapter_trains_that_and_its_head(train: Train, tmp_path: Path) -> None:
    graph = practised(tiny(adapter=LORA), kl_beta=0.1, mini_epochs=2)
    train(graph, "straight")
    with pytest.raises(Interrupted):
        train(graph, watcher=Told(3))
    tree = rooms_in(tmp_path / "out")
    for room, others in (("model", set()), ("critic", {"head.weight", "head.bias"})):
        assert {name for name in tree[room] if "lora_" not in name} == others
        assert any("lora_" in name for name in tree[room])
    fresh = dict(heads.critic(blueprint_of(tiny(adapter=LORA)), 7).named_parameters())
    assert all(not torch.equal(held, fresh[name]) for name, held in tree["critic"].items())
    train(graph, resume=True)
    one, other = (adapter_in(stage_in(tmp_path / name)) for name in ("straight", "out"))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    lines = read_lines(tmp_path / "out" / "metrics.jsonl")
    assert lines == read_lines(tmp_path / "straight" / "metrics.jsonl")
    assert lines[0]["kl"] == pytest.approx(0, abs=1e-6)


def test_a_critic_must_read_what_the_policy_writes(refused: Callable[..., RunFailed], tmp_path: Path) -> None:
    from harmony_runtime.models.chars import chars_tokenizer

    tokenizer = chars_tokenizer()
    tokenizer.add_tokens(["<think>"])
    tokenizer.save_pretrained(tmp_path / "tokens")
    fault = refused(practised(critic=tiny(tokenizer=str(tmp_path / "tokens"))))
    assert "`value_model` has another tokenizer than `policy_model`" in str(fault)
    assert str(fault).startswith("small.recipe:")


def test_a_critic_must_read_as_far_as_the_policy_writes(refused: Callable[..., RunFailed]) -> None:
    fault = refused(practised(critic=tiny(context=9)))
    assert "the context of `value_model` is 9 tokens" in str(fault)
    fault = refused(practised(critic=tiny(max_batch_tokens=9)))
    assert "`max_batch_tokens` = 9 is smaller than the longest row" in str(fault)


@pytest.mark.parametrize("warmup", [Percent(100), 2, 5], ids=str)
def test_a_warm_up_that_leaves_the_policy_no_step_is_refused(
    warmup: Any, refused: Callable[..., RunFailed]
) -> None:
    fault = refused(practised(value_warmup=warmup, epochs=1.5, max_num_ppo_steps=None))
    assert f"`value_warmup` = {warmup} is all of the 2 steps" in str(fault)


def test_only_the_policy_remains(train: Train, tmp_path: Path, registry: Path) -> None:
    train(practised(max_num_ppo_steps=2))
    folder = stage_in(tmp_path / "out")
    assert weights_in(folder).keys() == weights_in(registry / "small").keys()
    assert not any("head.bias" in name for name in weights_in(folder))
    assert not (folder / heads.FILE).exists()


def test_a_loss_that_is_not_finite_names_the_rate(train: Train) -> None:
    with pytest.raises(RunFailed, match="`lr_value`") as caught:
        train(practised(lr_value=1e30, max_num_ppo_steps=6, value_warmup=2, clip_range_value=None))
    assert caught.value.exit_code == 1
