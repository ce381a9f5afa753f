"""Direct preference optimisation (Rafailov et al., 2023): make better answers likelier than worse ones.

The loss of a step is the mean of `losses.dpo_loss` over its pairs. It looks at how far the log-probabilities
of both answers, sums over their tokens, have moved from those at the stage's start. Where the data weighs
turns, a turn's weight times its tokens' log-probabilities.
"""

# Names of tensors end in their shape: S pairs of a step, P of a micro-batch, B = 2 * P rows, T tokens, R all
# pairs; a 2 holds the better and the worse answer.
# ruff: noqa: N803, N806

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy
import torch
from torch import Tensor
from transformers import PreTrainedModel

from harmony_compiler.graph.algorithms import Dpo
from harmony_compiler.graph.values import Ref
from harmony_runtime.algorithms.gradients import Gradients
from harmony_runtime.algorithms.loop import Loop
from harmony_runtime.algorithms.optimiser import Optimiser
from harmony_runtime.algorithms.stage import Stage, Trained
from harmony_runtime.algorithms.validation import Exam, counts_of, exam_of, own_part, watching
from harmony_runtime.data.order import Order, micro_batches
from harmony_runtime.data.tokens.lengths import say_repeats
from harmony_runtime.data.tokens.pairs import PairRows, pairs_of
from harmony_runtime.failures import place
from harmony_runtime.losses import dpo_loss
from harmony_runtime.models import weights
from harmony_runtime.models.blueprint import Blueprint
from harmony_runtime.models.reference import Reference
from harmony_runtime.models.scorer import Scorer
from harmony_runtime.processes.mesh import Mesh
from harmony_runtime.rooms import Run
from harmony_runtime.watch import Metrics


@dataclass(frozen=True)
class DpoStage(Stage[Dpo]):
    pairs: PairRows
    held_out: PairRows | Exam | None
    """What the stage is validated on."""


def prepare(run: Run, ref: Ref, name: str, identity: str) -> DpoStage:
    node, where = run.graph.nodes[ref], place(run.graph, ref)
    assert isinstance(node, Dpo)
    blueprint = run.blueprints.of(node.model)
    pairs = pairs_of(run, node.dataset, blueprint)
    blueprint.warn_of_training(run.watcher)
    say_repeats(node.rows_per_step, len(pairs), where, run.watcher, what="pairs")
    held_out = _held_out(run, node, blueprint)
    return DpoStage(
        ref=ref,
        name=name,
        identity=identity,
        place=where,
        node=node,
        blueprint=blueprint,
        steps=node.steps_over(len(pairs)),
        counts={"rows": dict(pairs.counts), "tokens": dict(pairs.tokens), **counts_of(held_out)},
        max_batch_tokens=_room(blueprint, pairs),
        pairs=pairs,
        held_out=held_out,
    )


def _room(blueprint: Blueprint, pairs: PairRows) -> int:
    """Tokens of a micro-batch: both answers of a pair stay together."""
    return blueprint.max_batch_tokens(2 * pairs.longest, "pair")


def _held_out(run: Run, node: Dpo, blueprint: Blueprint) -> PairRows | Exam | None:
    exam = exam_of(run, node, blueprint)
    if exam is not None or node.validation is None:
        return exam
    pairs = pairs_of(run, node.validation.dataset, blueprint)
    _room(blueprint, pairs)
    return pairs


def train(run: Run, stage: DpoStage) -> Trained:
    node, pairs = stage.node, stage.pairs
    mesh = Mesh(run.context, stage.blueprint)
    model = mesh.place(weights.load(stage.blueprint))
    model.train()
    start = Start(Reference(model, stage.blueprint, mesh), len(pairs), mesh)
    scorer = mesh.prepare(Scorer(model, mesh, stage.blueprint.settings.dtype))
    optimiser = Optimiser(model, node, node.lr, stage.steps, stage.place)
    order = Order(len(pairs), node.seed)

    watched = watching(run, stage, model, mesh, _measured_by(stage, model, mesh))
    loop = Loop(run, stage, model, **watched, optimiser=optimiser, order=order, start=start)
    for step in loop:
        rows_S = order.take(node.samples_per_batch)
        start.look(rows_S)

        places = mesh.own(torch.arange(len(rows_S)))
        lengths = torch.from_numpy(pairs.lengths[rows_S[places]])
        parts = micro_batches(places, 2 * lengths, stage.max_batch_tokens)
        gradients = Gradients(mesh, scorer)
        with mesh.seeded(node.seed, "dropout", step):
            for places_P in gradients.over(parts):
                ids_BT, weights_BT = (tensor.to(mesh.device) for tensor in pairs.batch(rows_S[places_P]))
                reference_2P = start.sums(places_P, ids_BT, weights_BT)
                logprobs_2P = answer_sums(scorer(ids_BT, weights_BT != 0), weights_BT)
                dpo = dpo_loss(
                    *logprobs_2P,
                    *reference_2P,
                    beta=node.beta,
                    loss=node.loss,
                    label_smoothing=node.label_smoothing,
                )
                means = {
                    "reward_chosen": dpo.chosen_P,
                    "reward_rejected": dpo.rejected_P,
                    "accuracy": dpo.chosen_P > dpo.rejected_P,
                    "logprob_chosen": logprobs_2P[0],
                    "logprob_rejected": logprobs_2P[1],
                }
                gradients.add(
                    dpo.losses_P.sum() / len(rows_S),
                    **{name: values_P.sum() / len(rows_S) for name, values_P in means.items()},
                )
        start.keep()
        sums = gradients.sums()
        update = optimiser.update(step, sums["loss"], rows=rows_S)

        loop.record(
            loss=sums["loss"],
            reward_chosen=sums["reward_chosen"],
            reward_rejected=sums["reward_rejected"],
            margin=sums["reward_chosen"] - sums["reward_rejected"],
            accuracy=sums["accuracy"],
            logprob_chosen=sums["logprob_chosen"],
            logprob_rejected=sums["logprob_rejected"],
            lr=update["lr"],
            grad_norm=update["grad_norm"],
            tokens=int(pairs.sizes[rows_S].sum()),
            trained_tokens=int(pairs.trained[rows_S].sum()),
            rows=len(rows_S),
            epoch=order.epochs,
        )
    return loop.trained


