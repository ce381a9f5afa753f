"""The pipeline: text to graph.

Each phase takes the value of the one before and returns its own with findings. No phase raises for what a
user wrote, none prints, and one run gives all findings.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harmony_compiler.checking.credentials import addresses, without_secrets
from harmony_compiler.data.heads import Heads
from harmony_compiler.declared.given import Setting
from harmony_compiler.declared.imports import find_imports
from harmony_compiler.declared.modules import check
from harmony_compiler.files import DISK, Files
from harmony_compiler.graph.graph import ONE_DEVICE, Graph, Launch
from harmony_compiler.graph.values import Ref
from harmony_compiler.keys import taken_keys, unknown_keys
from harmony_compiler.lowering import every_made, lower
from harmony_compiler.naming.names import resolve, unused
from harmony_compiler.passes.pinned import pinned
from harmony_compiler.passes.prune import prune
from harmony_compiler.rewards.published import Contract, contract_of, published
from harmony_compiler.rewards.sense import senseless
from harmony_compiler.store.lock import NO_LOCK, Lock, lock_path
from harmony_compiler.typed import Made
from harmony_compiler.whole.columns import inspect
from harmony_compiler.whole.counts import rowless
from harmony_compiler.whole.meeting import entries_twice, meet
from harmony_compiler.whole.overlap import overlapping
from harmony_compiler.whole.room import short_of_room
from harmony_compiler.whole.stages import ill_fitting
from harmony_grammar.diagnostics import Diagnostic, sort_key
from harmony_grammar.parser import parse_file
from harmony_grammar.records import Record, field
from harmony_grammar.source import Source


class Looked(Record):
    """What a compilation saw on its way, for who asks more about the same recipe."""

    made: dict[Ref, Made]
    """By node of the graph, the constructor that became it, with its places."""
    heads: Heads
    dropped: tuple[str, ...]
    """The declared values that no output needs, and which are not in the graph."""


class Compilation(Record):
    """What came out: the graph, or None where a finding is an error; and all findings, by place."""

    graph: Graph | None
    diagnostics: tuple[Diagnostic, ...]
    names: dict[str, Ref] = field(factory=dict)
    """The declared values, where the whole recipe was asked for."""
    lock: Lock = NO_LOCK
    """What lies beside the recipe."""
    contract: Contract | None = None
    """What other recipes must know of the grader, where one was asked for."""
    looked: Looked | None = None
    """Where there is a graph of all that a run needs."""


def compile_recipe(
    source: Source,
    *,
    settings: Sequence[Setting] = (),
    launch: Launch = ONE_DEVICE,
    files: Files = DISK,
    registry: Path | None = None,
    wanted: str | None = None,
    whole: bool = False,
    locked: bool = True,
) -> Compilation:
    """Compile a recipe.

    `settings` are the caller's inputs; `registry` is the folder of saved models, where one is at hand;
    registered datasets and published graders stand beside it.
    `wanted` asks for the part that grades alone: the name of a declared grader, or `ANY_GRADER`. With
    `whole` the graph keeps what no output needs, for looking at any part of it, and what a run alone would
    stumble over is no finding. What the lock beside the recipe has counts where it is `locked`.
    """
    parsed = parse_file(source)
    names = resolve(parsed.tree)
    datasets = registry.parent / "datasets" if registry is not None else None
    heads = Heads(files, lock_path(source.path) if source.path and locked else None, datasets)
    lock = heads.lock
    imports = find_imports(names, files)
    checked = check(names, imports.libraries, settings, launch, heads)
    made = every_made(checked)
    data = inspect(made, heads, files)
    registered = published(made, registry.parent / "graders" if registry is not None else None, files)
    needs = {**data.needs, **registered.needs}
    findings = [*parsed.diagnostics, *names.diagnostics, *imports.diagnostics]
    findings += [*checked.diagnostics, *data.diagnostics, *registered.diagnostics]
    findings += [*meet(made, needs), *entries_twice(made), *senseless(made, registered.scores)]
    findings += [*addresses(made), *ill_fitting(made, launch, files), *short_of_room(made, heads, files)]
    findings += [*rowless(made, heads), *overlapping(made, heads)]
    if registry is not None:
        findings += unknown_keys(made, registry)
    if _faulty(findings):
        # What only seems doubtful may look otherwise once the errors are mended.
        return Compilation(None, _in_order([f for f in findings if f.severity != "warning"]))

    lowered = lower(checked, launch, lock)
    if wanted is not None:
        from harmony_compiler.passes.graders import graders_only  # a check asks for the whole

        part = graders_only(lowered, checked, wanted, source)
        if not isinstance(part, Graph):
            return Compilation(None, (part,))
        contract = None
        if len(part.outputs) == 1:
            contract = contract_of(lowered.made[part.outputs[0]], made, needs, registered.scores)
        return Compilation(prune(part), (), contract=contract)
    if whole:
        return Compilation(lowered.graph, _in_order(findings), lowered.declared, lock=lock)
    outputs = {lowered.graph.stage_name(ref) for ref in lowered.graph.outputs}
    findings += [*unused(names, outputs), *lowered.diagnostics]
    if registry is not None:
        findings += taken_keys(lowered, registry)
    if lock is not NO_LOCK:
        from harmony_compiler.whole.unlocked import unlocked  # most recipes have no lock

        findings += unlocked(lowered, lock, source, files, registry)
    if _faulty(findings):
        return Compilation(None, _in_order(findings), lock=lock)
    graph = pinned(prune(lowered.graph), lock, source)
    dropped = tuple(name for name, ref in lowered.declared.items() if ref not in graph.nodes)
    looked = Looked({ref: lowered.made[ref] for ref in graph.nodes}, heads, dropped)
    return Compilation(graph, _in_order(findings), lock=lock, looked=looked)


def _faulty(findings: Sequence[Diagnostic]) -> bool:
    return any(finding.severity == "error" for finding in findings)


def _in_order(findings: Sequence[Diagnostic]) -> tuple[Diagnostic, ...]:
    """By place; a fault that copies share is said once."""
    findings = without_secrets(findings)
    once = {(f.code, f.words.message, f.span.source.name, f.span.first, f.span.end): f for f in findings}
    return tuple(sorted(once.values(), key=sort_key))
