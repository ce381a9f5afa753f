"""One walk over a graph: prepare everything, train, save, measure.

Every process walks the same way, and what it decides by the folder and the registry is the same in all: none
goes on to write before all have read, and where one wrote, the others wait.
"""

from __future__ import annotations

import platform
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.datasets import RegistryRows
from harmony_compiler.graph.evaluations import Compare
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.identity import Meanings, digest_of, meanings
from harmony_compiler.graph.models import RegistryModel
from harmony_compiler.graph.outputs import Save
from harmony_compiler.graph.values import Ref
from harmony_compiler.store.cache import GRADES, HASHES
from harmony_compiler.store.hashes import Hashes
from harmony_compiler.store.registry import Entry, entry_at
from harmony_grammar.records import as_data
from harmony_runtime import registry as saved_models
from harmony_runtime import trackers
from harmony_runtime.algorithms.stage import Stage
from harmony_runtime.algorithms.table import TRAININGS
from harmony_runtime.data.rows.sources import registered
from harmony_runtime.disk.runfolder import RunFolder, stage_facts
from harmony_runtime.drift import Drift, machine, versions
from harmony_runtime.failures import RunFailed, Together, machine_faults, place
from harmony_runtime.graders.making import Bench
from harmony_runtime.models import adapters, weights
from harmony_runtime.models.blueprint import Blueprints
from harmony_runtime.processes.context import Context
from harmony_runtime.processes.interrupts import Interrupts
from harmony_runtime.rollout.inference import Inference
from harmony_runtime.rooms import Run
from harmony_runtime.run import evaluation, reuse, space
from harmony_runtime.run.evaluation import Evaluation
from harmony_runtime.run.lineage import Lineages, data_hash, parent_of
from harmony_runtime.run.pins import refuse_changed
from harmony_runtime.run.training import train
from harmony_runtime.watch import Evaluations, Measured, Saved, Silent, StageSummary, Summary, Watcher


