"""Evaluations: several models, the same rows, the same graders."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

from harmony_compiler.graph.evaluations import Compare
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.values import Ref
from harmony_runtime.data.tokens.prompts import Prompts, prompts_of
from harmony_runtime.graders.panel import Panel, measured
from harmony_runtime.models import weights
from harmony_runtime.models.blueprint import Blueprint
from harmony_runtime.processes.mesh import Mesh
from harmony_runtime.rollout.answers import Answer, answers
from harmony_runtime.rollout.local import LocalEngine
from harmony_runtime.rooms import Run
from harmony_runtime.watch import Measured


@dataclass(frozen=True)
class Evaluation:
    """One evaluation, prepared: everything is checked, no weight is made."""

    name: str
    identity: str
    node: Compare
    models: dict[str, Blueprint]
    """By the name of its row in the table."""
    prompts: dict[str, Prompts]
    """The rows in the tokens of each model, by the same names."""
    graders: dict[str, Ref]
    """By the name of the grader's column."""

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """What became of the rows, model by model: in the tokens of another one others are too long."""
        return {model: dict(prompts.counts) for model, prompts in self.prompts.items()}


def prepare(run: Run, ref: Ref, name: str, identity: str) -> Evaluation:
    node = run.graph.nodes[ref]
    assert isinstance(node, Compare)
    rows = _entries(run.graph, ref, "models", node.models)
    models = {row: run.blueprints.of(model) for row, model in zip(rows, node.models, strict=True)}
    columns = _entries(run.graph, ref, "graders", node.graders)
    return Evaluation(
        name=name,
        identity=identity,
        node=node,
        models=models,
        prompts={
            row: prompts_of(run, node.dataset, blueprint, node.sampling.max_tokens, limit=node.limit)
            for row, blueprint in models.items()
        },
        graders=dict(zip(columns, node.graders, strict=True)),
    )


def evaluate(run: Run, evaluation: Evaluation) -> dict[str, dict[str, Measured]]:
    """What each grader says about each model.

    Raises:
        RunFailed: the policy of a grader ends the run, or the machine is at fault.
    """
    rows = max(len(prompts) for prompts in evaluation.prompts.values())
    run.watcher.evaluation_started(evaluation.name, tuple(evaluation.models), rows)
    run.folder.samples.cut_back(evaluation.name, -1)
    found: dict[str, dict[str, Measured]] = {}
    columns = evaluation.graders
    names = {ref: column for column, ref in columns.items()}
    with Panel(run.graph, evaluation.node.graders, names) as panel:
        for model in evaluation.models:
            run.interrupts.check()
            started = perf_counter()
            with run.context.pulse.doing(f"measuring {model} for `{evaluation.name}`"):
                answered = _answers(run, evaluation, model, panel)
            head = {"stage": evaluation.name, "step": 0, "model": model}
            run.folder.samples.append(*(head | answer.line() for answer in answered))
            by_name = measured(answer.verdict for answer in answered)
            found[model] = {column: by_name[names[ref]] for column, ref in columns.items()}
            run.watcher.evaluated(evaluation.name, model, found[model], perf_counter() - started)
    return found


def _answers(run: Run, evaluation: Evaluation, model: str, panel: Panel) -> list[Answer]:
    node, blueprint = evaluation.node, evaluation.models[model]
    mesh = Mesh(run.context, blueprint)
    engine = LocalEngine(mesh.place(weights.load(blueprint)), blueprint, mesh)
    return answers(
        list(evaluation.prompts[model]),
        node.samples,
        node.sampling,
        engine=engine,
        panel=panel,
        mesh=mesh,
        seed=node.seed,
    )


def _entries(graph: Graph, ref: Ref, field: str, refs: tuple[Ref, ...]) -> tuple[str, ...]:
    """What the recipe calls the entries of a list; each stage's own name where the graph does not say."""
    texts = graph.origins[ref].entries.get(field, ()) if ref in graph.origins else ()
    return texts or tuple(graph.stage_name(entry) for entry in refs)
