"""The executor: walks a graph and leaves a run folder and saved models behind.

A graph holds what its outputs need and nothing else, each node after everything that it reads.

First everything that can be known without weights: the graph, the registry's keys, models' configurations and
tokenizers, all rows of all datasets in tokens. Only then stages train, one after another, and what is asked
for is saved.
"""

from __future__ import annotations

import platform
import shutil
from collections import Counter
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Any

import datasets
import transformers

from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.datasets import Rows
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.identity import identities
from harmony_compiler.graph.models import LoadSettings, RegistryModel
from harmony_compiler.graph.outputs import Save
from harmony_compiler.graph.values import Ref
from harmony_compiler.store.files import content_hash
from harmony_compiler.store.registry import Entry
from harmony_grammar.diagnostics import Diagnostic
from harmony_runtime import registry as saved_models
from harmony_runtime.algorithms.loop import Run, Stage
from harmony_runtime.algorithms.table import TRAININGS
from harmony_runtime.context import Context
from harmony_runtime.failures import Interrupted, RunFailed, machine_faults, place
from harmony_runtime.folders import whole
from harmony_runtime.interrupts import Interrupts, Stop
from harmony_runtime.models import weights
from harmony_runtime.models.blueprint import Blueprint, Blueprints
from harmony_runtime.runfolder import RunFolder
from harmony_runtime.watch import Number, Saved, Silent, StageSummary, Summary, Watcher

LIBRARIES = ("torch", "transformers", "accelerate", "datasets", "tokenizers", "safetensors", "harmony-dsl")


def run(graph: Graph, out: Path, *, watcher: Watcher, registry: Path, resume: bool = False) -> Summary:
    """Train what `graph` asks for, in the folder `out`, and save into `registry`.

    With `resume`, `out` may be the folder of an earlier run: what it finished is reused by identity, and an
    interrupted stage goes on where it stopped.

    Raises:
        RunFailed: the recipe, its data or the machine is at fault.
        Interrupted: Ctrl-C or SIGTERM asked the run to stop.
    """
    registry = registry.absolute()
    _silence_libraries()
    with Interrupts() as interrupts:
        _refuse_unknown(graph)
        context = Context()
        _refuse_other_launch(graph, context)
        with machine_faults("preparing the run's folder"):
            folder = RunFolder.open(out, graph, resume=resume)
        try:
            walk = _Walk(
                graph, folder, context=context, watcher=watcher, registry=registry, interrupts=interrupts
            )
            summary = walk.all()
        except KeyboardInterrupt as stop:
            code = stop.exit_code if isinstance(stop, Stop) else 130
            _note_exit(folder, code, "interrupted")
            raise Interrupted(folder.kept(), code) from stop
        except RunFailed as fault:
            _note_exit(folder, fault.exit_code, str(fault))
            if not resume:
                folder.discard_if_untouched()
            raise
        except Exception as fault:
            _note_exit(folder, 2, f"{type(fault).__name__}: {fault}")
            raise
        _note_exit(folder, 0, "done")
    if context.is_main:
        watcher.finished(summary)
    return summary


