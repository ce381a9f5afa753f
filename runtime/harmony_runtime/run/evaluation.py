"""Evaluations: several models, the same rows, the same graders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain
from time import perf_counter
from typing import TYPE_CHECKING

from harmony_compiler.graph.evaluations import Compare
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.models import Endpoint
from harmony_compiler.graph.values import Ref
from harmony_runtime.data.questions import Questions, questions_of
from harmony_runtime.data.tokens.prompts import Prompt, Prompts, prompts_of
from harmony_runtime.failures import place
from harmony_runtime.graders.grading import measured
from harmony_runtime.graders.panel import Panel
from harmony_runtime.models import weights
from harmony_runtime.models.blueprint import Blueprint
from harmony_runtime.processes.mesh import Mesh
from harmony_runtime.rollout.answers import Answer, answers, refuse_graders
from harmony_runtime.rollout.local import LocalEngine
from harmony_runtime.rooms import Run
from harmony_runtime.watch import Measured

if TYPE_CHECKING:
    from harmony_runtime.rollout.served import Answered, Served


@dataclass(frozen=True)
class Evaluation:
    """One evaluation, prepared: everything is checked, no weight is made."""

    name: str
    identity: str
    node: Compare
    models: dict[str, Blueprint | Served]
    """By the name of its row in the table."""
    prompts: dict[str, Prompts | Questions]
    """The rows in the tokens of each model, by the same names; of a served one, in words."""
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
    models = {row: _model(run, model) for row, model in zip(rows, node.models, strict=True)}
    columns = _entries(run.graph, ref, "graders", node.graders)
    questions = cache(partial(questions_of, run, node.dataset, node.limit))
    prompts = {
        row: prompts_of(run, node.dataset, model, node.sampling.max_tokens, limit=node.limit)
        if isinstance(model, Blueprint)
        else questions()
        for row, model in models.items()
    }
    refuse_graders(run, node.graders, _distinct(prompts.values()))
    return Evaluation(
        name=name,
        identity=identity,
        node=node,
        models=models,
        prompts=prompts,
        graders=dict(zip(columns, node.graders, strict=True)),
    )


def _distinct(prompts: Iterable[Iterable[Prompt]]) -> Iterator[Prompt]:
    """Each prompt once, whichever of the models it is not too long for."""
    seen = set()
    for prompt in chain.from_iterable(prompts):
        if (row := repr((prompt.turns, prompt.metadata))) not in seen:
            seen.add(row)
            yield prompt


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
    with Panel(run.bench, evaluation.node.graders, names) as panel:
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


def _model(run: Run, ref: Ref) -> Blueprint | Served:
    node = run.graph.nodes[ref]
    if not isinstance(node, Endpoint):
        return run.blueprints.of(ref)
    from harmony_runtime.rollout.served import Served  # needs a package of the extra `graders`

    served = Served(node, place(run.graph, ref), run.watcher.warning)
    served.refuse_absent()
    return served


def _answers(run: Run, evaluation: Evaluation, model: str, panel: Panel) -> Sequence[Answer | Answered]:
    node, asked, prompts = evaluation.node, evaluation.models[model], list(evaluation.prompts[model])
    told = run.watcher.answering
    if not isinstance(asked, Blueprint):
        return asked.answers(
            prompts,
            node.samples,
            node.sampling,
            panel=panel,
            context=run.context,
            seed=node.seed,
            told=told,
        )
    mesh = Mesh(run.context, asked)
    engine = LocalEngine(mesh.place(weights.load(asked)), asked, mesh)
    return answers(
        prompts,
        node.samples,
        node.sampling,
        engine=engine,
        panel=panel,
        mesh=mesh,
        seed=node.seed,
        told=told,
    ).answers


def _entries(graph: Graph, ref: Ref, field: str, refs: tuple[Ref, ...]) -> tuple[str, ...]:
    """What the recipe calls the entries of a list; each stage's own name where the graph does not say."""
    texts = graph.origins[ref].entries.get(field, ()) if ref in graph.origins else ()
    return texts or tuple(graph.stage_name(entry) for entry in refs)
