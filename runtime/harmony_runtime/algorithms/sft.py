"""Supervised fine-tuning: imitate the completions of a dataset.

The loss of a step is the negative log likelihood of its trained tokens, averaged over all of them or first
within each row, where the data weighs turns by their weights: see `losses.sft_loss`
and `losses.token_weights`.
"""

# Names of tensors end in their shape.
# ruff: noqa: N806

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from transformers import PreTrainedModel

from harmony_compiler.graph.algorithms import Sft
from harmony_compiler.graph.values import Ref
from harmony_runtime.algorithms.gradients import Gradients
from harmony_runtime.algorithms.loop import Loop
from harmony_runtime.algorithms.optimiser import Optimiser
from harmony_runtime.algorithms.stage import Stage, Trained
from harmony_runtime.algorithms.validation import Exam, counts_of, exam_of, own_part, watching
from harmony_runtime.data.order import Order, micro_batches
from harmony_runtime.data.tokens.lengths import say_repeats
from harmony_runtime.data.tokens.trained import TokenRows, tokens_of
from harmony_runtime.failures import RunFailed, place
from harmony_runtime.losses import sft_loss, token_weights
from harmony_runtime.models import weights
from harmony_runtime.models.blueprint import Blueprint
from harmony_runtime.models.scorer import Scorer
from harmony_runtime.processes.mesh import Mesh
from harmony_runtime.rooms import Run
from harmony_runtime.watch import Metrics


@dataclass(frozen=True)
class SftStage(Stage[Sft]):
    rows: TokenRows
    held_out: TokenRows | Exam | None
    """What the stage is validated on."""


def prepare(run: Run, ref: Ref, name: str, identity: str) -> SftStage:
    node, where = run.graph.nodes[ref], place(run.graph, ref)
    assert isinstance(node, Sft)
    blueprint = run.blueprints.of(node.model)
    rows = tokens_of(run, node.dataset, blueprint, node.train_on)
    blueprint.warn_of_training(run.watcher)

    per_step = node.rows_per_step
    steps = node.steps_over(len(rows))
    if nothing := rows.counts["with_nothing_to_train_on"]:
        order = Order(len(rows), node.seed)
        for step in range(steps):
            if not rows.trained(order.take(per_step)).any():
                raise RunFailed(
                    f"{where}no row of step {step + 1} has a token to train on; "
                    f"{nothing} of {len(rows)} rows have none: raise `samples_per_batch`, or mend the rows"
                )
    say_repeats(per_step, len(rows), where, run.watcher, what="rows")
    held_out = _held_out(run, node, blueprint)
    return SftStage(
        ref=ref,
        name=name,
        identity=identity,
        place=where,
        node=node,
        blueprint=blueprint,
        steps=steps,
        counts={"rows": dict(rows.counts), "tokens": dict(rows.tokens), **counts_of(held_out)},
        max_batch_tokens=blueprint.max_batch_tokens(rows.longest),
        rows=rows,
        held_out=held_out,
    )


def _held_out(run: Run, node: Sft, blueprint: Blueprint) -> TokenRows | Exam | None:
    exam = exam_of(run, node, blueprint)
    if exam is not None or node.validation is None:
        return exam
    rows = tokens_of(run, node.validation.dataset, blueprint, node.train_on)
    blueprint.max_batch_tokens(rows.longest)
    if not rows.tokens["trained"]:
        where = place(run.graph, node.validation.dataset)
        raise RunFailed(f"{where}no row has a token that the loss of a validation counts: mend the rows")
    return rows


def train(run: Run, stage: SftStage) -> Trained:
    node, rows = stage.node, stage.rows
    mesh = Mesh(run.context, stage.blueprint)
    model = mesh.place(weights.load(stage.blueprint))
    model.train()
    scorer = mesh.prepare(Scorer(model, mesh, stage.blueprint.settings.dtype))
    optimiser = Optimiser(model, node, node.lr, stage.steps, stage.place)
    order = Order(len(rows), node.seed)

    watched = watching(run, stage, model, mesh, _measured_by(stage, model, mesh))
    loop = Loop(run, stage, model, **watched, optimiser=optimiser, order=order)
    for step in loop:
        # Every process knows the whole step, so what the loss is divided by needs no communication.
        step_rows = order.take(node.samples_per_batch)
        counts_R = rows.weights(step_rows)
        all_counts, trained_rows = float(counts_R.sum()), int((counts_R > 0).sum())

        own_rows = mesh.own(step_rows)
        parts = micro_batches(own_rows, rows.lengths(own_rows), stage.max_batch_tokens)
        gradients = Gradients(mesh, scorer)
        with mesh.seeded(node.seed, "dropout", step):
            for rows_B in gradients.over(parts):
                ids_BT, counts_BT = (tensor.to(mesh.device) for tensor in rows.batch(rows_B))
                weights_BT = token_weights(counts_BT, all_counts, trained_rows, node.reduce)
                gradients.add(sft_loss(scorer(ids_BT, weights_BT != 0), weights_BT))
        loss = gradients.sums()["loss"]
        update = optimiser.update(step, loss, rows=step_rows)

        loop.record(
            loss=loss,
            lr=update["lr"],
            grad_norm=update["grad_norm"],
            tokens=int(rows.lengths(step_rows).sum()),
            trained_tokens=int(rows.trained(step_rows).sum()),
            rows=len(step_rows),
            epoch=order.epochs,
        )
    return loop.trained


def _measured_by(stage: SftStage, model: PreTrainedModel, mesh: Mesh) -> Exam | Callable[[], Metrics] | None:
    rows = stage.held_out
    if not isinstance(rows, TokenRows):
        return rows
    scorer = Scorer(model, mesh, stage.blueprint.settings.dtype)
    max_tokens = stage.blueprint.max_batch_tokens(rows.longest)
    return partial(loss_of, rows, scorer, mesh, max_tokens, stage.node.reduce)


@torch.no_grad()
def loss_of(
    rows: TokenRows, scorer: Scorer, mesh: Mesh, max_tokens: int, reduce: Literal["tokens", "sequences"]
) -> dict[str, float]:
    """The loss of all rows, as if they were one step. Every process must ask."""
    all_R = torch.arange(len(rows))
    counts_R = rows.weights(all_R)
    all_counts, trained_rows = float(counts_R.sum()), int((counts_R > 0).sum())
    loss = torch.zeros((), dtype=torch.float64)
    with weights.answering(scorer.model):
        for rows_B, counts in own_part(mesh, rows.lengths(all_R), max_tokens):
            ids_BT, counts_BT = (tensor.to(mesh.device) for tensor in rows.batch(rows_B))
            weights_BT = token_weights(counts_BT, all_counts, trained_rows, reduce)
            part = sft_loss(scorer(ids_BT, weights_BT != 0), weights_BT)
            loss += part.double().cpu() * counts
    return mesh.sum({"loss": loss})