class _Walk:
    """One walk over a graph."""

    def __init__(
        self,
        graph: Graph,
        folder: RunFolder,
        *,
        context: Context,
        watcher: Watcher,
        registry: Path,
        interrupts: Interrupts,
    ) -> None:
        self._started = perf_counter()
        self._graph = graph
        self._folder = folder
        self._registry = registry
        self._identities = self._identify()
        self._stages = [ref for ref, node in graph.nodes.items() if isinstance(node, Algorithm)]
        self._saves = [(ref, node) for ref, node in graph.nodes.items() if isinstance(node, Save)]
        self._names = _names(graph, self._stages)
        self._places = {ref: folder.stage(self._identities[ref]) for ref in self._stages}
        blueprints = Blueprints(graph, self._places, registry)
        conditions: dict[str, Number | str] = {"world_size": context.world_size, **_versions()}
        speaking = watcher if context.is_main else Silent()
        self._run = Run(graph, folder, context, blueprints, speaking, interrupts, conditions)

    def all(self) -> Summary:
        run, folder = self._run, self._folder
        folder.note(
            versions={"python": platform.python_version(), **_versions()},
            identities=self._identities,
        )
        run.watcher.run_started(self._graph, folder.path)
        prepared = self._prepare()
        before = folder.manifest["stages"]
        folder.note(
            stages={
                self._names[ref]: _facts(prepared[ref])
                if ref in prepared
                else before.get(self._names[ref], {})
                for ref in self._stages
            }
        )
        stages = tuple(self._stage(ref, prepared.pop(ref, None)) for ref in self._stages)
        saved = self._save()
        return Summary(folder.path, stages, saved, perf_counter() - self._started)

    def _identify(self) -> dict[Ref, str]:
        """The identities; a registry's key stands for what it held when the run first started."""
        graph = self._graph
        held: dict[str, str] = self._folder.manifest["registry"]

        def content(path: str) -> str:
            try:
                found = content_hash(path)
            except OSError as fault:
                raise RunFailed(
                    f"{_who_names(path, graph)}{path} cannot be read: {fault.strerror}"
                ) from fault
            return held.setdefault(path, found) if Path(path).parent == self._registry else found

        for ref, node in graph.nodes.items():
            if isinstance(node, RegistryModel) and saved_models.holder(self._registry, node.key) is None:
                raise RunFailed(f"{place(graph, ref)}the registry {self._registry} has no key `{node.key}`")
        return identities(graph, content, self._registry)

    def _prepare(self) -> dict[Ref, Stage]:
        """Check everything that needs no weights, for the stages that are not finished."""
        faults = _Faults()
        for ref, save in self._saves:
            with faults:
                self._run.blueprints.of(save.model)
            with faults:
                self._refuse_collision(ref, save)
        prepared: dict[Ref, Stage] = {}
        for ref in self._stages:
            if not self._places[ref].is_dir():
                with faults, machine_faults("reading data"):
                    prepare = TRAININGS[type(self._graph.nodes[ref])].prepare
                    prepared[ref] = prepare(self._run, ref, self._names[ref], self._identities[ref])
        if prepared:
            with faults:
                self._refuse_changed_registry()
        faults.raise_any()
        for note in self._run.blueprints.notes():
            self._run.watcher.note(note)
        return prepared

    def _refuse_changed_registry(self) -> None:
        for path, held in self._folder.manifest["registry"].items():
            if content_hash(path) != held:
                raise RunFailed(
                    f"{path} holds another model than when this run started, so its stages cannot go on: put "
                    "the old one back, or start a new run"
                )

    def _refuse_collision(self, ref: Ref, save: Save) -> None:
        identity = self._identities[save.model]
        where = place(self._graph, ref)
        saved_models.refuse_if_taken(self._registry, save.key, identity, save.if_exists, where)
        for other_ref, other in self._saves:
            if other_ref == ref:
                break
            if (
                other.key == save.key
                and save.if_exists != "rename"
                and self._identities[other.model] != identity
            ):
                raise RunFailed(f"{where}another `save` of this recipe takes the key `{save.key}`")

    def _stage(self, ref: Ref, stage: Stage | None) -> StageSummary:
        """Train one stage, unless the folder holds its model: from an earlier run, or from a stage of this
        one that differs in nothing but where and how it computes."""
        name, identity, node = self._names[ref], self._identities[ref], self._graph.nodes[ref]
        if stage is None or self._places[ref].is_dir():
            self._run.watcher.note(f"`{name}` is finished in {self._folder.path}, and its model is reused")
            facts = self._folder.manifest["stages"][name]
            return StageSummary(
                name, node.constructor, identity, facts["steps"], facts["rows"], {}, 0.0, reused=True
            )
        started = perf_counter()
        with machine_faults(f"training `{name}`"):
            trained = TRAININGS[type(node)].train(self._run, stage)
            with self._run.interrupts.held(), whole(self._places[ref]) as growing:
                weights.write(trained.model, self._run.blueprints.of(ref), growing)
            shutil.rmtree(self._folder.checkpoint(name, identity), ignore_errors=True)
        self._run.context.free()
        seconds = perf_counter() - started
        self._run.watcher.stage_finished(name, seconds)
        return StageSummary(
            name,
            node.constructor,
            identity,
            stage.steps,
            stage.counts["rows"],
            trained.metrics,
            seconds,
            reused=False,
        )

    def _save(self) -> dict[str, Saved]:
        saved: dict[str, Saved] = {}
        for _, save in self._saves:
            blueprint = self._run.blueprints.of(save.model)
            entry = Entry(
                key=save.key,
                identity=self._identities[save.model],
                recipe=self._graph.name,
                stage=self._graph.stage_name(save.model),
                created=saved_models.now(),
            )

            def write_model(folder: Path, blueprint: Blueprint = blueprint) -> None:
                weights.write(weights.load(blueprint), blueprint, folder)

            with machine_faults(f"saving `{save.key}`"), self._run.interrupts.held():
                saved[save.key] = saved_models.save(self._registry, entry, save.if_exists, write_model)
            self._run.watcher.saved(saved[save.key].key, saved[save.key].path)
        self._folder.write_results(saved)
        return saved