class Walk:
    """One walk over a graph."""

    def __init__(
        self,
        graph: Graph,
        folder: RunFolder,
        *,
        context: Context,
        watcher: Watcher,
        registry: Path,
        cache: Path,
        interrupts: Interrupts,
        reused: Path | None = None,
        allow_drift: bool = False,
    ) -> None:
        """`reused` is another run's folder, whose finished stages are taken over."""
        self._started = perf_counter()
        self._graph = graph
        self._folder = folder
        self._registry = registry
        self._context = context
        self._contents: dict[str, str] = {}
        self._hashes = Hashes(cache / HASHES)
        self._reused = reused
        self._elsewhere: dict[Ref, Path] = {}
        self._stages = [ref for ref, node in graph.nodes.items() if isinstance(node, Algorithm)]
        self._evaluations = [ref for ref, node in graph.nodes.items() if isinstance(node, Compare)]
        self._saves = [(ref, node) for ref, node in graph.nodes.items() if isinstance(node, Save)]
        found = self._identify()
        self._identities = found.identities
        self._names = _names(graph, [*self._stages, *self._evaluations])
        self._places = {ref: folder.stage(self._identities[ref]) for ref in self._stages}
        blueprints = Blueprints(graph, self._places, registry)
        speaking = watcher if context.is_main else Silent()
        bench = Bench(
            graph,
            Inference(graph, blueprints, context),
            found.asked,
            cache / GRADES,
            speaking.warning,
        )
        self._run = Run(
            graph=graph,
            identities=self._identities,
            blueprints=blueprints,
            cache=cache,
            watcher=speaking,
            folder=folder,
            context=context,
            interrupts=interrupts,
            drift=Drift(graph, found, machine(context), allow_drift, folder, context, speaking),
            bench=bench,
        )

    def all(self) -> Summary:
        run, folder = self._run, self._folder
        run.watcher.run_started(self._graph, folder.path)
        where = {self._identities[ref]: place(self._graph, ref) for ref in self._stages}
        self._refuse(lambda: folder.damaged(where))
        self._refuse_drift()
        stages, evaluations = self._prepare()
        folder.keep(self._graph)
        folder.note(
            versions={"python": platform.python_version(), **versions()},
            identities=self._identities,
            pins=None if self._graph.pins is None else as_data(self._graph.pins),
            stages={
                self._names[ref]: _facts(stages[ref]) if ref in stages else stage_facts(self._finished(ref))
                for ref in self._stages
            },
        )
        saves = [save for _, save in self._saves]
        self._refuse(lambda: space.faults_of(run, stages.values(), saves, self._registry))
        self._context.wait()  # all have read the folder and the registry
        run.interrupts.join(self._context)
        self._take_over()
        trained = tuple(self._stage(ref, stages.pop(ref, None)) for ref in self._stages)
        saved = self._save()
        evaluated = self._evaluate(evaluations, saved)
        return Summary(folder.path, trained, saved, evaluated, perf_counter() - self._started)

    def _identify(self) -> Meanings:
        """What the graph computes; a registry's key stands for what it held when the run first started."""
        graph = self._graph
        held: dict[str, str] = self._folder.manifest["registry"]

        def now(path: str) -> str:
            if path not in self._contents:
                self._contents[path] = self._hashes.content(path)
            return self._contents[path]

        def content(path: str) -> str:
            try:
                found = now(path)
            except OSError as fault:
                raise RunFailed(
                    f"{_who_names(path, graph)}{path} cannot be read: {fault.strerror}"
                ) from fault
            return held.setdefault(path, found) if Path(path).parent == self._registry else found

        for ref, node in graph.nodes.items():
            if isinstance(node, RegistryModel):
                entry = entry_at(self._registry, node.key)
                if entry is None:
                    raise RunFailed(
                        f"{place(graph, ref)}the registry {self._registry} has no key `{node.key}`"
                    )
                saved_models.refuse_damaged(self._registry, entry, self._hashes.of, place(graph, ref))
                self._folder.manifest["parents"].setdefault(node.key, parent_of(entry))
            if isinstance(node, RegistryRows):
                registered(self._registry.parent / "datasets", node.key, place(graph, ref))
        try:
            found = meanings(graph, content, self._registry)
        except ValueError as fault:
            raise RunFailed(str(fault)) from fault
        if any(other != found.identities for other in self._context.gather([found.identities])):
            raise RunFailed(
                "the processes of this run have different recipes or files before them: give all of them the "
                "same",
                exit_code=2,
            )
        refuse_changed(graph, now, self._registry, held)
        return found

    def _refuse(self, look: Callable[[], list[str]]) -> None:
        """Refuse what the main process finds wrong with the disks."""
        with machine_faults("looking at the disks"):
            found = look() if self._context.is_main else []
        (found, *_) = self._context.gather([found])
        if found:
            raise RunFailed(*found, exit_code=2)

    def _refuse_drift(self) -> None:
        """Find what is finished elsewhere, and refuse what cannot go on."""
        for ref in self._stages:
            if self._context.is_main and self._places[ref].is_dir():  # a crash may have come between the two
                left = self._folder.checkpoint(self._names[ref], self._identities[ref])
                shutil.rmtree(left, ignore_errors=True)
        if self._reused is not None and self._context.is_main:
            with machine_faults(f"reading what is finished in {self._reused}"):
                for ref in self._unfinished():
                    if (folder := reuse.finished(self._reused, self._identities[ref])) is not None:
                        self._elsewhere[ref] = folder
        (self._elsewhere, *_) = self._context.gather([self._elsewhere])
        if self._reused is not None and not self._elsewhere and self._unfinished():
            self._run.watcher.note(f"{self._reused} has finished no stage that this run trains")
        self._run.drift.refuse({ref: (self._names[ref], self._identities[ref]) for ref in self._unfinished()})

    def _unfinished(self) -> list[Ref]:
        """The stages that neither this run's folder holds nor the one that is reused."""
        return [ref for ref in self._stages if not self._finished(ref).is_dir()]

    def _finished(self, ref: Ref) -> Path:
        """Where the model of a stage stands, or will."""
        return self._elsewhere.get(ref, self._places[ref])

    def _take_over(self) -> None:
        for ref, folder in self._elsewhere.items():
            if self._context.is_main and not self._places[ref].is_dir():
                with machine_faults(f"taking over `{self._names[ref]}`"):
                    reuse.take_over(folder, self._places[ref])
        self._context.wait()

    def _prepare(self) -> tuple[dict[Ref, Stage[Any]], dict[Ref, Evaluation]]:
        """Check everything that needs no weights, for what is not finished."""
        faults = Together()
        for ref, save in self._saves:
            with faults:
                drawn = self._run.blueprints.of(save.model)
                if save.merge and not drawn.carries_adapter:
                    self._run.watcher.note(
                        f"{place(self._graph, ref)}the model carries no adapter, so `merge` has nothing to do"
                    )
            with faults:
                self._refuse_collision(ref, save)
        stages: dict[Ref, Stage[Any]] = {}
        for ref in self._unfinished():
            with faults:
                trackers.refuse_missing(self._run, ref)
            with faults, machine_faults("reading data"):
                prepare = TRAININGS[type(self._graph.nodes[ref])].prepare
                stages[ref] = prepare(self._run, ref, self._names[ref], self._identities[ref])
        evaluations: dict[Ref, Evaluation] = {}
        for ref in self._evaluations:
            if self._measured(ref) is None:
                with faults, machine_faults("reading data"):
                    name, identity = self._names[ref], self._identities[ref]
                    evaluations[ref] = evaluation.prepare(self._run, ref, name, identity)
        if stages or evaluations:
            with faults:
                self._refuse_changed_registry()
        faults.raise_any()
        for note in self._run.blueprints.notes():
            self._run.watcher.note(note)
        return stages, evaluations

    def _refuse_changed_registry(self) -> None:
        for path, held in self._folder.manifest["registry"].items():
            if self._hashes.content(path) != held:
                raise RunFailed(
                    f"{path} holds another model than when this run started, so its stages cannot go on: put "
                    "the old one back, or start a new run"
                )

    def _refuse_collision(self, ref: Ref, save: Save) -> None:
        identity = self._identities[save.model]
        where = place(self._graph, ref)
        saved_models.refuse_if_taken(
            self._registry, save.key, identity, save.if_exists, merge=save.merge, place=where
        )
        for other_ref, other in self._saves:
            if other_ref == ref:
                break
            same = (self._identities[other.model], other.merge) == (identity, save.merge)
            if other.key == save.key and save.if_exists != "rename" and not same:
                raise RunFailed(f"{where}another `save` of this recipe takes the key `{save.key}`")

    def _stage(self, ref: Ref, stage: Stage[Any] | None) -> StageSummary:
        """Train one stage, unless the folder holds its model: from an earlier run, or from a stage of this
        one that differs in nothing but where and how it computes."""
        name, identity, node = self._names[ref], self._identities[ref], self._graph.nodes[ref]
        if stage is None or self._places[ref].is_dir():
            where = self._folder.path if ref not in self._elsewhere else self._reused
            self._run.watcher.note(f"`{name}` is finished in {where}, and its model is reused")
            facts = self._folder.manifest["stages"][name]
            return StageSummary(
                name, node.constructor, identity, facts["steps"], facts["rows"], {}, 0.0, reused=True
            )
        return train(self._run, stage)

    def _save(self) -> dict[str, Saved]:
        run, saved = self._run, dict[str, Saved]()
        with run.interrupts.held():
            for _, save in self._saves if self._context.is_main else ():
                saved[save.key] = self._save_one(save)
                run.watcher.saved(saved[save.key].key, saved[save.key].path)
            (saved, *_) = self._context.gather([saved])
        self._folder.write_results({}, saved)
        run.interrupts.check()
        return saved

    def _save_one(self, save: Save) -> Saved:
        blueprint = self._run.blueprints.of(save.model)
        lineage = self._lineages().of(save.model)
        origin = self._graph.origins.get(save.model)
        entry = Entry(
            key=save.key,
            identity=self._identities[save.model],
            recipe=self._graph.name,
            stage=self._graph.stage_name(save.model),
            created=saved_models.now(),
            file=Path(origin.file).name if origin else "",
            harmony=versions()["harmony-dsl"],
            graph=digest_of(self._graph, self._identities),
            data=data_hash(lineage),
            lineage=lineage,
        )

        def write_model(folder: Path) -> saved_models.Written:
            # What is in the registry or in this run's folder may go or be another model tomorrow.
            passing = (self._registry, self._folder.path)
            kind, base = weights.write_saved(blueprint, folder, merge=save.merge, passing=passing)
            return saved_models.Written(kind, base)

        with machine_faults(f"saving `{save.key}`"):
            return saved_models.save(
                self._registry,
                entry,
                save.if_exists,
                write_model,
                merge=save.merge,
                placed=adapters.settle_base,
            )

    def _lineages(self) -> Lineages:
        manifest = self._folder.manifest
        return Lineages(
            graph=self._graph,
            identities=self._identities,
            blueprints=self._run.blueprints,
            contents=self._contents,
            parents=manifest["parents"],
            steps={ref: manifest["stages"][self._names[ref]]["steps"] for ref in self._stages},
        )

    def _evaluate(self, prepared: dict[Ref, Evaluation], saved: dict[str, Saved]) -> Evaluations:
        found: dict[str, Mapping[str, Mapping[str, Measured]]] = {}
        for ref in self._evaluations:
            name, identity = self._names[ref], self._identities[ref]
            measured = self._measured(ref)
            if measured is None:
                asked = prepared.pop(ref)
                with machine_faults(f"evaluating `{name}`"):
                    measured = evaluation.evaluate(self._run, asked)
                self._folder.note_evaluation(identity, self._columns(ref), measured, asked.counts)
                self._context.free()
                self._run.interrupts.check()
            else:
                self._run.watcher.note(f"`{name}` is measured in {self._folder.path}, and not again")
            found[name] = measured
            self._folder.write_results(found, saved)
        return found

    def _measured(self, ref: Ref) -> Mapping[str, Mapping[str, Measured]] | None:
        """What the folder holds of an evaluation: from an earlier run, or from an equal one of this run."""
        return self._folder.measured(self._identities[ref], self._columns(ref))

    def _columns(self, ref: Ref) -> dict[str, list[str]]:
        """What the recipe calls the models and graders of an evaluation: no part of its identity."""
        origin = self._graph.origins.get(ref)
        return {field: list(texts) for field, texts in origin.entries.items()} if origin else {}


def _facts(stage: Stage[Any]) -> dict[str, Any]:
    """What the manifest keeps of a stage."""
    return {"identity": stage.identity, "steps": stage.steps, "seed": stage.node.seed, **stage.counts}


def _who_names(path: str, graph: Graph) -> str:
    """The place of the node in which a path stands."""
    for ref, node in graph.nodes.items():
        for held in vars(node).values():
            if held == path or (isinstance(held, tuple) and path in held):
                return place(graph, ref)
    return ""


def _names(graph: Graph, refs: list[Ref]) -> dict[Ref, str]:
    """A name for each stage and evaluation: as the recipe declares it, with its id where two would be called
    the same."""
    names = {ref: graph.stage_name(ref) for ref in refs}
    often = Counter(names.values())
    return {ref: name if often[name] == 1 else f"{name}.{ref}" for ref, name in names.items()}
