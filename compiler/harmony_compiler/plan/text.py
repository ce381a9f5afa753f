"""The plan as people read it: first what runs, then what each stage costs, then every value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.spawning import Spawn
from harmony_compiler.graph.values import Ref
from harmony_compiler.plan.called import input_text
from harmony_compiler.plan.counting import Rows, Work
from harmony_compiler.plan.drawing import tree
from harmony_compiler.plan.lengths import Lengths
from harmony_compiler.plan.memory import Memory, told_bytes
from harmony_compiler.plan.plan import Part, Plan
from harmony_compiler.plan.rewards import told
from harmony_compiler.plan.shown import counted, fields, name_of, title

_KEY = 12
"""Columns of what stands before a fact."""


def plan_text(plan: Plan) -> str:
    common = _common(plan)
    memory = [f"{'memory for' if n == 0 else '':{_KEY}}{line}" for n, line in enumerate(common)]
    lines = [*_head(plan), *memory, "", *_drawn(plan)]
    lines += _inputs(plan)
    if plan.unset:
        lines += ["", f"not set here, and needed by a run: {', '.join(plan.unset)}"]
    for ref, part in plan.parts.items():
        lines += ["", title(plan.graph, ref), *(f"  {line}" for line in _part(plan, ref, part, common))]
    if plan.dropped:
        lines += ["", f"left out, since no output needs it: {', '.join(plan.dropped)}"]
    lines += ["", "every value"]
    for ref in plan.graph.nodes:
        lines += ["", f"  {title(plan.graph, ref)}".replace("\n", "\n  ")]
        lines += [f"    {field.line}" for field in fields(plan.graph, ref)]
    return "\n".join(lines) + "\n"


def _head(plan: Plan) -> Iterator[str]:
    launch, graph = plan.graph.launch, plan.graph
    yield f"recipe {graph.name}, seed {graph.seed}"
    if plan.digest:
        yield f"digest {plan.digest}"
    if launch.world_size == 1:
        yield "for one device, without `--num-processes`"
    else:
        parts = ", each with a part of the weights (--shard)" if launch.shard else ""
        yield f"for {launch.world_size} processes on {counted(launch.nodes, 'machine')}{parts}"


def _common(plan: Plan) -> list[str]:
    """What is assumed of the memory of every stage and evaluation, said once."""
    assumed = [part.memory.assumptions for part in plan.parts.values() if isinstance(part.memory, Memory)]
    return [line for line in assumed[0] if all(line in others for others in assumed)] if assumed else []


def _drawn(plan: Plan) -> list[str]:
    facts: dict[Ref, str] = {}
    for ref, rows in plan.rows.items():
        if rows.taken is not None:
            facts[ref] = _number(rows.taken, "row", at_most=rows.at_most)
    for ref, part in plan.parts.items():
        if part.work.steps is not None:
            facts[ref] = _number(part.work.steps, "step", at_most=part.work.at_most)
        if part.finished:
            facts[ref] = "finished"
    return tree(plan.graph, facts)


def _inputs(plan: Plan) -> Iterator[str]:
    graph = plan.graph
    if graph.inputs:
        yield from ("", "inputs")
    for name in graph.inputs:
        given = "" if name in plan.where.set_inputs else "  (default)"
        yield f"  {name} = {input_text(graph, name)}{given}"


# --- stages and evaluations -----------------------------------------------------------------------------


def _part(plan: Plan, ref: Ref, part: Part, common: Sequence[str]) -> Iterator[str]:
    graph = plan.graph
    facts: list[tuple[str, list[str]]] = [
        ("finished", [f"in {plan.where.finished}: its model is reused"] if part.finished else []),
        ("rows", list(_rows(plan, ref, part))),
        ("work", list(_work(graph, ref, part.work))),
        ("asks", list(_calls(graph, part.work))),
        ("loads", [_spawn(graph, spawn) for spawn in part.spawns] + _no_reference(graph, ref, part)),
        ("memory", list(_memory(part.memory, common))),
        ("reward", list(told(part.reward)) if part.reward else []),
        ("loss", list(part.loss)),
    ]
    for key, of_it in facts:
        for number, line in enumerate(of_it):
            yield f"{key if number == 0 else '':{_KEY}}{line}".rstrip()


def _rows(plan: Plan, ref: Ref, part: Part) -> Iterator[str]:
    dataset: Ref = plan.graph.nodes[ref].dataset  # type: ignore[attr-defined]  # each has one
    yield f"{name_of(plan.graph, dataset)}: {_taken(plan.rows[dataset])}"
    if part.lengths is not None:
        yield from _lengths(part.lengths)


def _taken(rows: Rows) -> str:
    if rows.taken is None:
        return "nobody knows how many before the run"
    taken = _number(rows.taken, "row", at_most=rows.at_most)
    return taken if rows.source in (None, rows.taken) else f"{taken} of {rows.source:,}"


def _lengths(lengths: Lengths) -> Iterator[str]:
    about = "" if lengths.exact else "about "
    of = "" if lengths.whole else f" in the {lengths.looked_at:,} rows that were looked at"
    mean = f"{lengths.mean:,.0f} on average{of}, by {lengths.by}"
    yield f"{about}{lengths.longest:,} tokens in the longest, {mean}"
    if lengths.too_long:
        yield f"{about}{lengths.too_long:,} of {lengths.looked_at:,} too long"


def _work(graph: Graph, ref: Ref, work: Work) -> Iterator[str]:
    node = graph.nodes[ref]
    if work.kept == 0:
        yield "nothing: no row is left"
    elif not isinstance(node, Algorithm):
        if work.completions is not None:
            asked = _number(work.rows or 0, "row", at_most=work.at_most)
            models = counted(len(node.models), "model")  # type: ignore[attr-defined]  # an evaluation's
            completions = _most(work.completions, at_most=work.at_most)
            yield f"{completions} completions to generate: {asked}, {models}"
    elif work.steps is None:
        yield "how many steps is known when the rows are"
    else:
        yield from _training(node, work)


def _training(node: Algorithm, work: Work) -> Iterator[str]:
    passes = "" if work.passes is None else f": {_times(work.passes)} over them"
    steps = _number(work.steps or 0, "step", at_most=work.at_most)
    yield f"{steps} of {counted(node.rows_per_step, 'row')}{passes}"
    if work.tokens is not None:
        yield f"about {work.tokens:,} tokens to learn from"
    if work.completions is not None:
        completions = _most(work.completions, at_most=work.at_most)
        yield f"{completions} completions to generate, {work.updates:,} updates"
    if work.validated != 0:
        told = "some" if work.validated is None else _most(work.validated, at_most=work.validated_at_most)
        yield f"{told} more completions for validation"


def _calls(graph: Graph, work: Work) -> Iterator[str]:
    at_most = work.at_most or work.validated_at_most
    for call in work.calls:
        yield f"{name_of(graph, call.grader)}: {call.whom} {_number(call.number, 'time', at_most=at_most)}"


_USES = {
    "training": "trained",
    "critic": "trained, as the critic",
    "reference": "as it was, to measure the distance from",
    "answering": "answers",
    "judging": "judges",
    "scoring": "scores",
}


def _spawn(graph: Graph, spawn: Spawn) -> str:
    shared = f" for {', '.join(name_of(graph, grader) for grader in spawn.by)}" if spawn.by else ""
    return f"{name_of(graph, spawn.model)}: {_USES[spawn.use]}{shared}"


def _no_reference(graph: Graph, ref: Ref, part: Part) -> list[str]:
    if getattr(graph.nodes[ref], "kl_beta", None) != 0:
        return []
    return ["no reference, since `kl_beta` = 0 asks for none"]


def _memory(memory: Memory | str, common: Sequence[str]) -> Iterator[str]:
    if isinstance(memory, str):
        yield memory
        return
    trained = f"of {memory.parameters:,} parameters {memory.trained:,} trained"
    yield f"{told_bytes(memory.total)} in each device, {trained}"
    width = max(len(term.name) for term in memory.terms)
    for term in memory.terms:
        least = f"  lower it by `{term.field}`" if term is memory.largest and term.field else ""
        during = "" if term.phase == "always" else f" ({term.phase})"
        yield f"  {term.name:{width}}  {told_bytes(term.bytes):>10}{during}{least}"
    yield from (line for line in memory.assumptions if line not in common)


def _times(passes: float) -> str:
    told = f"{passes:.3g}"
    return f"{told} pass{'' if told == '1' else 'es'}"


def _most(number: int, *, at_most: bool) -> str:
    return f"{'at most ' if at_most else ''}{number:,}"


def _number(number: int, thing: str, *, at_most: bool) -> str:
    return f"{'at most ' if at_most else ''}{counted(number, thing)}"