class _Faults:
    """Lets checks fail one by one, so that their faults come out together."""

    def __init__(self) -> None:
        self._faults: list[Diagnostic | str] = []
        self._exit_code = 0

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, raised: BaseException | None, __: object) -> bool:
        if not isinstance(raised, RunFailed):
            return False
        # Two stages over one faulty dataset or model find the same.
        said = {str(RunFailed(fault)) for fault in self._faults}
        self._faults += [fault for fault in raised.faults if str(RunFailed(fault)) not in said]
        self._exit_code = max(self._exit_code, raised.exit_code)
        return True

    def raise_any(self) -> None:
        if self._faults:
            raise RunFailed(*self._faults, exit_code=self._exit_code)


def _facts(stage: Stage) -> dict[str, Any]:
    """What the manifest keeps of a stage."""
    return {"identity": stage.identity, "steps": stage.steps, "seed": stage.seed, **stage.counts}


def _who_names(path: str, graph: Graph) -> str:
    """The place of the node in which a path stands."""
    for ref, node in graph.nodes.items():
        for held in vars(node).values():
            if held == path or (isinstance(held, tuple) and path in held):
                return place(graph, ref)
    return ""


def _names(graph: Graph, stages: list[Ref]) -> dict[Ref, str]:
    """A name for each stage: as the recipe declares it, with its id where two would be called the same."""
    names = {ref: graph.stage_name(ref) for ref in stages}
    often = Counter(names.values())
    return {ref: name if often[name] == 1 else f"{name}.{ref}" for ref, name in names.items()}


def _refuse_unknown(graph: Graph) -> None:
    for ref, node in graph.nodes.items():
        if isinstance(node, Algorithm) and type(node) not in TRAININGS:
            raise RunFailed(
                f"{place(graph, ref)}this version cannot train with `{node.constructor}`", exit_code=2
            )
        if not isinstance(node, Algorithm | LoadSettings | Rows | Save):
            raise RunFailed(f"{place(graph, ref)}this version cannot run `{node.constructor}`", exit_code=2)


def _refuse_other_launch(graph: Graph, context: Context) -> None:
    if context.world_size != graph.launch.world_size:
        raise RunFailed(
            f"the recipe was compiled for {graph.launch.world_size} processes, and {context.world_size} run",
            exit_code=2,
        )
    if context.world_size > 1:
        raise RunFailed("this version trains in one process", exit_code=2)


def _versions() -> dict[str, str]:
    found = {}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            found[library] = "not installed"
    return found


def _note_exit(folder: RunFolder, code: int, reason: str) -> None:
    """How the run ended. A disk that is full must not hide why."""
    with suppress(OSError):
        folder.note(exit={"code": code, "reason": reason})


def _silence_libraries() -> None:
    """Progress and warnings reach people through the watcher only."""
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