def answer_sums(logprobs_BT: Tensor, weights_BT: Tensor) -> Tensor:
    """The log-probability of each answer, of shape 2P, of rows in the order of `PairRows.batch`."""
    return (logprobs_BT * weights_BT).sum(1).view(2, -1)


class Start:
    """What the weights at the stage's start say of the answers: asked in the step that first sees a pair, and
    kept.

    The reference is asked with the very tensors that the trained model is, so that as long as nothing is
    trained both say the same, to the last bit. In a step with a pair that is new, all micro-batches of all
    copies ask, so that copies take the same turns.
    """

    def __init__(self, reference: Reference, rows: int, mesh: Mesh) -> None:
        self._reference = reference
        self._mesh = mesh
        self._kept_2R = torch.full((2, rows), torch.nan)
        """NaN where a pair was not seen yet. The same in all processes."""
        self._found_2S: Tensor | None = None

    def look(self, rows_S: Tensor) -> None:
        """A step over these pairs begins."""
        self._rows_S = rows_S
        new = self._kept_2R[:, rows_S].isnan().any()
        self._found_2S = torch.zeros(2, len(rows_S)) if new else None

    def sums(self, places_P: Tensor, ids_BT: Tensor, weights_BT: Tensor) -> Tensor:
        """What `answer_sums` gives for some of the step's pairs."""
        sums_2P = self._kept_2R[:, self._rows_S[places_P]]
        if self._found_2S is not None:
            asked_2P = answer_sums(self._reference.logprobs(ids_BT, weights_BT != 0), weights_BT).cpu()
            sums_2P = torch.where(sums_2P.isnan(), asked_2P, sums_2P)
            self._found_2S[:, places_P] = sums_2P
        return sums_2P.to(ids_BT.device)

    def keep(self) -> None:
        """The step is through: every process learns what was found."""
        if self._found_2S is None:
            return
        found_2S = self._mesh.total(self._found_2S)
        # A step may see a pair twice; the first time counts.
        rows, first = numpy.unique(self._rows_S.numpy(), return_index=True)
        self._kept_2R[:, rows] = found_2S[:, first]
        self._let_go_if_known()

    def _let_go_if_known(self) -> None:
        """After a pass over all pairs nobody will ask again."""
        if not self._kept_2R.isnan().any():
            self._reference.let_go()

    def state(self) -> dict[str, Tensor]:
        return {"sums": self._kept_2R}

    def restore(self, state: dict[str, Tensor]) -> None:
        self._kept_2R = state["sums"]
        self._let_go_if_known()


def _measured_by(stage: DpoStage, model: PreTrainedModel, mesh: Mesh) -> Exam | Callable[[], Metrics] | None:
    pairs = stage.held_out
    if not isinstance(pairs, PairRows):
        return pairs
    scorer = Scorer(model, mesh, stage.blueprint.settings.dtype)
    sums_of = partial(_sums_of, pairs, scorer, mesh, _room(stage.blueprint, pairs))
    # Nothing is trained yet, and no checkpoint restored: this is the stage's start.
    return partial(_preferences, sums_of, sums_of(), stage.node)


def _preferences(sums_of: Callable[[], Tensor], start_2R: Tensor, node: Dpo) -> dict[str, float]:
    """The loss of held-out pairs, and how well the better answers are told from the worse ones."""
    dpo = dpo_loss(
        *sums_of(), *start_2R, beta=node.beta, loss=node.loss, label_smoothing=node.label_smoothing
    )
    means = {
        "loss": dpo.losses_P,
        "margin": dpo.chosen_P - dpo.rejected_P,
        "accuracy": dpo.chosen_P > dpo.rejected_P,
    }
    return {name: values_R.double().mean().item() for name, values_R in means.items()}


@torch.no_grad()
def _sums_of(pairs: PairRows, scorer: Scorer, mesh: Mesh, max_tokens: int) -> Tensor:
    """What `answer_sums` gives for all pairs, of shape 2R on the CPU. Every process must ask."""
    sums_2R = torch.zeros(2, len(pairs))
    with weights.answering(scorer.model):
        for rows_P, counts in own_part(mesh, torch.from_numpy(2 * pairs.lengths), max_tokens):
            ids_BT, weights_BT = (tensor.to(mesh.device) for tensor in pairs.batch(rows_P))
            found_2P = answer_sums(scorer(ids_BT, weights_BT != 0), weights_BT).cpu()
            sums_2R[:, rows_P] = found_2P * counts
    return mesh.total(sums_2R)
