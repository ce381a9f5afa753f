"""Algorithm nodes: what trains a model, and with which numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from harmony_compiler.graph import equations
from harmony_compiler.graph.datasets import PreferenceRows, PromptRows, ThreadRows
from harmony_compiler.graph.graders import GraderRef, GraderRefs
from harmony_compiler.graph.measures import GRADED, NO_CLOCK, UNGRADED, Validation
from harmony_compiler.graph.models import ModelRef
from harmony_compiler.graph.node import RECIPE_SEED, Derived, Needs, Node, ReadWith, Rule, field
from harmony_compiler.graph.settings import AdamW, Checkpoint, Cosine, EarlyStop, Sampling, Schedule
from harmony_compiler.graph.types import MODEL, Type
from harmony_compiler.graph.values import Percent


class Algorithm(Node):
    """What every algorithm takes."""

    trains: ClassVar[str] = "model"
    """The field that names the model which is trained."""
    own_names: ClassVar[Mapping[str, str]] = {}
    """Fields that the other algorithms have under another name: theirs, and the name here."""
    measures: ClassVar[tuple[str, ...]] = ()
    """The names of its metrics, where they are documented: see docs/run-folder.md."""
    validates: ClassVar[tuple[str, ...]] = GRADED
    """The names of what a validation without a grader of its own measures."""
    needs_fields: ClassVar[tuple[Needs, ...]] = (
        Needs("early_stop", "validation", "`patience` counts validations"),
    )

    epochs: float | None = field(None, above=0, doc="passes over the dataset; fractions allowed")
    schedule: Schedule = field(Cosine(), doc="course of the learning rate")
    optimizer: AdamW = field(AdamW(), doc="the optimiser and its numbers")
    weight_decay: float = field(0.0, at_least=0, doc="decay of the weight matrices a step, times the rate")
    max_grad_norm: float = field(1.0, above=0, doc="gradients are scaled down to this norm")
    seed: int = field(RECIPE_SEED, at_least=0, doc="seed of the stage's random streams")
    validation: Validation | None = field(
        None, role="watching", semantic_with="early_stop", doc="rows to measure the stage on, and when"
    )
    checkpoint: Checkpoint | None = field(
        None, role="watching", doc="when the state is kept; by default when the run is stopped"
    )
    early_stop: EarlyStop | None = field(
        None, doc="end the stage when a metric does not become better, and yield the best weights"
    )
    metrics: GraderRefs = field(
        (), role="watching", semantic_with="early_stop", doc="graders that are measured and not rewarded"
    )
    log_samples: int | None = field(
        None, at_least=0, role="watching", doc="completions of a step that are kept; default: all"
    )
    trackers: tuple[Literal["tensorboard", "wandb", "mlflow", "trackio"], ...] = field(
        (), role="watching", doc="where else the metrics go"
    )

    @property
    def steps_given(self) -> int | None:
        """The optimiser steps that the recipe asks for; None where it gives `epochs`."""
        raise NotImplementedError

    @property
    def rows_per_step(self) -> int:
        """Rows of the dataset in one optimiser step."""
        raise NotImplementedError

    def steps_over(self, rows: int) -> int:
        """Optimiser steps over a dataset of `rows`; the last one may reach into the next pass."""
        if self.epochs is None:
            assert self.steps_given is not None
            return self.steps_given
        from fractions import Fraction  # it costs more than all node classes together

        # By the decimal that the recipe writes: in floats, 1.1 * 10 is more than 11.
        return math.ceil(Fraction(repr(self.epochs)) * rows / self.rows_per_step)

    @classmethod
    def result(cls, given: Mapping[str, Any]) -> Type:
        return MODEL


class Stepped(Algorithm):
    """What every algorithm but `ppo` takes, whose field has another name."""

    exactly_one = (("epochs", "steps"),)

    steps: int | None = field(None, at_least=1, doc="optimiser steps")

    @property
    def steps_given(self) -> int | None:
        return self.steps


def over_ranks(samples: str, model: str = "model") -> Rule:
    """A batch divides over the copies of the trained model."""
    return Rule(
        samples,
        ("ctx.ranks", "ctx.world_size", f"{model}.tp"),
        lambda samples, ranks, world, tp: samples % ranks == 0,
        f"`{samples}` = {{{samples}}} does not divide over {{ranks}} copies of the model "
        "({world_size} processes, `tp` = {tp})",
        "choose a multiple of {ranks}",
    )


def mini_batches(model: str = "model") -> tuple[Rule, ...]:
    """What batches and their parts must be where a batch is updated on in several parts."""
    return (
        Rule(
            "samples_per_mini_batch",
            ("samples_per_batch",),
            lambda mini, samples: mini <= samples,
            "`samples_per_mini_batch` = {samples_per_mini_batch} is larger than `samples_per_batch` = "
            "{samples_per_batch}",
            "a mini-batch is a part of the batch: choose a divisor of {samples_per_batch}",
        ),
        Rule(
            "samples_per_mini_batch",
            ("samples_per_batch",),
            lambda mini, samples: samples % mini == 0,
            "`samples_per_mini_batch` = {samples_per_mini_batch} does not divide `samples_per_batch` = "
            "{samples_per_batch}",
            "choose a divisor of {samples_per_batch}",
        ),
        over_ranks("samples_per_mini_batch", model),
        Rule(
            "samples_per_mini_batch",
            ("samples_per_batch",),
            lambda mini, samples: mini != samples,
            "`samples_per_mini_batch` is all of `samples_per_batch`: one update a batch",
            "this keeps to the policy that wrote the completions; smaller mini-batches take more updates of "
            "each batch",
            warns=True,
        ),
    )


ONE_PROBABILITY = (
    Rule(
        "sampling.top_p",
        (),
        lambda top_p: top_p == 1,
        "with `top_p` = {top_p} completions are drawn from another distribution than the loss computes",
        "leave it out; an evaluation may have it",
    ),
    Rule(
        "sampling.top_k",
        (),
        lambda top_k: False,
        "with `top_k` = {top_k} completions are drawn from another distribution than the loss computes",
        "leave it out; an evaluation may have it",
    ),
)
"""What draws completions and what trains on them agree on their probabilities."""


class Sft(Stepped):
    """Supervised fine-tuning: imitate the completions of a dataset."""

    constructor = "sft"
    formula = equations.SFT
    rules = (over_ranks("samples_per_batch"), NO_CLOCK)
    needs_fields = (*Stepped.needs_fields, *UNGRADED)
    validates = ("validation_loss",)
    measures = ("loss", "lr", "grad_norm", "tokens", "trained_tokens", "rows", "epoch", "quarantined")

    model: ModelRef = field(doc="the model to start from")
    dataset: ThreadRows = field(doc="the rows to imitate")
    lr: float = field(1e-5, above=0, usual=(1e-7, 1e-3), doc="peak learning rate")
    samples_per_batch: int = field(512, at_least=1, doc="rows in one optimiser step")
    reduce: Literal["tokens", "sequences"] = field(
        "tokens", doc="average the loss over all trained tokens of a step, or first within each row"
    )
    train_on: Literal["last", "all", "everything"] = field(
        "last", doc="the last assistant turn, every assistant turn, or every token"
    )

    @property
    def rows_per_step(self) -> int:
        return self.samples_per_batch


class Dpo(Stepped):
    """Direct preference optimisation: make better answers likelier than worse (Rafailov et al., 2023)."""

    constructor = "dpo"
    formula = equations.DPO
    rules = (over_ranks("samples_per_batch"), NO_CLOCK)
    needs_fields = (*Stepped.needs_fields, *UNGRADED)
    validates = ("validation_loss", "validation_margin", "validation_accuracy")
    measures = (
        *("loss", "reward_chosen", "reward_rejected", "margin", "accuracy", "logprob_chosen"),
        *("logprob_rejected", "lr", "grad_norm", "tokens", "trained_tokens", "rows", "epoch", "quarantined"),
    )
    reads = (ReadWith("label_smoothing", "loss", ("sigmoid",)),)

    model: ModelRef = field(doc="the model to start from, and the reference")
    dataset: PreferenceRows = field(doc="pairs of a better and a worse answer")
    lr: float = field(1e-6, above=0, usual=(1e-8, 1e-4), doc="peak learning rate")
    samples_per_batch: int = field(32, at_least=1, doc="pairs in one optimiser step")
    beta: float = field(0.1, above=0, doc="how closely the model keeps to the stage's start")
    loss: Literal["sigmoid", "ipo", "hinge"] = field("sigmoid", doc="loss of a pair's margin")
    label_smoothing: float = field(
        0.0, at_least=0, below=0.5, doc="share of pairs that are taken to be the wrong way round"
    )

    @property
    def rows_per_step(self) -> int:
        return self.samples_per_batch


class Grpo(Stepped):
    """Group relative policy optimisation: reinforce completions that score above their group."""

    constructor = "grpo"
    formula = equations.GRPO
    measures = (
        *("loss", "reward", "reward_std", "no_signal", "kl", "clipped", "truncated", "completion_tokens"),
        *("entropy", "no_reward", "not_applicable", "failed", "sampler_gap", "lr", "grad_norm", "tokens"),
        *("trained_tokens", "rows", "completions", "epoch", "quarantined"),
    )
    rules = (
        Rule(
            "samples_per_batch",
            ("completions_per_sample",),
            lambda samples, group: samples % group == 0,
            "`samples_per_batch` = {samples_per_batch} is no multiple of `completions_per_sample` = "
            "{completions_per_sample}",
            "both count completions: a step takes `samples_per_batch / completions_per_sample` prompts",
        ),
        *mini_batches(),
        Rule(
            "sampling.temperature",
            (),
            lambda temperature: temperature > 0,
            "at temperature 0 all completions of a group are the same, and nothing is learned",
            "leave `temperature` at 1.0",
        ),
        *ONE_PROBABILITY,
        NO_CLOCK,
    )

    model: ModelRef = field(doc="the model to start from")
    dataset: PromptRows = field(doc="the prompts to answer")
    grader: GraderRef = field(doc="the reward of a completion")
    completions_per_sample: int = field(8, at_least=2, doc="completions of one prompt: a group")
    lr: float = field(7.5e-7, above=0, usual=(1e-8, 1e-4), doc="peak learning rate")
    kl_beta: float = field(
        0.01, at_least=0, doc="weight of the distance from the stage's start; 0 asks for none"
    )
    samples_per_batch: int = field(128, at_least=1, doc="completions in one step")
    samples_per_mini_batch: int = field(64, at_least=1, doc="completions in one update of the weights")
    mini_epochs: int = field(1, at_least=1, doc="passes over the completions of a step")
    clip_range: float = field(0.1, above=0, below=1, doc="how far below 1 a ratio of probabilities counts")
    clip_range_high: float = field(
        Derived("clip_range", ("clip_range",), lambda low: low),
        above=0,
        doc="how far above 1 a ratio of probabilities counts",
    )
    advantage: Literal["mean", "mean_std"] = field(
        "mean", doc="reward minus the group's mean, or also divided by the group's standard deviation"
    )
    ratio: Literal["token", "sequence"] = field(
        "token", doc="compare probabilities token by token, or by their geometric mean over a completion"
    )
    reduce: Literal["tokens", "sequences", "constant"] = field(
        "tokens",
        doc="average over all tokens of an update, first within each completion, or divide each completion's "
        "sum by `sampling.max_tokens`",
    )
    truncated: Literal["keep", "mask"] = field(
        "keep", doc="whether completions that reached `max_tokens` are trained on"
    )
    sampling: Sampling = field(Sampling(), doc="how completions are drawn")

    @property
    def rows_per_step(self) -> int:
        return self.samples_per_batch // self.completions_per_sample


class Ppo(Algorithm):
    """Proximal policy optimisation: reinforce completions that score above a critic's word.

    Schulman et al., 2017.
    """

    constructor = "ppo"
    formula = equations.PPO
    measures = (
        *("loss_policy", "loss_value", "clipped", "clipped_value", "lr", "lr_value", "grad_norm"),
        *("grad_norm_value", "value", "return", "advantage", "advantage_std", "explained_variance", "kl"),
        *("reward", "no_reward", "not_applicable", "failed", "truncated", "completion_tokens", "entropy"),
        *("sampler_gap", "tokens", "trained_tokens", "rows", "completions", "epoch", "quarantined"),
    )
    trains = "policy_model"
    own_names: ClassVar[Mapping[str, str]] = {
        "model": "policy_model",
        "steps": "max_num_ppo_steps",
        "lr": "lr_policy",
    }
    exactly_one = (("epochs", "max_num_ppo_steps"),)
    rules = (
        *mini_batches("policy_model"),
        Rule(
            "sampling.temperature",
            (),
            lambda temperature: temperature > 0,
            "at temperature 0 a prompt has one completion for ever, and nothing is learned from chance",
            "leave `temperature` at 1.0",
        ),
        *ONE_PROBABILITY,
        NO_CLOCK,
        Rule(
            "value_model.tp",
            ("policy_model.tp",),
            lambda critic, policy: critic == policy,
            "`value_model` and `policy_model` are loaded with different `tp`",
            "policy and critic stand on the same devices: give both the same `tp`",
        ),
        Rule(
            "value_warmup",
            ("max_num_ppo_steps",),
            lambda warmup, steps: (warmup.of(steps) if isinstance(warmup, Percent) else warmup) < steps,
            "`value_warmup` = {value_warmup} is all of {max_num_ppo_steps} steps: only the critic learns",
            "leave steps for the policy, which learns after the warm-up",
        ),
        Rule(
            "value_warmup",
            (),
            lambda warmup: not isinstance(warmup, Percent) or warmup.share < 1,
            "`value_warmup` = {value_warmup} is all of the steps: only the critic learns",
            "leave steps for the policy, which learns after the warm-up",
        ),
    )

    policy_model: ModelRef = field(doc="the model to start from")
    dataset: PromptRows = field(doc="the prompts to answer, one completion each")
    grader: GraderRef = field(doc="the reward of a completion")
    value_model: ModelRef = field(
        Derived("policy_model", ("policy_model",), lambda model: model),
        doc="what the critic starts from: its own copy, with a scalar head",
    )
    lr_policy: float = field(7.5e-7, above=0, usual=(1e-8, 1e-4), doc="peak learning rate of the policy")
    lr_value: float = field(1e-6, above=0, usual=(1e-8, 1e-3), doc="peak learning rate of the critic")
    kl_beta: float = field(
        0.1, at_least=0, doc="weight of the distance from the stage's start; 0 asks for none"
    )
    samples_per_batch: int = field(128, at_least=1, doc="completions in one step")
    samples_per_mini_batch: int = field(64, at_least=1, doc="completions in one update of the weights")
    max_num_ppo_steps: int | None = field(None, at_least=1, doc="steps, each of one batch of completions")
    mini_epochs: int = field(1, at_least=1, doc="passes over the completions of a step")
    clip_range: float = field(0.1, above=0, below=1, doc="how far from 1 a ratio of probabilities counts")
    clip_range_value: float | None = field(
        None, above=0, doc="how far the critic's answer may move in a step; by default as far as it likes"
    )
    whiten: bool = field(True, doc="scale the advantages of a batch to mean 0 and standard deviation 1")
    gae_lambda: float = field(
        0.95, at_least=0, at_most=1, doc="between the critic's word (0) and the rewards alone (1)"
    )
    gae_gamma: float = field(1.0, above=0, at_most=1, doc="what a reward one token later is worth")
    value_warmup: int | Percent = field(
        Percent(25), at_least=0, doc="steps, or share of all steps, in which only the critic learns"
    )
    sampling: Sampling = field(Sampling(), doc="how completions are drawn")

    @property
    def rows_per_step(self) -> int:
        return self.samples_per_batch

    @property
    def steps_given(self) -> int | None:
        return self.max_num_ppo_steps
